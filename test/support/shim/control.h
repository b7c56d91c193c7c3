/*
 * The control file: a test writes switches into it and reads counters from it while the service runs. shim.ts knows the same
 * layout; numbers are as the machine has them, little-endian.
 */
#pragma once

#include <stdint.h>

#define RULES 16
#define COUNTERS 80
#define HIDDEN_MECHANISMS 8

/* What a rule does to a call that it applies to. */
enum kind {
  OFF,
  /* before the real call */
  DELAY,          /* value: microseconds */
  HANG,           /* until the rule is taken away */
  RETURN,         /* value: the CKR; the real call is not made */
  CRASH,          /* a store to address 0 */
  CLOSE_SESSIONS, /* of the session's slot, all of this process */
  LOG_OUT,
  DESTROY_KEY, /* the object that the call names */
  LEAK,        /* value: how many bytes of memory, which nobody frees */
  /* after a real call that went well, in its output */
  FLIP,     /* value: which byte has its lowest bit flipped; below 0, counted from the end */
  CONSTANT, /* value: every byte */
  SHORTEN,  /* value: by how many bytes */
  STALE,    /* the output of the call before, if it is as long: a client that is one answer behind */
};

struct rule {
  char function[32]; /* a name such as C_Decrypt, or * for all */
  uint32_t kind;     /* written last */
  uint32_t process;  /* process id; 0: every process */
  uint32_t every;    /* each call (0, 1), each second one (2), … */
  uint32_t limit;    /* how often in all; 0: without end */
  int64_t value;
  uint64_t seen; /* calls that it could have applied to */
  uint64_t hits; /* calls that it did apply to */
};

struct counter {
  char function[32];
  uint64_t calls;
};

struct control {
  uint64_t capabilities;
  uint64_t token_flags; /* set in what C_GetTokenInfo gives, beside the token's own */
  uint64_t hidden[HIDDEN_MECHANISMS]; /* not listed, and refused; 0: none */
  struct rule rules[RULES];
  struct counter counters[COUNTERS];
};

/* What no free token has. */
enum capability {
  SP800_KDF = 1,  /* CKM_ECDH1_DERIVE with CKD_SHA256_KDF_SP800 */
  RETAIL_MAC = 2, /* CKM_VENDOR_RETAIL_MAC */
};

extern struct control *control;
