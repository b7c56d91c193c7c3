/** Session keys of published values, to try on a token what it says it can do. They are destroyed after use and protect nothing. */
import pkcs11, { type Handle } from 'pkcs11js'
import type { BlockAlgorithm } from '../../key-block/ecb.ts'
import { setOddParity } from '../../key-block/tdea-key.ts'
import { VARIANT_BYTE } from '../../key-block/derivation.ts'
import { retailMacKeyObjects } from '../../key-block/retail-mac-key.ts'
import { SecretScope } from '../../secret.ts'
import type { KeyObject } from './block-cipher.ts'
import type { KeyShape } from './key-shapes.ts'
import type { Token } from './module.ts'
import { nameOf } from './return-values.ts'
import { keyType, type ObjectRole } from './templates.ts'

/** The objects of a session key. */
export type SessionKey = ReadonlyMap<ObjectRole, KeyObject>

/** The token does not take such a key: the sentence says which, and what it answered. */
export interface Refused {
  readonly refused: string
}

/** Imports a value as a session key of this shape, lends it to `use`, and destroys it. */
export async function withSessionKey<T>(
  token: Token,
  shape: KeyShape,
  cipher: BlockAlgorithm,
  value: Buffer,
  use: (key: SessionKey) => T | Promise<T>,
): Promise<T | Refused> {
  const { lib, anchor } = token
  const objects = new Map<ObjectRole, KeyObject>()
  try {
    for (const { role, usage } of shape) {
      const uses = Object.entries(usage).filter(([, is]) => is === true)
      const template = [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_EXTRACTABLE, value: false },
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: keyType(`${cipher}-${value.length === 24 ? 192 : 128}`, role) },
        ...uses.map(([use]) => ({ type: USE_FLAGS[use as keyof typeof USE_FLAGS], value: true })),
      ]
      let handle: Handle
      using secrets = new SecretScope()
      try {
        const bytes = { type: pkcs11.CKA_VALUE, value: objectValue(role, value, secrets) }
        handle = lib.C_CreateObject(anchor.handle, [...template, bytes])
      } catch (error) {
        return { refused: `the token refuses a key of ${CONTENTS[role]} (${nameOf(error)})` }
      }
      objects.set(role, { handle, usage, cipher })
    }
    return await use(objects)
  } finally {
    for (const { handle } of objects.values()) lib.C_DestroyObject(anchor.handle, handle)
  }
}

/** The clear value of one object of a key: the key, one of the two that a composed retail MAC takes, or a variant of the key. */
export function objectValue(role: ObjectRole, value: Buffer, secrets: SecretScope): Buffer {
  if (role === 'retail-mac') return retailMacKeyObjects(value, secrets).mac
  if (role === 'retail-cbc') return retailMacKeyObjects(value, secrets).cbc
  if (role === 'variant-kbek' || role === 'variant-kbak') {
    const variant = secrets.take(value.length)
    const byte = VARIANT_BYTE[role === 'variant-kbek' ? 'KBEK' : 'KBAK']
    for (let i = 0; i < value.length; i++) variant[i] = value[i]! ^ byte
    // 45 has three ones, so that the parity is even now: a token may look at it, and DES does not.
    setOddParity(variant)
    return variant
  }
  return value
}

const USE_FLAGS = {
  encrypt: pkcs11.CKA_ENCRYPT,
  decrypt: pkcs11.CKA_DECRYPT,
  sign: pkcs11.CKA_SIGN,
  verify: pkcs11.CKA_VERIFY,
  derive: pkcs11.CKA_DERIVE,
  unwrap: pkcs11.CKA_UNWRAP,
  wrap: pkcs11.CKA_WRAP,
}

const CONTENTS: Readonly<Record<ObjectRole, string>> = {
  secret: 'this kind',
  private: 'this kind',
  'retail-mac': 'K1|K2|K1',
  'retail-cbc': 'K1|K1|K1',
  'variant-kbek': 'this kind',
  'variant-kbak': 'this kind',
}
