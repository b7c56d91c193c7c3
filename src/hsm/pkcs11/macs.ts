/**
 * MACs under a key of the token: by the token where it has the mechanism, else composed of its block cipher. Which of the two it is
 * follows from the key's objects, whose one use was held against the catalogue.
 */
import type { Handle, Mechanism } from 'pkcs11js'
import { equalConstantTime, xorInto } from '../../bytes.ts'
import { ServiceError } from '../../errors.ts'
import { cmacBlocks } from '../../key-block/cmac.ts'
import { padMethod2, splitLastBlock } from '../../key-block/iso-9797-padding.ts'
import type { MacAlgorithm } from '../../pin-change/profile.ts'
import { SecretScope } from '../../secret.ts'
import { wrongAnswer, type BlockCipher, type KeyObject } from './block-cipher.ts'
import type { Calls } from './calls.ts'
import { blockBytesOf, CMAC, vendorMac } from './mechanisms.ts'
import { CKR, ckrOf } from './return-values.ts'
import type { ObjectRole } from './templates.ts'

/** A vendor's mechanism for ISO 9797-1 algorithm 3, and whether it wants the message padded (method 2) before it is given. */
export interface VendorRetailMac {
  readonly mechanism: number
  readonly padded: boolean
}

/** The objects of one key. */
export type MacObjects = ReadonlyMap<ObjectRole, KeyObject>

const DES_BLOCK_BYTES = 8

/** Whole blocks of either cipher, which no profile can produce: its PAN would not be decimal digits. */
const KNOWN_MESSAGE = Buffer.from('pinbridge known message, ver 001', 'ascii')

export class Macs {
  readonly #calls: Calls
  readonly #blocks: BlockCipher
  readonly #retailMac: VendorRetailMac | undefined

  constructor(calls: Calls, blocks: BlockCipher, retailMac: VendorRetailMac | undefined) {
    this.#calls = calls
    this.#blocks = blocks
    this.#retailMac = retailMac
  }

  /** Generates the whole MAC; a MAC that is a secret itself, because a key is made of it, goes into `ofSecret`. */
  async generate(
    objects: MacObjects,
    algorithm: MacAlgorithm,
    message: Buffer,
    ofSecret?: SecretScope,
  ): Promise<Buffer> {
    const object = objects.get('secret')
    using own = new SecretScope()
    const secrets = ofSecret ?? own
    if (object === undefined || object.usage.encrypt) {
      const made = object
        ? await this.#composedCmac(object, message, secrets)
        : await this.#composedRetailMac(objects, message, secrets)
      return ofSecret ? made : Buffer.from(made)
    }
    const { mechanism, input } = this.#native(object, algorithm, message, secrets)
    const bytes = blockBytesOf(object.cipher!)
    const mac = ofSecret?.take(bytes) ?? Buffer.alloc(bytes)
    return await this.#calls.withSession(async (session) => {
      const made = await this.#calls.sign(session, mechanism, object.handle, input, mac)
      await this.#expectKnownMac(session, mechanism, object)
      return made
    })
  }

  /** Verifies a MAC given by its leftmost bytes: by making it again wherever the key may make one. */
  async verify(objects: MacObjects, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean> {
    const object = objects.get('secret')
    if (object === undefined || object.usage.encrypt || object.usage.sign) {
      const whole = await this.generate(objects, algorithm, message)
      return equalConstantTime(whole.subarray(0, mac.length), mac)
    }
    using secrets = new SecretScope()
    const { mechanism, input } = this.#native(object, algorithm, message, secrets)
    return await this.#calls.withSession(async (session) => {
      try {
        return await this.#calls.verify(session, mechanism, object.handle, input, mac)
      } catch (error) {
        const ckr = ckrOf(error)
        if (ckr === CKR.SIGNATURE_INVALID || ckr === CKR.SIGNATURE_LEN_RANGE) return false
        throw error
      }
    })
  }

  /** A MAC has no room for a known answer of its own: so the next call of the session is for that. */
  async #expectKnownMac(session: Handle, mechanism: Mechanism, object: KeyObject): Promise<void> {
    const out = Buffer.alloc(blockBytesOf(object.cipher!))
    const mac = await this.#calls.sign(session, mechanism, object.handle, KNOWN_MESSAGE, out)
    object.knownMac ??= mac
    if (!mac.equals(object.knownMac)) throw wrongAnswer('C_Sign')
  }

  #native(
    { cipher }: KeyObject,
    algorithm: MacAlgorithm,
    message: Buffer,
    secrets: SecretScope,
  ): { mechanism: Mechanism; input: Buffer } {
    if (algorithm !== 'ISO-9797-1-ALG-3') return { mechanism: CMAC[cipher!], input: message }
    if (this.#retailMac === undefined) throw new ServiceError('ERR_INTERNAL')
    const { mechanism, padded } = this.#retailMac
    return {
      mechanism: vendorMac(mechanism),
      input: padded ? padMethod2(message, DES_BLOCK_BYTES, secrets) : message,
    }
  }

  /** CMAC of two calls: the subkeys come from E_K(0), then the masked blocks are chained (NIST SP 800-38B 6.1 and 6.2). */
  async #composedCmac(object: KeyObject, message: Buffer, secrets: SecretScope): Promise<Buffer> {
    const cipher = object.cipher!
    const encipheredZeros = await this.#blocks.ecb(object, 'encipher', secrets.take(blockBytesOf(cipher)), secrets)
    return await this.#blocks.chain(object, cmacBlocks(cipher, encipheredZeros, message, secrets), secrets)
  }

  /**
   * ISO/IEC 9797-1:2011 MAC algorithm 3 with padding method 2, composed of two calls: single-DES CBC under K1|K1|K1 over
   * all blocks but the last, then triple DES under K1|K2|K1 over the last block XOR the chaining value.
   */
  async #composedRetailMac(objects: MacObjects, message: Buffer, secrets: SecretScope): Promise<Buffer> {
    const [mac, cbc] = [objects.get('retail-mac'), objects.get('retail-cbc')]
    if (mac === undefined || cbc === undefined) throw new ServiceError('ERR_INTERNAL')
    const { allButLast, last } = splitLastBlock(padMethod2(message, DES_BLOCK_BYTES, secrets), DES_BLOCK_BYTES)
    if (allButLast.length > 0) xorInto(last, last, await this.#blocks.chain(cbc, allButLast, secrets))
    return await this.#blocks.ecb(mac, 'encipher', last, secrets)
  }
}
