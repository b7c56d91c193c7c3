/**
 * Benchmarks: how much of the CPU time goes into the PKCS#11 calls of the work, and how much into everything of ours.
 *
 * Ends with 0 if it measured, with 1 if it could not or if `--check` finds a floor missed, with 2 if it was called wrongly.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { temporaryFolder } from '../../test/support/service.ts'
import { jsonOf, missedOf, tableOf, thisMachine } from './report.ts'
import { benchTranslate, TRANSLATE_SUBJECTS } from './translate.ts'

const USAGE = `Usage: scripts/bench translate [--rounds N] [--rows N] [--only NAME,…] [--json FILE] [--check]
  --rounds N     rounds that count, after one that warms up (5)
  --rows N       rows of a migrated file; in a round, batches take a tenth, single requests a hundredth (5000000)
  --only NAME,…  measure these alone: ${TRANSLATE_SUBJECTS.join(', ')}
  --json FILE    write the figures there too
  --check        end with 1 if a median is below its floor
`

const print = (line = ''): void => void process.stdout.write(`${line}\n`)

try {
  process.exitCode = await bench(optionsOf(process.argv.slice(2)))
} catch (error) {
  process.stderr.write(`${(error instanceof Error ? error.message : String(error)).trimEnd()}\n`)
  process.exitCode = 1
}

interface Options {
  readonly rounds: number
  readonly rows: number
  readonly only: readonly string[]
  readonly json: string | undefined
  readonly check: boolean
}

/** Reads the command line, or ends. */
function optionsOf(args: string[]): Options {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        rounds: { type: 'string', default: '5' },
        rows: { type: 'string', default: '5000000' },
        only: { type: 'string', default: TRANSLATE_SUBJECTS.join(',') },
        json: { type: 'string' },
        check: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      process.stdout.write(USAGE)
      process.exit(0)
    }
    const options = {
      ...values,
      rounds: Number(values.rounds),
      rows: Number(values.rows),
      only: values.only.split(','),
    }
    const numbersFit = Number.isInteger(options.rounds) && Number.isInteger(options.rows) && options.rounds > 0
    const namesFit = options.only.every((name) => (TRANSLATE_SUBJECTS as readonly string[]).includes(name))
    if (positionals.join(' ') === 'translate' && numbersFit && options.rows >= 10_000 && namesFit) {
      return { ...options, json: values.json }
    }
  } catch {
    // An option that there is not: told below.
  }
  process.stderr.write(USAGE)
  process.exit(2)
}

async function bench({ rounds, rows, only, json, check }: Options): Promise<number> {
  const machine = thisMachine()
  print(
    `PIN blocks translated from ISO format 0 to ISO format 0, TDEA to TDEA, on ${machine.cores} cores of ${machine.model}.`,
  )
  print('Ratio: CPU time of the bare PKCS#11 calls to CPU time of all our processes. Medians (and spread).')
  const folder = temporaryFolder()
  process.once('exit', folder.dispose)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
  const tell = (line: string): void => void process.stderr.write(`bench: ${line}\n`)
  const measured = await benchTranslate({ rounds, rows, only, folder: folder.path, tell })
  print()
  for (const line of tableOf(measured)) print(line)
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(jsonOf(measured, machine, rounds), undefined, 2)}\n`)
  const missed = missedOf(measured)
  if (missed.length > 0) print(`\nBelow the floor: ${missed.map(({ subject }) => subject.title).join('; ')}`)
  return check && missed.length > 0 ? 1 : 0
}
