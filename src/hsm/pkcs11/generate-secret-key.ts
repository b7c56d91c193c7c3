/**
 * Generates a symmetric key inside the token, where nobody sees its value, and learns its KCV.
 *
 * A KCV takes an encipherment of zeros (ANSI X9.24-1:2017 Annex A), which a key that deciphers or makes MACs cannot do. Such a key
 * begins as an object of the session that may encipher besides; C_CopyObject makes the stored key of it, without CKA_ENCRYPT, and
 * the session's object is destroyed. By PKCS#11 a copy keeps CKA_LOCAL, CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE; SoftHSM and
 * openCryptoki do that, NSS does not: there the key counts as imported, because nothing in the token proves where it was made.
 */
import pkcs11, { type Handle, type Template } from 'pkcs11js'
import { encodeHex } from '../../bytes.ts'
import type { KeyEntry } from '../../config/schema.ts'
import { doubleBlock } from '../../key-block/cmac.ts'
import { SecretScope } from '../../secret.ts'
import { HsmStartError } from '../hsm.ts'
import type { Calls } from './calls.ts'
import { findKey, type Expected } from './find-key.ts'
import { blockBytesOf, cipherOf, ECB, secretKeyGeneration } from './mechanisms.ts'
import type { Token } from './module.ts'
import { storedKeyTemplate } from './templates.ts'

/** What is known of a key that was generated. */
export interface GeneratedSecret {
  /** Upper-case hex. */
  readonly kcv: string
  /** `generated` if the token's marks prove it. */
  readonly origin: KeyEntry['origin']
}

/**
 * Generates the key in the one object of its shape.
 *
 * @param made - takes the handle of what is stored in the token.
 * @throws what the token returns, HsmStartError if what it stored is not what was asked for; a part of the key may be in it then.
 */
export async function generateSecretKey(
  token: Token,
  calls: Calls,
  key: KeyEntry,
  expected: Expected,
  made: Handle[],
): Promise<GeneratedSecret> {
  const { lib, anchor } = token
  const [{ role, usage } = {}, ...others] = expected.shape
  if (role === undefined || usage === undefined || others.length > 0) {
    throw new HsmStartError('keys-unusable', [
      `key ${key.id}: it is several objects of one value, and no token generates that`,
    ])
  }
  const stored = [...storedKeyTemplate(key, role, usage, expected.environment), ...lengthOf(key)]
  const generate = (template: Template): Handle =>
    lib.C_GenerateKey(anchor.handle, secretKeyGeneration(key.algorithm), template)
  let kcv: string
  if (usage.encrypt) {
    const handle = generate(stored)
    made.push(handle)
    kcv = await kcvOf(calls, key, handle)
  } else {
    const temporary = generate(stored.map(ofSession))
    try {
      kcv = await kcvOf(calls, key, temporary)
      const copy = lib.C_CopyObject(anchor.handle, temporary, [
        { type: pkcs11.CKA_TOKEN, value: true },
        { type: pkcs11.CKA_ENCRYPT, value: false },
        // The last, because SoftHSM takes no change after it.
        { type: pkcs11.CKA_MODIFIABLE, value: false },
      ])
      made.push(copy)
    } finally {
      lib.C_DestroyObject(anchor.handle, temporary)
    }
  }
  return { kcv, origin: originOf(token, key, expected) }
}

/** Reads back what was stored; a token that does not mark a copy as its own makes no proof of origin. */
function originOf({ lib, anchor }: Token, key: KeyEntry, expected: Expected): KeyEntry['origin'] {
  for (const origin of ['generated', 'imported'] as const) {
    const { problems } = findKey(lib, anchor, { ...key, origin }, expected) as { problems?: string[] }
    if (problems === undefined) return origin
    if (origin === 'imported') throw new HsmStartError('keys-unusable', problems)
  }
  throw new Error('internal error: there is no third origin')
}

/** TDEA: E_K(0⁸); AES: CMAC(0¹⁶), which is E_K of the first subkey (NIST SP 800-38B 6.2). */
async function kcvOf(calls: Calls, key: KeyEntry, handle: Handle): Promise<string> {
  const cipher = cipherOf(key.algorithm)
  const bytes = blockBytesOf(cipher)
  using secrets = new SecretScope()
  return await calls.withSession(async (session) => {
    const encipher = (block: Buffer): Promise<Buffer> =>
      calls.encrypt(session, ECB[cipher], handle, block, secrets.take(bytes))
    const zeros = await encipher(secrets.take(bytes))
    if (cipher === 'TDEA') return encodeHex(zeros.subarray(0, 3))
    return encodeHex((await encipher(doubleBlock(zeros, 'AES', secrets))).subarray(0, 5))
  })
}

/** The template of the object that lives as long as the session; what may not be modified may not be copied with a change. */
function ofSession(one: Template[number]): Template[number] {
  if (one.type === pkcs11.CKA_TOKEN) return { ...one, value: false }
  return one.type === pkcs11.CKA_MODIFIABLE || one.type === pkcs11.CKA_ENCRYPT ? { ...one, value: true } : one
}

function lengthOf({ algorithm }: KeyEntry): Template {
  const bits = /^AES-(\d+)$/.exec(algorithm)?.[1]
  return bits === undefined ? [] : [{ type: pkcs11.CKA_VALUE_LEN, value: Number(bits) / 8 }]
}
