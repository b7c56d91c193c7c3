/** Blocks under a key of the token: in ECB, in pieces that any token takes, and chained for a MAC. Every call carries a known answer. */
import type { Handle } from 'pkcs11js'
import { xorInto } from '../../bytes.ts'
import { ServiceError } from '../../errors.ts'
import type { BlockAlgorithm } from '../../key-block/ecb.ts'
import { SecretScope } from '../../secret.ts'
import { expectBytes, type Calls } from './calls.ts'
import { KnownPairs, randomBlocks } from './known-pairs.ts'
import { blockBytesOf, CBC_ZERO_IV, ECB } from './mechanisms.ts'
import type { Usage } from './templates.ts'

/** An object of the token, with what it may do and what is known of it. */
export interface KeyObject {
  readonly handle: Handle
  readonly usage: Usage
  /** Undefined for a private key. */
  readonly cipher?: BlockAlgorithm
  /** Undefined until `learn`, and for a key that neither enciphers nor deciphers. */
  pairs?: KnownPairs
  /** The MAC of the known message, of a key that signs; undefined until its first MAC. */
  knownMac?: Buffer
}

/** How blocks are chained: CBC in one call, or ECB in a call for each where CBC does not get through to the token. */
export type Chaining = Readonly<Record<BlockAlgorithm, 'cbc' | 'ecb'>>

type Direction = 'encipher' | 'decipher'

/** 4096 blocks of TDEA: more in one call is hardly faster, and some tokens take no more than some ten thousand bytes. */
const PIECE_BYTES = 32 * 1024

/**
 * A software token's cipher leaves its last block on the stack. So the block of the known answer comes last: what stays there
 * while the vault is idle is no clear PIN block.
 */
export class BlockCipher {
  readonly #calls: Calls
  readonly #chaining: Chaining

  constructor(calls: Calls, chaining: Chaining) {
    this.#calls = calls
    this.#chaining = chaining
  }

  /** Makes the known pairs of a key that enciphers or deciphers; whether they are right, its known answer shows later. */
  async learn(object: KeyObject): Promise<void> {
    const { usage, cipher } = object
    if (cipher === undefined || (!usage.encrypt && !usage.decrypt)) return
    const bytes = blockBytesOf(cipher)
    const from = randomBlocks(bytes)
    const to = Buffer.alloc(from.length)
    await this.#calls.withSession(async (session) => {
      const made = await this.#call(session, object, usage.encrypt ? 'encipher' : 'decipher', from, to)
      expectBytes(made, to.length)
    })
    object.pairs = usage.encrypt ? new KnownPairs(from, to, bytes) : new KnownPairs(to, from, bytes)
  }

  /**
   * Enciphers or deciphers whole blocks in ECB.
   *
   * @param secrets - takes the copies that the token is given, and the result.
   * @throws ERR_HSM_UNAVAILABLE if a call does not give its known answer; nothing of what it gave is used.
   */
  ecb(object: KeyObject, direction: Direction, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    return this.#calls.withSession((session) => this.#ecb(session, object, direction, blocks, secrets))
  }

  /**
   * Chains whole blocks as CBC with a zero initialisation vector does, and gives the last one: what CBC-MACs are made of.
   *
   * In CBC the known block x comes first. What follows it is chained to its encipherment y, so that the first block XOR y
   * makes the chain begin there as if nothing had come before.
   */
  chain(object: KeyObject, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    const { cipher, pairs } = object
    if (cipher === undefined || pairs === undefined) throw new ServiceError('ERR_INTERNAL')
    const bytes = blockBytesOf(cipher)
    return this.#calls.withSession(async (session) => {
      if (this.#chaining[cipher] === 'ecb') {
        let state: Buffer = secrets.take(bytes)
        for (let at = 0; at < blocks.length; at += bytes) {
          xorInto(state, state, blocks.subarray(at, at + bytes))
          state = await this.#ecb(session, object, 'encipher', state, secrets)
        }
        return state
      }
      const { from, to } = pairs.take('encipher')
      const input = secrets.take(bytes + blocks.length + bytes)
      input.set(from)
      input.set(blocks, bytes)
      const first = input.subarray(bytes, 2 * bytes)
      xorInto(first, first, to)
      input.set(from, bytes + blocks.length)
      const out = secrets.take(input.length)
      const made = await this.#calls.encrypt(session, CBC_ZERO_IV[cipher], object.handle, input, out)
      expectBytes(made, input.length)
      if (!made.subarray(0, bytes).equals(to)) throw wrongAnswer('C_Encrypt')
      return made.subarray(blocks.length, blocks.length + bytes)
    })
  }

  async #ecb(
    session: Handle,
    object: KeyObject,
    direction: Direction,
    blocks: Buffer,
    secrets: SecretScope,
  ): Promise<Buffer> {
    const { cipher, pairs } = object
    if (cipher === undefined || pairs === undefined) throw new ServiceError('ERR_INTERNAL')
    const bytes = blockBytesOf(cipher)
    const input = secrets.take(Math.min(blocks.length, PIECE_BYTES) + bytes)
    // Each piece's known answer stands where the next one begins.
    const out = secrets.take(blocks.length + bytes)
    for (let at = 0; at < blocks.length; at += PIECE_BYTES) {
      const piece = blocks.subarray(at, at + PIECE_BYTES)
      const { from, to } = pairs.take(direction)
      const given = input.subarray(0, piece.length + bytes)
      given.set(piece)
      given.set(from, piece.length)
      const made = await this.#call(session, object, direction, given, out.subarray(at, at + given.length))
      expectBytes(made, given.length)
      if (!made.subarray(piece.length).equals(to)) {
        throw wrongAnswer(direction === 'encipher' ? 'C_Encrypt' : 'C_Decrypt')
      }
    }
    return out.subarray(0, blocks.length)
  }

  #call(session: Handle, { cipher, handle }: KeyObject, direction: Direction, input: Buffer, out: Buffer) {
    const mechanism = ECB[cipher!]
    return direction === 'encipher'
      ? this.#calls.encrypt(session, mechanism, handle, input, out)
      : this.#calls.decrypt(session, mechanism, handle, input, out)
  }
}

/** A call that did not give its known answer; nothing of what it gave is used. */
export function wrongAnswer(method: string): ServiceError {
  return new ServiceError('ERR_HSM_UNAVAILABLE', { reason: 'wrong-answer', method })
}
