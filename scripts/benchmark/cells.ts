/** Which cells the table has, and how long each is measured in a round: a full run ends within half an hour. */
import { COMPARED_CONNECTIONS } from './figures.ts'
import type { CellId, OperationId } from './results.ts'
import { LEFT_OUT } from './software-holders.ts'

const CONNECTIONS = [1, 16, COMPARED_CONNECTIONS, 256]
/** Of 10 000 rows each; a client may have eight under way. */
const BATCH_CONNECTIONS = [1, 4, 8]
const PROCESSES = [1, 2]
const SOFTWARE = ['node-crypto', 'node-forge'] as const

/** What is left out of a full table. */
export interface CellOptions {
  readonly operations: readonly OperationId[]
  readonly hsmLatenciesMs: readonly number[]
  /** One concurrency of each subject, and the least time for each cell. */
  readonly quick: boolean
}

/** The cells in steps: what stands in one step is measured in this order, whichever order the steps come in. */
export function stepsOf({ operations, hsmLatenciesMs, quick }: CellOptions): CellId[][] {
  return operations.flatMap((operation) =>
    hsmLatenciesMs.flatMap((hsmLatencyMs) =>
      hsmLatencyMs === 0 ? localSteps(operation, quick) : slowSteps(operation, hsmLatencyMs, quick),
    ),
  )
}

/** A token that computes in the vault, as SoftHSM does. */
function localSteps(operation: OperationId, quick: boolean): CellId[][] {
  const cell = cellAt(operation, 0)
  const bare = PROCESSES.map((processes) => [cell('hsm-calls', processes)])
  const software = SOFTWARE.filter((subject) => !(`${subject}:${operation}` in LEFT_OUT)).map((subject) => [
    cell(subject, 1),
  ])
  if (operation === 'migrate') return [...bare, [cell('pinbridge', 1)], ...software]
  const all = operation === 'batch' ? BATCH_CONNECTIONS : CONNECTIONS
  const served = quick ? [all.at(-2)!] : all
  const paced = (connections: number): CellId[] =>
    connections === COMPARED_CONNECTIONS ? [{ ...cell('pinbridge', connections), load: 'half' }] : []
  return [
    ...bare,
    ...served.flatMap((connections) => [
      [cell('pinbridge', connections), ...paced(connections)],
      [cell('plain', connections)],
    ]),
    ...software,
  ]
}

/** An HSM that takes its time, as one on the network does. */
function slowSteps(operation: OperationId, hsmLatencyMs: number, quick: boolean): CellId[][] {
  if (operation === 'migrate') return []
  const cell = cellAt(operation, hsmLatencyMs)
  const bare = PROCESSES.map((processes) => [cell('hsm-calls', processes)])
  // The plain service asks for each row: at 10 ms a call, a batch would take it minutes.
  if (operation === 'batch') return [...bare, [cell('pinbridge', 4)]]
  const all = operation === 'pin-set-ecdh' ? CONNECTIONS : [1, COMPARED_CONNECTIONS]
  const served = quick ? [COMPARED_CONNECTIONS] : all
  return [
    ...bare,
    ...served.map((connections) => [cell('pinbridge', connections)]),
    [cell('plain', COMPARED_CONNECTIONS)],
  ]
}

function cellAt(operation: OperationId, hsmLatencyMs: number) {
  return (subject: CellId['subject'], concurrency: number): CellId => ({
    operation,
    subject,
    concurrency,
    hsmLatencyMs,
    load: 'full',
  })
}

/** How long a cell is measured in a round, in milliseconds: longer where the slowest requests are looked at. */
export function durationMsOf({ subject, concurrency, hsmLatencyMs }: CellId, quick: boolean): number {
  if (quick) return 100
  if (subject === 'hsm-calls' || subject === 'node-crypto' || subject === 'node-forge') return 500
  return concurrency === COMPARED_CONNECTIONS && hsmLatencyMs === 0 ? 2000 : 900
}
