/**
 * What a token can do, found out before any key is looked for: what it lists, and then what it does on session keys whose values
 * are published. Nothing is decided by a vendor's name.
 */
import pkcs11 from 'pkcs11js'
import { openEcb, type BlockAlgorithm } from '../../key-block/ecb.ts'
import type { MacAlgorithm } from '../../pin-change/profile.ts'
import { SHIPPED_PROFILES } from '../../pin-change/shipped-profiles.ts'
import { SecretScope } from '../../secret.ts'
import { BlockCipher, type Chaining } from './block-cipher.ts'
import type { Calls } from './calls.ts'
import { macShape, type KeyShape } from './key-shapes.ts'
import { Macs, type VendorRetailMac } from './macs.ts'
import {
  AES_KEY_WRAP_KWP,
  AES_KEY_WRAP_PAD,
  blockBytesOf,
  CBC_ZERO_IV,
  CMAC,
  ECB,
  ECDSA,
  ECDSA_SHA256,
  EDDSA,
  RSA_PKCS1,
  RSA_PKCS1_SHA256,
} from './mechanisms.ts'
import type { Token } from './module.ts'
import { findOriginMarks, type OriginMark } from './origin-marks.ts'
import { isLacking, toServiceError } from './return-values.ts'
import { withSessionKey, type SessionKey } from './session-keys.ts'

/** Whether the token makes a MAC, or it is composed of the token's block cipher. */
export type MacWay = 'native' | 'composed'

/** What was chosen and why; or what the token lacks, so that it serves no key of this kind. */
export type Choice<Way extends string = 'native'> =
  | {
      readonly chosen: Way
      readonly why: string
      /** Why the token could not do it itself, if it lacks what it takes: an error or a wrong answer is no lack. */
      readonly without?: string | undefined
      readonly lacking?: undefined
    }
  | { readonly chosen?: undefined; readonly why?: undefined; readonly lacking: string }

export interface Capabilities {
  readonly ecb: Readonly<Record<BlockAlgorithm, Choice>>
  readonly chaining: Chaining
  readonly cmac: Readonly<Record<BlockAlgorithm, Choice<MacWay>>>
  readonly retailMac: Choice<MacWay>
  /** The vendor's mechanism, where that is what makes the retail MAC. */
  readonly vendorRetailMac: VendorRetailMac | undefined
  readonly ecdh: Choice
  readonly rsa: Choice
  readonly ecdsa: Choice
  readonly eddsa: Choice
  readonly rsaSignature: Choice
  readonly keyWrap: Choice
  /** Whether the token lists what a CEK needs that stays in it; whether it does it right is tried with each key. */
  readonly aesGcm: boolean
  /** What tells a key that was made in the token from an imported one; empty if nothing does. */
  readonly originMarks: readonly OriginMark[]
}

/** Asks the token what it has, and tries on session keys what it says. */
export async function findCapabilities(
  token: Token,
  calls: Calls,
  retailMacMechanism: number | undefined,
): Promise<Capabilities> {
  const lists = listedMechanisms(token)
  const ecb = { TDEA: await findEcb(token, calls, lists, 'TDEA'), AES: await findEcb(token, calls, lists, 'AES') }
  const chaining = {
    TDEA: await findChaining(token, calls, lists, 'TDEA'),
    AES: await findChaining(token, calls, lists, 'AES'),
  }
  const tries = { token, calls, lists, chaining }
  const retailMac = await findRetailMac(tries, ecb.TDEA, retailMacMechanism)
  const needs = (mechanisms: Record<string, number>, use: number): Choice => {
    const names = Object.keys(mechanisms)
    const listed = names.filter((name) => lists(mechanisms[name]!, use))
    if (listed.length > 0) return { chosen: 'native', why: `${listed.join(' and ')} listed` }
    return { lacking: `the token has no ${names.join(' and no ')}` }
  }
  return {
    ecb,
    chaining,
    cmac: { TDEA: await findCmac(tries, ecb.TDEA, 'TDEA'), AES: await findCmac(tries, ecb.AES, 'AES') },
    ...retailMac,
    ecdh: needs({ CKM_ECDH1_DERIVE: pkcs11.CKM_ECDH1_DERIVE }, pkcs11.CKF_DERIVE),
    rsa: needs(
      { CKM_RSA_PKCS_OAEP: pkcs11.CKM_RSA_PKCS_OAEP, CKM_RSA_X_509: pkcs11.CKM_RSA_X_509 },
      pkcs11.CKF_DECRYPT | pkcs11.CKF_UNWRAP,
    ),
    ecdsa: needs({ CKM_ECDSA: ECDSA.mechanism, CKM_ECDSA_SHA256: ECDSA_SHA256.mechanism }, pkcs11.CKF_SIGN),
    eddsa: needs({ CKM_EDDSA: EDDSA.mechanism }, pkcs11.CKF_SIGN),
    keyWrap: needs(
      { CKM_AES_KEY_WRAP_KWP: AES_KEY_WRAP_KWP.mechanism, CKM_AES_KEY_WRAP_PAD: AES_KEY_WRAP_PAD.mechanism },
      pkcs11.CKF_WRAP,
    ),
    rsaSignature: needs(
      { CKM_RSA_PKCS: RSA_PKCS1.mechanism, CKM_SHA256_RSA_PKCS: RSA_PKCS1_SHA256.mechanism },
      pkcs11.CKF_SIGN,
    ),
    aesGcm: lists(pkcs11.CKM_AES_GCM, pkcs11.CKF_DECRYPT) && lists(pkcs11.CKM_AES_KEY_GEN, pkcs11.CKF_GENERATE),
    originMarks: await findOriginMarks(token),
  }
}

/** Whether the token lists a mechanism, and says nothing against this use of it. */
type Lists = (mechanism: number, use: number) => boolean

function listedMechanisms({ lib, slot }: Token): Lists {
  const listed = new Set(lib.C_GetMechanismList(slot.handle))
  return (mechanism, use) => {
    if (!listed.has(mechanism)) return false
    const { flags } = lib.C_GetMechanismInfo(slot.handle, mechanism)
    return flags === 0 || (flags & use) !== 0
  }
}

/** Published values; TDEA with K1 and K2 in odd parity. */
const TEST_KEYS: Readonly<Record<BlockAlgorithm, Buffer>> = {
  TDEA: Buffer.from('0123456789ABCDEFFEDCBA9876543210', 'hex'),
  AES: Buffer.from('000102030405060708090A0B0C0D0E0F', 'hex'),
}
const CIPHERS: KeyShape = [{ role: 'secret', usage: { encrypt: true, decrypt: true } }]

/**
 * What came of trying: it is right; the token lacks it in spite of its list; it went wrong, as it does with a sick token too; or the
 * token takes no such session key, so that only its list speaks.
 */
type Outcome =
  { readonly right: true } | { readonly lacking: string } | { readonly wrong: string } | { readonly refused: string }

async function outcomeOf(tried: Promise<boolean | { readonly refused: string }>): Promise<Outcome> {
  try {
    const result = await tried
    if (typeof result === 'object') return result
    return result ? { right: true } : { wrong: 'a wrong answer' }
  } catch (error) {
    const { code, detail } = toServiceError(error)
    const problem = detail?.ckr ?? detail?.reason ?? code
    return isLacking(error) ? { lacking: problem } : { wrong: problem }
  }
}

async function findEcb(token: Token, calls: Calls, lists: Lists, cipher: BlockAlgorithm): Promise<Choice> {
  const name = cipher === 'TDEA' ? 'CKM_DES3_ECB' : 'CKM_AES_ECB'
  if (!lists(ECB[cipher].mechanism, pkcs11.CKF_ENCRYPT | pkcs11.CKF_DECRYPT)) {
    return { lacking: `the token has no ${name}` }
  }
  using secrets = new SecretScope()
  const zeros = Buffer.alloc(blockBytesOf(cipher))
  const expected = openEcb(cipher, TEST_KEYS[cipher], secrets).encipher(secrets.take(zeros.length))
  const outcome = await outcomeOf(
    withSessionKey(token, CIPHERS, cipher, TEST_KEYS[cipher], async (key) => {
      const blocks = await learned(calls, { TDEA: 'ecb', AES: 'ecb' }, key)
      const enciphered = await blocks.ecb(key.get('secret')!, 'encipher', zeros, secrets)
      const deciphered = await blocks.ecb(key.get('secret')!, 'decipher', enciphered, secrets)
      return enciphered.equals(expected) && deciphered.equals(zeros)
    }),
  )
  if ('lacking' in outcome) return { lacking: `${name}: ${outcome.lacking}` }
  return { chosen: 'native', why: saying(name, outcome) }
}

/** Why something listed is chosen though it may have gone wrong: the keys' own known answers decide, and a sick token is refused. */
function saying(name: string, outcome: Exclude<Outcome, { lacking: string }>): string {
  if ('right' in outcome) return `${name} gives its known answer`
  return 'wrong' in outcome ? `${name} listed, but ${outcome.wrong}` : `${name} listed`
}

/** CBC in one call where it gives what a chain of ECB gives; ECB where the token, or what stands before it, has no CBC. */
async function findChaining(token: Token, calls: Calls, lists: Lists, cipher: BlockAlgorithm): Promise<'cbc' | 'ecb'> {
  if (!lists(CBC_ZERO_IV[cipher].mechanism, pkcs11.CKF_ENCRYPT)) return 'ecb'
  using secrets = new SecretScope()
  const message = Buffer.alloc(2 * blockBytesOf(cipher), 0x5a)
  const outcome = await outcomeOf(
    withSessionKey(token, CIPHERS, cipher, TEST_KEYS[cipher], async (key) => {
      const [one, many] = [
        await learned(calls, { TDEA: 'cbc', AES: 'cbc' }, key),
        await learned(calls, { TDEA: 'ecb', AES: 'ecb' }, key),
      ]
      const object = key.get('secret')!
      return (await one.chain(object, message, secrets)).equals(await many.chain(object, message, secrets))
    }),
  )
  return 'lacking' in outcome || 'wrong' in outcome ? 'ecb' : 'cbc'
}

interface Tries {
  readonly token: Token
  readonly calls: Calls
  readonly lists: Lists
  readonly chaining: Chaining
}

async function findCmac(tries: Tries, ecb: Choice, cipher: BlockAlgorithm): Promise<Choice<MacWay>> {
  const name = cipher === 'TDEA' ? 'CKM_DES3_CMAC' : 'CKM_AES_CMAC'
  const algorithm = cipher === 'TDEA' ? 'TDEA-CMAC' : 'AES-CMAC'
  let whyNot = `the token has no ${name}`
  if (tries.lists(CMAC[cipher].mechanism, pkcs11.CKF_SIGN)) {
    const outcome = await tryMac(tries, algorithm, 'native')
    if (!('lacking' in outcome)) return { chosen: 'native', why: saying(name, outcome) }
    whyNot = `${name}: ${outcome.lacking}`
  }
  return await composed(tries, algorithm, ecb, whyNot)
}

async function findRetailMac(
  tries: Tries,
  ecb: Choice,
  mechanism: number | undefined,
): Promise<Pick<Capabilities, 'retailMac' | 'vendorRetailMac'>> {
  const algorithm = 'ISO-9797-1-ALG-3'
  let whyNot = 'no retailMacMechanism is configured, and PKCS#11 itself has none'
  if (mechanism !== undefined) {
    const name = `mechanism 0x${mechanism.toString(16)}`
    whyNot = `the token has no ${name}`
    // ANSI X9.19 leaves the padding to the application: some vendors' mechanisms pad, and others take whole blocks.
    for (const padded of tries.lists(mechanism, pkcs11.CKF_SIGN) ? [false, true] : []) {
      const vendorRetailMac = { mechanism, padded }
      const outcome = await tryMac(tries, algorithm, 'native', vendorRetailMac)
      if ('right' in outcome) {
        return { retailMac: { chosen: 'native', why: `${name} gives its known answer` }, vendorRetailMac }
      }
      whyNot = `${name}: ${'wrong' in outcome ? outcome.wrong : 'lacking' in outcome ? outcome.lacking : outcome.refused}`
    }
  }
  return { retailMac: await composed(tries, algorithm, ecb, whyNot), vendorRetailMac: undefined }
}

async function composed(tries: Tries, algorithm: MacAlgorithm, ecb: Choice, whyNot: string): Promise<Choice<MacWay>> {
  if (ecb.lacking !== undefined) return { lacking: `${whyNot}; composing it: ${ecb.lacking}` }
  const outcome = await tryMac(tries, algorithm, 'composed')
  if ('lacking' in outcome) return { lacking: `${whyNot}; composing it: ${outcome.lacking}` }
  // A token that takes session keys, but none with equal parts, will not take the stored ones either.
  const { token } = tries
  if ('refused' in outcome && !('refused' in (await takes(token)))) return { lacking: `${whyNot}; ${outcome.refused}` }
  return { chosen: 'composed', why: whyNot, without: whyNot }
}

/** Whether the token takes a session key of TDEA at all. */
async function takes(token: Token): Promise<object> {
  return await withSessionKey(token, CIPHERS, 'TDEA', TEST_KEYS.TDEA, () => ({}))
}

/** Tries the known answers of the shipped profile that uses this algorithm. */
function tryMac(
  { token, calls, chaining }: Tries,
  algorithm: MacAlgorithm,
  way: MacWay,
  vendorRetailMac?: VendorRetailMac,
): Promise<Outcome> {
  const profile = SHIPPED_PROFILES.find((shipped) => shipped.algorithm === algorithm)!
  const { keyHex, messageHex, outputHex } = profile.knownAnswers[0]!
  const shape = macShape(['generate'], profile, way)
  const cipher = algorithm === 'AES-CMAC' ? 'AES' : 'TDEA'
  return outcomeOf(
    withSessionKey(token, shape, cipher, Buffer.from(keyHex, 'hex'), async (key) => {
      const macs = new Macs(calls, await learned(calls, chaining, key), vendorRetailMac)
      const mac = await macs.generate(key, algorithm, Buffer.from(messageHex, 'hex'))
      return mac.subarray(0, profile.outputBytes).equals(Buffer.from(outputHex, 'hex'))
    }),
  )
}

async function learned(calls: Calls, chaining: Chaining, key: SessionKey): Promise<BlockCipher> {
  const blocks = new BlockCipher(calls, chaining)
  for (const object of key.values()) if (object.pairs === undefined) await blocks.learn(object)
  return blocks
}
