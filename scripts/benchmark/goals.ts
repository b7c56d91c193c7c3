/** What the service is to reach, as ratios in one run where that can be: the floor below which it is too slow, and the aim that is wished for. */
import {
  cellOf,
  comparedCell,
  COMPARED_CONNECTIONS,
  cpuUsEach,
  perSecond,
  spreadIn,
  spreadRoundByRound,
} from './figures.ts'
import { OPERATIONS, spreadOf, type OperationId, type Results, type Spread } from './results.ts'

/** Those of which a request asks one. */
export const ONE_A_REQUEST = [
  'pin-set-ecdh',
  'pin-set-rsa',
  'pin-get',
  'translate',
  'prw-verify',
] as const satisfies readonly OperationId[]

/** What a goal is about; each operation has at most one of each kind. */
export type GoalKind = 'cpu-ratio' | 'p99' | 'throughput' | 'slow-hsm' | 'gateway' | 'half-load' | 'start' | 'commands'

/** One goal, with what was measured of it; without it, where nothing was. */
export interface Goal {
  readonly kind: GoalKind
  readonly title: string
  readonly operation?: OperationId
  readonly unit: 'share' | 'times' | 'us' | 'ms' | 'a second'
  readonly better: 'more' | 'less'
  readonly floor?: number
  readonly aim?: number
  readonly figure?: Spread
}

/** Where a goal stands, by the median. */
export type Standing = 'aim met' | 'floor met' | 'MISSED' | 'aim not met' | 'not measured'

/** Bare PKCS#11 calls to all our processes: CPU time. */
const CPU_RATIOS: Partial<Record<OperationId, { readonly floor: number; readonly aim: number }>> = {
  'pin-set-ecdh': { floor: 0.5, aim: 0.65 },
  'pin-set-rsa': { floor: 0.75, aim: 0.85 },
  translate: { floor: 0.3, aim: 0.5 },
  batch: { floor: 0.15, aim: 0.4 },
  migrate: { floor: 0.4, aim: 0.6 },
}

/** The latency at which the plain service is compared again. */
export const SLOW_HSM_MS = 3
const KEYS_AT_START = 50

/** Every goal, in the order of the report. */
export function goalsOf(results: Results): Goal[] {
  return [
    ...OPERATIONS.flatMap((operation) => cpuRatioOf(results, operation)),
    ...ONE_A_REQUEST.flatMap((operation) => againstPlain(results, operation)),
    ...ONE_A_REQUEST.map((operation) => withSlowHsm(results, operation)),
    ...ONE_A_REQUEST.map((operation) => gatewayOf(results, operation)),
    ...ONE_A_REQUEST.map((operation) => atHalfLoad(results, operation)),
    startOf(results),
    {
      kind: 'commands',
      title: `operations a second at ${COMPARED_CONNECTIONS}`,
      operation: 'pin-set-ecdh',
      unit: 'a second',
      better: 'more',
      aim: 2500,
      ...measured(spreadIn(comparedCell(results, 'pin-set-ecdh', 'pinbridge'), perSecond)),
    },
  ]
}

function cpuRatioOf(results: Results, operation: OperationId): Goal[] {
  const goal = CPU_RATIOS[operation]
  if (goal === undefined) return []
  return [
    {
      kind: 'cpu-ratio',
      title: 'CPU ratio',
      operation,
      unit: 'share',
      better: 'more',
      ...goal,
      ...measured(cpuRatio(results, operation)),
    },
  ]
}

/** CPU time of the bare PKCS#11 calls, by one process, to that of all our processes for the same work. */
export function cpuRatio(results: Results, operation: OperationId): Spread | undefined {
  return spreadRoundByRound(
    cellOf(results, { operation, subject: 'hsm-calls', concurrency: 1 }),
    comparedCell(results, operation, 'pinbridge'),
    (bare, ours) => cpuUsEach(bare) / cpuUsEach(ours),
  )
}

function againstPlain(results: Results, operation: OperationId): Goal[] {
  const [ours, plain] = (['pinbridge', 'plain'] as const).map((subject) =>
    cellOf(results, { operation, subject, concurrency: COMPARED_CONNECTIONS }),
  )
  return [
    {
      kind: 'p99',
      title: `p99 at ${COMPARED_CONNECTIONS}, of the plain service’s`,
      operation,
      unit: 'share',
      better: 'less',
      floor: 0.25,
      ...measured(
        spreadRoundByRound(ours, plain, ({ latencyUs: our }, { latencyUs: its }) => our && its && our.p99 / its.p99),
      ),
    },
    {
      kind: 'throughput',
      title: `throughput at ${COMPARED_CONNECTIONS}, of the plain service’s`,
      operation,
      unit: 'times',
      better: 'more',
      floor: 1,
      ...measured(spreadRoundByRound(ours, plain, (our, its) => perSecond(our) / perSecond(its))),
    },
  ]
}

function withSlowHsm(results: Results, operation: OperationId): Goal {
  const [ours, plain] = (['pinbridge', 'plain'] as const).map((subject) =>
    comparedCell(results, operation, subject, SLOW_HSM_MS),
  )
  return {
    kind: 'slow-hsm',
    title: `throughput with ${SLOW_HSM_MS} ms a call, of the plain service’s`,
    operation,
    unit: 'times',
    better: 'more',
    floor: 8,
    ...measured(spreadRoundByRound(ours, plain, (our, its) => perSecond(our) / perSecond(its))),
  }
}

function gatewayOf(results: Results, operation: OperationId): Goal {
  const cell = comparedCell(results, operation, 'pinbridge')
  return {
    kind: 'gateway',
    title: 'gateway’s CPU time a request',
    operation,
    unit: 'us',
    better: 'less',
    floor: 300,
    aim: 200,
    ...measured(spreadIn(cell, (sample) => cpuUsEach(sample, 'gateway'))),
  }
}

function atHalfLoad(results: Results, operation: OperationId): Goal {
  const id = { operation, subject: 'pinbridge', concurrency: COMPARED_CONNECTIONS, load: 'half' } as const
  return {
    kind: 'half-load',
    title: 'p99 at half load, of the median',
    operation,
    unit: 'times',
    better: 'less',
    floor: 3,
    ...measured(spreadIn(cellOf(results, id), ({ latencyUs }) => latencyUs && latencyUs.p99 / latencyUs.p50)),
  }
}

function startOf({ start }: Results): Goal {
  return {
    kind: 'start',
    title: `start to ready, ${KEYS_AT_START} keys`,
    unit: 'ms',
    better: 'less',
    floor: 1500,
    ...measured(start?.keys === KEYS_AT_START && start.readyMs.length > 0 ? spreadOf(start.readyMs) : undefined),
  }
}

/** exactOptionalPropertyTypes: what was not measured has no member. */
function measured(figure: Spread | undefined): Pick<Goal, 'figure'> {
  return figure === undefined ? {} : { figure }
}

/** Where the median stands. */
export function standingOf({ figure, better, floor, aim }: Goal): Standing {
  if (figure === undefined) return 'not measured'
  const reaches = (goal: number): boolean => (better === 'more' ? figure.median >= goal : figure.median <= goal)
  if (floor !== undefined && !reaches(floor)) return 'MISSED'
  if (aim === undefined) return 'floor met'
  if (reaches(aim)) return 'aim met'
  return floor === undefined ? 'aim not met' : 'floor met'
}

/** Those whose median misses the floor; what was not measured is not among them. */
export function missedOf(goals: readonly Goal[]): Goal[] {
  return goals.filter((goal) => standingOf(goal) === 'MISSED')
}
