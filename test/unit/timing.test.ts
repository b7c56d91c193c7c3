import { describe, expect, it } from 'vitest'
import { compare } from '../support/timing.ts'

const ROUNDS = 2000
const BOUND_US = 5

/** Numbers from 0 to 1 that are the same in every run (Marsaglia's xorshift). */
function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** The times of a first kind and of another, which `change` makes of times like the first's. */
function measured(rounds: number, change: (us: number, round: number) => number): number[][] {
  const next = numbers(20_240_229)
  // Mostly near 60, with a long tail, and in one round of ten a pause that may meet either call.
  const call = () => 50 + 10 * -Math.log(next()) + (next() < 0.1 ? 5000 * next() : 0)
  return [
    Array.from({ length: rounds }, call),
    Array.from({ length: rounds }, (_, round) => change(call(), round)),
    Array.from({ length: rounds }, call),
  ]
}

const verdict = (change: (us: number, round: number) => number, rounds = ROUNDS) =>
  compare('other', measured(rounds, change), 1, BOUND_US).verdict

describe('two kinds of calls', () => {
  it.each<[string, (us: number, round: number) => number]>([
    ['that differ by chance', (us) => us],
    ['that differ by far less than the bound', (us) => us + 1],
    ['one of which is paused now and then', (us, round) => us + (round % 25 === 0 ? 50_000 : 0)],
  ])('%s are the same', (_, change) => expect(verdict(change)).toBe('same'))

  it.each<[string, (us: number, round: number) => number]>([
    ['later each time', (us) => us + 2 * BOUND_US],
    ['earlier each time', (us) => us - 2 * BOUND_US],
    ['much later one time of three', (us, round) => us + (round % 3 === 0 ? 500 : 0)],
    ['much earlier one time of three', (us, round) => us - (round % 3 === 0 ? 40 : 0)],
    ['later in the middle, by a time that varies', (us, round) => us + (round % 20)],
  ])('one of which is %s are different', (_, change) => expect(verdict(change)).toBe('different'))

  it('that differ by about the bound, or are few, are unclear', () => {
    expect(verdict((us) => us + 0.95 * BOUND_US)).toBe('unclear')
    expect(verdict((us) => us, 60)).toBe('unclear')
  })
})
