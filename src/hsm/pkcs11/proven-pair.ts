/**
 * A key pair that signs once, before it is what it is for: a JWE key never signs, and whoever certifies it may ask for proof that
 * somebody holds it (RFC 4211 section 4).
 *
 * It begins as two objects of the session, the private one with CKA_SIGN besides its one use. C_CopyObject makes the stored key of
 * it, without CKA_SIGN, and the session's objects are destroyed. By PKCS#11 a copy keeps CKA_LOCAL, CKA_ALWAYS_SENSITIVE and
 * CKA_NEVER_EXTRACTABLE; NSS clears them, so that the copy is held against the catalogue as any key is.
 */
import pkcs11, { type Handle, type Template } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { HsmStartError, type PublicKey } from '../hsm.ts'
import type { Calls } from './calls.ts'
import { findHandles, findKey, readPublicKey, type Expected } from './find-key.ts'
import { countObjects, destroyHandles } from './key-objects.ts'
import { keyPairGeneration } from './mechanisms.ts'
import type { Token } from './module.ts'
import { nameOf } from './return-values.ts'
import { sign } from './signatures.ts'
import { objectId, publicKeyTemplate, storedKeyTemplate } from './templates.ts'

/** Is lent the new pair: what it signs is made by the private half, which signs no more once this has ended. */
export type Proof = (publicKey: PublicKey, sign: (message: Uint8Array) => Promise<Buffer>) => Promise<void>

/**
 * Generates a key pair, has it signed with, and stores it with its one use.
 *
 * @param expected - its shape, which has no CKA_SIGN, and what marks its origin.
 * @param made - takes the handles of what is stored in the token.
 * @throws what `prove` throws, and HsmStartError if the token does not make such a copy; nothing of the key is in the token then.
 */
export async function generateProvenPair(
  token: Token,
  calls: Calls,
  key: KeyEntry,
  expected: Expected,
  prove: Proof,
  made: Handle[],
): Promise<PublicKey> {
  const { lib, anchor } = token
  const { environment, shape } = expected
  const templates = [
    ofSession(publicKeyTemplate(key, environment)),
    // What may not be modified may not be copied with a change.
    ofSession(storedKeyTemplate(key, 'private', { ...shape[0]!.usage, sign: true }, environment), true),
  ]
  if (countObjects(token, key) > 0)
    throw new HsmStartError('keys-unusable', [`key ${key.id}: it is in the token already`])
  let pair: { privateKey: Handle; publicKey: Handle } | undefined
  let isStored = false
  try {
    pair = lib.C_GenerateKeyPair(anchor.handle, keyPairGeneration(key.algorithm), templates[0]!, templates[1]!)
    const publicKey = readPublicKey(lib, anchor, key)
    if (publicKey === undefined) throw new Error('internal error: the token does not show the key it generated')
    const { privateKey } = pair
    await prove(publicKey, (message) => sign(calls, privateKey, publicKey, message))
    store(token, pair, made)
    destroy(token, pair)
    pair = undefined
    const found = findKey(lib, anchor, key, expected)
    if (found.objects === undefined) throw new HsmStartError('keys-unusable', found.problems)
    isStored = findHandles(anchor, pkcs11.CKO_PUBLIC_KEY, objectId(key, 'private')).length === 1
    if (!isStored)
      throw new HsmStartError('keys-unusable', [`key ${key.id}: the token keeps no copy of its public half`])
    return publicKey
  } finally {
    if (pair !== undefined) destroy(token, pair)
    if (!isStored) destroyHandles(token, made.splice(0))
  }
}

/** Copies both objects into the token; the private one without CKA_SIGN. */
function store({ lib, anchor }: Token, pair: { privateKey: Handle; publicKey: Handle }, made: Handle[]): void {
  try {
    const privateCopy = lib.C_CopyObject(anchor.handle, pair.privateKey, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_SIGN, value: false },
      // The last, because SoftHSM takes no change after it.
      { type: pkcs11.CKA_MODIFIABLE, value: false },
    ])
    made.push(privateCopy)
    made.push(lib.C_CopyObject(anchor.handle, pair.publicKey, [{ type: pkcs11.CKA_TOKEN, value: true }]))
  } catch (error) {
    throw new HsmStartError('keys-unusable', [`the token does not store a copy of a key pair (${nameOf(error)})`])
  }
}

function destroy({ lib, anchor }: Token, pair: { privateKey: Handle; publicKey: Handle }): void {
  for (const handle of [pair.privateKey, pair.publicKey]) lib.C_DestroyObject(anchor.handle, handle)
}

/** The template of an object that lives as long as the session. */
function ofSession(template: Template, isModifiable?: boolean): Template {
  return template.map((one) => {
    if (one.type === pkcs11.CKA_TOKEN) return { ...one, value: false }
    return one.type === pkcs11.CKA_MODIFIABLE && isModifiable ? { ...one, value: true } : one
  })
}
