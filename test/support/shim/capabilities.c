/* See capabilities.h. */
#include "capabilities.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "control.h"

#define BLOCK 8
#define HASH_BYTES 32
#define MOST_ATTRIBUTES 32
#define MOST_KEYS 256
#define MOST_SESSIONS 256

static const CK_BYTE TRUE = 1, FALSE = 0;
static const CK_ULONG SECRET_KEY = CKO_SECRET_KEY, GENERIC_SECRET = CKK_GENERIC_SECRET, DES3 = CKK_DES3;

#define ATTRIBUTE(type, value) (CK_ATTRIBUTE){type, (void *)&(value), sizeof(value)}

static const CK_ATTRIBUTE *find(const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_ULONG type) {
  for (CK_ULONG i = 0; i < count; i++) if (attributes[i].type == type) return attributes + i;
  return NULL;
}

static CK_ULONG number_in(const CK_ATTRIBUTE *attribute, CK_ULONG otherwise) {
  return attribute == NULL || attribute->bytes != sizeof(CK_ULONG) ? otherwise : *(const CK_ULONG *)attribute->value;
}

static int is_true(const CK_ATTRIBUTE *attribute) {
  return attribute != NULL && attribute->bytes == 1 && *(const CK_BYTE *)attribute->value != 0;
}

int is_sp800_derivation(const CK_MECHANISM *mechanism) {
  const CK_ECDH1_DERIVE_PARAMS *ecdh = mechanism->parameter;
  return (control->capabilities & SP800_KDF) != 0 && mechanism->mechanism == CKM_ECDH1_DERIVE &&
         mechanism->parameter_bytes == sizeof *ecdh && ecdh->kdf == CKD_SHA256_KDF_SP800;
}

/* Z as a session object that is read and destroyed. */
static CK_RV derive_z(CK_ULONG session, CK_ECDH1_DERIVE_PARAMS ecdh, CK_ULONG key, CK_BYTE z[HASH_BYTES]) {
  const CK_ULONG z_bytes = HASH_BYTES;
  CK_ATTRIBUTE template[] = {
      ATTRIBUTE(CKA_CLASS, SECRET_KEY),  ATTRIBUTE(CKA_KEY_TYPE, GENERIC_SECRET), ATTRIBUTE(CKA_TOKEN, FALSE),
      ATTRIBUTE(CKA_SENSITIVE, FALSE),   ATTRIBUTE(CKA_EXTRACTABLE, TRUE),        ATTRIBUTE(CKA_VALUE_LEN, z_bytes),
  };
  ecdh.kdf = CKD_NULL;
  ecdh.shared = NULL;
  ecdh.shared_bytes = 0;
  CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &ecdh, sizeof ecdh};
  CK_ULONG object;
  CK_RV rv = real->C_DeriveKey(session, &mechanism, key, template, sizeof template / sizeof *template, &object);
  if (rv != CKR_OK) return rv;
  CK_ATTRIBUTE value = {CKA_VALUE, z, HASH_BYTES};
  rv = real->C_GetAttributeValue(session, object, &value, 1);
  real->C_DestroyObject(session, object);
  return rv == CKR_OK && value.bytes != HASH_BYTES ? CKR_GENERAL_ERROR : rv;
}

/* SHA-256(00000001 | Z | shared data) by the real token: the one round that a key of up to 32 bytes takes (SP 800-56C 4.1). */
static CK_RV hash_once(CK_ULONG session, const CK_BYTE z[HASH_BYTES], const CK_ECDH1_DERIVE_PARAMS *ecdh, CK_BYTE *hash) {
  CK_ULONG bytes = 4 + HASH_BYTES + ecdh->shared_bytes, hash_bytes = HASH_BYTES;
  CK_BYTE *input = calloc(1, bytes);
  if (input == NULL) return CKR_GENERAL_ERROR;
  input[3] = 1;
  memcpy(input + 4, z, HASH_BYTES);
  if (ecdh->shared_bytes > 0) memcpy(input + 4 + HASH_BYTES, ecdh->shared, ecdh->shared_bytes);
  CK_MECHANISM sha256 = {CKM_SHA256, NULL, 0};
  CK_RV rv = real->C_DigestInit(session, &sha256);
  if (rv == CKR_OK) rv = real->C_Digest(session, input, bytes, hash, &hash_bytes);
  explicit_bzero(input, bytes);
  free(input);
  return rv;
}

CK_RV derive_sp800(CK_ULONG session, const CK_MECHANISM *mechanism, CK_ULONG key, const CK_ATTRIBUTE *attributes,
                   CK_ULONG count, CK_ULONG *derived) {
  const CK_ECDH1_DERIVE_PARAMS *ecdh = mechanism->parameter;
  CK_ULONG bytes = number_in(find(attributes, count, CKA_VALUE_LEN), HASH_BYTES);
  if (bytes > HASH_BYTES || count > MOST_ATTRIBUTES) return CKR_TEMPLATE_INCONSISTENT;
  CK_BYTE z[HASH_BYTES], hash[HASH_BYTES];
  CK_RV rv = derive_z(session, *ecdh, key, z);
  if (rv == CKR_OK) rv = hash_once(session, z, ecdh, hash);
  CK_ATTRIBUTE template[MOST_ATTRIBUTES + 2];
  CK_ULONG used = 0;
  for (CK_ULONG i = 0; i < count; i++) if (attributes[i].type != CKA_VALUE_LEN) template[used++] = attributes[i];
  if (find(attributes, count, CKA_CLASS) == NULL) template[used++] = ATTRIBUTE(CKA_CLASS, SECRET_KEY);
  template[used++] = (CK_ATTRIBUTE){CKA_VALUE, hash, bytes};
  if (rv == CKR_OK) rv = real->C_CreateObject(session, template, used, derived);
  explicit_bzero(z, sizeof z);
  explicit_bzero(hash, sizeof hash);
  return rv;
}

/* The two objects beside a key that makes retail MACs. */
struct parts {
  CK_ULONG key;
  CK_ULONG chaining; /* K1|K1|K1: triple DES with it is single DES with K1 */
  CK_ULONG last;     /* K1|K2|K1 */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct parts known[MOST_KEYS];
static size_t known_count;
/* The sessions with a MAC under way; a session of 0 is a free place. */
static struct { CK_ULONG session; struct parts parts; } active[MOST_SESSIONS];

int is_retail_mac(const CK_MECHANISM *mechanism) {
  return (control->capabilities & RETAIL_MAC) != 0 && mechanism->mechanism == CKM_VENDOR_RETAIL_MAC_TYPE;
}

static CK_RV make_part(CK_ULONG session, const CK_BYTE value[3 * BLOCK], const CK_BYTE *id, CK_ULONG id_bytes,
                       const CK_BYTE token, CK_ULONG *part) {
  CK_ATTRIBUTE template[] = {
      ATTRIBUTE(CKA_CLASS, SECRET_KEY), ATTRIBUTE(CKA_KEY_TYPE, DES3),    {CKA_VALUE, (void *)value, 3 * BLOCK},
      ATTRIBUTE(CKA_TOKEN, token),      ATTRIBUTE(CKA_SENSITIVE, TRUE),   ATTRIBUTE(CKA_EXTRACTABLE, FALSE),
      ATTRIBUTE(CKA_ENCRYPT, TRUE),     {CKA_ID, (void *)id, id_bytes},
  };
  return real->C_CreateObject(session, template, sizeof template / sizeof *template, part);
}

/* The CKA_ID of a part: a letter before the key's own. */
static CK_ULONG part_id(char letter, const void *id, CK_ULONG bytes, CK_BYTE target[256]) {
  target[0] = (CK_BYTE)letter;
  memcpy(target + 1, id, bytes);
  return bytes + 1;
}

static void remember(struct parts parts) {
  pthread_mutex_lock(&lock);
  known[known_count++ % MOST_KEYS] = parts;
  pthread_mutex_unlock(&lock);
}

CK_RV keep_retail_mac_parts(CK_ULONG session, const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_ULONG key) {
  CK_ULONG type = number_in(find(attributes, count, CKA_KEY_TYPE), 0);
  const CK_ATTRIBUTE *value = find(attributes, count, CKA_VALUE), *id = find(attributes, count, CKA_ID);
  if ((control->capabilities & RETAIL_MAC) == 0 || (type != CKK_DES2 && type != CKK_DES3) || value == NULL ||
      value->bytes < 2 * BLOCK || !is_true(find(attributes, count, CKA_SIGN))) return CKR_OK;
  const CK_BYTE *k1 = value->value, *k2 = k1 + BLOCK, token = (CK_BYTE)is_true(find(attributes, count, CKA_TOKEN));
  CK_BYTE chaining[3 * BLOCK], last[3 * BLOCK], name[256];
  for (int i = 0; i < 3; i++) {
    memcpy(chaining + i * BLOCK, k1, BLOCK);
    memcpy(last + i * BLOCK, i == 1 ? k2 : k1, BLOCK);
  }
  struct parts parts = {.key = key};
  const void *own = id == NULL ? "" : id->value;
  CK_ULONG own_bytes = id == NULL || id->bytes > 254 ? 0 : id->bytes;
  CK_RV rv = make_part(session, chaining, name, part_id('c', own, own_bytes, name), token, &parts.chaining);
  if (rv == CKR_OK) rv = make_part(session, last, name, part_id('l', own, own_bytes, name), token, &parts.last);
  explicit_bzero(chaining, sizeof chaining);
  explicit_bzero(last, sizeof last);
  if (rv == CKR_OK) remember(parts);
  return rv;
}

static CK_RV find_part(CK_ULONG session, char letter, const CK_ATTRIBUTE *id, CK_ULONG *part) {
  CK_BYTE name[256];
  CK_ATTRIBUTE template[] = {ATTRIBUTE(CKA_CLASS, SECRET_KEY), {CKA_ID, name, part_id(letter, id->value, id->bytes, name)}};
  CK_ULONG found = 0;
  CK_RV rv = real->C_FindObjectsInit(session, template, 2);
  if (rv != CKR_OK) return rv;
  rv = real->C_FindObjects(session, part, 1, &found);
  real->C_FindObjectsFinal(session);
  return rv == CKR_OK && found != 1 ? CKR_MECHANISM_INVALID : rv;
}

/* The parts of a key: made by this process, or found in the token by their CKA_ID. */
static CK_RV parts_of(CK_ULONG session, CK_ULONG key, struct parts *parts) {
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < known_count && i < MOST_KEYS; i++) if (known[i].key == key) *parts = known[i];
  pthread_mutex_unlock(&lock);
  if (parts->key == key) return CKR_OK;
  CK_BYTE value[254];
  CK_ATTRIBUTE id = {CKA_ID, value, sizeof value};
  *parts = (struct parts){.key = key};
  CK_RV rv = real->C_GetAttributeValue(session, key, &id, 1);
  if (rv == CKR_OK) rv = find_part(session, 'c', &id, &parts->chaining);
  if (rv == CKR_OK) rv = find_part(session, 'l', &id, &parts->last);
  if (rv == CKR_OK) remember(*parts);
  return rv;
}

CK_RV retail_mac_init(CK_ULONG session, CK_ULONG key) {
  struct parts parts = {0};
  CK_RV rv = parts_of(session, key, &parts);
  if (rv != CKR_OK) return rv;
  rv = CKR_OPERATION_ACTIVE;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < MOST_SESSIONS && rv != CKR_OK; i++) {
    if (active[i].session != 0) continue;
    active[i].session = session;
    active[i].parts = parts;
    rv = CKR_OK;
  }
  pthread_mutex_unlock(&lock);
  return rv;
}

int retail_mac_is_active(CK_ULONG session) {
  int found = 0;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < MOST_SESSIONS; i++) found |= active[i].session == session;
  pthread_mutex_unlock(&lock);
  return found;
}

static struct parts finish(CK_ULONG session) {
  struct parts parts = {0};
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < MOST_SESSIONS; i++) {
    if (active[i].session != session) continue;
    parts = active[i].parts;
    active[i].session = 0;
  }
  pthread_mutex_unlock(&lock);
  return parts;
}

void forget_retail_mac(CK_ULONG session) {
  if (session != 0) {
    finish(session);
    return;
  }
  pthread_mutex_lock(&lock);
  known_count = 0;
  memset(active, 0, sizeof active);
  pthread_mutex_unlock(&lock);
}

static CK_RV encrypt(CK_ULONG session, CK_MECHANISM mechanism, CK_ULONG key, const CK_BYTE *input, CK_BYTE *output,
                     CK_ULONG bytes) {
  CK_RV rv = real->C_EncryptInit(session, &mechanism, key);
  return rv == CKR_OK ? real->C_Encrypt(session, (void *)input, bytes, output, &bytes) : rv;
}

CK_RV retail_mac(CK_ULONG session, const CK_BYTE *message, CK_ULONG bytes, CK_BYTE *mac, CK_ULONG *mac_bytes) {
  CK_ULONG room = *mac_bytes;
  *mac_bytes = BLOCK;
  if (mac == NULL) return CKR_OK;
  if (room < BLOCK) return CKR_BUFFER_TOO_SMALL;
  struct parts parts = finish(session);
  CK_ULONG padded = bytes == 0 ? BLOCK : (bytes + BLOCK - 1) / BLOCK * BLOCK, before_last = padded - BLOCK;
  CK_BYTE *input = calloc(2, padded), *chained = input + padded, zero_iv[BLOCK] = {0};
  if (input == NULL) return CKR_GENERAL_ERROR;
  memcpy(input, message, bytes);
  CK_RV rv = CKR_OK;
  if (before_last > 0) {
    rv = encrypt(session, (CK_MECHANISM){CKM_DES3_CBC, zero_iv, BLOCK}, parts.chaining, input, chained, before_last);
    for (int i = 0; i < BLOCK; i++) input[before_last + i] ^= chained[before_last - BLOCK + i];
  }
  if (rv == CKR_OK) rv = encrypt(session, (CK_MECHANISM){CKM_DES3_ECB, NULL, 0}, parts.last, input + before_last, mac, BLOCK);
  free(input);
  return rv;
}
