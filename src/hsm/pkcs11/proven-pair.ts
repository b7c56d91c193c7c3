/**
 * A key pair that may do one thing more while it is made: a JWE key signs once, because whoever certifies it may ask for proof that
 * somebody holds it (RFC 4211 section 4); a credential key is wrapped out once, so that it can be recovered elsewhere.
 *
 * It begins as two objects of the session, the private one with that attribute besides its one use. C_CopyObject makes the stored
 * key of it, without the attribute, and the session's objects are destroyed. By PKCS#11 a copy keeps CKA_LOCAL, CKA_ALWAYS_SENSITIVE and
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

/** What the private half may do until it is stored. */
export type Surplus = 'CKA_SIGN' | 'CKA_EXTRACTABLE'

/** Is lent the new pair: what the private half may do besides its one use, it does no more once this has ended. */
export type Proof = (
  publicKey: PublicKey,
  sign: (message: Uint8Array) => Promise<Buffer>,
  privateKey: Handle,
) => Promise<void>

/**
 * Generates a key pair, lends it, and stores it with its one use.
 *
 * @param expected - its shape, which has no such use, and what marks its origin.
 * @param surplus - what it may do until it is stored.
 * @param made - takes the handles of what is stored in the token.
 * @throws what `prove` throws, and HsmStartError if the token does not make such a copy; nothing of the key is in the token then.
 */
export async function generateProvenPair(
  token: Token,
  calls: Calls,
  key: KeyEntry,
  expected: Expected,
  surplus: Surplus,
  prove: Proof,
  made: Handle[],
): Promise<PublicKey> {
  const { lib, anchor } = token
  const { environment, shape } = expected
  const templates = [
    ofSession(publicKeyTemplate(key, environment)),
    // What may not be modified may not be copied with a change.
    ofSession(storedKeyTemplate(key, 'private', shape[0]!.usage, environment), surplus),
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
    await prove(publicKey, (message) => sign(calls, privateKey, publicKey, message), privateKey)
    store(token, pair, surplus, made)
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

/** Copies both objects into the token; the private one without what it may not keep. */
function store(
  { lib, anchor }: Token,
  pair: { privateKey: Handle; publicKey: Handle },
  surplus: Surplus,
  made: Handle[],
): void {
  try {
    const privateCopy = lib.C_CopyObject(anchor.handle, pair.privateKey, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11[surplus], value: false },
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
function ofSession(template: Template, surplus?: Surplus): Template {
  return template.map((one) => {
    if (one.type === pkcs11.CKA_TOKEN) return { ...one, value: false }
    const isChanged = surplus !== undefined && (one.type === pkcs11.CKA_MODIFIABLE || one.type === pkcs11[surplus])
    return isChanged ? { ...one, value: true } : one
  })
}
