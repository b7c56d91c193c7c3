/**
 * A small model of throughput: the least of what the CPU, the HSM's sessions and the connections let through.
 *
 *     CPU          cores ÷ CPU time an operation
 *     sessions     sessions of all vaults ÷ (PKCS#11 calls × HSM latency + the calls' own time)
 *     connections  connections ÷ (time of an operation alone + PKCS#11 calls × HSM latency), Little's law
 *
 * It is fitted from the points without added latency and those of one connection, and held against the others.
 */
import { parse } from 'yaml'
import { cellOf, comparedCell, COMPARED_CONNECTIONS, cpuUsEach, perSecond, spreadIn } from './figures.ts'
import { ONE_A_REQUEST } from './goals.ts'
import type { OperationId, Results, Spread } from './results.ts'

/** What the model knows of an operation. */
export interface OperationModel {
  readonly operation: OperationId
  /** Of all our processes. */
  readonly cpuUs: number
  /** What the machine's other work, above all the load generator, leaves of its cores. */
  readonly cores: number
  /** From request to answer when nobody else asks and the HSM adds nothing. */
  readonly aloneMs: number
  /** PKCS#11 calls, one after the other, that wait for the HSM. */
  readonly calls: number
  /** Of these calls, without the wait. */
  readonly callsMs: number
}

/** Where it is asked for. */
export interface Setting {
  readonly connections: number
  readonly hsmLatencyMs: number
  /** Of all vaults together. */
  readonly sessions: number
}

/** What holds throughput down. */
export type Bound = 'CPU' | 'sessions' | 'connections'

/** What the model says. */
export interface Prediction {
  readonly perSecond: number
  readonly bound: Bound
}

/** A measured point that no parameter was fitted from, and what the model says of it. */
export interface HeldPoint extends Setting, Prediction {
  readonly operation: OperationId
  readonly measured: Spread
  /** Of the median: 0.1 is a tenth too much. */
  readonly error: number
}

/** Fits the model of an operation; undefined if too little of it was measured. */
export function fitModel(results: Results, operation: OperationId): OperationModel | undefined {
  const loaded = cellOf(results, { operation, subject: 'pinbridge', concurrency: COMPARED_CONNECTIONS })
  const bare = cellOf(results, { operation, subject: 'hsm-calls', concurrency: 1 })
  const cpuUs = spreadIn(loaded, (sample) => cpuUsEach(sample))?.median
  const most = spreadIn(loaded, perSecond)?.median
  const callsMs = spreadIn(bare, (sample) => cpuUsEach(sample) / 1000)?.median
  const aloneMs = msOfOne(results, operation, 0)
  const latencyMs = Math.max(...results.cells.map((cell) => cell.hsmLatencyMs))
  const slowMs = msOfOne(results, operation, latencyMs)
  if (cpuUs === undefined || most === undefined || callsMs === undefined) return undefined
  if (aloneMs === undefined || slowMs === undefined || latencyMs === 0) return undefined
  return { operation, cpuUs, cores: (most * cpuUs) / 1e6, aloneMs, calls: (slowMs - aloneMs) / latencyMs, callsMs }
}

/** Milliseconds that the middle request takes over one connection: what stalls the machine for a moment is not in it. */
function msOfOne(results: Results, operation: OperationId, hsmLatencyMs: number): number | undefined {
  const cell = cellOf(results, { operation, subject: 'pinbridge', concurrency: 1, hsmLatencyMs })
  return spreadIn(cell, ({ latencyUs }) => latencyUs && latencyUs.p50 / 1000)?.median
}

/** What the model says of an operation. */
export function predict(
  { cpuUs, cores, aloneMs, calls, callsMs }: OperationModel,
  { connections, hsmLatencyMs, sessions }: Setting,
): Prediction {
  const waitMs = calls * hsmLatencyMs
  const bounds: Prediction[] = [
    { bound: 'CPU', perSecond: (cores * 1e6) / cpuUs },
    { bound: 'sessions', perSecond: (sessions * 1000) / (waitMs + callsMs) },
    { bound: 'connections', perSecond: (connections * 1000) / (aloneMs + waitMs) },
  ]
  return bounds.reduce((least, each) => (each.perSecond < least.perSecond ? each : least))
}

/** The model against what was measured: every point with added latency and more than one connection. */
export function heldPoints(results: Results): HeldPoint[] {
  return ONE_A_REQUEST.flatMap((operation) => {
    const model = fitModel(results, operation)
    if (model === undefined) return []
    return results.cells
      .filter((cell) => cell.operation === operation && cell.subject === 'pinbridge' && cell.load === 'full')
      .filter(({ hsmLatencyMs, concurrency }) => hsmLatencyMs > 0 && concurrency > 1)
      .toSorted((a, b) => a.hsmLatencyMs - b.hsmLatencyMs || a.concurrency - b.concurrency)
      .map((cell) => {
        const { concurrency: connections, hsmLatencyMs } = cell
        const setting = { connections, hsmLatencyMs, sessions: sessionsOf(results, hsmLatencyMs) }
        const measured = spreadIn(cell, perSecond)!
        const prediction = predict(model, setting)
        return { operation, ...setting, ...prediction, measured, error: prediction.perSecond / measured.median - 1 }
      })
  })
}

/** What pinbridge has where the operator says nothing. */
const DEFAULT_SESSIONS = 4

/** How many sessions all vaults had together at this latency. */
export function sessionsOf({ settings, machine }: Results, hsmLatencyMs: number): number {
  const set = parse(settings[String(hsmLatencyMs)] ?? '') as
    { hsm?: { vaults?: number; sessions?: number } } | null | undefined
  return (set?.hsm?.vaults ?? machine.cores) * (set?.hsm?.sessions ?? DEFAULT_SESSIONS)
}

/** What a card asks for in a year, and how uneven it comes: assumptions, to be replaced by an issuer's own. */
export const ASSUMED = {
  aCardAYear: { 'pin-set-ecdh': 0.5, 'pin-get': 4, 'prw-verify': 12 },
  /** The busiest second, of a mean one. */
  peak: 10,
  /** How much of a core is used in it, and by how many cores a replica has. */
  busy: 0.6,
  coresAReplica: 2,
} as const

const SECONDS_A_YEAR = 365 * 24 * 3600

/** What an issuer needs. */
export interface Need {
  readonly cards: number
  /** Operations in the busiest second, all together. */
  readonly perSecond: number
  /** Of ours, the HSM's included where it computes on them, as SoftHSM does. */
  readonly cores: number
  /** As many as carry the busiest second, and one more. */
  readonly replicas: number
  readonly hsmCallsPerSecond: number
  /** Sessions that are busy in that second on average, by HSM latency in milliseconds. */
  readonly sessions: (hsmLatencyMs: number) => number
  /** One machine moves a PIN block of every card to another key; undefined if migration was not measured. */
  readonly migrationS: number | undefined
}

/** What an issuer of so many cards needs; undefined if too little was measured. */
export function needOf(results: Results, cards: number): Need | undefined {
  const asked = Object.entries(ASSUMED.aCardAYear).map(([operation, aYear]) => {
    const model = fitModel(results, operation as OperationId)
    return model && { ...model, perSecond: (cards * aYear * ASSUMED.peak) / SECONDS_A_YEAR }
  })
  const known = asked.filter((each) => each !== undefined)
  if (known.length < asked.length) return undefined
  const sum = (figure: (each: (typeof known)[number]) => number): number =>
    known.reduce((total, each) => total + figure(each), 0)
  const cores = sum(({ perSecond, cpuUs }) => (perSecond * cpuUs) / 1e6) / ASSUMED.busy
  const rows = spreadIn(comparedCell(results, 'migrate', 'pinbridge'), perSecond)?.median
  return {
    cards,
    perSecond: sum((each) => each.perSecond),
    cores,
    replicas: Math.ceil(cores / ASSUMED.coresAReplica) + 1,
    hsmCallsPerSecond: sum((each) => each.perSecond * each.calls),
    sessions: (hsmLatencyMs) => sum((each) => (each.perSecond * (each.calls * hsmLatencyMs + each.callsMs)) / 1000),
    migrationS: rows === undefined ? undefined : cards / rows,
  }
}
