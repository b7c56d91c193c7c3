import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../../src/rows/row-reader.ts'
import { naiveCsv } from './naive-rows.ts'
import { readRows } from './read-rows.ts'

const PAN = '4000001234567899'
const BLOCK = '0123456789abcdEF'

const hexDigits = (length: number) => fc.stringMatching(new RegExp(`^[0-9A-Fa-f]{${length}}$`))
const id = fc.oneof(
  fc.stringMatching(/^[a-c]{1,2}$/),
  fc
    .string({ minLength: 1, maxLength: 12 })
    // At the start of a file it would make it NDJSON.
    .map((text) => text.replace(/[\r\n{]/g, ' ')),
)
const pan = fc.oneof(
  { weight: 8, arbitrary: fc.stringMatching(/^[1-9][0-9]{11,18}$/) },
  fc.stringMatching(/^[0-9]{0,21}$/),
  fc.constantFrom(
    '',
    '400000123456789x',
    ' 4000001234567899',
    '0000001234567899',
    '400000123456789:',
    '/00000123456789',
  ),
)
const block = fc.oneof(
  { weight: 8, arbitrary: hexDigits(16) },
  hexDigits(15),
  hexDigits(32),
  fc.constant('0123456789ABCDEG'),
)
const other = fc
  .oneof(fc.string({ maxLength: 10 }), fc.constantFrom('', 'a,b', '"', '""', 'ü', '€uro'))
  .map((text) => text.replace(/[\r\n]/g, ' '))
const quoted = (value: string, always: boolean) =>
  always || /[",]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value

/** A file of mostly good rows, with any columns in any order, quotes where they must be and elsewhere, and some damage. */
const file = fc
  .record({
    columns: fc
      .shuffledSubarray(['id', 'pan', 'pinBlock', 'name', 'branch'], { minLength: 5, maxLength: 5 })
      .chain((all) => fc.constantFrom(all, ['id', 'pan', 'pinBlock'])),
    hasHeader: fc.boolean(),
    mark: fc.constantFrom('', '\ufeff'),
    rows: fc.array(fc.tuple(id, pan, block, other, other, fc.boolean(), fc.constantFrom('\n', '\r\n')), {
      maxLength: 12,
    }),
    end: fc.constantFrom('none', 'as it is', 'blank'),
    damage: fc.array(
      fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom('"', ',', '\n', '\r', '\xff', '0')),
      {
        maxLength: 2,
      },
    ),
  })
  .map(({ columns, hasHeader, mark, rows, end, damage }) => {
    const names = hasHeader ? columns : ['id', 'pan', 'pinBlock']
    const lines = rows.map(([id, pan, pinBlock, name, branch, always, lineEnd]) => {
      const values: Record<string, string> = { id, pan, pinBlock, name, branch }
      return names.map((each) => quoted(values[each]!, always)).join(',') + lineEnd
    })
    let text = mark + (hasHeader ? `${names.join(',')}\r\n` : '') + lines.join('')
    if (end === 'none') text = text.replace(/\r?\n$/, '')
    if (end === 'blank') text += '\n'
    let bytes = Buffer.from(text)
    for (const [where, what] of damage) {
      // The header is left as it is: what is wrong with one is another test's matter.
      const start = hasHeader ? bytes.indexOf('\n') + 1 || bytes.length : 3
      const at = start + Math.floor(where * (bytes.length - start))
      if (at >= start && at < bytes.length)
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(what, 'latin1'), bytes.subarray(at + 1)])
    }
    return bytes
  })

describe('CsvReader', () => {
  it('reads every file as a naive reader does, wherever it is cut', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(file, fc.array(fc.nat(2000), { maxLength: 20 }), (bytes, cuts) => {
        const { lines } = readRows(bytes, { cuts })
        for (const { fate } of lines) seen.add(fate)
        expect(lines).toEqual(naiveCsv(bytes))
      }),
      { numRuns: 3000 },
    )
    // The oracle was asked about everything.
    expect([...seen].sort()).toEqual(
      ['carried', 'header', 'idDuplicate', 'item', 'panInvalid', 'pinBlockMalformed', 'rowMalformed'].sort(),
    )
  })

  it('reads a file that is cut at every byte', () => {
    const bytes = Buffer.from(
      `\ufeff"pan",name,id,pinBlock\r\n${PAN},"a ""b"", c",1,${BLOCK}\r\n"${PAN}",,"2,""3""",${BLOCK}\n${PAN},x,1,${BLOCK}\n\n`,
    )
    const whole = readRows(bytes).lines
    expect(whole.map(({ fate }) => fate)).toEqual(['header', 'item', 'item', 'idDuplicate', 'carried'])
    for (let cut = 4; cut < bytes.length; cut++) expect(readRows(bytes, { cuts: [cut] }).lines).toEqual(whole)
    const everywhere = Array.from(bytes, (_, cut) => cut)
    expect(readRows(bytes, { cuts: everywhere }).lines).toEqual(whole)
  })

  it.each([
    ['a line break inside quotes', `1,${PAN},"${BLOCK}\n"\n`, ['rowMalformed', 'rowMalformed']],
    ['a quote inside a field without quotes', `1"2,${PAN},${BLOCK}\n`, ['rowMalformed']],
    ['something behind a closing quote', `"1"2,${PAN},${BLOCK}\n`, ['rowMalformed']],
    ['a carriage return in the middle', `1\r,${PAN},${BLOCK}\n`, ['rowMalformed']],
    ['a carriage return and no line feed at the end', `1,${PAN},${BLOCK}\r`, ['rowMalformed']],
    ['an id in invalid UTF-8', `\xff,${PAN},${BLOCK}\n`, ['rowMalformed']],
    ['an empty id', `,${PAN},${BLOCK}\n`, ['rowMalformed']],
    ['a blank line that is not the last', `\n1,${PAN},${BLOCK}\n`, ['rowMalformed', 'item']],
    ['one column more', `1,${PAN},${BLOCK},\n`, ['rowMalformed']],
    ['one id in two spellings', `1,${PAN},${BLOCK}\n"1",${PAN},${BLOCK}\n`, ['item', 'idDuplicate']],
    [
      'an id that is there once in a row without a PAN',
      `1,,${BLOCK}\n1,${PAN},${BLOCK}\n`,
      ['panInvalid', 'idDuplicate'],
    ],
    ['nothing but a byte order mark', '\xef\xbb\xbf', ['carried']],
    ['nothing but a blank line', '\r\n', ['carried']],
    ['nothing', '', []],
  ])('reads %s', (_, text, fates) => {
    const bytes = Buffer.from(text, 'latin1')
    expect(readRows(bytes).lines.map(({ fate }) => fate)).toEqual(fates)
    expect(readRows(bytes).lines).toEqual(naiveCsv(bytes))
  })

  it('reads PIN blocks of format 4 where they are asked for', () => {
    const bytes = Buffer.from(`1,${PAN},${BLOCK}${BLOCK}\n2,${PAN},${BLOCK}\n`)
    expect(readRows(bytes, { format: 'ISO-4' }).lines).toEqual(naiveCsv(bytes, 32))
  })

  it('rejects a line of more than 64 KiB', () => {
    const row = (length: number) => `1,${PAN},${BLOCK},`.padEnd(length, 'x')
    const text = (length: number) => Buffer.from(`id,pan,pinBlock,more\n${row(length)}\n`)
    expect(readRows(text(65_536)).lines[1]!.fate).toBe('item')
    expect(readRows(text(65_537)).lines[1]!.fate).toBe('rowMalformed')
  })

  it('refuses a first line that names a column twice or not at all, or one that is to be added', () => {
    for (const header of [
      'id,pan,pinBlock,id',
      'id,pan',
      'pan,pinBlock',
      'ID,pan',
      'id,pan,pinBlock,ID',
      'id,pan,pinBlock,"a""b","a""b"',
    ]) {
      expect(() => readRows(Buffer.from(`${header}\n`))).toThrow(InputError)
    }
    const needs = { cardFields: ['counter'] as const, newNames: ['prw'] }
    for (const header of ['id,pan,pinBlock', 'id,pan,pinBlock,counter,prw', `1,${PAN},${BLOCK}`]) {
      expect(() => readRows(Buffer.from(`${header}\n`), { needs })).toThrow(InputError)
    }
    expect(() => readRows(Buffer.from('id,pan,pinBlock,counter\n'), { needs })).not.toThrow()
    expect(() => readRows(Buffer.from('"ID",PAN,PinBlock,COUNTER\n'), { needs })).not.toThrow()
  })

  it('gives the card fields that a PRW takes, and leaves out what does not have their form', () => {
    const needs = { cardFields: ['panSequenceNumber', 'expiry', 'counter'] as const, newNames: ['prw'] }
    const bytes = Buffer.from(
      [
        'expiry,id,pan,counter,pinBlock,panSequenceNumber',
        `2712,1,${PAN},0001,${BLOCK},01`,
        `2713,2,${PAN},1,${BLOCK},"02"`,
        `2712,3,4,0001,${BLOCK},01`,
        `,4,${PAN},0001,${BLOCK},1`,
      ].join('\n'),
    )
    expect(readRows(bytes, { needs }).batch.cards).toEqual([
      { panSequenceNumber: '01', expiry: '2712', counter: '0001' },
      { panSequenceNumber: '02' },
      { counter: '0001' },
    ])
  })
})
