/**
 * The value of an exportable key: wrapped by the token under a key of one use, and unwrapped here.
 *
 * The wrapping key is random, is made for this one call and destroyed after it, so that nothing that is kept can wrap a key out.
 */
import { createDecipheriv, randomFillSync } from 'node:crypto'
import pkcs11, { type Handle, type Mechanism } from 'pkcs11js'
import { equalConstantTime, xorInto } from '../../bytes.ts'
import type { KeyEntry } from '../../config/schema.ts'
import { symmetricKcv } from '../../key-block/kcv.ts'
import type { SecretScope } from '../../secret.ts'
import { HsmStartError } from '../hsm.ts'
import { findHandles } from './find-key.ts'
import { AES_CBC_PAD_BYTES, aesCbcPad, AES_KEY_WRAP, cipherOf } from './mechanisms.ts'
import type { Token } from './module.ts'
import { isLacking, nameOf } from './return-values.ts'
import { objectId, WRAPPING_KEY_TEMPLATE } from './templates.ts'

const WRAPPING_KEY_BYTES = 32
/** The longest key of the catalogue is of 32 bytes; either mechanism adds 16 at most. */
const WRAPPED_BYTES = 64
const RFC_3394_IV = Buffer.alloc(8, 0xa6)

/**
 * Gets the clear value of a key that the configuration calls exportable.
 *
 * @returns as many bytes as its algorithm has, in `secrets`; its KCV is the catalogue's.
 * @throws HsmStartError that says what the token refused, or that its key is another one.
 */
export function unwrapExportableKey({ token }: { readonly token: Token }, key: KeyEntry, secrets: SecretScope): Buffer {
  const problem = (sentence: string): HsmStartError =>
    new HsmStartError('keys-unusable', [`key ${key.id}: ${sentence}`])
  if (!key.exportable) throw problem('the configuration does not call it exportable')
  const { lib, anchor } = token
  const handles = findHandles(anchor, pkcs11.CKO_SECRET_KEY, objectId(key, 'secret'))
  if (handles.length !== 1) throw problem(`${handles.length} objects carry its CKA_ID, one is needed`)
  let wrapper: Handle | undefined
  try {
    // NSS wraps what may not leave as well.
    if (!isExtractable(token, handles[0]!)) throw problem('in the token it is a key that cannot leave')
    const wrappingKey = randomFillSync(secrets.take(WRAPPING_KEY_BYTES))
    const fromToken = secrets.take(WRAPPING_KEY_BYTES)
    lib.C_GenerateRandom(anchor.handle, fromToken)
    xorInto(wrappingKey, wrappingKey, fromToken)
    wrapper = lib.C_CreateObject(anchor.handle, [
      ...WRAPPING_KEY_TEMPLATE,
      { type: pkcs11.CKA_VALUE, value: wrappingKey },
    ])
    const value = fitting(key, wrapOut(token, wrapper, handles[0]!, wrappingKey, secrets))
    const kcv = value && symmetricKcv(cipherOf(key.algorithm), value, secrets)
    if (value === undefined || kcv !== key.kcv.toUpperCase()) throw problem("its KCV is not the catalogue's")
    return value
  } catch (error) {
    if (error instanceof HsmStartError) throw error
    throw problem(
      isLacking(error)
        ? 'the token has no mechanism by which it gives a key out (CKM_AES_KEY_WRAP, CKM_AES_CBC_PAD)'
        : `the token does not give it out (${nameOf(error)})`,
    )
  } finally {
    if (wrapper) lib.C_DestroyObject(anchor.handle, wrapper)
  }
}

function isExtractable({ lib, anchor }: Token, handle: Handle): boolean {
  const [attribute] = lib.C_GetAttributeValue(anchor.handle, handle, [{ type: pkcs11.CKA_EXTRACTABLE }])
  return Buffer.isBuffer(attribute?.value) && attribute.value[0] === 1
}

/** By AES key wrap (RFC 3394) where the token has it, else by AES in CBC with padding. */
function wrapOut(token: Token, wrapper: Handle, key: Handle, wrappingKey: Buffer, secrets: SecretScope): Buffer {
  const wrap = (mechanism: Mechanism): Buffer =>
    token.lib.C_WrapKey(token.anchor.handle, mechanism, wrapper, key, Buffer.alloc(WRAPPED_BYTES))
  try {
    const decipher = createDecipheriv('id-aes256-wrap', wrappingKey, RFC_3394_IV)
    return secrets.adopt(decipher.update(wrap(AES_KEY_WRAP)))
  } catch (error) {
    if (!isLacking(error)) throw error
  }
  const iv = randomFillSync(Buffer.alloc(AES_CBC_PAD_BYTES))
  const decipher = createDecipheriv('aes-256-cbc', wrappingKey, iv)
  const [most, rest] = [decipher.update(wrap(aesCbcPad(iv))), decipher.final()].map((part) => secrets.adopt(part))
  const value = secrets.take(most!.length + rest!.length)
  value.set(most!)
  value.set(rest!, most!.length)
  return value
}

/** The value at its length in the catalogue: a token may hold `K1|K2` as `K1|K2|K1`, and a composed retail MAC does. */
function fitting({ algorithm }: KeyEntry, value: Buffer): Buffer | undefined {
  const bytes = Number(/\d+$/.exec(algorithm)![0]) / 8
  if (value.length === bytes) return value
  const isTripled = bytes === 16 && value.length === 24
  return isTripled && equalConstantTime(value.subarray(0, 8), value.subarray(16)) ? value.subarray(0, bytes) : undefined
}
