/** `pinbridge migrate`: translates a file of PIN blocks from one zone key and format to another. */
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { filesOf, type MigrateOptions } from '../migration/options.ts'
import type { Named } from '../migration/parameters.ts'
import { recordPath, temporaryRecordPath } from '../migration/record.ts'
import { pinOwnersIn } from '../config/pin-owners.ts'
import { refusalPath } from '../pin-file.ts'
import { HEAP_FLAGS } from '../supervisor/spawn.ts'
import { EX_USAGE } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'
import { confine } from './confine.ts'

const FORMATS = ['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS']

interface CommandLine {
  readonly from: Named
  readonly to: Named
  readonly in: string
  readonly out?: string
  readonly config: string
  readonly rejects?: string
  readonly prw?: Named
  readonly resume?: boolean
  readonly dryRun?: boolean
  readonly checkIds?: boolean
  readonly json?: boolean
}

const NOTES = `
Rows are CSV (RFC 4180; the first line may name the columns, which are id, pan and pinBlock) or NDJSON (an object a line
with these members). A row comes out as it went in, with its PIN block replaced; one that cannot be used goes to the
reject file with its line number and a code. Both keys must carry "migrate: true" in the configuration.

A key stands for its active version; KEY@VERSION names another. When a key has been replaced, --from zpk@1:ISO-0 --to
zpk:ISO-0 brings what is stored under its version 1 under the active one. PIN blocks may come from any version that is not
retired, and go to the active one only.

Exit codes: 0 complete; 65 complete, with rejects; 64 wrong usage; 69 the HSM cannot be used; 73 something is there
that would be overwritten; 74 reading or writing failed; 77 the keys do not permit it; 78 the configuration cannot be
used; 130 and 143 ended by SIGINT and SIGTERM.`

/** Declares the command. */
export function migrateCommand(): Command {
  return new Command('migrate')
    .description('translate a file of PIN blocks from one zone key and format to another')
    .requiredOption(
      '--from <key:format>',
      'what the PIN blocks are under, such as zpk-old:ISO-0 or zpk@1:ISO-0',
      parseZone,
    )
    .requiredOption('--to <key:format>', 'what they are to be under', parseZone)
    .requiredOption('--in <file>', 'the rows; - for standard input')
    .option('--out <file>', 'where they go; - for standard output; must not be there')
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--rejects <file>', 'where rejects go (default: the output with .rejects behind it)')
    .option('--prw <key:profile>', 'also make the PRW of each row', parsePrw)
    .option('--resume', 'go on where a migration with the same output was stopped')
    .option('--dry-run', 'check every PIN block and write nothing')
    .option('--check-ids', 'reject an id that the file has twice, wherever; takes 16 to 48 bytes of memory a row')
    .option('--json', 'print the summary as JSON')
    .addHelpText('after', NOTES)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EX_USAGE))
    .action(run)
}

async function run(line: CommandLine): Promise<void> {
  const options = optionsOf(line)
  const files = filesOf(options)
  const written = files
    ? [files.output, files.rejects, recordPath(files.output), temporaryRecordPath(files.output)]
    : options.isDryRun || options.rejects === undefined
      ? []
      : [options.rejects]
  const refusals = pinOwnersIn(line.config).map(refusalPath)
  confine([...written, ...refusals, join(tmpdir(), 'pinbridge-*')], HEAP_FLAGS)
  // Loaded here, because this process begins anew when it is confined.
  const [{ loadConfig }, { migrate }, { summaryText }, { assertMayStart }] = await Promise.all([
    import('../config/config.ts'),
    import('../migration/migrate.ts'),
    import('../migration/summary.ts'),
    import('../supervisor/start-rules.ts'),
  ])
  const config = loadConfig(line.config)
  assertMayStart(config)
  const { exitCode, summary, sentences } = await migrate(config, options)
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`)
  if (summary) {
    const text = line.json ? `${JSON.stringify(summary)}\n` : summaryText(summary)
    const isOutputStandard = !options.isDryRun && options.output === undefined
    const stream = isOutputStandard ? process.stderr : process.stdout
    stream.write(text)
  }
  process.exit(exitCode)
}

function optionsOf(line: CommandLine): MigrateOptions {
  const { from, to, prw, out, rejects, resume = false, dryRun = false, checkIds = false } = line
  const usage = (sentence: string) => new CommandError(EX_USAGE, sentence)
  if (out === undefined && !dryRun) throw usage('--out is needed, unless it is a --dry-run')
  if (resume && dryRun) throw usage('--resume does not go with --dry-run, which writes nothing')
  if (resume && (line.in === '-' || out === '-')) throw usage('--resume needs files, and - is none')
  const pathOf = (name: string | undefined) => (name === undefined || name === '-' ? undefined : resolve(name))
  return {
    from,
    to,
    prw,
    input: pathOf(line.in),
    output: pathOf(out),
    rejects: pathOf(rejects),
    isResumed: resume,
    isDryRun: dryRun,
    checkIds,
  }
}

function parsePrw(text: string): Named {
  const named = parseNamed(text)
  if (named.version !== undefined) throw new InvalidArgumentError('PRWs are made by the active version of a key')
  return named
}

function parseNamed(text: string): Named {
  const [, key, version, format] =
    /^([A-Za-z0-9._-]{1,64})(?:@([1-9][0-9]{0,3}))?:([A-Za-z0-9._-]{1,64})$/.exec(text) ?? []
  if (key === undefined || format === undefined) {
    throw new InvalidArgumentError('a key and what it is used with, as KEY:NAME or KEY@VERSION:NAME')
  }
  return { key, format, ...(version !== undefined && { version: Number(version) }) }
}

function parseZone(text: string): Named {
  const named = parseNamed(text)
  if (!FORMATS.includes(named.format)) throw new InvalidArgumentError(`a format is one of ${FORMATS.join(', ')}`)
  return named
}
