import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { naiveNdjson } from './naive-rows.ts'
import { readRows } from './read-rows.ts'

const PAN = '4000001234567899'
const BLOCK = '0123456789abcdEF'

const space = fc.constantFrom('', '', '', ' ', '\t', '\r', '  ')
const textValue = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom('', 'ü', '€', '😀', 'a"b', 'a\\b', 'a\nb', '\u007f', '\u0001'),
)
const spelledText = fc.tuple(textValue, fc.boolean()).map(([text, escaped]) => {
  const json = JSON.stringify(text)
  return escaped ? json.replace(/[a-z]/, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`) : json
})
const otherValue = fc.oneof(
  { weight: 3, arbitrary: spelledText },
  fc.integer().map(String),
  fc.constantFrom(
    '0',
    '-0',
    '00',
    '1.5',
    '1e3',
    '-',
    'true',
    'false',
    'null',
    'nul',
    '[1,{"a":[]}]',
    '{"x":{},"y":1}',
    '[',
    '{"a":1,"a":2}',
  ),
)
const id = fc.oneof(
  fc.stringMatching(/^[a-c]$/).map((text) => JSON.stringify(text)),
  spelledText,
  fc.integer({ min: -3, max: 12 }).map(String),
  fc.constantFrom('"1"', '1.0', '1e0', 'null', '01', '["a"]', '12345678901234567890123', '-0'),
)
const pan = fc.oneof(
  { weight: 8, arbitrary: fc.stringMatching(/^[1-9][0-9]{11,18}$/).map((digits) => `"${digits}"`) },
  fc.constantFrom(
    PAN,
    `"${PAN.slice(0, 11)}"`,
    '""',
    'null',
    `"${PAN}\\u0030"`,
    `"\\u0034${PAN.slice(1)}"`,
    `"0${PAN}"`,
  ),
)
const block = fc.oneof(
  { weight: 8, arbitrary: fc.stringMatching(/^[0-9A-Fa-f]{16}$/).map((digits) => `"${digits}"`) },
  fc.constantFrom('""', '1', `"${BLOCK}0"`, `"${BLOCK.slice(1)}G"`, `"\\u0030${BLOCK.slice(1)}"`),
)
const name = fc.constantFrom(
  '"name"',
  '"branch"',
  '"na\\u006de"',
  '"__proto__"',
  '"_x"',
  '"pa"',
  '"pinblock"',
  '"ü"',
  '""',
)
const member = fc.oneof(
  fc.tuple(name, otherValue),
  fc.tuple(fc.constantFrom('"id"', '"i\\u0064"'), id),
  fc.tuple(fc.constant('"pan"'), pan),
)
const row = fc
  .tuple(id, pan, block, fc.array(member, { maxLength: 2 }), fc.infiniteStream(space), fc.nat(9))
  .chain(([id, pan, block, others, spaces, drop]) =>
    fc
      .shuffledSubarray([['"id"', id], ['"pan"', pan], ['"pinBlock"', block], ...others], {
        minLength: others.length + 3,
      })
      .map((all) => {
        const s = () => spaces.next().value as string
        const members = (drop === 0 ? all.slice(1) : all).map(
          ([name, value]) => `${s()}${name}${s()}:${s()}${value}${s()}`,
        )
        return `${s()}{${members.join(',')}}${s()}`
      }),
  )
const file = fc
  .record({
    mark: fc.constantFrom('', '\ufeff'),
    rows: fc.array(fc.tuple(row, fc.constantFrom('\n', '\r\n')), { minLength: 1, maxLength: 8 }),
    end: fc.constantFrom('none', 'as it is', 'blank'),
    damage: fc.array(
      fc.tuple(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.constantFrom('"', ',', '{', '}', '\n', '\xff', '\\', '0', ' '),
      ),
      {
        maxLength: 1,
      },
    ),
  })
  .map(({ mark, rows, end, damage }) => {
    // What decides on the kind of file has to stand at its start.
    let text =
      mark +
      rows
        .map(([row, lineEnd]) => row + lineEnd)
        .join('')
        .trimStart()
    if (end === 'none') text = text.replace(/\r?\n$/, '')
    if (end === 'blank') text += ' \n'
    let bytes = Buffer.from(text)
    for (const [where, what] of damage) {
      const at = 4 + Math.floor(where * (bytes.length - 5))
      bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(what, 'latin1'), bytes.subarray(at + 1)])
    }
    return bytes
  })

describe('NdjsonReader', () => {
  it('reads every file as a naive reader does, wherever it is cut', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(file, fc.array(fc.nat(1000), { maxLength: 20 }), (bytes, cuts) => {
        const { lines } = readRows(bytes, { cuts })
        for (const { fate } of lines) seen.add(fate)
        expect(lines).toEqual(naiveNdjson(bytes))
      }),
      { numRuns: 4000 },
    )
    // The oracle was asked about everything.
    expect([...seen].sort()).toEqual(
      ['carried', 'idDuplicate', 'item', 'panInvalid', 'pinBlockMalformed', 'rowMalformed'].sort(),
    )
  })

  it('reads a file that is cut at every byte', () => {
    const bytes = Buffer.from(
      `\ufeff{"id":1,"pan":"${PAN}","pinBlock":"${BLOCK}"}\r\n{ "name" : "\\u00fc" , "pan":"${PAN}","pinBlock":"${BLOCK}","id":"ü"} \n{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}"}\n\t`,
    )
    const whole = readRows(bytes).lines
    expect(whole.map(({ fate }) => fate)).toEqual(['item', 'item', 'idDuplicate', 'carried'])
    for (let cut = 4; cut < bytes.length; cut++) expect(readRows(bytes, { cuts: [cut] }).lines).toEqual(whole)
  })

  it.each([
    ['a repeated member', `{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}","pan":"${PAN}"}`, 'rowMalformed'],
    ['a repeated member of no matter', `{"x":1,"id":"1","x":2,"pan":"${PAN}","pinBlock":"${BLOCK}"}`, 'rowMalformed'],
    [
      'a repeated member in another spelling',
      `{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}","p\\u0061n":""}`,
      'rowMalformed',
    ],
    ['__proto__', `{"__proto__":1,"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}"}`, 'rowMalformed'],
    ['a trailing comma', `{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}",}`, 'rowMalformed'],
    ['two objects', `{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}"}{}`, 'rowMalformed'],
    ['an array', `{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}"}]`, 'rowMalformed'],
    ['a PAN that is a number', `{"id":"1","pan":${PAN},"pinBlock":"${BLOCK}"}`, 'rowMalformed'],
    ['an id that is no whole number', `{"id":1.5,"pan":"${PAN}","pinBlock":"${BLOCK}"}`, 'rowMalformed'],
    ['an empty id', `{"id":"","pan":"${PAN}","pinBlock":"${BLOCK}"}`, 'rowMalformed'],
    ['no id', `{"pan":"${PAN}","pinBlock":"${BLOCK}"}`, 'rowMalformed'],
    ['a PAN of twenty digits', `{"id":"1","pan":"${PAN}0000","pinBlock":"${BLOCK}"}`, 'panInvalid'],
    [
      '20 members',
      `{${Array.from({ length: 20 }, (_, i) => `"m${i}":${i}`).join()},"id":1,"pan":"${PAN}","pinBlock":"${BLOCK}"}`,
      'item',
    ],
    [
      '20 members, one of them twice',
      `{${Array.from({ length: 20 }, (_, i) => `"m${i % 19}":${i}`).join()},"id":1,"pan":"${PAN}","pinBlock":"${BLOCK}"}`,
      'rowMalformed',
    ],
  ])('reads %s', (_, text, fate) => {
    const bytes = Buffer.from(text)
    expect(readRows(bytes).lines.map((line) => line.fate)).toEqual([fate])
  })

  it('rejects a line of more than 64 KiB', () => {
    const row = (length: number) => Buffer.from(`{"id":"1","pan":"${PAN}","pinBlock":"${BLOCK}"}`.padEnd(length))
    expect(readRows(row(65_536)).lines[0]!.fate).toBe('item')
    expect(readRows(row(65_537)).lines[0]!.fate).toBe('rowMalformed')
  })

  it('gives the card fields that a PRW takes, says where a row ends, and rejects one that has what is to be added', () => {
    const needs = { cardFields: ['expiry', 'counter'] as const, newNames: ['prw', 'randomNumber'] }
    const row = (more: string) => `{"id":"${more.length}","pan":"${PAN}","pinBlock":"${BLOCK}"${more}}  `
    const bytes = Buffer.from(
      [row(',"counter":"0001","expiry":"2712"'), row(',"counter":1,"expiry":"271"'), row(',"randomNumber":"00"')].join(
        '\n',
      ),
    )
    const { lines, batch } = readRows(bytes, { needs })
    expect(lines.map(({ fate }) => fate)).toEqual(['item', 'item', 'rowMalformed'])
    expect(batch.cards).toEqual([{ counter: '0001', expiry: '2712' }, {}])
    expect([0, 1].map((line) => batch.bytes.toString('latin1', batch.tailAt[line], batch.lineAt[line + 1]))).toEqual([
      '}  \n',
      '}  \n',
    ])
  })
})
