/** The one adapter of the HSM port: PKCS#11 calls on keys that were found and checked at start. */
import { randomFillSync } from 'node:crypto'
import type { Handle } from 'pkcs11js'
import { xorInto } from '../../bytes.ts'
import type { KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { openContent } from '../../jwe/content.ts'
import type { VariantKeys } from '../../key-block/key-block.ts'
import type { MacAlgorithm } from '../../pin-change/profile.ts'
import { SecretScope } from '../../secret.ts'
import type { CekSource, EncipheredContent, Hsm, PublicKey } from '../hsm.ts'
import { BlockCipher, type Chaining, type KeyObject } from './block-cipher.ts'
import type { CallModes, Calls } from './calls.ts'
import { openDerived, openUnwrapped } from './cek-in-token.ts'
import { deriveToVault, unwrapToVault } from './cek-in-vault.ts'
import { wrapKnownKey } from './key-wrap.ts'
import { Macs, type VendorRetailMac } from './macs.ts'
import { sign } from './signatures.ts'
import type { ObjectRole } from './templates.ts'

/**
 * How the CEKs of a JWE key come about and where they are: kept in the token with the content deciphered there; or in the vault,
 * by ECDH with the Concat KDF in the token or here, by OAEP in the token or by its raw RSA operation.
 */
export type CekWay = 'kept' | 'derived-there' | 'derived-here' | 'oaep' | 'raw-rsa'

/** A key of the token: its objects, and what is needed of a key pair. */
export interface KeyObjects {
  readonly objects: ReadonlyMap<ObjectRole, KeyObject>
  /** The public half of a key pair. */
  readonly publicKey?: PublicKey
  /** Of a JWE key; found out by self-test. */
  cekWay?: CekWay
}

/** What of the adapter is the token's and no single key's. */
export interface TokenWays {
  readonly chaining: Chaining
  readonly retailMac?: VendorRetailMac | undefined
}

export class Pkcs11Hsm implements Hsm {
  /** Stands in for a CEK that does not unwrap; undefined where no CEK is kept in the token. */
  spareCek: Handle | undefined
  readonly #calls: Calls
  readonly #blocks: BlockCipher
  readonly #macs: Macs
  readonly #keys: ReadonlyMap<KeyEntry, KeyObjects>

  constructor(calls: Calls, ways: TokenWays, keys: ReadonlyMap<KeyEntry, KeyObjects>) {
    this.#calls = calls
    this.#blocks = new BlockCipher(calls, ways.chaining)
    this.#macs = new Macs(calls, this.#blocks, ways.retailMac)
    this.#keys = keys
  }

  /** Whether calls block the loop or go to threads, as measured at start. */
  get modes(): CallModes {
    return this.#calls.modes
  }

  get sessionObjects(): number {
    return this.#calls.sessionObjects
  }

  /** Makes the known pairs of every key that enciphers or deciphers; nothing can be asked of it before. */
  async learn(): Promise<void> {
    for (const { objects } of this.#keys.values()) {
      for (const object of objects.values()) await this.#blocks.learn(object)
    }
  }

  async openContent(
    key: KeyEntry,
    source: CekSource,
    content: EncipheredContent,
    secrets: SecretScope,
  ): Promise<Buffer> {
    const { cekWay, publicKey, objects } = this.#of(key)
    const privateKey = objects.get('private')?.handle
    if (cekWay === undefined || privateKey === undefined) throw new ServiceError('ERR_INTERNAL')
    const calls = this.#calls
    if (source.alg === 'ECDH-ES') {
      const { agreement } = source
      if (cekWay === 'kept') {
        return await calls.withSession((session) =>
          openDerived(calls, session, privateKey, agreement, content, secrets),
        )
      }
      const kdf = cekWay === 'derived-there' ? 'token' : 'vault'
      const cek = await calls.withSession((session) =>
        deriveToVault(calls, session, privateKey, agreement, kdf, secrets),
      )
      return openContent({ ...content, cek }, secrets)
    }
    const { encryptedKey } = source
    // Both are public: what is out of range is no ciphertext, and would show as a return value that a sick token gives too.
    if (publicKey?.kty !== 'RSA' || !isInRange(encryptedKey, Buffer.from(publicKey.n, 'base64url'))) {
      throw new ServiceError('ERR_JWE_DECRYPTION_FAILED')
    }
    if (cekWay === 'kept') {
      const spare = this.spareCek
      if (spare === undefined) throw new ServiceError('ERR_INTERNAL')
      return await calls.withSession((session) =>
        openUnwrapped(calls, session, privateKey, encryptedKey, content, spare, secrets),
      )
    }
    const oaep = cekWay === 'oaep' ? 'native' : 'raw'
    const cek = await calls.withSession((session) =>
      unwrapToVault(calls, session, privateKey, encryptedKey, oaep, secrets),
    )
    return openContent({ ...content, cek }, secrets)
  }

  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    return this.#blocks.ecb(this.#secret(key), 'decipher', blocks, secrets)
  }

  async encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer> {
    using secrets = new SecretScope()
    return Buffer.from(await this.#blocks.ecb(this.#secret(key), 'encipher', clearBlocks, secrets))
  }

  generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer> {
    return this.#macs.generate(this.#of(key).objects, algorithm, message)
  }

  /** A whole MAC that is a part of a derived key, in a slice of `secrets`. */
  deriveBytes(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, secrets: SecretScope): Promise<Buffer> {
    return this.#macs.generate(this.#of(key).objects, algorithm, message, secrets)
  }

  /** The two steps of opening a key block of version A or C, each by its variant of the key; undefined if it has none. */
  variantKeys(key: KeyEntry): VariantKeys | undefined {
    const { objects } = this.#of(key)
    const [kbek, kbak] = [objects.get('variant-kbek'), objects.get('variant-kbak')]
    if (kbek === undefined || kbak === undefined) return undefined
    return {
      decipherBlocks: (blocks, secrets) => this.#blocks.ecb(kbek, 'decipher', blocks, secrets),
      lastOfCbc: (blocks, secrets) => this.#blocks.chain(kbak, blocks, secrets),
    }
  }

  verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean> {
    return this.#macs.verify(this.#of(key).objects, algorithm, message, mac)
  }

  async sign(key: KeyEntry, message: Uint8Array): Promise<Buffer> {
    const { objects, publicKey } = this.#of(key)
    const object = objects.get('private')
    if (!object?.usage.sign || publicKey === undefined) throw new ServiceError('ERR_INTERNAL')
    return await sign(this.#calls, object.handle, publicKey, message)
  }

  wrapKnownKey(key: KeyEntry): Promise<Buffer> {
    const { handle } = this.#secret(key)
    return this.#calls.withSession((session) => wrapKnownKey(this.#calls.lib, session, handle))
  }

  /** The HSM's random bytes XOR node's: no worse than the better of the two, should one of them err. */
  fillRandom(target: Buffer): Promise<void> {
    return this.#calls.withSession((session) => {
      for (let at = 0; at < target.length; at += RANDOM_BYTES) {
        this.#calls.lib.C_GenerateRandom(session, target.subarray(at, at + RANDOM_BYTES))
      }
      using secrets = new SecretScope()
      xorInto(target, target, randomFillSync(secrets.take(target.length)))
    })
  }

  #of(key: KeyEntry): KeyObjects {
    const objects = this.#keys.get(key)
    // The catalogue hands out found keys only.
    if (objects === undefined) throw new ServiceError('ERR_INTERNAL')
    return objects
  }

  #secret(key: KeyEntry): KeyObject {
    const object = this.#of(key).objects.get('secret')
    if (object === undefined) throw new ServiceError('ERR_INTERNAL')
    return object
  }
}

/** Some tokens give no more in one call. */
const RANDOM_BYTES = 32 * 1024

/** Whether c is a number that an OAEP ciphertext can be: 1 < c < n - 1, since 0, 1 and n - 1 are their own powers and no OAEP encoding. */
function isInRange(ciphertext: Buffer, modulus: Buffer): boolean {
  if (ciphertext.length !== modulus.length) return false
  const least = Buffer.alloc(modulus.length)
  least[least.length - 1] = 2
  // n is odd, so that n - 1 differs from it in the last bit only.
  const most = Buffer.from(modulus)
  most[most.length - 1]! -= 1
  return Buffer.compare(ciphertext, least) >= 0 && Buffer.compare(ciphertext, most) < 0
}
