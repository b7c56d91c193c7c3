/*
 * The HSM's own limit: the PKCS#11 calls that an operation needs, one after the other, and nothing else of it.
 *
 * Neither layouts nor JWEs nor known answers are done: the buffers hold random bytes, of which the HSM is as quick as of PIN
 * blocks and CEKs. test/e2e/hsm-calls.test.ts holds the calls against those that pinbridge makes.
 *
 * Usage: hsm-calls MODULE TOKEN-LABEL PIN-FILE OPERATION COUNT
 *
 * Prints `ready` once keys and caches are warm, waits for a line on standard input, and prints one line of JSON, of the runs
 * alone: { "operations", "cpuUs", "wallUs" }.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <pkcs11/pkcs11.h>

#define MOST_SLOTS 64
#define MOST_STEPS 2
#define WARM_UP_RUNS 3
/* More blocks than this go in several calls (src/hsm/pkcs11/block-cipher.ts). */
#define PIECE_BYTES (32 * 1024)
#define MOST_BYTES (80 * 1024)
#define P256_BYTES 32

/* One use of one key. */
struct step {
  void (*use)(const struct step *step, CK_OBJECT_HANDLE key);
  CK_OBJECT_CLASS class;
  const char *id;
  CK_MECHANISM_TYPE mechanism;
  CK_ULONG bytes;
};

static CK_FUNCTION_LIST_PTR hsm;
static CK_SESSION_HANDLE session;
static CK_BYTE in[MOST_BYTES];
static CK_BYTE out[MOST_BYTES];

static void fail(const char *what) {
  fprintf(stderr, "hsm-calls: %s\n", what);
  exit(1);
}

static void check(CK_RV rv, const char *call) {
  if (rv == CKR_OK) return;
  fprintf(stderr, "hsm-calls: %s returned 0x%lx\n", call, rv);
  exit(1);
}

#define CALL(function, ...) check(hsm->function(__VA_ARGS__), #function)

/* Init and the operation, for each piece of the input. */
#define DEFINE_USE(name, init, operation) \
  static void name(const struct step *step, CK_OBJECT_HANDLE key) { \
    CK_MECHANISM mechanism = {step->mechanism, NULL, 0}; \
    for (CK_ULONG at = 0; at < step->bytes; at += PIECE_BYTES) { \
      CK_ULONG bytes = step->bytes - at < PIECE_BYTES ? step->bytes - at : PIECE_BYTES; \
      CK_ULONG length = sizeof out - at; \
      CALL(init, session, &mechanism, key); \
      CALL(operation, session, in + at, bytes, out + at, &length); \
    } \
  }
DEFINE_USE(decipher, C_DecryptInit, C_Decrypt)
DEFINE_USE(encipher, C_EncryptInit, C_Encrypt)
DEFINE_USE(sign, C_SignInit, C_Sign)

/* The ephemeral key of RFC 7518 appendix C. */
static CK_BYTE peer[] = {
  0x04, 0x80, 0x8d, 0x06, 0x00, 0x82, 0xc1, 0x76, 0xee, 0xd3, 0xe7, 0x76, 0xa4, 0xac, 0x59, 0x8c, 0xc8,
  0x67, 0x2c, 0x17, 0x79, 0xf9, 0x74, 0xee, 0xcc, 0x9b, 0x03, 0x41, 0x1c, 0xa5, 0xb9, 0x49, 0x5d,
  0x48, 0xb5, 0xbf, 0xc5, 0x27, 0xdf, 0xce, 0x53, 0xd6, 0xac, 0x71, 0x15, 0x23, 0x7d, 0x03, 0x1c,
  0xcf, 0xf8, 0x7a, 0x05, 0x70, 0xb7, 0x73, 0x50, 0xa9, 0xe5, 0x03, 0xee, 0x73, 0x05, 0xa6, 0x9b,
};

/* Z by ECDH, which comes out of the token: the KDF is not the token's (src/hsm/pkcs11/cek-in-vault.ts). */
static void agree(const struct step *step, CK_OBJECT_HANDLE key) {
  CK_ECDH1_DERIVE_PARAMS parameters = {CKD_NULL, 0, NULL, sizeof peer, peer};
  CK_MECHANISM mechanism = {step->mechanism, &parameters, sizeof parameters};
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_KEY_TYPE type = CKK_GENERIC_SECRET;
  CK_ULONG bytes = step->bytes;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  CK_ATTRIBUTE template[] = {
    {CKA_TOKEN, &no, sizeof no},         {CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
    {CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_SENSITIVE, &no, sizeof no}, {CKA_EXTRACTABLE, &yes, sizeof yes},
  };
  CK_OBJECT_HANDLE z;
  CALL(C_DeriveKey, session, &mechanism, key, template, sizeof template / sizeof *template, &z);
  CK_ATTRIBUTE value = {CKA_VALUE, out, sizeof out};
  CALL(C_GetAttributeValue, session, z, &value, 1);
  CALL(C_DestroyObject, session, z);
}

#define AGREE(id) {agree, CKO_PRIVATE_KEY, id, CKM_ECDH1_DERIVE, P256_BYTES}
#define RAW_RSA(id) {decipher, CKO_PRIVATE_KEY, id, CKM_RSA_X_509, 256}
#define DECIPHER(id, blocks) {decipher, CKO_SECRET_KEY, id, CKM_DES3_ECB, 8 * (blocks)}
#define ENCIPHER(id, blocks) {encipher, CKO_SECRET_KEY, id, CKM_DES3_ECB, 8 * (blocks)}
#define CMAC(id, bytes) {sign, CKO_SECRET_KEY, id, CKM_DES3_CMAC, bytes}

/* A run is counted as so many operations: the rows that pinbridge gives the HSM together. Keys are those of `init --dev`. */
static const struct operation {
  const char *name;
  unsigned long rows;
  struct step steps[MOST_STEPS];
} operations[] = {
  {"pin-set-ecdh", 1, {AGREE("jwe-ec.v1"), ENCIPHER("zpk-out.v1", 1)}},
  {"pin-set-rsa", 1, {RAW_RSA("jwe-rsa.v1"), ENCIPHER("zpk-out.v1", 1)}},
  {"pin-get", 1, {DECIPHER("zpk-in.v1", 1)}},
  {"translate", 1, {DECIPHER("zpk-in.v1", 1), ENCIPHER("zpk-out.v1", 1)}},
  {"batch", 10000, {DECIPHER("zpk-in.v1", 10000), ENCIPHER("zpk-out.v1", 10000)}},
  {"migrate", 8000, {DECIPHER("zpk-in.v1", 8000), ENCIPHER("zpk-out.v1", 8000)}},
  {"prw-verify", 1, {DECIPHER("zpk-in.v1", 1), CMAC("prw.v1", 20)}},
};

static const struct operation *operation_of(const char *name) {
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
    if (strcmp(operations[i].name, name) == 0) return &operations[i];
  }
  fail("there is no such operation");
  return NULL;
}

static void run(const struct operation *operation, const CK_OBJECT_HANDLE *keys) {
  for (int i = 0; i < MOST_STEPS && operation->steps[i].use != NULL; i++) {
    operation->steps[i].use(&operation->steps[i], keys[i]);
  }
}

static CK_SLOT_ID find_slot(const char *label) {
  CK_SLOT_ID slots[MOST_SLOTS];
  CK_ULONG count = MOST_SLOTS;
  CALL(C_GetSlotList, CK_TRUE, slots, &count);
  size_t length = strlen(label);
  for (CK_ULONG i = 0; i < count; i++) {
    CK_TOKEN_INFO info;
    if (hsm->C_GetTokenInfo(slots[i], &info) != CKR_OK || length > sizeof info.label) continue;
    if (memcmp(info.label, label, length) != 0) continue;
    /* Padded with blanks (PKCS#11 v2.40, 3.2), or as text where whoever made the token did not pad. */
    if (length == sizeof info.label || info.label[length] == ' ' || info.label[length] == '\0') return slots[i];
  }
  fail("no token carries this label");
  return 0;
}

/* Opens the session of all calls, logged in with the PIN file's first line. */
static void open_session(const char *token, const char *pin_file) {
  char pin[256];
  FILE *file = fopen(pin_file, "r");
  if (file == NULL || fgets(pin, sizeof pin, file) == NULL) fail("the PIN file cannot be read");
  fclose(file);
  CALL(C_OpenSession, find_slot(token), CKF_SERIAL_SESSION, NULL, NULL, &session);
  CK_RV rv = hsm->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, strcspn(pin, "\r\n"));
  explicit_bzero(pin, sizeof pin);
  check(rv, "C_Login");
}

/* Finds the one key of this CKA_ID, as a vault does. */
static CK_OBJECT_HANDLE find_key(const struct step *step) {
  CK_OBJECT_CLASS class = step->class;
  CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, (void *)step->id, strlen(step->id)}};
  CK_OBJECT_HANDLE found[2];
  CK_ULONG count = 0;
  CALL(C_FindObjectsInit, session, template, 2);
  CALL(C_FindObjects, session, found, 2, &count);
  CALL(C_FindObjectsFinal, session);
  if (count != 1) fail("not exactly one key carries this CKA_ID");
  return found[0];
}

static void load(const char *path) {
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (module == NULL) fail("the module cannot be loaded");
  CK_C_GetFunctionList get_functions = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
  if (get_functions == NULL) fail("this is no PKCS#11 module");
  check(get_functions(&hsm), "C_GetFunctionList");
  /* Locks as a vault has them: they are part of what a call costs. */
  CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
  CALL(C_Initialize, &arguments);
}

static double cpu_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return 1e6 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static double wall_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 6) fail("usage: hsm-calls MODULE TOKEN-LABEL PIN-FILE OPERATION COUNT");
  const struct operation *operation = operation_of(argv[4]);
  unsigned long runs = (strtoul(argv[5], NULL, 10) + operation->rows - 1) / operation->rows;
  if (runs == 0) fail("COUNT is a number above 0");

  /* Whatever ends the benchmark ends this. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  load(argv[1]);
  open_session(argv[2], argv[3]);
  CK_OBJECT_HANDLE keys[MOST_STEPS] = {0};
  for (int i = 0; i < MOST_STEPS && operation->steps[i].use != NULL; i++) keys[i] = find_key(&operation->steps[i]);
  for (size_t at = 0; at < sizeof in; at += 256) {
    if (getrandom(in + at, 256, 0) != 256) fail("there are no random bytes");
  }
  /* Below any modulus. */
  in[0] = 0;

  for (int i = 0; i < WARM_UP_RUNS; i++) run(operation, keys);
  puts("ready");
  fflush(stdout);
  if (getchar() == EOF) return 0;
  double cpu = cpu_us();
  double wall = wall_us();
  for (unsigned long i = 0; i < runs; i++) run(operation, keys);
  wall = wall_us() - wall;
  cpu = cpu_us() - cpu;
  printf("{\"operations\":%lu,\"cpuUs\":%.0f,\"wallUs\":%.0f}\n", runs * operation->rows, cpu, wall);

  CALL(C_Finalize, NULL);
  return 0;
}
