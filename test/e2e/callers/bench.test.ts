import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CellResult, Results } from '../../../scripts/benchmark/results.ts'
import { temporaryFolder } from '../../support/service.ts'

const MAIN = new URL('../../../scripts/benchmark/main.ts', import.meta.url).pathname
/** Nothing here depends on how quick the machine is, and a busy one takes its time. */
const START_MS = 300_000
const LATENCY_MS = 2
/** Deciphered under one key, enciphered under the other. */
const CALLS = 2

const folder = temporaryFolder()
let results: Results
let printed: string
beforeAll(async () => {
  const options = ['--quick', '--rounds', '1', '--only', 'translate', '--latencies', `0,${LATENCY_MS}`]
  printed = (await promisify(execFile)(process.execPath, [MAIN, ...options, '--out', folder.path])).stdout
  results = JSON.parse(readFileSync(join(folder.path, 'results.json'), 'utf8'))
}, START_MS)
afterAll(() => folder.dispose())

const nameOf = ({ subject, concurrency, hsmLatencyMs, load }: CellResult): string =>
  `${subject} ${concurrency} ${hsmLatencyMs} ms ${load}`

describe('scripts/bench --quick', () => {
  it('measures every subject at each HSM latency that it is asked for', () => {
    expect(results.cells.map(nameOf)).toEqual([
      'hsm-calls 1 0 ms full',
      'hsm-calls 2 0 ms full',
      'pinbridge 64 0 ms full',
      'pinbridge 64 0 ms half',
      'plain 64 0 ms full',
      'node-crypto 1 0 ms full',
      'node-forge 1 0 ms full',
      `hsm-calls 1 ${LATENCY_MS} ms full`,
      `hsm-calls 2 ${LATENCY_MS} ms full`,
      `pinbridge 64 ${LATENCY_MS} ms full`,
      `plain 64 ${LATENCY_MS} ms full`,
    ])
  })

  it('tells of each what it did, how long it took and what it used', () => {
    for (const { subject, samples } of results.cells) {
      const isService = subject === 'pinbridge' || subject === 'plain'
      const kinds = {
        pinbridge: ['supervisor', 'gateway', 'vaults'],
        plain: ['service'],
        'hsm-calls': ['hsm-calls'],
        'node-crypto': ['program'],
        'node-forge': ['program'],
      }[subject]
      expect(samples).toHaveLength(1)
      const [{ operations, wallMs, cpuUs, latencyUs, memoryBytes }] = samples as [CellResult['samples'][number]]
      expect(operations).toBeGreaterThanOrEqual(64)
      expect(wallMs).toBeGreaterThan(0)
      expect(Object.keys(cpuUs)).toEqual(kinds)
      expect(latencyUs !== undefined).toBe(isService)
      expect(Object.keys(memoryBytes ?? {})).toEqual(isService ? kinds : [])
      for (const bytes of Object.values(memoryBytes ?? {})) expect(bytes).toBeGreaterThan(1_000_000)
      if (latencyUs === undefined) continue
      const { p50, p99, p999 } = latencyUs
      expect([p50, p99, p999]).toEqual([p50, p99, p999].toSorted((a, b) => a - b))
      expect(p50).toBeGreaterThan(0)
    }
  })

  it('has whoever asks the HSM wait for each of its calls', () => {
    const leastMs = CALLS * LATENCY_MS
    for (const cell of results.cells.filter(({ hsmLatencyMs }) => hsmLatencyMs === LATENCY_MS)) {
      const { operations, wallMs, latencyUs } = cell.samples[0]!
      if (latencyUs) expect(latencyUs.p50 / 1000).toBeGreaterThanOrEqual(leastMs)
      // One call at a time: each process of hsm-calls, and the plain service.
      const processes = { 'hsm-calls': cell.concurrency, plain: 1, pinbridge: undefined }[cell.subject as 'plain']
      if (processes) expect((wallMs * processes) / operations).toBeGreaterThanOrEqual(leastMs)
    }
  })

  it('spreads a paced load over the time that it takes at half of the throughput', () => {
    const [full, half] = results.cells
      .filter(({ subject }) => subject === 'pinbridge')
      .map(({ samples }) => samples[0]!)
    const lastMs = ((half!.operations - 1) * 2 * full!.wallMs) / full!.operations
    expect(half!.wallMs).toBeGreaterThanOrEqual(lastMs)
  })

  it('prints tables, and writes a page', () => {
    expect(printed).toContain('translate')
    expect(existsSync(join(folder.path, 'report.html'))).toBe(true)
  })
})
