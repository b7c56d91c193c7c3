import { describe, expect, it } from 'vitest'
import {
  comparedCell,
  cpuUsEach,
  memoryBytes,
  perSecond,
  spreadRoundByRound,
} from '../../../scripts/benchmark/figures.ts'
import { goalsOf, missedOf, standingOf, type Goal, type GoalKind } from '../../../scripts/benchmark/goals.ts'
import { spreadOf, type OperationId, type Results } from '../../../scripts/benchmark/results.ts'
import { cellOf, resultsOf, sampleOf } from '../../support/benchmark-results.ts'

describe('figures', () => {
  it('takes the middle of an odd number of rounds, and half way between the middle two of an even one', () => {
    expect(spreadOf([9, 1, 5])).toEqual({ median: 5, least: 1, most: 9 })
    expect(spreadOf([4, 1, 9, 2])).toEqual({ median: 3, least: 1, most: 9 })
  })

  it('tells operations a second, CPU time of all processes or of one kind, and the memory of all', () => {
    const sample = sampleOf({
      operations: 500,
      wallMs: 250,
      cpuUs: { gateway: 50_000, vaults: 100_000 },
      memoryBytes: { gateway: 3, vaults: 4 },
    })
    expect(perSecond(sample)).toBe(2000)
    expect(cpuUsEach(sample)).toBe(300)
    expect(cpuUsEach(sample, 'gateway')).toBe(100)
    expect(cpuUsEach(sample, 'migrate')).toBe(0)
    expect(memoryBytes(sample)).toBe(7)
    expect(memoryBytes(sampleOf({}))).toBeUndefined()
  })

  it('compares inside each round before it takes the median', () => {
    const id = { operation: 'translate', concurrency: 64 } as const
    const ours = cellOf({ ...id, subject: 'pinbridge' }, [{ wallMs: 100 }, { wallMs: 400 }, { wallMs: 200 }])
    const plain = cellOf({ ...id, subject: 'plain' }, [{ wallMs: 200 }, { wallMs: 2000 }, { wallMs: 1400 }])
    // 2, 5 and 7 round by round; the quotient of the medians would be 7.
    const ratio = spreadRoundByRound(plain, ours, (its, our) => its.wallMs / our.wallMs)
    expect(ratio).toEqual({ median: 5, least: 2, most: 7 })
  })

  it('has no figure of cells that are not there, or of samples of which one lacks it', () => {
    const cell = cellOf({ operation: 'translate', subject: 'pinbridge', concurrency: 64 }, [{}, {}])
    expect(spreadRoundByRound(cell, undefined, () => 1)).toBeUndefined()
    let round = 0
    expect(spreadRoundByRound(cell, cell, () => (round++ === 0 ? 1 : undefined))).toBeUndefined()
  })

  it('compares at 64 connections, or at the most below where an operation takes no more', () => {
    const at = (concurrency: number) => cellOf({ operation: 'batch', subject: 'pinbridge', concurrency }, [{}])
    expect(comparedCell(resultsOf([at(1), at(256), at(64)]), 'batch', 'pinbridge')?.concurrency).toBe(64)
    expect(comparedCell(resultsOf([at(1), at(16), at(4)]), 'batch', 'pinbridge')?.concurrency).toBe(16)
    expect(comparedCell(resultsOf([at(256)]), 'batch', 'pinbridge')).toBeUndefined()
  })
})

describe('goals', () => {
  it.each([
    ['pin-set-ecdh', 0.5, 0.65],
    ['pin-set-rsa', 0.75, 0.85],
    ['translate', 0.3, 0.5],
    ['batch', 0.15, 0.4],
    ['migrate', 0.4, 0.6],
  ] as const)('holds the bare calls of one process against all our processes: %s', (operation, floor, aim) => {
    const results = resultsOf([
      cellOf({ operation, subject: 'hsm-calls', concurrency: 1 }, [
        { operations: 100, cpuUs: { 'hsm-calls': 20_000 } },
        { operations: 100, cpuUs: { 'hsm-calls': 30_000 } },
        { operations: 100, cpuUs: { 'hsm-calls': 22_000 } },
      ]),
      cellOf({ operation, subject: 'hsm-calls', concurrency: 2 }, [{ cpuUs: { 'hsm-calls': 1 } }]),
      cellOf({ operation, subject: 'pinbridge', concurrency: operation === 'migrate' ? 1 : 16 }, [
        { operations: 200, cpuUs: { supervisor: 2000, gateway: 30_000, vaults: 48_000 } },
        { operations: 200, cpuUs: { supervisor: 4000, gateway: 40_000, vaults: 56_000 } },
        { operations: 200, cpuUs: { supervisor: 3000, gateway: 20_000, vaults: 57_000 } },
      ]),
    ])
    // 200 of 400, 300 of 500, 220 of 400.
    const goal = goalIn(results, 'cpu-ratio', operation)
    expect(goal).toMatchObject({ floor, aim, better: 'more' })
    expect(goal?.figure?.median).toBeCloseTo(0.55)
    expect(goal?.figure?.least).toBeCloseTo(0.5)
    expect(goal?.figure?.most).toBeCloseTo(0.6)
  })

  it('asks for a quarter of the plain service’s p99, with no less throughput', () => {
    const id = { operation: 'pin-get', concurrency: 64 } as const
    const at = (p99: number) => ({ latencyUs: { p50: 1, p99, p999: 99_999 } })
    const results = resultsOf([
      cellOf({ ...id, subject: 'pinbridge' }, [{ wallMs: 100, ...at(20) }]),
      cellOf({ ...id, subject: 'plain' }, [{ wallMs: 90, ...at(80) }]),
    ])
    const [p99, throughput] = [goalIn(results, 'p99', 'pin-get')!, goalIn(results, 'throughput', 'pin-get')!]
    expect(p99.figure?.median).toBe(0.25)
    expect(standingOf(p99)).toBe('floor met')
    expect(throughput.figure?.median).toBeCloseTo(0.9)
    expect(missedOf(goalsOf(results))).toContainEqual(throughput)
  })

  it('asks for 8 times the plain service’s throughput at 3 ms in every call, and at no other latency', () => {
    const id = { operation: 'pin-set-rsa', concurrency: 64 } as const
    const slow = [
      cellOf({ ...id, subject: 'pinbridge', hsmLatencyMs: 3 }, [{ wallMs: 100 }]),
      cellOf({ ...id, subject: 'plain', hsmLatencyMs: 3 }, [{ wallMs: 790 }]),
    ]
    const others = slow.map((cell) => ({ ...cell, hsmLatencyMs: 10, samples: [sampleOf({ wallMs: 1 })] }))
    const goal = goalIn(resultsOf([...others, ...slow]), 'slow-hsm', 'pin-set-rsa')!
    expect(goal.figure?.median).toBeCloseTo(7.9)
    expect(standingOf(goal)).toBe('MISSED')
  })

  it('asks for less than 300 µs of the gateway a request, and wishes for 200', () => {
    const standingAt = (us: number) => {
      const cpuUs = { gateway: 1000 * us, vaults: 5_000_000 }
      const cell = cellOf({ operation: 'translate', subject: 'pinbridge', concurrency: 64 }, [{ cpuUs }])
      return standingOf(goalIn(resultsOf([cell]), 'gateway', 'translate')!)
    }
    expect([200, 201, 300, 301].map(standingAt)).toEqual(['aim met', 'floor met', 'floor met', 'MISSED'])
  })

  it('asks for a p99 of three medians at half load, and does not look at full load', () => {
    const id = { operation: 'translate', subject: 'pinbridge', concurrency: 64 } as const
    const results = resultsOf([
      cellOf(id, [{ latencyUs: { p50: 10, p99: 100, p999: 100 } }]),
      cellOf({ ...id, load: 'half' }, [{ latencyUs: { p50: 10, p99: 25, p999: 100 } }]),
    ])
    const goal = goalIn(results, 'half-load', 'translate')!
    expect(goal.figure?.median).toBe(2.5)
    expect(goal.floor).toBe(3)
    expect(standingOf({ ...goal, figure: spreadOf([3.1]) })).toBe('MISSED')
  })

  it('asks for a start within 1.5 s with 50 keys, and takes no other number of them', () => {
    const start = { keys: 50, readyMs: [1400, 1600, 1200] }
    const goal = goalIn(resultsOf([], { start }), 'start')!
    expect(goal.figure).toEqual({ median: 1400, least: 1200, most: 1600 })
    expect(standingOf(goal)).toBe('floor met')
    expect(standingOf({ ...goal, figure: spreadOf([1501]) })).toBe('MISSED')
    expect(standingOf(goalIn(resultsOf([], { start: { ...start, keys: 10 } }), 'start')!)).toBe('not measured')
  })

  it('wishes for 2500 pin/set by ECDH-ES a second, and calls no wish missed', () => {
    const cell = cellOf({ operation: 'pin-set-ecdh', subject: 'pinbridge', concurrency: 64 }, [{ wallMs: 401 }])
    const results = resultsOf([cell])
    expect(standingOf(goalIn(results, 'commands', 'pin-set-ecdh')!)).toBe('aim not met')
    expect(missedOf(goalsOf(results))).toEqual([])
  })

  it('misses nothing that was not measured', () => {
    const goals = goalsOf(resultsOf([], { start: { keys: 50, readyMs: [] } }))
    expect(new Set(goals.map(standingOf))).toEqual(new Set(['not measured']))
    expect(missedOf(goals)).toEqual([])
  })
})

function goalIn(results: Results, kind: GoalKind, operation?: OperationId): Goal | undefined {
  return goalsOf(results).find((goal) => goal.kind === kind && goal.operation === operation)
}
