/** The audit trail of one process: what is recorded is on the disk before anything depends on it (M-17). */
import { Sealer, type MakeSeal, type SealIntervals } from './sealer.ts'
import type { NewRecord, Place } from './record.ts'
import { AuditWriter, UnwritableError } from './writer.ts'

/** The settings of a trail. */
export interface TrailSettings extends SealIntervals {
  readonly directory: string
  readonly rotateBytes: number
  /** What becomes of an operation that cannot be recorded: it is refused, or goes on and is counted. */
  readonly whenUnwritable: 'refuse' | 'log'
}

/** Whom the trail tells what. */
export interface TrailEvents {
  /** Records cannot be written any more; `code` is that of the system, such as ENOSPC. */
  readonly onUnwritable: (code: string) => void
  readonly onWritable: () => void
  /** The chain is sealed up to here: whoever keeps this elsewhere can tell that its end was cut off. */
  readonly onSeal: (to: Place) => void
}

/** A trail as operators see it. */
export interface TrailStatus {
  readonly isWritable: boolean
  readonly refuses: boolean
  /** The seq of the last record on the disk; 0 before the first. */
  readonly seq: number
  readonly unsealed: number
  /** Since when there has been one without a seal, in milliseconds since 1970; undefined if there is none. */
  readonly unsealedSinceMs: number | undefined
  /** How many records were not written, in all. */
  readonly lost: number
}

/** Appends records, or says that it could not. */
export interface AuditTrail {
  readonly start: () => Promise<void>
  /** @throws UnwritableError where the setting is to refuse. */
  readonly append: (record: NewRecord) => Promise<void>
  readonly status: () => TrailStatus
  /** Records the end, and seals, unless that takes longer than `patienceMs`. */
  readonly close: (patienceMs: number) => Promise<void>
}

/** Makes the trail of one process; `makeSeal` asks the HSM. */
export function createAuditTrail(settings: TrailSettings, makeSeal: MakeSeal, events: TrailEvents): AuditTrail {
  const refuses = settings.whenUnwritable === 'refuse'
  let wasWritable: boolean | undefined
  let lost = 0
  const writer = new AuditWriter(settings.directory, settings.rotateBytes, {
    onUnwritable: (code) => {
      if (wasWritable !== false) events.onUnwritable(code)
      wasWritable = false
    },
    onWritable: (start) => {
      if (wasWritable === false) events.onWritable()
      wasWritable = true
      // Sealed even if nothing follows: it covers what a process that was killed has left unsealed.
      sealer.note(start)
    },
  })
  const sealer = new Sealer(writer, makeSeal, settings, events.onSeal)

  const append = async (record: NewRecord): Promise<void> => {
    try {
      sealer.note(await writer.append(record))
    } catch (error) {
      if (refuses || !(error instanceof UnwritableError)) throw error
      lost++
      writer.lost++
    }
  }
  return {
    start: () => writer.start(),
    append,
    status: () => ({
      isWritable: writer.isWritable,
      refuses,
      seq: writer.last?.seq ?? 0,
      unsealed: sealer.unsealed,
      unsealedSinceMs: sealer.unsealedSinceMs,
      lost,
    }),
    close: async (patienceMs) => {
      await append({ kind: 'stop' }).catch(() => {})
      await sealer.close(patienceMs)
      await writer.close()
    },
  }
}
