/*
 * As much of PKCS#11 v2.40 as a module needs that stands before another one: the types, and the function list in its order.
 *
 * Pointers to what is only handed on are void pointers: the binary form is the same.
 */
#pragma once

typedef unsigned char CK_BYTE;
typedef unsigned long CK_ULONG; /* CK_RV, CK_FLAGS, handles, types: all of them */
typedef CK_ULONG CK_RV;

typedef struct {
  CK_ULONG mechanism;
  void *parameter;
  CK_ULONG parameter_bytes;
} CK_MECHANISM;

typedef struct {
  CK_ULONG type;
  void *value;
  CK_ULONG bytes;
} CK_ATTRIBUTE;

typedef struct {
  CK_ULONG kdf;
  CK_ULONG shared_bytes;
  CK_BYTE *shared;
  CK_ULONG public_bytes;
  CK_BYTE *public;
} CK_ECDH1_DERIVE_PARAMS;

typedef struct {
  CK_ULONG slot;
  CK_ULONG state;
  CK_ULONG flags;
  CK_ULONG device_error;
} CK_SESSION_INFO;

typedef struct {
  CK_ULONG least_key;
  CK_ULONG most_key;
  CK_ULONG flags;
} CK_MECHANISM_INFO;

typedef struct {
  CK_BYTE label[32];
  CK_BYTE manufacturer[32];
  CK_BYTE model[16];
  CK_BYTE serial[16];
  CK_ULONG flags;
  CK_ULONG counts_and_memory[10];
  CK_BYTE versions[4];
  CK_BYTE time[16];
} CK_TOKEN_INFO;

enum {
  CKR_OK = 0x00,
  CKR_GENERAL_ERROR = 0x05,
  CKR_ARGUMENTS_BAD = 0x07,
  CKR_MECHANISM_INVALID = 0x70,
  CKR_OPERATION_ACTIVE = 0x90,
  CKR_TEMPLATE_INCONSISTENT = 0xd1,
  CKR_BUFFER_TOO_SMALL = 0x150,

  CKA_CLASS = 0x00,
  CKA_TOKEN = 0x01,
  CKA_VALUE = 0x11,
  CKA_KEY_TYPE = 0x100,
  CKA_ID = 0x102,
  CKA_SENSITIVE = 0x103,
  CKA_ENCRYPT = 0x104,
  CKA_SIGN = 0x108,
  CKA_VALUE_LEN = 0x161,
  CKA_EXTRACTABLE = 0x162,

  CKO_SECRET_KEY = 0x04,
  CKK_GENERIC_SECRET = 0x10,
  CKK_DES2 = 0x14,
  CKK_DES3 = 0x15,

  CKM_DES3_ECB = 0x132,
  CKM_DES3_CBC = 0x133,
  CKM_SHA256 = 0x250,
  CKM_ECDH1_DERIVE = 0x1050,

  CKD_NULL = 0x01,
  CKD_SHA256_KDF_SP800 = 0x0e, /* PKCS#11 v3.0 */

  CKF_SIGN = 0x800,
  CKF_RW_SESSION = 0x02,
  CKF_SERIAL_SESSION = 0x04,
};

/* Vendor-defined, as one maker of HSMs numbers it. */
#define CKM_VENDOR_RETAIL_MAC_TYPE 0x80000150UL

/*
 * Every function in the order of the list: name, parameters, arguments, then the session and the key that it works with (0:
 * none).
 */
#define P(...) (__VA_ARGS__)
#define FUNCTIONS(F) \
  F(C_Initialize, P(void *a), P(a), 0, 0) \
  F(C_Finalize, P(void *a), P(a), 0, 0) \
  F(C_GetInfo, P(void *a), P(a), 0, 0) \
  F(C_GetFunctionList, P(void *a), P(a), 0, 0) \
  F(C_GetSlotList, P(CK_BYTE present, void *a, CK_ULONG *n), P(present, a, n), 0, 0) \
  F(C_GetSlotInfo, P(CK_ULONG slot, void *a), P(slot, a), 0, 0) \
  F(C_GetTokenInfo, P(CK_ULONG slot, CK_TOKEN_INFO *a), P(slot, a), 0, 0) \
  F(C_GetMechanismList, P(CK_ULONG slot, CK_ULONG *a, CK_ULONG *n), P(slot, a, n), 0, 0) \
  F(C_GetMechanismInfo, P(CK_ULONG slot, CK_ULONG type, CK_MECHANISM_INFO *a), P(slot, type, a), 0, 0) \
  F(C_InitToken, P(CK_ULONG slot, void *a, CK_ULONG n, void *label), P(slot, a, n, label), 0, 0) \
  F(C_InitPIN, P(CK_ULONG s, void *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_SetPIN, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG m), P(s, a, n, b, m), s, 0) \
  F(C_OpenSession, P(CK_ULONG slot, CK_ULONG flags, void *a, void *notify, CK_ULONG *s), P(slot, flags, a, notify, s), 0, 0) \
  F(C_CloseSession, P(CK_ULONG s), P(s), s, 0) \
  F(C_CloseAllSessions, P(CK_ULONG slot), P(slot), 0, 0) \
  F(C_GetSessionInfo, P(CK_ULONG s, CK_SESSION_INFO *a), P(s, a), s, 0) \
  F(C_GetOperationState, P(CK_ULONG s, void *a, CK_ULONG *n), P(s, a, n), s, 0) \
  F(C_SetOperationState, P(CK_ULONG s, void *a, CK_ULONG n, CK_ULONG k, CK_ULONG l), P(s, a, n, k, l), s, k) \
  F(C_Login, P(CK_ULONG s, CK_ULONG user, void *a, CK_ULONG n), P(s, user, a, n), s, 0) \
  F(C_Logout, P(CK_ULONG s), P(s), s, 0) \
  F(C_CreateObject, P(CK_ULONG s, CK_ATTRIBUTE *a, CK_ULONG n, CK_ULONG *k), P(s, a, n, k), s, 0) \
  F(C_CopyObject, P(CK_ULONG s, CK_ULONG k, CK_ATTRIBUTE *a, CK_ULONG n, CK_ULONG *l), P(s, k, a, n, l), s, k) \
  F(C_DestroyObject, P(CK_ULONG s, CK_ULONG k), P(s, k), s, k) \
  F(C_GetObjectSize, P(CK_ULONG s, CK_ULONG k, CK_ULONG *n), P(s, k, n), s, k) \
  F(C_GetAttributeValue, P(CK_ULONG s, CK_ULONG k, CK_ATTRIBUTE *a, CK_ULONG n), P(s, k, a, n), s, k) \
  F(C_SetAttributeValue, P(CK_ULONG s, CK_ULONG k, CK_ATTRIBUTE *a, CK_ULONG n), P(s, k, a, n), s, k) \
  F(C_FindObjectsInit, P(CK_ULONG s, CK_ATTRIBUTE *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_FindObjects, P(CK_ULONG s, CK_ULONG *k, CK_ULONG most, CK_ULONG *n), P(s, k, most, n), s, 0) \
  F(C_FindObjectsFinal, P(CK_ULONG s), P(s), s, 0) \
  F(C_EncryptInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k), s, k) \
  F(C_Encrypt, P(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_EncryptUpdate, P(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_EncryptFinal, P(CK_ULONG s, void *b, CK_ULONG *m), P(s, b, m), s, 0) \
  F(C_DecryptInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k), s, k) \
  F(C_Decrypt, P(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_DecryptUpdate, P(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_DecryptFinal, P(CK_ULONG s, void *b, CK_ULONG *m), P(s, b, m), s, 0) \
  F(C_DigestInit, P(CK_ULONG s, CK_MECHANISM *m), P(s, m), s, 0) \
  F(C_Digest, P(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_DigestUpdate, P(CK_ULONG s, void *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_DigestKey, P(CK_ULONG s, CK_ULONG k), P(s, k), s, k) \
  F(C_DigestFinal, P(CK_ULONG s, void *b, CK_ULONG *m), P(s, b, m), s, 0) \
  F(C_SignInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k), s, k) \
  F(C_Sign, P(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_SignUpdate, P(CK_ULONG s, void *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_SignFinal, P(CK_ULONG s, void *b, CK_ULONG *m), P(s, b, m), s, 0) \
  F(C_SignRecoverInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k), s, k) \
  F(C_SignRecover, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_VerifyInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k), s, k) \
  F(C_Verify, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG m), P(s, a, n, b, m), s, 0) \
  F(C_VerifyUpdate, P(CK_ULONG s, void *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_VerifyFinal, P(CK_ULONG s, void *b, CK_ULONG m), P(s, b, m), s, 0) \
  F(C_VerifyRecoverInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k), s, k) \
  F(C_VerifyRecover, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_DigestEncryptUpdate, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_DecryptDigestUpdate, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_SignEncryptUpdate, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_DecryptVerifyUpdate, P(CK_ULONG s, void *a, CK_ULONG n, void *b, CK_ULONG *m), P(s, a, n, b, m), s, 0) \
  F(C_GenerateKey, P(CK_ULONG s, CK_MECHANISM *m, void *a, CK_ULONG n, CK_ULONG *k), P(s, m, a, n, k), s, 0) \
  F(C_GenerateKeyPair, P(CK_ULONG s, CK_MECHANISM *m, void *a, CK_ULONG n, void *b, CK_ULONG o, CK_ULONG *k, CK_ULONG *l), \
    P(s, m, a, n, b, o, k, l), s, 0) \
  F(C_WrapKey, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k, CK_ULONG l, void *b, CK_ULONG *n), P(s, m, k, l, b, n), s, k) \
  F(C_UnwrapKey, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k, void *b, CK_ULONG o, void *a, CK_ULONG n, CK_ULONG *l), \
    P(s, m, k, b, o, a, n, l), s, k) \
  F(C_DeriveKey, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k, CK_ATTRIBUTE *a, CK_ULONG n, CK_ULONG *l), P(s, m, k, a, n, l), s, k) \
  F(C_SeedRandom, P(CK_ULONG s, void *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_GenerateRandom, P(CK_ULONG s, CK_BYTE *a, CK_ULONG n), P(s, a, n), s, 0) \
  F(C_GetFunctionStatus, P(CK_ULONG s), P(s), s, 0) \
  F(C_CancelFunction, P(CK_ULONG s), P(s), s, 0) \
  F(C_WaitForSlotEvent, P(CK_ULONG flags, void *slot, void *reserved), P(flags, slot, reserved), 0, 0)

typedef struct {
  CK_BYTE version[2];
#define MEMBER(name, parameters, arguments, session, key) CK_RV(*name) parameters;
  FUNCTIONS(MEMBER)
#undef MEMBER
} CK_FUNCTION_LIST;

/* The real module's list. */
extern CK_FUNCTION_LIST *real;
