/** Trouble made at random, by a seed: what may go wrong, when, and for how long. */
import { setTimeout as sleep } from 'node:timers/promises'

/** Random numbers of a seed (mulberry32): the same seed, the same trouble, though not at the same microsecond. */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number from `from` to `to`, both of them included. */
  number(from: number, to: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return from + (((mixed ^ (mixed >>> 14)) >>> 0) % (to - from + 1))
  }

  /** One of these; undefined if there is none. */
  pick<T>(choices: readonly T[]): T | undefined {
    return choices[this.number(0, Math.max(0, choices.length - 1))]
  }
}

/** Something that goes wrong, and is put right again before its promise ends. */
export interface Trouble {
  readonly name: string
  /** How often it comes, beside the others. */
  readonly weight: number
  /** Two of one kind are never under way at once. */
  readonly befall: (dice: Dice) => Promise<void>
}

/** What happened, in order. */
export interface Event {
  readonly atMs: number
  readonly name: string
}

/** Makes trouble for so long, and ends when the last of it has been put right. */
export async function makeTrouble(troubles: readonly Trouble[], dice: Dice, forMs: number): Promise<Event[]> {
  const lots = troubles.flatMap((trouble) => Array.from({ length: trouble.weight }, () => trouble))
  const underWay = new Map<string, Promise<void>>()
  const events: Event[] = []
  const startedMs = performance.now()
  let failure: Error | undefined
  while (performance.now() - startedMs < forMs && failure === undefined) {
    const trouble = dice.pick(lots)
    if (trouble !== undefined && !underWay.has(trouble.name)) {
      events.push({ atMs: performance.now() - startedMs, name: trouble.name })
      const befallen = trouble
        .befall(dice)
        .catch((error: unknown) => {
          failure = error instanceof Error ? error : new Error(String(error))
        })
        .finally(() => underWay.delete(trouble.name))
      underWay.set(trouble.name, befallen)
    }
    await sleep(dice.number(200, 2500))
  }
  await Promise.all(underWay.values())
  if (failure !== undefined) throw failure
  return events
}

/** How often each came. */
export function tallyOfEvents(events: readonly Event[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { name } of events) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
