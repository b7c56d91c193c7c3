/** `pinbridge migrate`: the whole command, start-up and vaults included, and its output compared whole. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, createReadStream, openSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { cpuUsOfEndedChildren, endWithUs } from './processes.ts'
import type { Sample } from './results.ts'
import { csvOf, CSV_HEAD, makeRows, type RowKeys, type Rows } from './rows.ts'
import { CLI } from './service.ts'

const OUTPUT = 'migrated'
const PIECE_ROWS = 10_000

/** A file to be migrated, and what must come of it. */
export interface MigrationInput {
  readonly rows: number
  readonly path: string
  readonly outputSha256: string
}

/** Writes a file of CSV. */
export function writeMigrationInput(count: number, keys: RowKeys, folder: string): MigrationInput {
  const rows = makeRows(count, keys)
  const path = join(folder, 'input.csv')
  const file = openSync(path, 'w', 0o600)
  for (const text of fileText(rows, rows.blocksUnderFrom)) writeSync(file, text)
  closeSync(file)
  const expected = createHash('sha256')
  for (const text of fileText(rows, rows.blocksUnderTo)) expected.update(text)
  return { rows: count, path, outputSha256: expected.digest('hex') }
}

/** The text of a file of rows, in pieces. */
function* fileText(rows: Rows, blocks: Buffer): Generator<string> {
  yield CSV_HEAD
  for (let start = 0; start < rows.count; start += PIECE_ROWS) {
    yield csvOf(rows, blocks, start, Math.min(rows.count, start + PIECE_ROWS))
  }
}

/**
 * Migrates the file once.
 *
 * @throws unless the command ends with 0 and its output is right, byte for byte.
 */
export async function measureMigration(
  { rows, path, outputSha256 }: MigrationInput,
  config: string,
  folder: string,
): Promise<Sample> {
  const out = join(folder, OUTPUT)
  const messages = join(folder, 'migrate-messages')
  const stderr = openSync(messages, 'w', 0o600)
  const args = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0', '--in', path, '--out', out, '--config', config]
  const before = cpuUsOfEndedChildren('self')
  const startedAtMs = performance.now()
  const command = spawn(process.execPath, [CLI, 'migrate', ...args], {
    stdio: ['ignore', stderr, stderr],
    env: { PATH: process.env['PATH'] ?? '' },
  })
  closeSync(stderr)
  endWithUs(command)
  const [code] = await once(command, 'exit')
  const wallMs = performance.now() - startedAtMs
  const cpuUs = cpuUsOfEndedChildren('self') - before
  if (code !== 0) throw new Error(`pinbridge migrate ended with ${code}:\n${readFileSync(messages, 'utf8')}`)
  const hash = createHash('sha256')
  await pipeline(createReadStream(out), hash)
  if (hash.digest('hex') !== outputSha256) throw new Error('pinbridge migrate wrote something wrong')
  // Its record too: the next round begins as this one did.
  for (const name of readdirSync(folder)) if (name.startsWith(OUTPUT)) rmSync(join(folder, name))
  // Its vaults are its children: it waits for them, and so they are in its sum.
  return { operations: rows, wallMs, cpuUs: { 'command and vaults': cpuUs } }
}
