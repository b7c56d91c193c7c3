/**
 * Seals the chain: a mark is appended, the HSM makes the MAC over the chain up to it, and the seal is appended. Records go on
 * meanwhile; while no vault is there for it, the seal waits (M-17).
 */
import { setTimeout as pause } from 'node:timers/promises'
import { firstSeqOf } from './files.ts'
import { sealDigest, type Place, type SealMembers } from './record.ts'
import type { AuditWriter } from './writer.ts'

const RETRY_MS = 1_000

/** Makes the MAC of a digest; rejects while it cannot. */
export type MakeSeal = (digest: string) => Promise<Pick<SealMembers, 'mac' | 'sealedAtMs' | 'key'>>

/** When to seal: after so long, or after so many records, whichever comes first. */
export interface SealIntervals {
  readonly sealEveryMs: number
  readonly sealEveryRecords: number
}

export class Sealer {
  readonly #writer: AuditWriter
  readonly #makeSeal: MakeSeal
  readonly #intervals: SealIntervals
  readonly #onSeal: (to: Place) => void
  readonly #timer: NodeJS.Timeout
  #file: string | undefined
  #unsealed = 0
  #unsealedSinceMs: number | undefined
  #underWay: Promise<void> | undefined
  #isClosed = false

  constructor(writer: AuditWriter, makeSeal: MakeSeal, intervals: SealIntervals, onSeal: (to: Place) => void) {
    this.#writer = writer
    this.#makeSeal = makeSeal
    this.#intervals = intervals
    this.#onSeal = onSeal
    this.#timer = setInterval(() => this.#sealIfAny(), intervals.sealEveryMs)
  }

  /** How many records have no seal yet. */
  get unsealed(): number {
    return this.#unsealed
  }

  /** When the oldest of them was appended, in milliseconds since 1970, or a little before; undefined if there is none. */
  get unsealedSinceMs(): number | undefined {
    return this.#unsealedSinceMs
  }

  /** Counts a record that was appended; the first one of a new file asks for a seal over the one before. */
  note({ file }: Place): void {
    const isRotated = this.#file !== undefined && this.#file !== file
    this.#file = file
    this.#unsealed++
    this.#unsealedSinceMs ??= Date.now()
    if (isRotated || this.#unsealed >= this.#intervals.sealEveryRecords) this.#sealIfAny()
  }

  /** Seals what is left, unless that takes longer than `patienceMs`; no seal is made after it. */
  async close(patienceMs: number): Promise<void> {
    clearInterval(this.#timer)
    const rest = async (): Promise<void> => {
      await this.#underWay
      if (this.#unsealed > 0) await this.#seal()
    }
    await Promise.race([rest(), pause(patienceMs, undefined, { ref: false })])
    this.#isClosed = true
  }

  #sealIfAny(): void {
    if (this.#unsealed === 0) return
    this.#underWay ??= this.#seal().finally(() => {
      this.#underWay = undefined
    })
  }

  async #seal(): Promise<void> {
    try {
      const covered = this.#unsealed
      const coveredMs = Date.now()
      const mark = await this.#writer.append({ kind: 'mark' })
      const { file, seq: to, hash } = mark
      const reach = { from: firstSeqOf(file), to, file, hash }
      const made = await this.#made(sealDigest(reach))
      if (made === undefined) return
      const { mac, sealedAtMs, key } = made
      await this.#writer.append({ kind: 'seal', ...reach, mac, sealedAtMs, key })
      this.#unsealed -= covered
      this.#unsealedSinceMs = this.#unsealed === 0 ? undefined : coveredMs
      this.#onSeal(mark)
    } catch {
      // It cannot be written: whoever appends the next record is told, and the interval tries again.
    }
  }

  async #made(digest: string): Promise<Awaited<ReturnType<MakeSeal>> | undefined> {
    while (!this.#isClosed) {
      try {
        return await this.#makeSeal(digest)
      } catch {
        await pause(RETRY_MS, undefined, { ref: false })
      }
    }
    return undefined
  }
}
