/** The calls that wait for a vault, in queues that have their turns one after the other. */
import { laneOf, takeBundle, type Bundle, type Call, type Queue } from './bundle.ts'

/** All queues: one for each lane that shares messages, and one for each other call. */
export class WaitingCalls {
  readonly #queues = new Set<Queue>()
  readonly #shared = new Map<string, Queue>()
  #calls = 0

  /** How many calls wait, each until the last of it has gone. */
  get calls(): number {
    return this.#calls
  }

  /** The queues, the next one first. */
  get queues(): ReadonlySet<Queue> {
    return this.#queues
  }

  /** Since when the next one waits; undefined if none does. */
  get waitingSinceMs(): number | undefined {
    const [queue] = this.#queues
    const [call] = queue?.calls ?? []
    return call?.waitingSinceMs
  }

  /** Puts a call at the end. */
  add(call: Call): void {
    const lane = laneOf(call)
    let queue = lane?.isShared ? this.#shared.get(lane.name) : undefined
    if (queue === undefined) {
      queue = { lane, isAgain: call.isAgain === true, calls: new Set() }
      this.#queues.add(queue)
      if (lane?.isShared) this.#shared.set(lane.name, queue)
    }
    queue.calls.add(call)
    call.queue = queue
    this.#calls++
  }

  /** A call, or the rest of it, goes to no vault any more; ends its wait. */
  remove(call: Call): void {
    clearTimeout(call.deadline)
    const { queue } = call
    if (queue === undefined) return
    call.queue = undefined
    this.#calls--
    queue.calls.delete(call)
    if (queue.calls.size > 0) return
    this.#queues.delete(queue)
    if (queue.lane?.isShared) this.#shared.delete(queue.lane.name)
  }

  /** Takes a message out of a queue; what stays in it has its turn after the other queues. */
  take(queue: Queue, maxItems: number, nowMs: number): Bundle {
    const bundle = takeBundle(queue, maxItems)
    for (const { call } of bundle.parts) {
      if (call.given === call.items) this.remove(call)
      else {
        call.waitingSinceMs = nowMs
        call.deadline?.refresh()
      }
    }
    if (queue.calls.size > 0) {
      this.#queues.delete(queue)
      this.#queues.add(queue)
    }
    return bundle
  }
}
