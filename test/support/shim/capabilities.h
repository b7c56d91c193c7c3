/* Two capabilities that no free token has, made of calls to one that lacks them. */
#pragma once

#include "cryptoki.h"

/*
 * ECDH with the KDF of SP 800-56A (CKD_SHA256_KDF_SP800): Z by CKD_NULL, its hash with the shared data, an object of it. Z comes
 * out of the real token on the way, which is why this is for tests.
 */
int is_sp800_derivation(const CK_MECHANISM *mechanism);
CK_RV derive_sp800(CK_ULONG session, const CK_MECHANISM *mechanism, CK_ULONG key, const CK_ATTRIBUTE *attributes,
                   CK_ULONG count, CK_ULONG *derived);

/*
 * ISO/IEC 9797-1 MAC algorithm 3 in one mechanism, zeros behind an incomplete last block, the MAC 8 bytes. A key that is
 * imported to sign gets two more objects beside it, K1|K1|K1 and K1|K2|K1, and a MAC is two calls with them.
 */
int is_retail_mac(const CK_MECHANISM *mechanism);
CK_RV keep_retail_mac_parts(CK_ULONG session, const CK_ATTRIBUTE *attributes, CK_ULONG count, CK_ULONG key);
CK_RV retail_mac_init(CK_ULONG session, CK_ULONG key);
int retail_mac_is_active(CK_ULONG session);
CK_RV retail_mac(CK_ULONG session, const CK_BYTE *message, CK_ULONG bytes, CK_BYTE *mac, CK_ULONG *mac_bytes);
/* A session was closed (0: all of them, and every handle is void). */
void forget_retail_mac(CK_ULONG session);
