/** How quickly a vault answers, and how much a message may hold so that it is answered in good time. */
import { MAX_BATCH_ITEMS } from './contract.ts'
import type { Lane } from './bundle.ts'

/** How much the last message counts in the mean. */
const WEIGHT = 1 / 32

/** The pace of one vault: what its last messages took, and for how long it has said nothing. */
export class VaultPace {
  #messageMs: number | undefined
  #underWay = 0
  #silentSinceMs = 0

  /** A message goes to the vault. */
  give(nowMs: number): void {
    if (this.#underWay++ === 0) this.#silentSinceMs = nowMs
  }

  /** The vault has answered a message that it was given at `givenMs`. */
  answer(givenMs: number, nowMs: number): void {
    this.#underWay--
    this.#silentSinceMs = nowMs
    const tookMs = nowMs - givenMs
    this.#messageMs = this.#messageMs === undefined ? tookMs : this.#messageMs + (tookMs - this.#messageMs) * WEIGHT
  }

  /** How many messages it answers in a millisecond; fewer and fewer while it holds some and says nothing. */
  messagesPerMs(nowMs: number): number {
    return this.#underWay / Math.max(this.#messageMs ?? 0, nowMs - this.#silentSinceMs)
  }

  /** How many times as long as a message usually takes it has been silent; 1 for a vault that keeps its pace. */
  delay(nowMs: number): number {
    if (this.#underWay === 0 || this.#messageMs === undefined) return 1
    return Math.max(1, (nowMs - this.#silentSinceMs) / this.#messageMs)
  }
}

/**
 * How many items a message of each lane may hold: as many as were seen to take no longer than a quarter of the time that a
 * vault has, which leaves room for an HSM that slows down and for what the vault holds besides.
 */
export class MessageSizes {
  readonly #goodMs: number
  readonly #sizes = new Map<string, number>()

  constructor(hsmMs: number) {
    this.#goodMs = hsmMs / 4
  }

  /** The most items of the lane's next message. */
  of(lane: Lane | undefined): number {
    return lane === undefined ? 1 : (this.#sizes.get(lane.name) ?? lane.firstItems)
  }

  /**
   * Such a message took so long: a slow one makes the next ones smaller, a quick and full one lets them grow. None is made
   * smaller than the first, because a message may be slow for what the vault holds besides, whatever its size.
   */
  learn(lane: Lane | undefined, items: number, tookMs: number): void {
    if (lane === undefined) return
    const size = this.of(lane)
    if (tookMs > this.#goodMs)
      this.#set(lane, Math.max(Math.min(size, lane.firstItems), (items * this.#goodMs) / tookMs))
    else if (tookMs < this.#goodMs / 2 && items > size / 2) this.#set(lane, size * 2)
  }

  /** Such a message was not answered in time: the next must be much smaller. */
  giveUp(lane: Lane | undefined, items: number): void {
    if (lane !== undefined) this.#set(lane, Math.min(lane.firstItems, items / 8))
  }

  #set(lane: Lane, items: number): void {
    this.#sizes.set(lane.name, Math.max(1, Math.min(MAX_BATCH_ITEMS, Math.floor(items))))
  }
}
