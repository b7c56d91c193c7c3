/**
 * What objects a key is made of, and what each of them may do. It follows from the key's one purpose and direction, and from how
 * the token does its work: a MAC that the token makes needs a key that signs, a composed one a key that enciphers.
 */
import type { KeyEntry } from '../../config/schema.ts'
import { isJweKey, isSigningKey, isWrappingKey } from '../key-pairs.ts'
import { macUsesOf, type MacForm, type MacUse } from '../mac-keys.ts'
import type { Capabilities, Choice, MacWay } from './capabilities.ts'
import { cipherOf } from './mechanisms.ts'
import type { ObjectRole, Usage } from './templates.ts'

/** The objects of a key, and the one use of each. */
export type KeyShape = readonly { readonly role: ObjectRole; readonly usage: Usage }[]

/**
 * The shapes in which a key may be found in this token; none if the token cannot serve it.
 *
 * A key has exactly one of them. A weaker one than the token could do with is taken too, because a token that learns a mechanism
 * must not lose the keys that were made for it before; doctor notes it. The first is what a new key gets, but for the RSA keys of a
 * token that keeps CEKs, and what a key that has none of them is held against.
 */
export function keyShapes(key: KeyEntry, form: MacForm | undefined, can: Capabilities): readonly KeyShape[] {
  if (whyUnavailable(key, form, can) !== undefined) return []
  if (isJweKey(key)) {
    if (key.algorithm === 'EC-P256') return [[{ role: 'private', usage: { derive: true } }]]
    // The one flag of an RSA key says where its CEKs are: in the vault, or in the token, if that is found to keep them.
    return [[{ role: 'private', usage: { decrypt: true } }], [{ role: 'private', usage: { unwrap: true } }]]
  }
  if (isSigningKey(key)) return [[{ role: 'private', usage: { sign: true } }]]
  if (isWrappingKey(key)) return [[{ role: 'secret', usage: { wrap: true } }]]
  if (form === undefined) {
    return [[{ role: 'secret', usage: { decrypt: key.direction !== 'out', encrypt: key.direction !== 'in' } }]]
  }
  const ways = macWay(form, key, can) === 'native' ? (['native', 'composed'] as const) : (['composed'] as const)
  const variants = key.legacyBlocks ? VARIANTS : []
  return ways.map((way) => [...macShape(macUsesOf(key), form, way), ...variants])
}

/** The two variants of a key-transport key that open key blocks of versions A and C, each able to do its one step of it. */
const VARIANTS: KeyShape = [
  { role: 'variant-kbek', usage: { decrypt: true } },
  { role: 'variant-kbak', usage: { encrypt: true } },
]

/** The shape of a key that was made for a mechanism which this token, or what stands before it, has not, and what it lacks. */
export function foreignShape(
  key: KeyEntry,
  form: MacForm | undefined,
  can: Capabilities,
): { readonly shape: KeyShape; readonly lacking: string } | undefined {
  if (form === undefined) return undefined
  const choice = form.algorithm === 'ISO-9797-1-ALG-3' ? can.retailMac : can.cmac[cipherOf(key.algorithm)]
  if (choice.lacking !== undefined || choice.without === undefined) return undefined
  return { shape: macShape(macUsesOf(key), form, 'native'), lacking: choice.without }
}

/** Why a token that lacks something cannot serve a key; undefined if it can. */
export function whyUnavailable(key: KeyEntry, form: MacForm | undefined, can: Capabilities): string | undefined {
  if (isJweKey(key)) return key.algorithm === 'EC-P256' ? can.ecdh.lacking : can.rsa.lacking
  if (isSigningKey(key)) return signatureOf(key, can).lacking
  if (isWrappingKey(key)) return can.keyWrap.lacking
  if (form === undefined) return can.ecb[cipherOf(key.algorithm)].lacking
  return form.algorithm === 'ISO-9797-1-ALG-3' ? can.retailMac.lacking : can.cmac[cipherOf(key.algorithm)].lacking
}

function signatureOf({ algorithm }: KeyEntry, can: Capabilities): Choice {
  if (algorithm === 'Ed25519') return can.eddsa
  return algorithm === 'EC-P256' ? can.ecdsa : can.rsaSignature
}

/** Whether what is given of a MAC is shorter than the MAC of its algorithm. */
export function isTruncated({ algorithm, outputBytes }: MacForm): boolean {
  return outputBytes < (algorithm === 'AES-CMAC' ? 16 : 8)
}

function macWay({ algorithm }: MacForm, key: KeyEntry, can: Capabilities): MacWay | undefined {
  return (algorithm === 'ISO-9797-1-ALG-3' ? can.retailMac : can.cmac[cipherOf(key.algorithm)]).chosen
}

/** The objects of a MAC key whose MACs come about in this way. */
export function macShape(uses: readonly MacUse[], form: MacForm, way: MacWay): KeyShape {
  if (way === 'composed') {
    const encrypt = { encrypt: true }
    if (form.algorithm !== 'ISO-9797-1-ALG-3') return [{ role: 'secret', usage: encrypt }]
    return [
      { role: 'retail-mac', usage: encrypt },
      { role: 'retail-cbc', usage: encrypt },
    ]
  }
  const verifies = uses.includes('verify')
  const generates = uses.includes('generate')
  // C_Verify takes whole MACs: where the profile gives the leftmost bytes only, a key has to generate in order to verify.
  const truncated = isTruncated(form)
  return [{ role: 'secret', usage: { sign: generates || truncated, verify: verifies && !truncated } }]
}
