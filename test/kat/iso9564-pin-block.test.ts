import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { decodeHex, encodeHex } from '../../src/bytes.ts'
import { parsePan } from '../../src/pan.ts'
import { PIN_BLOCK_FORMATS } from '../../src/pin/pin-block.ts'

interface Vector {
  tcId: number
  comment: string
  flags: string[]
  pan?: string
  pin?: string
  fill?: string
  pinBlock: string
  result: 'valid' | 'invalid'
}

interface VectorFile {
  algorithm: string
  format: string
  numberOfTests: number
  notes: Record<string, string>
  testGroups: { type: string; source: Record<string, string>; tests: Vector[] }[]
}

const FILES: readonly [file: string, algorithm: string, format: string][] = [
  ['iso9564-format0.json', 'ISO9564-FORMAT-0', 'ISO-0'],
  ['iso9564-format1.json', 'ISO9564-FORMAT-1', 'ISO-1'],
  ['iso9564-format3.json', 'ISO9564-FORMAT-3', 'ISO-3'],
  ['seccos-format2.json', 'SECCOS-ISO9564-FORMAT-2', 'SECCOS'],
]

const VECTOR_KEYS = new Set(['tcId', 'comment', 'flags', 'pan', 'pin', 'fill', 'pinBlock', 'result'])

const PIN_LENGTHS = [4, 5, 6, 7, 8, 9, 10, 11, 12]
const PAN_LENGTHS = [12, 13, 14, 15, 16, 17, 18, 19]

function read(name: string): VectorFile {
  const path = fileURLToPath(new URL(`../vectors/${name}`, import.meta.url))
  return JSON.parse(readFileSync(path, 'utf8')) as VectorFile
}

const lengthsOf = (texts: readonly (string | undefined)[]) =>
  [...new Set(texts.flatMap((text) => (text === undefined ? [] : [text.length])))].sort((a, b) => a - b)

describe('published vectors of the four formats together', () => {
  const groups = FILES.flatMap(([name]) => read(name).testGroups)
  const published = groups.filter(({ source }) => source['name'] !== 'self').flatMap(({ tests }) => tests)
  const valid = published.filter(({ result }) => result === 'valid')

  it('cover every PIN length', () => {
    expect(lengthsOf(valid.map(({ pin }) => pin))).toEqual(PIN_LENGTHS)
  })

  it('cover every PAN length but 12, of which we know none', () => {
    expect(lengthsOf(valid.map(({ pan }) => pan))).toEqual(PAN_LENGTHS.filter((length) => length !== 12))
  })
})

describe.each(FILES)('%s', (name, algorithm, formatName) => {
  const file = read(name)
  const format = PIN_BLOCK_FORMATS.get(formatName)
  if (format === undefined) throw new Error('not built')
  const vectors = file.testGroups.flatMap((group) => group.tests)

  it('has the form that this runner understands, and no more', () => {
    expect(Object.keys(file)).toEqual(['algorithm', 'format', 'numberOfTests', 'notes', 'testGroups'])
    expect([file.algorithm, file.format]).toEqual([algorithm, formatName])
    expect(vectors.length).toBeGreaterThan(0)
    expect(file.numberOfTests).toBe(vectors.length)
    expect(vectors.map((vector) => vector.tcId)).toEqual(vectors.map((_, i) => i + 1))
    for (const group of file.testGroups) {
      expect(Object.keys(group)).toEqual(['type', 'source', 'tests'])
      expect(group.type).toBe('PinBlock')
      expect(Object.keys(group.source).sort()).toEqual(['licence', 'name', 'section', 'url', 'version'])
      expect(Object.values(group.source).every((text) => typeof text === 'string' && text !== '')).toBe(true)
      expect(group.tests.length).toBeGreaterThan(0)
    }
    for (const vector of vectors) {
      expect(Object.keys(vector).filter((key) => !VECTOR_KEYS.has(key))).toEqual([])
      expect(vector.flags.length).toBeGreaterThan(0)
      expect(vector.flags.filter((flag) => !Object.hasOwn(file.notes, flag))).toEqual([])
      expect(['valid', 'invalid']).toContain(vector.result)
      expect(vector.pan === undefined).toBe(!format.bindsPan)
      expect(vector.pin === undefined).toBe(vector.result === 'invalid')
      expect(vector.fill === undefined).toBe(vector.result === 'invalid' || format.fillBytes === 0)
    }
    expect(Object.keys(file.notes).filter((flag) => !vectors.some((vector) => vector.flags.includes(flag)))).toEqual([])
  })

  it('holds published vectors and vectors of both results', () => {
    expect(file.testGroups.some((group) => group.source['name'] !== 'self')).toBe(true)
    expect(new Set(vectors.map((vector) => vector.result))).toEqual(new Set(['valid', 'invalid']))
  })

  it('covers every PIN length, and every PAN length if the format binds a PAN', () => {
    const valid = vectors.filter(({ result }) => result === 'valid')
    expect(lengthsOf(valid.map(({ pin }) => pin))).toEqual(PIN_LENGTHS)
    expect(lengthsOf(valid.map(({ pan }) => pan))).toEqual(format.bindsPan ? PAN_LENGTHS : [])
  })

  it.each(vectors)('$tcId: $comment ($result)', (vector) => {
    const pan = parsePan(vector.pan ?? '5432101234567891')
    const pinBlock = decodeHex(vector.pinBlock)
    if (pan === undefined || pinBlock === undefined) throw new Error('the vector is not well formed')
    const digits = Buffer.alloc(12, 0xff)
    const pinDigits = format.decode({ pinBlock, pan }, digits)
    const pin = vector.pin ?? ''
    expect(pinDigits).toBe(pin.length)
    expect([...digits].join('')).toBe(pin.padEnd(12, '0'))
    if (vector.result === 'valid') {
      const fill = decodeHex(vector.fill ?? '') ?? Buffer.alloc(0)
      const target = Buffer.alloc(format.blockBytes)
      format.encode({ pin: digits, pinDigits, pan, fill }, target)
      expect(encodeHex(target)).toBe(vector.pinBlock)
    }
  })
})
