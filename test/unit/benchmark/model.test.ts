import { describe, expect, it } from 'vitest'
import { ASSUMED, fitModel, heldPoints, needOf, predict, sessionsOf } from '../../../scripts/benchmark/model.ts'
import type { OperationId } from '../../../scripts/benchmark/results.ts'
import { cellOf, resultsOf } from '../../support/benchmark-results.ts'

const MODEL = { operation: 'pin-get', cpuUs: 400, cores: 1.6, aloneMs: 1, calls: 2, callsMs: 0.2 } as const

const at = (p50: number) => ({ latencyUs: { p50, p99: 99_999, p999: 99_999 } })

/** Alone 1 ms, and 21 with 10 added: two calls. 4000 a second for 400 µs each: 1.6 cores. */
const cellsOf = (operation: OperationId) => [
  cellOf({ operation, subject: 'hsm-calls', concurrency: 1 }, [{ cpuUs: { 'hsm-calls': 200_000 } }]),
  cellOf({ operation, subject: 'pinbridge', concurrency: 1 }, [at(1000)]),
  cellOf({ operation, subject: 'pinbridge', concurrency: 64 }, [
    { wallMs: 250, cpuUs: { gateway: 100_000, vaults: 300_000 } },
  ]),
  cellOf({ operation, subject: 'pinbridge', concurrency: 1, hsmLatencyMs: 10 }, [at(21_000)]),
]

describe('fitModel', () => {
  it('fits CPU time and cores from full load, and the calls from one connection', () => {
    expect(fitModel(resultsOf(cellsOf('pin-get')), 'pin-get')).toEqual(MODEL)
  })

  it('fits nothing where a point is missing', () => {
    for (const missing of cellsOf('pin-get')) {
      const rest = cellsOf('pin-get').filter((cell) => JSON.stringify(cell) !== JSON.stringify(missing))
      expect(rest).toHaveLength(3)
      expect(fitModel(resultsOf(rest), 'pin-get')).toBeUndefined()
    }
  })
})

describe('predict', () => {
  it.each([
    // 1.6 cores for 400 µs.
    { connections: 64, hsmLatencyMs: 0, sessions: 8, perSecond: 4000, bound: 'CPU' },
    // 16 requests, 1 + 2 × 3 ms each.
    { connections: 16, hsmLatencyMs: 3, sessions: 32, perSecond: 16_000 / 7, bound: 'connections' },
    // 8 sessions, 2 × 10 + 0.2 ms each.
    { connections: 256, hsmLatencyMs: 10, sessions: 8, perSecond: 8000 / 20.2, bound: 'sessions' },
  ])('is bound by $bound', ({ perSecond, bound, ...setting }) => {
    const prediction = predict(MODEL, setting)
    expect(prediction.bound).toBe(bound)
    expect(prediction.perSecond).toBeCloseTo(perSecond, 6)
  })
})

describe('heldPoints', () => {
  it('holds the model against every point that it was not fitted from, and no other', () => {
    const operation = 'pin-get'
    const results = resultsOf([
      ...cellsOf(operation),
      cellOf({ operation, subject: 'pinbridge', concurrency: 16 }, [{}]),
      cellOf({ operation, subject: 'plain', concurrency: 64, hsmLatencyMs: 10 }, [{}]),
      cellOf({ operation, subject: 'pinbridge', concurrency: 64, hsmLatencyMs: 10, load: 'half' }, [{}]),
      // Of 8 sessions come 396 a second: 360 were measured.
      cellOf({ operation, subject: 'pinbridge', concurrency: 64, hsmLatencyMs: 10 }, [{ operations: 360 }]),
    ])
    const points = heldPoints(results)
    expect(points).toHaveLength(1)
    expect(points[0]).toMatchObject({ connections: 64, hsmLatencyMs: 10, sessions: 8, bound: 'sessions' })
    expect(points[0]!.error).toBeCloseTo(8000 / 20.2 / 360 - 1, 6)
  })
})

describe('sessionsOf', () => {
  it('counts those of all vaults, of which there is one a core with four each', () => {
    const settings = { 3: 'hsm:\n  vaults: 3\n  sessions: 10\n', 10: 'hsm:\n  sessions: 16\n' }
    expect([0, 3, 10].map((ms) => sessionsOf(resultsOf([], { settings }), ms))).toEqual([8, 30, 32])
  })
})

describe('needOf', () => {
  const cells = Object.keys(ASSUMED.aCardAYear).flatMap((operation) => cellsOf(operation as OperationId))
  const migrated = cellOf({ operation: 'migrate', subject: 'pinbridge', concurrency: 1 }, [{ operations: 1_000_000 }])

  it('multiplies cards by what a card asks for', () => {
    // 16.5 a card a year, ten times as many in the busiest second: 10 million × 16.5 × 10 ÷ 31 536 000.
    const perSecond = 1_650_000_000 / 31_536_000
    const need = needOf(resultsOf([...cells, migrated]), 10e6)!
    expect(need.perSecond).toBeCloseTo(perSecond, 6)
    expect(need.cores).toBeCloseTo((perSecond * 0.0004) / 0.6, 6)
    expect(need.replicas).toBe(2)
    expect(need.hsmCallsPerSecond).toBeCloseTo(2 * perSecond, 6)
    expect(need.sessions(3)).toBeCloseTo(perSecond * 0.0062, 6)
    expect(need.migrationS).toBeCloseTo(10, 6)
  })

  it('counts replicas of two cores, and one more', () => {
    // 5.23 a second for each million cards, and 2 cores at 60 % carry 3000: 573 million.
    expect(needOf(resultsOf(cells), 570e6)?.replicas).toBe(2)
    expect(needOf(resultsOf(cells), 575e6)?.replicas).toBe(3)
  })

  it('says nothing where an operation was not measured', () => {
    expect(needOf(resultsOf(cellsOf('pin-get')), 1e6)).toBeUndefined()
  })
})
