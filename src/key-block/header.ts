/**
 * The header of a key block: 16 characters of fixed places, then optional blocks, which are kept as they are written.
 *
 * Nothing of it is secret, and all of it is under the block's MAC.
 *
 * @see ANSI X9.143:2021, 6.2 and 6.3 (tables 1 to 6); ASC X9 TR 31-2018, A.2 and A.5
 */
import { KeyBlockError } from './key-block-error.ts'

/** How a block binds the key to its header: A and C by variants of the protection key, B and D by keys derived from it. */
export type VersionId = 'A' | 'B' | 'C' | 'D'

/** One optional block. */
export interface OptionalBlock {
  /** Two letters or digits, such as KS for a key serial number. */
  readonly id: string
  /** What stands behind id and length. */
  readonly data: string
  /** The whole of it as it was written: its length may be written in two forms. */
  readonly text: string
}

/** A header without its length, which follows from the rest of the block. */
export interface KeyBlockHeader {
  readonly versionId: VersionId
  /** Two characters: what the key is for, such as P0. */
  readonly usage: string
  /** One character: what the key is of, such as T for TDEA. */
  readonly algorithm: string
  /** One character: which way it may be used, such as E for enciphering. */
  readonly modeOfUse: string
  /** Two characters: 00 for a key without versions. */
  readonly keyVersion: string
  /** One character: whether it may leave again, E, N or S. */
  readonly exportability: string
  /** One character: under which of two systems of keys it is stored; 0 says nothing. */
  readonly keyContext: string
  readonly optionalBlocks: readonly OptionalBlock[]
}

/** A header, and how many characters it takes. */
export interface ReadHeader {
  readonly header: KeyBlockHeader
  /** What the length field says of the whole block. */
  readonly blockCharacters: number
  readonly headerCharacters: number
}

/** Bytes of a cipher block of each version, of which header and body are multiples. */
export function cipherBlockBytes(versionId: VersionId): 8 | 16 {
  return versionId === 'D' ? 16 : 8
}

const FIXED_CHARACTERS = 16
const FIXED =
  /^(?<versionId>[A-Z])(?<length>[0-9]{4})(?<usage>[0-9A-Z]{2})(?<algorithm>[0-9A-Z])(?<modeOfUse>[0-9A-Z])(?<keyVersion>[0-9A-Za-z]{2})(?<exportability>[0-9A-Z])(?<count>[0-9]{2})(?<keyContext>[0-2])0$/
const PRINTABLE = /^[\x20-\x7e]*$/
const HEX_DIGITS = /^[0-9A-F]+$/

/** The id of the optional block that fills the header up to whole cipher blocks. */
const PADDING_ID = 'PB'

/**
 * Reads the header at the beginning of a block.
 *
 * @throws KeyBlockError that says which place is wrong.
 */
export function readHeader(text: string): ReadHeader {
  const places = FIXED.exec(text.slice(0, FIXED_CHARACTERS))?.groups
  if (places === undefined) throw KeyBlockError.form('its first 16 characters are no header')
  const versionId = places['versionId']!
  if (!isVersionId(versionId)) throw KeyBlockError.form(`version ${versionId} is none of A, B, C and D`)
  const optionalBlocks: OptionalBlock[] = []
  let at = FIXED_CHARACTERS
  for (let i = 0; i < Number(places['count']); i++) {
    const block = readOptionalBlock(text, at, i + 1)
    optionalBlocks.push(block)
    at += block.text.length
  }
  checkPadding(optionalBlocks)
  if (at % cipherBlockBytes(versionId) !== 0) {
    throw KeyBlockError.form(`its header of ${at} characters is no multiple of ${cipherBlockBytes(versionId)}`)
  }
  return {
    header: {
      versionId,
      usage: places['usage']!,
      algorithm: places['algorithm']!,
      modeOfUse: places['modeOfUse']!,
      keyVersion: places['keyVersion']!,
      exportability: places['exportability']!,
      keyContext: places['keyContext']!,
      optionalBlocks,
    },
    blockCharacters: Number(places['length']),
    headerCharacters: at,
  }
}

function isVersionId(text: string): text is VersionId {
  return ['A', 'B', 'C', 'D'].includes(text)
}

/** `id | length | data`, where the length counts all three; or `id | 00 | n | length of 2n digits | data`. */
function readOptionalBlock(text: string, at: number, number: number): OptionalBlock {
  const wrong = (sentence: string): KeyBlockError => KeyBlockError.form(`optional block ${number} ${sentence}`)
  const id = text.slice(at, at + 2)
  if (!/^[0-9A-Z]{2}$/.test(id)) throw wrong('has no id of two capital letters or digits')
  let dataAt = at + 4
  let length = hexNumber(text.slice(at + 2, dataAt), 2)
  if (length === 0) {
    const lengthDigits = 2 * (hexNumber(text.slice(dataAt, dataAt + 2), 2) ?? 0)
    // A block is of at most 9999 characters: more digits than four are a length that it cannot have.
    if (lengthDigits === 0 || lengthDigits > 4) throw wrong('has no length that can be read')
    dataAt += 2 + lengthDigits
    length = hexNumber(text.slice(dataAt - lengthDigits, dataAt), lengthDigits)
  }
  if (length === undefined) throw wrong('has no length that can be read')
  const end = at + length
  if (end < dataAt || end > text.length) throw wrong('has a length that cannot be')
  const data = text.slice(dataAt, end)
  if (!PRINTABLE.test(data)) throw wrong('has characters that are not printable ASCII')
  return { id, data, text: text.slice(at, end) }
}

function hexNumber(digits: string, count: number): number | undefined {
  return digits.length === count && HEX_DIGITS.test(digits) ? Number.parseInt(digits, 16) : undefined
}

function checkPadding(blocks: readonly OptionalBlock[]): void {
  const at = blocks.findIndex(({ id }) => id === PADDING_ID)
  if (at >= 0 && at !== blocks.length - 1)
    throw KeyBlockError.form('its padding block PB is not the last optional block')
}

/**
 * Writes a header, its optional blocks as they are, with a padding block behind them if they do not fill whole cipher blocks.
 *
 * @param bodyCharacters - of what follows the header, MAC included.
 * @throws KeyBlockError if it would be longer than a key block can be.
 */
export function formatHeader(header: KeyBlockHeader, bodyCharacters: number): string {
  const blocks = paddedBlocks(header)
  const characters = FIXED_CHARACTERS + lengthOf(blocks) + bodyCharacters
  if (blocks.length > 99 || characters > 9999) throw KeyBlockError.form('it would be longer than a key block can be')
  const { versionId, usage, algorithm, modeOfUse, keyVersion, exportability, keyContext } = header
  const count = String(blocks.length).padStart(2, '0')
  return [
    `${versionId}${String(characters).padStart(4, '0')}`,
    `${usage}${algorithm}${modeOfUse}${keyVersion}${exportability}${count}${keyContext}0`,
    ...blocks.map(({ text }) => text),
  ].join('')
}

function paddedBlocks({ versionId, optionalBlocks }: KeyBlockHeader): readonly OptionalBlock[] {
  const unit = cipherBlockBytes(versionId)
  const missing = -lengthOf(optionalBlocks) & (unit - 1)
  if (missing === 0) return optionalBlocks
  // Id and length take four characters: with less room, the padding takes a cipher block more.
  return [...optionalBlocks, optionalBlock(PADDING_ID, '0'.repeat(missing < 4 ? missing + unit - 4 : missing - 4))]
}

function lengthOf(blocks: readonly OptionalBlock[]): number {
  return blocks.reduce((sum, { text }) => sum + text.length, 0)
}

/** Makes an optional block, with the short form of its length where that is long enough. */
export function optionalBlock(id: string, data: string): OptionalBlock {
  const hex = (value: number, digits: number): string => value.toString(16).toUpperCase().padStart(digits, '0')
  const short = 4 + data.length
  const length = short <= 0xff ? hex(short, 2) : `0002${hex(10 + data.length, 4)}`
  return { id, data, text: `${id}${length}${data}` }
}
