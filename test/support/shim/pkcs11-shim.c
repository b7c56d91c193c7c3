/*
 * A PKCS#11 module that stands before another one and does to its calls what a control file says: delays, hangs, return
 * values, crashes, sessions that are gone, wrong answers.
 *
 *   SHIM_MODULE   the real module
 *   SHIM_CONTROL  the control file (control.h); without it every call is handed on as it is
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "capabilities.h"
#include "control.h"
#include "cryptoki.h"

enum function {
#define NUMBER(name, parameters, arguments, session, key) NUMBER_##name,
  FUNCTIONS(NUMBER)
#undef NUMBER
  FUNCTION_COUNT,
};

static const char *const names[] = {
#define NAME(name, parameters, arguments, session, key) #name,
  FUNCTIONS(NAME)
#undef NAME
};

_Static_assert(FUNCTION_COUNT <= COUNTERS, "a counter for every function");

CK_FUNCTION_LIST *real;
static struct control no_control;
struct control *control = &no_control;

static void sleep_us(int64_t us) {
  struct timespec left = {us / 1000000, us % 1000000 * 1000};
  while (nanosleep(&left, &left) != 0) continue;
}

/* Whether a rule applies to this call; it counts both answers. */
static int applies(struct rule *rule, enum function function) {
  if (strcmp(rule->function, "*") != 0 && strcmp(rule->function, names[function]) != 0) return 0;
  if (rule->process != 0 && rule->process != (uint32_t)getpid()) return 0;
  uint64_t seen = __atomic_add_fetch(&rule->seen, 1, __ATOMIC_SEQ_CST);
  if (rule->every > 1 && seen % rule->every != 0) return 0;
  uint64_t hits = __atomic_load_n(&rule->hits, __ATOMIC_SEQ_CST);
  do {
    if (rule->limit > 0 && hits >= rule->limit) return 0;
  } while (!__atomic_compare_exchange_n(&rule->hits, &hits, hits + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  return 1;
}

static uint32_t kind_of(const struct rule *rule) {
  return __atomic_load_n(&rule->kind, __ATOMIC_SEQ_CST);
}

static CK_ULONG slot_of(CK_ULONG session) {
  CK_SESSION_INFO info = {0};
  real->C_GetSessionInfo(session, &info);
  return info.slot;
}

/* The sessions of a vault's pool are read-only, so that this takes one of its own. */
static void destroy(CK_ULONG session, CK_ULONG key) {
  CK_ULONG own;
  if (real->C_OpenSession(slot_of(session), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &own) != CKR_OK) return;
  real->C_DestroyObject(own, key);
  real->C_CloseSession(own);
}

/* Written to, because memory that nobody touches is not there. */
static void leak(size_t bytes) {
  void *volatile lost = malloc(bytes);
  if (lost != NULL) memset(lost, 0xA5, bytes);
}

static void crash(void) {
  volatile int *volatile nowhere = NULL;
  *nowhere = 1;
}

/* What happens before a call is handed on; anything but CKR_OK is its answer. */
static CK_RV before(enum function function, CK_ULONG session, CK_ULONG key) {
  __atomic_add_fetch(&control->counters[function].calls, 1, __ATOMIC_SEQ_CST);
  for (struct rule *rule = control->rules; rule < control->rules + RULES; rule++) {
    uint32_t kind = kind_of(rule);
    if (kind == OFF || kind >= FLIP || !applies(rule, function)) continue;
    if (kind == DELAY) sleep_us(rule->value);
    if (kind == HANG) while (kind_of(rule) == HANG) sleep_us(1000);
    if (kind == RETURN) return (CK_RV)rule->value;
    if (kind == CRASH) crash();
    if (kind == CLOSE_SESSIONS) real->C_CloseAllSessions(slot_of(session));
    if (kind == LOG_OUT) real->C_Logout(session);
    if (kind == DESTROY_KEY) destroy(session, key);
    if (kind == LEAK) leak((size_t)rule->value);
  }
  return CKR_OK;
}

/* Gives the output that the same function gave the call before, and keeps this one for the next. */
static void make_stale(enum function function, CK_BYTE *output, CK_ULONG bytes) {
  static _Thread_local struct { CK_ULONG bytes; CK_BYTE output[1 << 14]; } kept[4];
  size_t place = function == NUMBER_C_Encrypt ? 0 : function == NUMBER_C_Decrypt ? 1 : function == NUMBER_C_Sign ? 2 : 3;
  /* Random numbers and read values share a place: what is behind is behind. */
  CK_BYTE present[sizeof kept[place].output];
  if (bytes > sizeof present) return;
  memcpy(present, output, bytes);
  if (kept[place].bytes == bytes) memcpy(output, kept[place].output, bytes);
  memcpy(kept[place].output, present, bytes);
  kept[place].bytes = bytes;
}

/* What happens to the output of a call that went well. */
static void after(enum function function, CK_BYTE *output, CK_ULONG *bytes) {
  if (output == NULL || *bytes == 0) return;
  for (struct rule *rule = control->rules; rule < control->rules + RULES; rule++) {
    uint32_t kind = kind_of(rule);
    if (kind < FLIP || !applies(rule, function)) continue;
    CK_ULONG place = (CK_ULONG)rule->value + (rule->value < 0 ? *bytes : 0);
    if (kind == FLIP && place < *bytes) output[place] ^= 1;
    if (kind == CONSTANT) memset(output, (int)rule->value, *bytes);
    if (kind == SHORTEN && (CK_ULONG)rule->value < *bytes) *bytes -= (CK_ULONG)rule->value;
    if (kind == STALE) make_stale(function, output, *bytes);
  }
}

static int is_hidden(CK_ULONG mechanism) {
  for (size_t i = 0; i < HIDDEN_MECHANISMS; i++) {
    if (mechanism != 0 && control->hidden[i] == mechanism) return 1;
  }
  return 0;
}

/* Every function once, handed on. */
#define HAND_ON(name, parameters, arguments, session, key) \
  static CK_RV hand_on_##name parameters { \
    CK_RV rv = before(NUMBER_##name, session, key); \
    return rv == CKR_OK ? real->name arguments : rv; \
  }
FUNCTIONS(HAND_ON)
#undef HAND_ON

/* Those that take a mechanism, which may be one that is not there. */
#define WITH_MECHANISM(name, parameters, arguments) \
  static CK_RV shim_##name parameters { \
    return is_hidden(m->mechanism) ? CKR_MECHANISM_INVALID : hand_on_##name arguments; \
  }
WITH_MECHANISM(C_EncryptInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k))
WITH_MECHANISM(C_DecryptInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k))
WITH_MECHANISM(C_VerifyInit, P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k), P(s, m, k))
WITH_MECHANISM(C_UnwrapKey,
               P(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k, void *b, CK_ULONG o, void *a, CK_ULONG n, CK_ULONG *l),
               P(s, m, k, b, o, a, n, l))

/* Those whose output may be spoilt. */
#define WITH_OUTPUT(name) \
  static CK_RV shim_##name(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m) { \
    CK_RV rv = hand_on_##name(s, a, n, b, m); \
    if (rv == CKR_OK) after(NUMBER_##name, b, m); \
    return rv; \
  }
WITH_OUTPUT(C_Encrypt)
WITH_OUTPUT(C_Decrypt)

static CK_RV shim_C_GenerateRandom(CK_ULONG s, CK_BYTE *a, CK_ULONG n) {
  CK_RV rv = hand_on_C_GenerateRandom(s, a, n);
  if (rv == CKR_OK) after(NUMBER_C_GenerateRandom, a, &n);
  return rv;
}

static CK_RV shim_C_SignInit(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k) {
  if (is_hidden(m->mechanism)) return CKR_MECHANISM_INVALID;
  if (!is_retail_mac(m)) return hand_on_C_SignInit(s, m, k);
  CK_RV rv = before(NUMBER_C_SignInit, s, k);
  return rv == CKR_OK ? retail_mac_init(s, k) : rv;
}

static CK_RV shim_C_Sign(CK_ULONG s, void *a, CK_ULONG n, CK_BYTE *b, CK_ULONG *m) {
  CK_RV rv;
  if (retail_mac_is_active(s)) {
    rv = before(NUMBER_C_Sign, s, 0);
    if (rv == CKR_OK) rv = retail_mac(s, a, n, b, m);
  } else rv = hand_on_C_Sign(s, a, n, b, m);
  if (rv == CKR_OK) after(NUMBER_C_Sign, b, m);
  return rv;
}

static CK_RV shim_C_CloseSession(CK_ULONG s) {
  forget_retail_mac(s);
  return hand_on_C_CloseSession(s);
}

static CK_RV shim_C_Finalize(void *a) {
  forget_retail_mac(0);
  return hand_on_C_Finalize(a);
}

static CK_RV shim_C_DeriveKey(CK_ULONG s, CK_MECHANISM *m, CK_ULONG k, CK_ATTRIBUTE *a, CK_ULONG n, CK_ULONG *l) {
  if (is_hidden(m->mechanism)) return CKR_MECHANISM_INVALID;
  if (!is_sp800_derivation(m)) return hand_on_C_DeriveKey(s, m, k, a, n, l);
  CK_RV rv = before(NUMBER_C_DeriveKey, s, k);
  return rv == CKR_OK ? derive_sp800(s, m, k, a, n, l) : rv;
}

static CK_RV shim_C_CreateObject(CK_ULONG s, CK_ATTRIBUTE *a, CK_ULONG n, CK_ULONG *k) {
  CK_RV rv = hand_on_C_CreateObject(s, a, n, k);
  return rv == CKR_OK ? keep_retail_mac_parts(s, a, n, *k) : rv;
}

/* A value that is read out is an answer too: Z of a key agreement. */
static CK_RV shim_C_GetAttributeValue(CK_ULONG s, CK_ULONG k, CK_ATTRIBUTE *a, CK_ULONG n) {
  CK_RV rv = hand_on_C_GetAttributeValue(s, k, a, n);
  for (CK_ULONG i = 0; rv == CKR_OK && i < n; i++) {
    if (a[i].type == CKA_VALUE) after(NUMBER_C_GetAttributeValue, a[i].value, &a[i].bytes);
  }
  return rv;
}

static CK_RV shim_C_GetTokenInfo(CK_ULONG slot, CK_TOKEN_INFO *a) {
  CK_RV rv = hand_on_C_GetTokenInfo(slot, a);
  if (rv == CKR_OK) a->flags |= control->token_flags;
  return rv;
}

static CK_RV shim_C_GetMechanismList(CK_ULONG slot, CK_ULONG *a, CK_ULONG *n) {
  CK_RV rv = before(NUMBER_C_GetMechanismList, 0, 0);
  CK_ULONG all[512], count = sizeof all / sizeof *all, kept = 0;
  if (rv == CKR_OK) rv = real->C_GetMechanismList(slot, all, &count);
  if (rv != CKR_OK) return rv;
  for (CK_ULONG i = 0; i < count; i++) if (!is_hidden(all[i])) all[kept++] = all[i];
  if ((control->capabilities & RETAIL_MAC) != 0) all[kept++] = CKM_VENDOR_RETAIL_MAC_TYPE;
  CK_ULONG room = *n;
  *n = kept;
  if (a == NULL) return CKR_OK;
  if (room < kept) return CKR_BUFFER_TOO_SMALL;
  memcpy(a, all, kept * sizeof *a);
  return CKR_OK;
}

static CK_RV shim_C_GetMechanismInfo(CK_ULONG slot, CK_ULONG type, CK_MECHANISM_INFO *a) {
  if (is_hidden(type)) return CKR_MECHANISM_INVALID;
  CK_MECHANISM mechanism = {type, NULL, 0};
  if (!is_retail_mac(&mechanism)) return hand_on_C_GetMechanismInfo(slot, type, a);
  *a = (CK_MECHANISM_INFO){16, 24, CKF_SIGN};
  return CKR_OK;
}

/* Maps the control file, and writes the names of the functions to their counters. */
static void map_control(void) {
  const char *path = getenv("SHIM_CONTROL");
  int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) return;
  control = mapped;
  for (size_t i = 0; i < FUNCTION_COUNT; i++) strcpy(control->counters[i].function, names[i]);
}

static CK_RV open_real(void) {
  const char *path = getenv("SHIM_MODULE");
  void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
  CK_RV (*get_list)(CK_FUNCTION_LIST **) = NULL;
  if (module != NULL) *(void **)&get_list = dlsym(module, "C_GetFunctionList");
  return get_list == NULL ? CKR_GENERAL_ERROR : get_list(&real);
}

/* The one symbol that callers look up. */
__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **given);

static CK_RV shim_C_GetFunctionList(void *given) {
  return C_GetFunctionList(given);
}

static CK_FUNCTION_LIST list = {
  {2, 40},
#define HANDED_ON(name, parameters, arguments, session, key) hand_on_##name,
  FUNCTIONS(HANDED_ON)
#undef HANDED_ON
};

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **given) {
  if (given == NULL) return CKR_ARGUMENTS_BAD;
  if (real == NULL) {
    CK_RV rv = open_real();
    if (rv != CKR_OK) return rv;
    map_control();
#define OWN(name) list.name = shim_##name;
    OWN(C_GetFunctionList) OWN(C_Finalize) OWN(C_GetTokenInfo) OWN(C_GetMechanismList) OWN(C_GetMechanismInfo)
    OWN(C_CloseSession) OWN(C_CreateObject) OWN(C_GetAttributeValue) OWN(C_EncryptInit) OWN(C_Encrypt) OWN(C_DecryptInit)
    OWN(C_Decrypt) OWN(C_SignInit) OWN(C_Sign) OWN(C_VerifyInit) OWN(C_UnwrapKey) OWN(C_DeriveKey) OWN(C_GenerateRandom)
#undef OWN
  }
  *given = &list;
  return CKR_OK;
}
