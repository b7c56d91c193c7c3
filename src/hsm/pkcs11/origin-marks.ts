/** The attributes by which a token tells a key that was made in it from an imported one: not every token keeps all three. */
import pkcs11, { type Handle } from 'pkcs11js'
import { AES_KEY_GEN } from './mechanisms.ts'
import type { Token } from './module.ts'
import { withSessionKey } from './session-keys.ts'

/** An attribute that must read true. */
export type OriginMark = readonly [attribute: number, name: string]

/** The attributes that prove, by PKCS#11, that a key was made inside the token and never left it. */
const MARKS: readonly OriginMark[] = [
  [pkcs11.CKA_LOCAL, 'CKA_LOCAL'],
  [pkcs11.CKA_ALWAYS_SENSITIVE, 'CKA_ALWAYS_SENSITIVE'],
  [pkcs11.CKA_NEVER_EXTRACTABLE, 'CKA_NEVER_EXTRACTABLE'],
]

/** Tries them on a session key of either origin; a token that takes none is held to all three. */
export async function findOriginMarks(token: Token): Promise<readonly OriginMark[]> {
  const { lib, anchor } = token
  const isSet = (handle: Handle, type: number): boolean => {
    try {
      const value = lib.C_GetAttributeValue(anchor.handle, handle, [{ type }])[0]?.value
      return Buffer.isBuffer(value) && value[0] === 1
    } catch {
      return false
    }
  }
  let kept: readonly OriginMark[]
  try {
    const generated = lib.C_GenerateKey(anchor.handle, AES_KEY_GEN, [
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_VALUE_LEN, value: 16 },
      { type: pkcs11.CKA_SENSITIVE, value: true },
      { type: pkcs11.CKA_EXTRACTABLE, value: false },
    ])
    kept = MARKS.filter(([type]) => isSet(generated, type))
    lib.C_DestroyObject(anchor.handle, generated)
  } catch {
    return MARKS
  }
  const shape = [{ role: 'secret', usage: { encrypt: true } }] as const
  const imported = await withSessionKey(token, shape, 'AES', Buffer.alloc(16, 0x5a), (key) => ({
    marks: kept.filter(([type]) => isSet(key.get('secret')!.handle, type)),
  }))
  // Marks that an imported key has as well prove nothing.
  return 'marks' in imported && imported.marks.length === kept.length ? [] : kept
}
