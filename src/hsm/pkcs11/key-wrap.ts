/**
 * Wraps keys of the token under an AES key of the token that does nothing else, by AES key wrap with padding (RFC 5649).
 *
 * Two mechanisms have that name, and one of them is something else in some tokens (NSS pads otherwise under the name of v2.40). So
 * each is tried on published keys first, and none is used whose wrapping is not that of the RFC (M-38).
 */
import { createCipheriv } from 'node:crypto'
import pkcs11, { type Handle, type Mechanism, type PKCS11 } from 'pkcs11js'
import { HsmStartError } from '../hsm.ts'
import { AES_KEY_WRAP_KWP, AES_KEY_WRAP_PAD } from './mechanisms.ts'
import { isLacking } from './return-values.ts'
import { KNOWN_KEY_TEMPLATE, WRAPPING_KEY_TEMPLATE } from './templates.ts'

/** Published values: they protect nothing. */
const KNOWN_WRAPPING_KEY = Buffer.alloc(32, 0x5a)
const KNOWN_KEY = Buffer.from('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'hex')
/** The alternative initial value of RFC 5649 section 3 is put together from this and the length. */
const RFC_5649_IV = Buffer.from('a65959a6', 'hex')
/** A PrivateKeyInfo of P-256 has 138 bytes at most, and of other curves of the kind little more. */
const MOST_WRAPPED_BYTES = 1024

/** Wraps the published key under `wrapper`; 40 bytes. */
export function wrapKnownKey(lib: PKCS11, session: Handle, wrapper: Handle): Buffer {
  return withKnownKey(lib, session, (known) => wrapKey(lib, session, wrapper, known))
}

/**
 * Wraps a key.
 *
 * @param key - extractable; of a private key, its PrivateKeyInfo (PKCS #8) is what is wrapped.
 * @throws what the token returns; HsmStartError if it has no mechanism that is that of RFC 5649.
 */
export function wrapKey(lib: PKCS11, session: Handle, wrapper: Handle, key: Handle): Buffer {
  return lib.C_WrapKey(session, mechanismOf(lib, session), wrapper, key, Buffer.alloc(MOST_WRAPPED_BYTES))
}

/** The first mechanism that wraps as the RFC says. */
function mechanismOf(lib: PKCS11, session: Handle): Mechanism {
  const expected = wrapByRfc(KNOWN_WRAPPING_KEY, KNOWN_KEY)
  const template = [...WRAPPING_KEY_TEMPLATE, { type: pkcs11.CKA_VALUE, value: KNOWN_WRAPPING_KEY }]
  const wrapper = lib.C_CreateObject(session, template)
  try {
    const found = withKnownKey(lib, session, (known) =>
      [AES_KEY_WRAP_KWP, AES_KEY_WRAP_PAD].find((mechanism) => {
        try {
          return lib.C_WrapKey(session, mechanism, wrapper, known, Buffer.alloc(MOST_WRAPPED_BYTES)).equals(expected)
        } catch (error) {
          if (isLacking(error)) return false
          throw error
        }
      }),
    )
    if (found !== undefined) return found
  } finally {
    lib.C_DestroyObject(session, wrapper)
  }
  throw new HsmStartError('keys-unusable', [
    'the token does not wrap keys as RFC 5649 says (CKM_AES_KEY_WRAP_KWP, CKM_AES_KEY_WRAP_PAD)',
  ])
}

function withKnownKey<T>(lib: PKCS11, session: Handle, use: (known: Handle) => T): T {
  const known = lib.C_CreateObject(session, [...KNOWN_KEY_TEMPLATE, { type: pkcs11.CKA_VALUE, value: KNOWN_KEY }])
  try {
    return use(known)
  } finally {
    lib.C_DestroyObject(session, known)
  }
}

/** What RFC 5649 makes of published keys. */
function wrapByRfc(wrappingKey: Buffer, value: Buffer): Buffer {
  const cipher = createCipheriv('id-aes256-wrap-pad', wrappingKey, RFC_5649_IV)
  return Buffer.concat([cipher.update(value), cipher.final()])
}
