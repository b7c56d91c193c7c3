/**
 * `scripts/bench`: the HSM's own limit, a plain service, pinbridge and software without an HSM, side by side on one machine with
 * the same keys and the same work.
 *
 * Ends with 0 if it measured, with 1 if it could not or if `--check` finds a floor missed, with 2 if it was called wrongly.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { temporaryFolder } from '../../test/support/service.ts'
import { stepsOf } from './cells.ts'
import { goalsOf, missedOf } from './goals.ts'
import { SETTINGS_TEXT } from './hsms.ts'
import { writeReport } from './page.ts'
import { headOf, tablesOf } from './report.ts'
import { endAll } from './processes.ts'
import { profile } from './profile.ts'
import { OPERATIONS, thisMachine, type CellResult, type OperationId, type Results } from './results.ts'
import { runRounds } from './rounds.ts'
import { measureStart } from './start.ts'
import { openSubjects } from './subjects.ts'
import { textOf } from './table.ts'

const LATENCIES_MS = [0, 1, 3, 10]
const START = 'start'

const USAGE = `Usage: scripts/bench [--rounds N] [--only NAME,…] [--latencies MS,…] [--quick] [--out FOLDER] [--check] [--profile]
  --rounds N         rounds that count, after one that warms up (5; with --quick 2)
  --only NAME,…      measure these alone: ${[...OPERATIONS, START].join(', ')}
  --latencies MS,…   milliseconds that every call to the HSM takes longer (${LATENCIES_MS.join(',')}; with --quick 0)
  --quick            fewer cells and a moment for each: to try it, and no figure to keep
  --out FOLDER       where results.json, report.html and the plots are written (bench-results)
  --check            end with 1 if a median misses its floor
  --profile          tell instead where the time of a request goes
`

interface Options {
  readonly rounds: number
  readonly operations: readonly OperationId[]
  readonly hsmLatenciesMs: readonly number[]
  readonly start: boolean
  readonly quick: boolean
  readonly out: string
  readonly check: boolean
  readonly profile: boolean
}

let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    interrupted = true
    void endAll().then(() => process.exit(1))
  })
}
try {
  process.exitCode = await bench(optionsOf(process.argv.slice(2)))
} catch (error) {
  // What was interrupted fails for no other reason.
  if (!interrupted) process.stderr.write(`${(error instanceof Error ? error.message : String(error)).trimEnd()}\n`)
  await endAll()
  process.exitCode = 1
}

/** Reads the command line, or ends. */
function optionsOf(args: string[]): Options {
  try {
    const { values } = parseArgs({
      args,
      options: {
        rounds: { type: 'string' },
        only: { type: 'string', default: [...OPERATIONS, START].join(',') },
        latencies: { type: 'string' },
        quick: { type: 'boolean', default: false },
        out: { type: 'string', default: 'bench-results' },
        check: { type: 'boolean', default: false },
        profile: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      process.stdout.write(USAGE)
      process.exit(0)
    }
    const { quick, out, check, profile } = values
    const rounds = Number(values.rounds ?? (quick ? 2 : 5))
    const hsmLatenciesMs = (values.latencies ?? (quick ? '0' : LATENCIES_MS.join(','))).split(',').map(Number)
    const names = values.only.split(',')
    const known: readonly string[] = [...OPERATIONS, START]
    const fit =
      Number.isInteger(rounds) &&
      rounds > 0 &&
      hsmLatenciesMs.every((ms) => Number.isInteger(ms) && ms >= 0 && ms <= 1000) &&
      names.every((name) => known.includes(name))
    const operations = OPERATIONS.filter((operation) => names.includes(operation))
    if (fit) return { rounds, operations, hsmLatenciesMs, start: names.includes(START), quick, out, check, profile }
  } catch {
    // An option that there is not: told below.
  }
  process.stderr.write(USAGE)
  process.exit(2)
}

async function bench(options: Options): Promise<number> {
  const { out, check } = options
  if (options.profile) {
    await profile(options.operations)
    return 0
  }
  const results = await measure(options)
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'results.json'), `${JSON.stringify(results, undefined, 2)}\n`)
  writeReport(results, out)
  process.stdout.write(`${headOf(results)}\n\n`)
  for (const table of tablesOf(results)) process.stdout.write(`${textOf(table).join('\n')}\n\n`)
  process.stdout.write(`The page is ${join(out, 'report.html')}.\n`)
  if (options.quick)
    process.stdout.write('These figures are of services that have just begun: none of them is to be kept.\n')
  return check && missedOf(goalsOf(results)).length > 0 ? 1 : 0
}

async function measure({ rounds, operations, hsmLatenciesMs, start, quick }: Options): Promise<Results> {
  const folder = temporaryFolder()
  process.once('exit', folder.dispose)
  const tell = (line: string): void => void process.stderr.write(`bench: ${line}\n`)

  const cells: CellResult[] = []
  if (operations.length > 0) {
    tell('making a token with keys, and starting the services')
    const migrationRows = operations.includes('migrate') ? (quick ? 100_000 : 5_000_000) : 0
    const subjects = await openSubjects(folder.path, { hsmLatenciesMs, migrationRows })
    const steps = stepsOf({ operations, hsmLatenciesMs, quick })
    cells.push(...(await runRounds(steps, subjects.measure, { rounds, quick, onProgress: progressTo(tell) })))
    await subjects.close()
  }
  if (start) tell('starting the service with 50 keys')
  return {
    machine: thisMachine(),
    rounds,
    settings: Object.fromEntries(hsmLatenciesMs.map((ms) => [ms, SETTINGS_TEXT])),
    cells,
    ...(start && { start: await measureStart(folder.path, Math.max(quick ? 1 : 5, rounds)) }),
  }
}

/** Tells now and then how far it is, and how long it still takes by the mean of what has been measured. */
function progressTo(tell: (line: string) => void): (measured: number, all: number) => void {
  const startedAtMs = performance.now()
  return (measured, all) => {
    if (measured === 0 || measured % 20 > 0) return
    const leftMs = ((performance.now() - startedAtMs) / measured) * (all - measured)
    tell(`${measured} of ${all} measurements, ${(leftMs / 60_000).toFixed(1)} minutes left`)
  }
}
