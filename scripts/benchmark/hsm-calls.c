/*
 * The HSM's own limit: the PKCS#11 calls of a PIN block translation, and nothing else of it.
 *
 * A chain deciphers `blocks` PIN blocks in one call and enciphers as many in another: C_DecryptInit, C_Decrypt,
 * C_EncryptInit, C_Encrypt. For ISO format 4 a side is two passes of AES, so two such pairs. Neither layout nor XOR is done:
 * the buffers hold random bytes, of which a cipher is as quick as of PIN blocks.
 *
 * Usage: hsm-calls MODULE TOKEN-LABEL PIN-FILE FROM TO BLOCKS CHAINS
 *   FROM, TO   tdea:CKA_ID or aes:CKA_ID, such as tdea:zpk-in.v1
 *
 * Prints one line of JSON, of the chains alone: { "chains", "blocks", "cpuUs", "wallUs" }.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <pkcs11/pkcs11.h>

#define MOST_SLOTS 64
#define WARM_UP_CHAINS 3

/* One side of a translation: its key, and how its blocks are ciphered. */
struct side {
  CK_OBJECT_HANDLE key;
  CK_MECHANISM mechanism;
  CK_ULONG bytes;
  int passes;
};

static CK_FUNCTION_LIST_PTR hsm;
static CK_SESSION_HANDLE session;

static void fail(const char *what) {
  fprintf(stderr, "hsm-calls: %s\n", what);
  exit(1);
}

static void check(CK_RV rv, const char *call) {
  if (rv == CKR_OK) return;
  fprintf(stderr, "hsm-calls: %s returned 0x%lx\n", call, rv);
  exit(1);
}

/* Reads the PIN, without the line break that ends its file. */
static CK_ULONG read_pin(const char *path, char *pin, size_t size) {
  FILE *file = fopen(path, "r");
  if (file == NULL || fgets(pin, (int)size, file) == NULL) fail("the PIN file cannot be read");
  fclose(file);
  return strcspn(pin, "\r\n");
}

static CK_SLOT_ID find_slot(const char *label) {
  CK_SLOT_ID slots[MOST_SLOTS];
  CK_ULONG count = MOST_SLOTS;
  check(hsm->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
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

/* Finds the one secret key of this CKA_ID, as a vault does. */
static CK_OBJECT_HANDLE find_key(const char *id) {
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_ID, (void *)id, strlen(id)}};
  CK_OBJECT_HANDLE found[2];
  CK_ULONG count = 0;
  check(hsm->C_FindObjectsInit(session, template, 2), "C_FindObjectsInit");
  check(hsm->C_FindObjects(session, found, 2, &count), "C_FindObjects");
  check(hsm->C_FindObjectsFinal(session), "C_FindObjectsFinal");
  if (count != 1) fail("not exactly one secret key carries this CKA_ID");
  return found[0];
}

static struct side side_of(const char *name, CK_ULONG blocks) {
  if (strncmp(name, "tdea:", 5) == 0) return (struct side){find_key(name + 5), {CKM_DES3_ECB, NULL, 0}, 8 * blocks, 1};
  if (strncmp(name, "aes:", 4) == 0) return (struct side){find_key(name + 4), {CKM_AES_ECB, NULL, 0}, 16 * blocks, 2};
  fail("a key is named tdea:CKA_ID or aes:CKA_ID");
  return (struct side){0};
}

static void run_chain(struct side *from, struct side *to, CK_BYTE_PTR in, CK_BYTE_PTR out) {
  for (int pass = 0; pass < from->passes; pass++) {
    CK_ULONG length = from->bytes;
    check(hsm->C_DecryptInit(session, &from->mechanism, from->key), "C_DecryptInit");
    check(hsm->C_Decrypt(session, in, from->bytes, out, &length), "C_Decrypt");
  }
  for (int pass = 0; pass < to->passes; pass++) {
    CK_ULONG length = to->bytes;
    check(hsm->C_EncryptInit(session, &to->mechanism, to->key), "C_EncryptInit");
    check(hsm->C_Encrypt(session, in, to->bytes, out, &length), "C_Encrypt");
  }
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
  if (argc != 8) fail("usage: hsm-calls MODULE TOKEN-LABEL PIN-FILE FROM TO BLOCKS CHAINS");
  CK_ULONG blocks = strtoul(argv[6], NULL, 10);
  unsigned long chains = strtoul(argv[7], NULL, 10);
  if (blocks == 0 || chains == 0) fail("BLOCKS and CHAINS are numbers above 0");

  void *module = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (module == NULL) fail("the module cannot be loaded");
  CK_C_GetFunctionList get_functions = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
  if (get_functions == NULL) fail("this is no PKCS#11 module");
  check(get_functions(&hsm), "C_GetFunctionList");
  /* Locks as a vault has them: they are part of what a call costs. */
  CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
  check(hsm->C_Initialize(&arguments), "C_Initialize");

  char pin[256];
  CK_ULONG pin_length = read_pin(argv[3], pin, sizeof pin);
  check(hsm->C_OpenSession(find_slot(argv[2]), CKF_SERIAL_SESSION, NULL, NULL, &session), "C_OpenSession");
  CK_RV rv = hsm->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, pin_length);
  explicit_bzero(pin, sizeof pin);
  check(rv, "C_Login");

  struct side from = side_of(argv[4], blocks);
  struct side to = side_of(argv[5], blocks);
  CK_ULONG bytes = from.bytes > to.bytes ? from.bytes : to.bytes;
  CK_BYTE_PTR in = malloc(bytes);
  CK_BYTE_PTR out = malloc(bytes);
  if (in == NULL || out == NULL) fail("there is not enough memory");
  for (CK_ULONG done = 0; done < bytes;) {
    ssize_t got = getrandom(in + done, bytes - done, 0);
    if (got < 0) fail("there are no random bytes");
    done += (CK_ULONG)got;
  }

  for (int i = 0; i < WARM_UP_CHAINS; i++) run_chain(&from, &to, in, out);
  double cpu = cpu_us();
  double wall = wall_us();
  for (unsigned long i = 0; i < chains; i++) run_chain(&from, &to, in, out);
  wall = wall_us() - wall;
  cpu = cpu_us() - cpu;
  printf("{\"chains\":%lu,\"blocks\":%lu,\"cpuUs\":%.0f,\"wallUs\":%.0f}\n", chains, blocks, cpu, wall);

  check(hsm->C_Finalize(NULL), "C_Finalize");
  return 0;
}
