/** A key block as text: read from a file, and its header shown to a person. */
import { readFileSync } from 'node:fs'
import { EX_DATAERR, EX_NOINPUT } from '../../exit-codes.ts'
import type { KeyBlockHeader } from '../../key-block/header.ts'
import { headerInWords } from '../../key-block/header-words.ts'
import { KeyBlockError } from '../../key-block/key-block-error.ts'
import { parseKeyBlock, type KeyBlock } from '../../key-block/key-block.ts'
import { CommandError } from '../command-error.ts'

/** Reads a key block; a line end behind it is no part of it. */
export function readKeyBlock(file: string): KeyBlock {
  let text: string
  try {
    text = readFileSync(file === '-' ? 0 : file, 'latin1')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CommandError(EX_NOINPUT, `--block-file: it cannot be read (${code})`)
  }
  return refusing(() => parseKeyBlock(text.replace(/\r?\n$/, '')))
}

/** Runs what may refuse a key block, and words the refusal as the command's end. */
export function refusing<T>(open: () => T): T {
  try {
    return open()
  } catch (error) {
    throw asCommandError(error)
  }
}

/** The command's end for a key block that was refused; any other error as it is. */
export function asCommandError(error: unknown): unknown {
  return error instanceof KeyBlockError ? new CommandError(EX_DATAERR, error.message) : error
}

/** A header as lines of a table. */
export function headerTable(header: KeyBlockHeader): string {
  const words = headerInWords(header)
  const widths = [words.map(({ name }) => name.length), words.map(({ value }) => value.length)].map((lengths) =>
    Math.min(24, Math.max(...lengths)),
  )
  return words
    .map(({ name, value, meaning }) => `  ${name.padEnd(widths[0]!)}  ${value.padEnd(widths[1]!)}  ${meaning}\n`)
    .join('')
}

/** A header for the JSON form: its places, their meanings, and the optional blocks as they are written. */
export function headerJson(header: KeyBlockHeader): object {
  const { optionalBlocks, ...places } = header
  const meanings = headerInWords({ ...header, optionalBlocks: [] }).map(({ name, meaning }) => [name, meaning])
  return { ...places, optionalBlocks, meanings: Object.fromEntries(meanings) as object }
}

/** What to say of a version that is read for those who still send it; undefined for the others. */
export function versionWarning({ versionId }: KeyBlockHeader): string | undefined {
  if (versionId === 'B' || versionId === 'D') return undefined
  return `Warning: key blocks of version ${versionId} are obsolete: their MAC has 4 bytes, and their keys are no derived ones. Ask for version B or D.`
}
