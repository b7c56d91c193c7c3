import { describe, expect, it } from 'vitest'
import { Backoff } from '../../../src/supervisor/backoff.ts'

describe('Backoff', () => {
  it('does not pause after a first failure, then doubles from 100 ms to 2 seconds and stays there', () => {
    const backoff = new Backoff()
    const pauses = Array.from({ length: 12 }, () => backoff.next())
    expect(pauses).toEqual([0, 100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000, 2000, 2000])
  })

  it('does not overflow after a night of failures', () => {
    const backoff = new Backoff()
    for (let i = 0; i < 100_000; i++) backoff.next()
    expect(backoff.next()).toBe(2000)
  })

  it('begins anew after a good start', () => {
    const backoff = new Backoff()
    for (let i = 0; i < 5; i++) backoff.next()
    backoff.reset()
    expect([backoff.next(), backoff.next()]).toEqual([0, 100])
  })
})
