import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { decodeHex, encodeHex } from '../../src/bytes.ts'
import { decodeIso4, encodeIso4 } from '../../src/pin/iso-4.ts'
import { packPan } from '../../src/pan.ts'
import { xorPanField4 } from '../../src/pin/pan-field.ts'
import { ORACLES } from '../support/oracles.ts'

interface Vector {
  tcId: number
  comment: string
  flags: string[]
  key?: string
  pan?: string
  pin?: string
  fill?: string
  pinField?: string
  panField?: string
  pinBlock?: string
  result: 'valid' | 'invalid'
}

interface Group {
  type: 'PinBlock' | 'PinField' | 'PanField'
  source: Record<string, string>
  tests: Vector[]
}

interface VectorFile {
  algorithm: string
  format: string
  numberOfTests: number
  notes: Record<string, string>
  testGroups: Group[]
}

const path = fileURLToPath(new URL('../vectors/iso9564-format4.json', import.meta.url))
const file = JSON.parse(readFileSync(path, 'utf8')) as VectorFile
const vectors = file.testGroups.flatMap((group) => group.tests.map((test) => ({ ...test, type: group.type })))
const ofType = (type: Group['type']) => vectors.filter((vector) => vector.type === type)

const COMMON = ['tcId', 'comment', 'flags', 'result']
const MEMBERS: Record<Group['type'], readonly string[]> = {
  PinBlock: ['key', 'pan', 'pinField', 'panField', 'pinBlock'],
  PinField: ['pinField'],
  PanField: ['pan', 'panField'],
}
/** What a valid vector has besides: it says what is in the PIN field. */
const CONTENT: Record<Group['type'], readonly string[]> = {
  PinBlock: ['pin', 'fill'],
  PinField: ['pin', 'fill'],
  PanField: [],
}

describe('iso9564-format4.json', () => {
  it('has the form that this runner understands, and no more', () => {
    expect(Object.keys(file)).toEqual(['algorithm', 'format', 'numberOfTests', 'notes', 'testGroups'])
    expect([file.algorithm, file.format]).toEqual(['ISO9564-FORMAT-4', 'ISO-4'])
    expect(file.numberOfTests).toBe(vectors.length)
    expect(vectors.map((vector) => vector.tcId)).toEqual(vectors.map((_, i) => i + 1))
    for (const group of file.testGroups) {
      expect(Object.keys(group)).toEqual(['type', 'source', 'tests'])
      expect(Object.keys(group.source).sort()).toEqual(['licence', 'name', 'section', 'url', 'version'])
      expect(Object.values(group.source).every((text) => typeof text === 'string' && text !== '')).toBe(true)
      expect(group.tests.length).toBeGreaterThan(0)
      for (const vector of group.tests) {
        const expected = [...COMMON, ...MEMBERS[group.type], ...(vector.result === 'valid' ? CONTENT[group.type] : [])]
        expect(Object.keys(vector).sort()).toEqual(expected.sort())
        expect(['valid', 'invalid']).toContain(vector.result)
        expect(vector.flags.length).toBeGreaterThan(0)
        expect(vector.flags.filter((flag) => !Object.hasOwn(file.notes, flag))).toEqual([])
      }
    }
    expect(Object.keys(file.notes).filter((flag) => !vectors.some((vector) => vector.flags.includes(flag)))).toEqual([])
  })

  it('holds published vectors of every type, and of both results under every size of key', () => {
    for (const type of ['PinBlock', 'PinField', 'PanField'] as const) {
      const groups = file.testGroups.filter((group) => group.type === type)
      expect(groups.some((group) => group.source['name'] !== 'self')).toBe(true)
    }
    for (const bytes of [16, 24, 32]) {
      const results = ofType('PinBlock').filter((vector) => vector.key?.length === 2 * bytes)
      expect(new Set(results.map((vector) => vector.result))).toEqual(new Set(['valid', 'invalid']))
    }
  })

  it('covers every PIN length under every size of key, and every PAN length from 1 to 19', () => {
    const valid = ofType('PinBlock').filter((vector) => vector.result === 'valid')
    const pins = new Set(valid.map(({ key, pin }) => `${key!.length * 4} ${pin!.length}`))
    for (const bits of [128, 192, 256]) {
      for (let digits = 4; digits <= 12; digits++) expect(pins).toContain(`${bits} ${digits}`)
    }
    const pans = new Set(valid.map(({ pan }) => pan!.length))
    for (let digits = 1; digits <= 19; digits++) expect(pans).toContain(digits)
  })
})

describe('PIN field of format 4', () => {
  it.each(vectors.filter(({ pinField }) => pinField !== undefined))('$tcId: $comment ($result)', (vector) => {
    const digits = Buffer.alloc(12, 0xff)
    const pinDigits = decodeIso4({ pinBlock: bytesOf(vector.pinField) }, digits)
    const pin = vector.pin ?? ''
    expect(pinDigits).toBe(pin.length)
    expect([...digits].join('')).toBe(pin.padEnd(12, '0'))
    if (vector.result === 'valid') {
      const target = Buffer.alloc(16, 0xff)
      encodeIso4({ pin: digits, pinDigits, fill: bytesOf(vector.fill) }, target)
      expect(encodeHex(target)).toBe(vector.pinField)
    }
  })
})

describe('PAN field of format 4', () => {
  it.each(vectors.filter(({ panField }) => panField !== undefined))('$tcId: $comment', ({ pan, panField }) => {
    for (const before of [0x00, 0xff, 0x5a]) {
      const target = Buffer.alloc(16, before)
      xorPanField4(packPan(pan!), target)
      expect(encodeHex(target.map((byte) => byte ^ before))).toBe(panField)
    }
  })
})

describe.each(ORACLES)('PIN block of format 4, by $name', ({ ecb, decipherEcb }) => {
  const addPanField = (blockHex: string, pan: string): string => {
    const block = bytesOf(blockHex)
    xorPanField4(packPan(pan), block)
    return encodeHex(block)
  }

  it.each(ofType('PinBlock'))('$tcId: $comment ($result)', ({ key, pan, pinField, pinBlock }) => {
    const enciphered = ecb('AES', key!, addPanField(ecb('AES', key!, pinField!), pan!))
    expect(enciphered.toUpperCase()).toBe(pinBlock)
    const deciphered = decipherEcb('AES', key!, addPanField(decipherEcb('AES', key!, pinBlock!), pan!))
    expect(deciphered.toUpperCase()).toBe(pinField)
  })
})

function bytesOf(hex: string | undefined): Buffer {
  const bytes = decodeHex(hex ?? '-')
  if (bytes === undefined) throw new Error('the vector is not well formed')
  return bytes
}
