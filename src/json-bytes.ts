/**
 * The one strict JSON reader (RFC 8259), over bytes (M-16).
 *
 * It reads what JSON.parse reads, and refuses besides: invalid UTF-8 and a byte order mark, a member name that an object
 * repeats (however it is spelled), `__proto__` as a name, an escape for half a surrogate pair, and nesting beyond a limit.
 * Two parties that read such texts differently are how a check and a use come to disagree.
 *
 * Both readers answer bad input with undefined and say no more: the caller knows which error code fits.
 * Time is linear in the input, recursion is bounded by the depth limit, and nothing is copied while scanning.
 */
import { isUtf8 } from 'node:buffer'

const DEFAULT_MAX_DEPTH = 16

/** What a JSON value is (RFC 8259 §3). */
export type JsonKind = 'string' | 'number' | 'object' | 'array' | 'true' | 'false' | 'null'

/** One member's value, as the bytes that spell it. */
export interface JsonMember {
  readonly kind: JsonKind
  /** A view into the input, not a copy: wiped with it. A string's bytes are those between its quotes. */
  readonly bytes: Buffer
  /** Whether a string contains an escape, so that `bytes` is not yet its text. */
  readonly escaped: boolean
}

/** How much is read. */
export interface JsonLimits {
  /** The most arrays and objects around a value; 16 unless told. */
  readonly maxDepth?: number
  /** The most members of one object; no limit unless told. */
  readonly maxMembers?: number
  /** Whether no object of the text, at any depth, may have a member of this name. */
  readonly refusesName?: (name: string) => boolean
  /** The names that are likely to be met, so that none of them is made a string anew each time. */
  readonly names?: ExpectedNames
}

/** Member names by a hash of how they are spelled, quotes included; two of one hash are one too many, and one is left out. */
export type ExpectedNames = readonly ({ readonly spelling: Buffer; readonly name: string } | undefined)[]

const NAME_SLOTS = 64

/** Makes the table for `JsonLimits.names`; no name in it needs an escape. */
export function expectedNames(names: readonly string[]): ExpectedNames {
  const slots = new Array<{ readonly spelling: Buffer; readonly name: string } | undefined>(NAME_SLOTS).fill(undefined)
  for (const name of names) {
    const spelling = Buffer.from(JSON.stringify(name))
    slots[nameSlot(spelling, 0, spelling.length)] = { spelling, name }
  }
  return slots
}

function nameSlot(bytes: Buffer, start: number, end: number): number {
  return (end - start + bytes[start + 1]! * 5 + bytes[end - 2]! * 3) % NAME_SLOTS
}

/**
 * Reads a JSON text that holds no secret.
 *
 * @returns the value as JSON.parse makes it (so numbers are doubles: take digits as strings); undefined on bad input.
 */
export function readJson(bytes: Uint8Array, limits: JsonLimits = {}): unknown {
  const text = view(bytes)
  return scan(text, limits) ? JSON.parse(text.toString('utf8')) : undefined
}

/**
 * Reads a JSON object that holds secrets: no value of it ever becomes a string or a copy. Member names do.
 *
 * @param bytes - the caller's, who wipes them; the members are views into them.
 * @returns the top-level object's members by name; undefined on bad input, or if the text is not an object.
 */
export function readMembers(bytes: Uint8Array, limits: JsonLimits = {}): Map<string, JsonMember> | undefined {
  const members = new Map<string, JsonMember>()
  const kind = scan(view(bytes), limits, members)
  return kind === 'object' ? members : undefined
}

/** A position in the text, and what is known of the text. */
interface Cursor {
  readonly bytes: Buffer
  at: number
  readonly maxMembers: number
  readonly refusesName: JsonLimits['refusesName']
  readonly names: ExpectedNames | undefined
}

/** Thrown inside this file only; made once, because it tells nothing but that the text is not JSON. */
const NOT_JSON = new Error('not JSON')

const TAB = 0x09
const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const PLUS = 0x2b
const COMMA = 0x2c
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const CAPITAL_E = 0x45
const BRACKET_OPEN = 0x5b
const BACKSLASH = 0x5c
const BRACKET_CLOSE = 0x5d
const LETTER_A = 0x61
const LETTER_E = 0x65
const LETTER_F = 0x66
const LETTER_N = 0x6e
const LETTER_T = 0x74
const LETTER_U = 0x75
const BRACE_OPEN = 0x7b
const BRACE_CLOSE = 0x7d
const ESCAPABLE = Buffer.from('"\\/bfnrt')

/** From so many names on, a set finds a repeated one faster than a walk through a list. */
const MANY_NAMES = 16

/** The kind of the one value that the text consists of; undefined on bad input. `members` takes a top-level object's. */
function scan(bytes: Buffer, limits: JsonLimits, members?: Map<string, JsonMember>): JsonKind | undefined {
  // Outside strings the grammar is ASCII, so this one check leaves only valid UTF-8 inside them.
  if (!isUtf8(bytes)) return undefined
  const { maxDepth = DEFAULT_MAX_DEPTH, maxMembers = Infinity, refusesName, names } = limits
  const cursor: Cursor = { bytes, at: 0, maxMembers, refusesName, names }
  try {
    skipSpace(cursor)
    const kind = skipValue(cursor, maxDepth, members)
    skipSpace(cursor)
    return cursor.at === bytes.length ? kind : undefined
  } catch (error) {
    if (error === NOT_JSON) return undefined
    throw error
  }
}

/** value = false / null / true / object / array / number / string (RFC 8259 §3). */
function skipValue(cursor: Cursor, depth: number, members?: Map<string, JsonMember>): JsonKind {
  const kind = kindAt(cursor)
  if (kind === 'string') skipString(cursor)
  else if (kind === 'number') skipNumber(cursor)
  else if (kind === 'object') skipObject(cursor, depth - 1, members)
  else if (kind === 'array') skipArray(cursor, depth - 1)
  else skipWord(cursor, kind)
  return kind
}

/** A member's value from the bytes that spell it. */
function memberValue(kind: JsonKind, spelling: Buffer): JsonMember {
  const bytes = kind === 'string' ? spelling.subarray(1, -1) : spelling
  return { kind, bytes, escaped: kind === 'string' && bytes.includes(BACKSLASH) }
}

/** The kind of value that can only follow, told by its first byte. */
function kindAt(cursor: Cursor): JsonKind {
  const byte = cursor.bytes[cursor.at]
  if (byte === QUOTE) return 'string'
  if (byte === BRACE_OPEN) return 'object'
  if (byte === BRACKET_OPEN) return 'array'
  if (byte === LETTER_T) return 'true'
  if (byte === LETTER_F) return 'false'
  if (byte === LETTER_N) return 'null'
  return 'number'
}

/** object = { [ member *( , member ) ] } (RFC 8259 §4), no name twice. */
function skipObject(cursor: Cursor, depth: number, members?: Map<string, JsonMember>): void {
  if (depth < 0) throw NOT_JSON
  expectByte(cursor, BRACE_OPEN)
  skipSpace(cursor)
  if (skipByte(cursor, BRACE_CLOSE)) return
  const names: string[] = []
  let manyNames: Set<string> | undefined
  do {
    skipSpace(cursor)
    const name = readName(cursor)
    if (name === '__proto__' || (manyNames?.has(name) ?? names.includes(name))) throw NOT_JSON
    if (cursor.refusesName?.(name)) throw NOT_JSON
    names.push(name)
    if (names.length > cursor.maxMembers) throw NOT_JSON
    if (names.length >= MANY_NAMES) manyNames = (manyNames ?? new Set(names)).add(name)
    skipSpace(cursor)
    expectByte(cursor, COLON)
    skipSpace(cursor)
    const start = cursor.at
    const kind = skipValue(cursor, depth)
    members?.set(name, memberValue(kind, cursor.bytes.subarray(start, cursor.at)))
    skipSpace(cursor)
  } while (skipByte(cursor, COMMA))
  expectByte(cursor, BRACE_CLOSE)
}

/** array = [ [ value *( , value ) ] ] (RFC 8259 §5). */
function skipArray(cursor: Cursor, depth: number): void {
  if (depth < 0) throw NOT_JSON
  expectByte(cursor, BRACKET_OPEN)
  skipSpace(cursor)
  if (skipByte(cursor, BRACKET_CLOSE)) return
  do {
    skipSpace(cursor)
    skipValue(cursor, depth)
    skipSpace(cursor)
  } while (skipByte(cursor, COMMA))
  expectByte(cursor, BRACKET_CLOSE)
}

/** number = [ - ] int [ . digits ] [ e [ + / - ] digits ] (RFC 8259 §6). */
function skipNumber(cursor: Cursor): void {
  skipByte(cursor, MINUS)
  if (!skipByte(cursor, ZERO)) skipDigits(cursor)
  if (skipByte(cursor, POINT)) skipDigits(cursor)
  if (skipByte(cursor, LETTER_E) || skipByte(cursor, CAPITAL_E)) {
    if (!skipByte(cursor, PLUS)) skipByte(cursor, MINUS)
    skipDigits(cursor)
  }
}

function skipDigits(cursor: Cursor): void {
  const start = cursor.at
  while (cursor.bytes[cursor.at]! >= ZERO && cursor.bytes[cursor.at]! <= NINE) cursor.at++
  if (cursor.at === start) throw NOT_JSON
}

/** string = " *char " (RFC 8259 §7). */
function skipString(cursor: Cursor): void {
  expectByte(cursor, QUOTE)
  const { bytes } = cursor
  let { at } = cursor
  // Most of a text is this loop.
  for (let byte = bytes[at]; byte !== QUOTE; byte = bytes[at]) {
    if (byte === undefined || byte < SPACE) throw NOT_JSON
    at++
    if (byte !== BACKSLASH) continue
    cursor.at = at
    skipEscape(cursor)
    at = cursor.at
  }
  cursor.at = at + 1
}

/** What may follow a backslash (RFC 8259 §7). A character outside the basic plane is two escapes, never one. */
function skipEscape(cursor: Cursor): void {
  if (!skipByte(cursor, LETTER_U)) {
    if (!ESCAPABLE.includes(cursor.bytes[cursor.at++] ?? 0)) throw NOT_JSON
    return
  }
  const unit = readHex4(cursor)
  if (isLowSurrogate(unit)) throw NOT_JSON
  if (isHighSurrogate(unit)) {
    skipWord(cursor, '\\u')
    if (!isLowSurrogate(readHex4(cursor))) throw NOT_JSON
  }
}

/** Four hex digits as a number; by arithmetic, because an escaped digit of a secret must not become a string either. */
function readHex4(cursor: Cursor): number {
  let unit = 0
  for (let i = 0; i < 4; i++) {
    const byte = cursor.bytes[cursor.at++]!
    const letter = byte | 0x20
    if (byte >= ZERO && byte <= NINE) unit = unit * 16 + byte - ZERO
    else if (letter >= LETTER_A && letter <= LETTER_F) unit = unit * 16 + 10 + letter - LETTER_A
    else throw NOT_JSON
  }
  return unit
}

/** A member name with its escapes resolved, so that two spellings of one name are seen to be one. */
function readName(cursor: Cursor): string {
  const { bytes } = cursor
  const start = cursor.at
  skipString(cursor)
  const end = cursor.at
  // It begins and ends with a quote.
  const expected = cursor.names?.[nameSlot(bytes, start, end)]
  if (expected?.spelling.length === end - start && isAt(expected.spelling, bytes, start)) return expected.name
  return JSON.parse(bytes.toString('utf8', start, end)) as string
}

function isAt(spelling: Buffer, bytes: Buffer, start: number): boolean {
  let i = 0
  while (i < spelling.length && spelling[i] === bytes[start + i]) i++
  return i === spelling.length
}

function skipSpace(cursor: Cursor): void {
  for (;;) {
    const byte = cursor.bytes[cursor.at]
    if (byte !== SPACE && byte !== LINE_FEED && byte !== CARRIAGE_RETURN && byte !== TAB) return
    cursor.at++
  }
}

function skipWord(cursor: Cursor, word: string): void {
  for (let i = 0; i < word.length; i++) expectByte(cursor, word.charCodeAt(i))
}

function skipByte(cursor: Cursor, byte: number): boolean {
  if (cursor.bytes[cursor.at] !== byte) return false
  cursor.at++
  return true
}

function expectByte(cursor: Cursor, byte: number): void {
  if (!skipByte(cursor, byte)) throw NOT_JSON
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff
}

/** The same memory as a Buffer. */
function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
