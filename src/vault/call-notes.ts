/** What a vault says of how long a traced request took: when it worked on it, and each call of the HSM; nothing of the request. */
import { MOST_TRACED_CALLS, type VaultTimings } from '../bridge/contract.ts'
import { monotonicMs } from '../bridge/monotonic-clock.ts'
import type { EndedCall } from './measured-hsm.ts'

/** The notes of one request; they begin when they are made. */
export class CallNotes {
  readonly #startedMs = monotonicMs()
  readonly #calls: VaultTimings['hsmCalls'] = []
  #missing = 0

  /** Notes a call that has ended; past the bound it is only counted. */
  readonly add = ({ call, key, calledMs, startedMs, endedMs, outcome }: EndedCall): void => {
    if (this.#calls.length === MOST_TRACED_CALLS) {
      this.#missing++
      return
    }
    const times = {
      calledMs: monotonicMs(calledMs),
      startedMs: monotonicMs(startedMs),
      endedMs: monotonicMs(endedMs),
    }
    this.#calls.push({ call, ...(key && { key: key.id, version: key.version }), ...times, outcome })
  }

  /** The member of the reply that carries them. */
  taken(): { readonly trace: VaultTimings } {
    const calls = { hsmCalls: this.#calls, hsmCallsMissing: this.#missing }
    return { trace: { startedMs: this.#startedMs, endedMs: monotonicMs(), ...calls } }
  }
}
