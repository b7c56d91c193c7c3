/** `pinbridge audit verify` proves files of the audit record; `pinbridge audit show` prints what of them is looked for. */
import { Command, InvalidArgumentError } from 'commander'

/** What `show` is told. */
export interface ShowOptions {
  readonly config?: string
  readonly client?: string
  readonly operation?: string
  readonly cardHash?: string
  readonly panFromStdin?: boolean
  readonly since?: number
  readonly until?: number
  readonly code?: string
  readonly correlationId?: string
  readonly json?: boolean
}

const VERIFY_NOTES = `
Give all files of a record, or those from one on: what was before them is said, and not proven. Records behind the last
seal are chained and not proven. Exit codes: 0 proven up to the last seal; 1 broken; 2 not broken, and longer without a seal
than twice sealEveryMs; 66 a file cannot be read; 69 the HSM cannot be used; 78 the configuration cannot be used.`

/** Declares the commands. */
export function auditCommand(): Command {
  const verify = new Command('verify')
    .description('prove that nothing of the audit record was changed, or name the first record that was')
    .argument('<file...>', 'files of the record')
    .requiredOption(
      '--config <file>',
      'the configuration, for the HSM that made the seals',
      process.env['PINBRIDGE_CONFIG'],
    )
    .option(
      '--anchor <seq:hash>',
      'a record that must be there, as the log said of it; may be given again',
      parseAnchor,
    )
    .option('--json', 'print the verdict as JSON')
    .addHelpText('after', VERIFY_NOTES)
    .action(async (files: string[], options: { config: string; anchor?: Map<number, string>; json?: boolean }) => {
      const { verifyCommand } = await import('./audit-verify.ts')
      await verifyCommand(files, options)
    })
  const show = new Command('show')
    .description('print the records that match; nothing is proven by it')
    .argument('<file...>', 'files of the record')
    .option('--client <id>', 'of this client')
    .option('--operation <name>', 'of this operation, such as pin/get')
    .option('--card-hash <hex>', 'of the card with this hash')
    .option(
      '--pan-from-stdin',
      'of the card whose PAN is on standard input; needs --config, for the HSM that hashes it',
    )
    .option('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--since <time>', 'from this time on, such as 2026-11-23T12:00:00Z', parseTime)
    .option('--until <time>', 'up to this time', parseTime)
    .option('--code <code>', 'that ended so: OK, or an error code')
    .option('--correlation-id <id>', 'of requests with this correlation id')
    .option('--json', 'print each record as it was written')
    .action(async (files: string[], options: ShowOptions) => {
      const { showCommand } = await import('./audit-show.ts')
      await showCommand(files, options)
    })
  return new Command('audit').description('prove and read the audit record').addCommand(verify).addCommand(show)
}

function parseTime(text: string): number {
  const timeMs = Date.parse(text)
  if (Number.isNaN(timeMs)) throw new InvalidArgumentError('a time is written as 2026-11-23T12:00:00Z')
  return timeMs
}

function parseAnchor(text: string, earlier: ReadonlyMap<number, string> = new Map()): Map<number, string> {
  const [, seq, hash] = /^(\d{1,15}):([0-9A-Fa-f]{64})$/.exec(text) ?? []
  if (seq === undefined || hash === undefined)
    throw new InvalidArgumentError('an anchor is a seq and a hash, as SEQ:HASH')
  return new Map([...earlier, [Number(seq), hash.toUpperCase()]])
}
