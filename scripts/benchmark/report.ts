/** A benchmark's results as tables: for people on a terminal, and the very same for README. */
import {
  cellOf,
  comparedCell,
  COMPARED_CONNECTIONS,
  cpuUsEach,
  memoryBytes,
  perSecond,
  spreadIn,
  spreadRoundByRound,
} from './figures.ts'
import { cpuRatio, goalsOf, missedOf, SLOW_HSM_MS, standingOf, type Goal, type GoalKind } from './goals.ts'
import { ASSUMED, fitModel, heldPoints, needOf, type HeldPoint } from './model.ts'
import { OPERATIONS, spreadOf, type CellResult, type Results, type Sample, type SubjectId } from './results.ts'
import { figure, medianOf, NONE, percent, withSpread, type Table } from './table.ts'

const SUBJECTS: readonly SubjectId[] = ['hsm-calls', 'plain', 'pinbridge', 'node-crypto', 'node-forge']

/** Every table, the shortest first; what was not measured is left out, or is a dash. */
export function tablesOf(results: Results): Table[] {
  return [
    summaryOf(results),
    goalTableOf(results),
    cpuTableOf(results),
    cellTableOf(results),
    latencyTableOf(results),
    modelTableOf(results),
    pointTableOf(results),
    needTableOf(results),
  ].filter(({ rows }) => rows.length > 0)
}

/** What was measured, where, and how often: the line above all tables. */
export function headOf({ machine, rounds }: Results): string {
  const gigabytes = Math.round(machine.memoryBytes / 2 ** 30)
  return `${machine.cores} cores of ${machine.model}, ${gigabytes} GB, Node ${machine.node}; medians of ${rounds} interleaved rounds, with the least and the most.`
}

/** One line an operation: what it does a second, and where its goals stand. */
function summaryOf(results: Results): Table {
  const goals = goalsOf(results)
  const rows = OPERATIONS.flatMap((operation) => {
    const ours = comparedCell(results, operation, 'pinbridge')
    if (ours === undefined) return []
    const bare = cellOf(results, { operation, subject: 'hsm-calls', concurrency: 1 })
    const goalOf = (kind: GoalKind): Goal | undefined =>
      goals.find((goal) => goal.kind === kind && goal.operation === operation)
    const standing = (kind: GoalKind): string => {
      const goal = goalOf(kind)
      return goal === undefined ? NONE : medianOf(goal.figure, UNITS[goal.unit])
    }
    const { floor, aim } = goalOf('cpu-ratio') ?? {}
    return [
      [
        operation,
        medianOf(spreadIn(bare, perSecond)),
        medianOf(spreadIn(comparedCell(results, operation, 'plain'), perSecond)),
        withSpread(spreadIn(ours, perSecond)),
        withSpread(cpuRatio(results, operation), percent),
        floor === undefined ? NONE : percent(floor),
        aim === undefined ? NONE : percent(aim),
        standing('p99'),
        standing('slow-hsm'),
        standing('half-load'),
      ],
    ]
  })
  return {
    id: 'summary',
    title: 'At a glance',
    head: ['', 'HSM alone', 'plain', 'pinbridge', 'CPU ratio', 'floor', 'aim', 'p99', 'slow HSM', 'half load'],
    rows,
    notes: [
      `Operations a second: of the HSM’s bare calls, made by one process of C; of the plain service; of pinbridge; the services with ${COMPARED_CONNECTIONS} connections, or as many as the operation takes.`,
      'CPU ratio: CPU time of the bare calls, to that of all pinbridge processes, with its floor and its aim.',
      `p99: of the plain service’s (at most 25 %). Slow HSM: throughput, of the plain service’s, ${SLOW_HSM_MS} ms in every PKCS#11 call (at least 8). Half load: p99, of the median (at most 3).`,
      missedIn(goals),
    ],
  }
}

/** Which floors are missed, in words. */
function missedIn(goals: readonly Goal[]): string {
  const titles = Map.groupBy(missedOf(goals), ({ title }) => title)
  if (titles.size === 0) return 'No floor is missed.'
  const operations = (missed: readonly Goal[]): string =>
    missed.some(({ operation }) => operation !== undefined)
      ? ` (${missed.map(({ operation }) => operation).join(', ')})`
      : ''
  return `Floors missed: ${[...titles].map(([title, missed]) => title + operations(missed)).join('; ')}.`
}

function goalTableOf(results: Results): Table {
  const goals = goalsOf(results)
  const text = (goal: Goal) => (value: number) => UNITS[goal.unit](value)
  return {
    id: 'goals',
    title: 'Goals',
    head: ['goal', 'operation', 'measured', 'floor', 'aim', ''],
    rows: goals.some((goal) => goal.figure !== undefined)
      ? goals.map((goal) => [
          goal.title,
          goal.operation ?? '',
          withSpread(goal.figure, text(goal)),
          goal.floor === undefined ? '' : text(goal)(goal.floor),
          goal.aim === undefined ? '' : text(goal)(goal.aim),
          standingOf(goal),
        ])
      : [],
    notes: [],
  }
}

const UNITS: Readonly<Record<Goal['unit'], (value: number) => string>> = {
  share: percent,
  times: (value) => `${value.toFixed(1)} ×`,
  us: (value) => `${figure(value)} µs`,
  ms: (value) => `${figure(value)} ms`,
  'a second': figure,
}

function cpuTableOf(results: Results): Table {
  const ours = OPERATIONS.map((operation) => comparedCell(results, operation, 'pinbridge'))
  const kinds = [...new Set(ours.flatMap((cell) => Object.keys(cell?.samples[0]?.cpuUs ?? {})))]
  const rows = ours.flatMap((cell) => {
    if (cell === undefined) return []
    const bare = cellOf(results, { operation: cell.operation, subject: 'hsm-calls', concurrency: 1 })
    const all = spreadIn(cell, (sample) => cpuUsEach(sample))
    return [
      [
        cell.operation,
        medianOf(spreadIn(bare, (sample) => cpuUsEach(sample))),
        ...kinds.map((kind) =>
          medianOf(spreadIn(cell, (sample) => (kind in sample.cpuUs ? cpuUsEach(sample, kind) : undefined))),
        ),
        withSpread(all),
        medianOf(spreadRoundByRound(bare, cell, (hsm, service) => cpuUsEach(service) - cpuUsEach(hsm))),
      ],
    ]
  })
  return {
    id: 'cpu',
    title: 'CPU microseconds an operation, by process',
    head: ['operation', 'bare calls', ...kinds, 'all', 'added by us'],
    rows,
    notes: ['The vaults make the PKCS#11 calls, so SoftHSM’s own work is in theirs.'],
  }
}

const p99Ms = ({ latencyUs }: Sample): number | undefined => latencyUs && latencyUs.p99 / 1000

/** Cells in the order of the report. */
function sorted(cells: readonly CellResult[]): CellResult[] {
  const place = (cell: CellResult): number[] => [
    OPERATIONS.indexOf(cell.operation),
    cell.load === 'half' ? SUBJECTS.length : SUBJECTS.indexOf(cell.subject),
    cell.concurrency,
  ]
  return cells.toSorted((a, b) => {
    const [one, other] = [place(a), place(b)]
    return one.map((at, i) => at - other[i]!).find((difference) => difference !== 0) ?? 0
  })
}

function cellTableOf({ cells }: Results): Table {
  const rows = sorted(cells.filter(({ hsmLatencyMs }) => hsmLatencyMs === 0)).map((cell) => [
    cell.operation,
    cell.load === 'half' ? `${cell.subject}, half` : cell.subject,
    String(cell.concurrency),
    withSpread(spreadIn(cell, perSecond)),
    withSpread(spreadIn(cell, (sample) => cpuUsEach(sample))),
    ...(['p50', 'p99', 'p999'] as const).map((which) =>
      medianOf(spreadIn(cell, ({ latencyUs }) => latencyUs && latencyUs[which] / 1000)),
    ),
    medianOf(spreadIn(cell, memoryBytes), (bytes) => String(Math.round(bytes / 2 ** 20))),
  ])
  return {
    id: 'cells',
    title: 'Without added latency',
    head: ['', 'subject', 'at once', 'a second', 'CPU µs each', 'p50 ms', 'p99', 'p99.9', 'MB'],
    rows,
    notes: [
      'At once: connections, or processes of hsm-calls. Half: requests arrive at half of that round’s full throughput. For batch and migrate, a second and each count rows, and times are those of requests.',
    ],
  }
}

function latencyTableOf(results: Results): Table {
  const latencies = [...new Set(results.cells.map(({ hsmLatencyMs }) => hsmLatencyMs))].toSorted((a, b) => a - b)
  if (latencies.at(-1) === 0) latencies.length = 0
  const named = sorted(results.cells.filter(({ hsmLatencyMs, load }) => hsmLatencyMs > 0 && load === 'full'))
  const rows = new Map(
    named.map(({ operation, subject, concurrency }) => [
      `${operation} ${subject} ${concurrency}`,
      [
        operation,
        subject,
        String(concurrency),
        ...latencies.map((hsmLatencyMs) =>
          medianOf(spreadIn(cellOf(results, { operation, subject, concurrency, hsmLatencyMs }), perSecond)),
        ),
        ...latencies.map((hsmLatencyMs) =>
          medianOf(spreadIn(cellOf(results, { operation, subject, concurrency, hsmLatencyMs }), p99Ms)),
        ),
      ],
    ]),
  )
  return {
    id: 'hsm-latency',
    title: 'With latency added to every PKCS#11 call',
    head: [
      'operation',
      'subject',
      'at once',
      ...latencies.map((ms) => `${ms} ms /s`),
      ...latencies.map((ms) => `p99 at ${ms}`),
    ],
    rows: [...rows.values()],
    notes: ['A second, and the p99 in milliseconds; medians.'],
  }
}

/** What was fitted, and how far off the model is. */
function modelTableOf(results: Results): Table {
  const points = heldPoints(results)
  const rows = OPERATIONS.flatMap((operation) => {
    const model = fitModel(results, operation)
    const held = points.filter((point) => point.operation === operation)
    if (model === undefined || held.length === 0) return []
    const errors = held.map(({ error }) => Math.abs(error)).toSorted((a, b) => a - b)
    return [
      [
        operation,
        figure(model.cpuUs),
        figure(model.cores),
        figure(model.aloneMs),
        figure(model.calls),
        String(held.length),
        percent(spreadOf(errors).median),
        percent(errors.at(-1)!),
      ],
    ]
  })
  return {
    id: 'model',
    title: 'The model, and how far off it is',
    head: ['', 'CPU µs', 'cores', 'alone ms', 'calls', 'points', 'median error', 'worst'],
    rows,
    notes: [
      'Fitted from the cells without added latency and those of one connection: CPU time an operation, the cores that the load generator leaves, the time of an operation alone, its PKCS#11 calls that wait for the HSM.',
      'Held against the points of 16 connections and more with added latency, from which nothing was fitted.',
    ],
  }
}

function pointTableOf(results: Results): Table {
  return {
    id: 'points',
    title: 'The model against what was measured',
    head: ['operation', 'HSM ms', 'connections', 'measured /s', 'predicted /s', 'error', 'bound by'],
    rows: heldPoints(results).map(pointRow),
    notes: [],
  }
}

function pointRow({ operation, hsmLatencyMs, connections, measured, perSecond, error, bound }: HeldPoint): string[] {
  return [
    operation,
    String(hsmLatencyMs),
    String(connections),
    withSpread(measured),
    figure(perSecond),
    signed(error),
    bound,
  ]
}

function signed(share: number): string {
  const text = percent(Math.abs(share))
  return share < 0 && text !== '0 %' ? `−${text}` : text
}

const ISSUERS = [1e6, 10e6, 100e6]

function needTableOf(results: Results): Table {
  const needs = ISSUERS.map((cards) => needOf(results, cards)).filter((need) => need !== undefined)
  const { 'pin-set-ecdh': changes, 'pin-get': views, 'prw-verify': checks } = ASSUMED.aCardAYear
  return {
    id: 'issuers',
    title: 'What an issuer needs',
    head: ['cards', 'peak /s', 'cores', 'replicas', 'HSM calls /s', 'sessions at 3 ms', 'at 10 ms', 'migration of all'],
    rows: needs.map((need) => [
      figure(need.cards),
      figure(need.perSecond),
      figure(need.cores),
      String(need.replicas),
      figure(need.hsmCallsPerSecond),
      figure(need.sessions(3)),
      figure(need.sessions(10)),
      need.migrationS === undefined ? NONE : durationOf(need.migrationS),
    ]),
    notes: [
      `Assumed: ${changes} PIN changes, ${views} PIN views and ${checks} PIN checks a card a year; the busiest second has ${ASSUMED.peak} times the mean; cores are ${percent(ASSUMED.busy)} busy in it; a replica has ${ASSUMED.coresAReplica}, and one is spare.`,
      'Sessions: as many as are busy in that second on average; migration: one machine, from one zone key to another.',
    ],
  }
}

function durationOf(seconds: number): string {
  return seconds < 120 ? `${figure(seconds)} s` : `${figure(seconds / 60)} min`
}
