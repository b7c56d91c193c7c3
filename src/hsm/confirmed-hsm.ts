/**
 * Believes a "no" of the HSM only if the key gives its known answer after it: a sick token refuses good JWEs and good MACs as it
 * does bad ones, often with the same return value, and a caller who is told 422 or `false` does not try again (M-20).
 *
 * Every refusal is asked about, whatever its cause, so that the time it takes tells no cause from another.
 */
import type { KeyEntry } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import type { MacAlgorithm } from '../pin-change/profile.ts'
import type { SecretScope } from '../secret.ts'
import type { CekSource, EncipheredContent, Hsm } from './hsm.ts'

export class ConfirmedHsm implements Hsm {
  readonly #hsm: Hsm
  readonly #givesKnownAnswer: (key: KeyEntry) => Promise<boolean>

  /** @param givesKnownAnswer - asks the same HSM; false also when it fails. */
  constructor(hsm: Hsm, givesKnownAnswer: (key: KeyEntry) => Promise<boolean>) {
    this.#hsm = hsm
    this.#givesKnownAnswer = givesKnownAnswer
  }

  get sessionObjects(): number {
    return this.#hsm.sessionObjects
  }

  async openContent(
    key: KeyEntry,
    source: CekSource,
    content: EncipheredContent,
    secrets: SecretScope,
  ): Promise<Buffer> {
    try {
      return await this.#hsm.openContent(key, source, content, secrets)
    } catch (error) {
      if (error instanceof ServiceError && error.code === 'ERR_JWE_DECRYPTION_FAILED') await this.#confirm(key)
      throw error
    }
  }

  async verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean> {
    if (await this.#hsm.verifyMac(key, algorithm, message, mac)) return true
    await this.#confirm(key)
    return false
  }

  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    return this.#hsm.decipherBlocks(key, blocks, secrets)
  }

  encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer> {
    return this.#hsm.encipherBlocks(key, clearBlocks)
  }

  generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer> {
    return this.#hsm.generateMac(key, algorithm, message)
  }

  sign(key: KeyEntry, message: Uint8Array): Promise<Buffer> {
    return this.#hsm.sign(key, message)
  }

  wrapKnownKey(key: KeyEntry): Promise<Buffer> {
    return this.#hsm.wrapKnownKey(key)
  }

  fillRandom(target: Buffer): Promise<void> {
    return this.#hsm.fillRandom(target)
  }

  async #confirm(key: KeyEntry): Promise<void> {
    if (!(await this.#givesKnownAnswer(key))) {
      throw new ServiceError('ERR_HSM_UNAVAILABLE', { reason: 'wrong-answer' })
    }
  }
}
