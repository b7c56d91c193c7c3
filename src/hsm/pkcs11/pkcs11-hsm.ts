/** The one adapter of the HSM port: PKCS#11 calls on keys that were found and checked at start. */
import { randomFillSync } from 'node:crypto'
import pkcs11, { type Handle, type PKCS11 } from 'pkcs11js'
import { equalConstantTime, xorInto } from '../../bytes.ts'
import type { KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { padMethod2, splitLastBlock } from '../../key-block/iso-9797-padding.ts'
import type { MacAlgorithm } from '../../pin-change/profile.ts'
import { SecretScope } from '../../secret.ts'
import type { Hsm } from '../hsm.ts'
import { decodeOaep256 } from '../oaep.ts'
import { cmac, ecb, ecdh, isTdea, RSA_OAEP_256, RSA_RAW, TDEA_CBC_ZERO_IV } from './mechanisms.ts'
import { CKR, ckrOf, toServiceError } from './return-values.ts'
import type { SessionPool } from './session-pool.ts'
import { SHARED_SECRET_TEMPLATE, type ObjectRole } from './templates.ts'

/** How this token's calls are best made, found out by the start-up self-test and never by the vendor's name. */
export interface Strategies {
  /** RSAES-OAEP with SHA-256 by the token, or by CKM_RSA_X_509 and a constant-time decoding here. */
  oaep256: 'native' | 'raw'
  /** Whether an RSA operation blocks this process's loop or goes to a thread. */
  rsa: CallMode
  /** The same for block ciphers and MACs. */
  cipher: CallMode
}

export type CallMode = 'sync' | 'async'

/** The handles of a key's objects, and the modulus of an RSA key. */
export interface KeyObjects {
  readonly handles: ReadonlyMap<ObjectRole, Handle>
  readonly modulus?: Buffer
  /** Whether CKA_SIGN is set, so that a MAC can be verified by making it again. */
  readonly signs: boolean
}

const DES_BLOCK_BYTES = 8
const P256_BYTES = 32

/**
 * A software token's cipher leaves its last block on the stack. So every call ends with one block more, of zeros, which is
 * as long as the key's block: what stays there while the vault is idle is no clear PIN block.
 */
function blockBytes(key: KeyEntry): number {
  return isTdea(key.algorithm) ? DES_BLOCK_BYTES : 2 * DES_BLOCK_BYTES
}

export class Pkcs11Hsm implements Hsm {
  readonly strategies: Strategies = { oaep256: 'raw', rsa: 'sync', cipher: 'sync' }
  readonly #lib: PKCS11
  readonly #pool: SessionPool
  readonly #objects: ReadonlyMap<KeyEntry, KeyObjects>
  #sessionObjects = 0

  constructor(lib: PKCS11, pool: SessionPool, objects: ReadonlyMap<KeyEntry, KeyObjects>) {
    this.#lib = lib
    this.#pool = pool
    this.#objects = objects
  }

  get sessionObjects(): number {
    return this.#sessionObjects
  }

  deriveSharedSecret(key: KeyEntry, publicPoint: Buffer, secrets: SecretScope): Promise<Buffer> {
    const privateKey = this.#handle(key, 'private')
    // No asynchronous form is used here: the binding's leaks the template and the mechanism of every call.
    return this.#pool.withSession((session) => {
      const shared = this.#lib.C_DeriveKey(session, ecdh(publicPoint), privateKey, SHARED_SECRET_TEMPLATE)
      this.#sessionObjects++
      try {
        const value = this.#lib.C_GetAttributeValue(session, shared, [{ type: pkcs11.CKA_VALUE }])[0]?.value
        if (!Buffer.isBuffer(value)) throw new ServiceError('ERR_INTERNAL')
        if (value.length > P256_BYTES) {
          value.fill(0)
          throw new ServiceError('ERR_INTERNAL')
        }
        const z = secrets.take(P256_BYTES)
        // A token may drop the leading zeros of a coordinate; RFC 7518 section 4.6.2 wants all 32 bytes.
        z.set(value, P256_BYTES - value.length)
        value.fill(0)
        return z
      } finally {
        this.#lib.C_DestroyObject(session, shared)
      }
    })
  }

  async unwrapCek(key: KeyEntry, encryptedKey: Buffer, cekBytes: number, secrets: SecretScope): Promise<Buffer> {
    // Drawn before anything is known about the ciphertext, so that success and failure do the same work.
    const substitute = secrets.take(cekBytes)
    randomFillSync(substitute)
    const modulus = this.#of(key).modulus
    if (modulus === undefined) throw new ServiceError('ERR_INTERNAL')
    // A ciphertext out of range would show as a return value that a sick token gives too; c and n are both public.
    if (encryptedKey.length !== modulus.length || Buffer.compare(encryptedKey, modulus) >= 0) return substitute
    const privateKey = this.#handle(key, 'private')
    const native = this.strategies.oaep256 === 'native'
    const out = secrets.take(modulus.length)
    try {
      return await this.#pool.withSession(async (session) => {
        this.#lib.C_DecryptInit(session, native ? RSA_OAEP_256 : RSA_RAW, privateKey)
        const clear = await this.#decrypt(session, encryptedKey, out, this.strategies.rsa)
        if (native) return clear.length === cekBytes ? clear : substitute
        const em = secrets.take(modulus.length)
        em.set(clear, modulus.length - clear.length)
        return decodeOaep256(em, secrets, cekBytes, substitute)
      })
    } catch (error) {
      const failure = toServiceError(error)
      if (failure.code !== 'ERR_INTERNAL') throw failure
      return substitute
    }
  }

  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    const handle = this.#handle(key, 'secret')
    const input = secrets.take(blocks.length + blockBytes(key))
    input.set(blocks)
    const clear = secrets.take(input.length)
    return this.#pool.withSession(async (session) => {
      this.#lib.C_DecryptInit(session, ecb(key.algorithm), handle)
      const deciphered = await this.#decrypt(session, input, clear, this.strategies.cipher)
      return this.#whole(deciphered, input.length).subarray(0, blocks.length)
    })
  }

  encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer> {
    return this.#encrypt(key, 'secret', clearBlocks)
  }

  async generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer> {
    if (algorithm === 'ISO-9797-1-ALG-3') return await this.#retailMac(key, message)
    const handle = this.#handle(key, 'secret')
    const mac = Buffer.alloc(isTdea(key.algorithm) ? DES_BLOCK_BYTES : 2 * DES_BLOCK_BYTES)
    return await this.#pool.withSession(async (session) => {
      this.#lib.C_SignInit(session, cmac(key.algorithm), handle)
      const made =
        this.strategies.cipher === 'async'
          ? await this.#lib.C_SignAsync(session, message, mac)
          : this.#lib.C_Sign(session, message, mac)
      return this.#whole(made, mac.length)
    })
  }

  async verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean> {
    if (this.#of(key).signs || algorithm === 'ISO-9797-1-ALG-3') {
      const whole = await this.generateMac(key, algorithm, message)
      return equalConstantTime(whole.subarray(0, mac.length), mac)
    }
    const handle = this.#handle(key, 'secret')
    return await this.#pool.withSession(async (session) => {
      this.#lib.C_VerifyInit(session, cmac(key.algorithm), handle)
      try {
        return this.strategies.cipher === 'async'
          ? await this.#lib.C_VerifyAsync(session, message, mac)
          : this.#lib.C_Verify(session, message, mac)
      } catch (error) {
        const ckr = ckrOf(error)
        if (ckr === CKR.SIGNATURE_INVALID || ckr === CKR.SIGNATURE_LEN_RANGE) return false
        throw error
      }
    })
  }

  fillRandom(target: Buffer): Promise<void> {
    return this.#pool.withSession((session) => {
      this.#lib.C_GenerateRandom(session, target)
    })
  }

  /**
   * ISO/IEC 9797-1:2011 MAC algorithm 3 with padding method 2, composed of two calls: single-DES CBC under K1|K1|K1 over
   * all blocks but the last, then triple DES under K1|K2|K1 over the last block XOR the chaining value.
   */
  async #retailMac(key: KeyEntry, message: Buffer): Promise<Buffer> {
    using secrets = new SecretScope()
    const { allButLast, last } = splitLastBlock(padMethod2(message, DES_BLOCK_BYTES, secrets), DES_BLOCK_BYTES)
    if (allButLast.length > 0) {
      const chained = secrets.adopt(await this.#encrypt(key, 'retail-cbc', allButLast))
      xorInto(last, last, chained.subarray(-DES_BLOCK_BYTES))
    }
    return await this.#encrypt(key, 'retail-mac', last)
  }

  #encrypt(key: KeyEntry, role: ObjectRole, clear: Buffer): Promise<Buffer> {
    const handle = this.#handle(key, role)
    const mechanism = role === 'retail-cbc' ? TDEA_CBC_ZERO_IV : ecb(key.algorithm)
    return this.#pool.withSession(async (session) => {
      using secrets = new SecretScope()
      const input = secrets.take(clear.length + blockBytes(key))
      input.set(clear)
      const target = Buffer.alloc(input.length)
      this.#lib.C_EncryptInit(session, mechanism, handle)
      const enciphered = await (this.strategies.cipher === 'async'
        ? this.#lib.C_EncryptAsync(session, input, target)
        : this.#lib.C_Encrypt(session, input, target))
      return this.#whole(enciphered, input.length).subarray(0, clear.length)
    })
  }

  #decrypt(session: Handle, input: Buffer, out: Buffer, mode: CallMode): Buffer | Promise<Buffer> {
    return mode === 'async' ? this.#lib.C_DecryptAsync(session, input, out) : this.#lib.C_Decrypt(session, input, out)
  }

  /** A token that answers with another length than the mechanism has is not to be believed. */
  #whole(result: Buffer, bytes: number): Buffer {
    if (result.length !== bytes) throw new ServiceError('ERR_HSM_UNAVAILABLE')
    return result
  }

  #of(key: KeyEntry): KeyObjects {
    const objects = this.#objects.get(key)
    // The catalogue hands out found keys only.
    if (objects === undefined) throw new ServiceError('ERR_INTERNAL')
    return objects
  }

  #handle(key: KeyEntry, role: ObjectRole): Handle {
    const handle = this.#of(key).handles.get(role)
    if (handle === undefined) throw new ServiceError('ERR_INTERNAL')
    return handle
  }
}
