/** What `audit show` does: reads the files once and prints what matches. */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { matches, textOf } from '../audit/filter.ts'
import { readLines } from '../audit/lines.ts'
import { parseRecord } from '../audit/record.ts'
import { loadConfig } from '../config/config.ts'
import { createSubjectHash } from '../gateway/subject-hash.ts'
import { deriveHashKey } from '../vault/operations/derive-hash-key.ts'
import { EX_DATAERR, EX_IOERR, EX_USAGE } from '../exit-codes.ts'
import { expectFiles } from './audit-files.ts'
import { openOwnKeys } from './audit-hsm.ts'
import type { ShowOptions } from './audit.ts'
import { CommandError } from './command-error.ts'

/** Prints; what is no record is counted and said on standard error. */
export async function showCommand(files: readonly string[], options: ShowOptions): Promise<void> {
  expectFiles(files)
  // Whoever reads may have seen enough.
  process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : EX_IOERR))
  const { client, operation, since, until, code, correlationId } = options
  const card = options.panFromStdin ? await cardHash(options) : options.cardHash?.toLowerCase()
  const filter = { client, operation, card, code, correlationId, sinceMs: since, untilMs: until }
  let strange = 0
  for (const file of files) {
    for await (const { bytes, isWhole } of readLines(file)) {
      // What stands behind the last line is a write that was cut off, or is under way.
      if (!isWhole) continue
      const line = bytes.toString('utf8')
      const record = parseRecord(line)
      if (record === undefined) strange++
      else if (matches(record, filter) && !process.stdout.write(`${options.json ? line : textOf(record)}\n`)) {
        await once(process.stdout, 'drain')
      }
    }
  }
  if (strange === 0) return
  process.stderr.write(`${strange} lines are no records\n`)
  process.exitCode = EX_DATAERR
}

/** The hash that records know the card by; a PAN on the command line would stand in the process list. */
async function cardHash({ config }: ShowOptions): Promise<string> {
  if (config === undefined) throw new CommandError(EX_USAGE, '--pan-from-stdin needs --config')
  const pan = (await text(process.stdin)).trim()
  if (!/^[1-9][0-9]{11,18}$/.test(pan))
    throw new CommandError(EX_USAGE, 'a PAN of 12 to 19 digits is expected on standard input')
  const { open, catalogue } = await openOwnKeys(loadConfig(config), 'limit-hash')
  try {
    const { packed } = await deriveHashKey({ hsm: open.hsm, catalogue })
    return createSubjectHash(packed).card(pan)
  } finally {
    open.close()
  }
}
