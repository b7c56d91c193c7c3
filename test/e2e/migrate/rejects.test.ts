import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { makeSetUp, temporaryFolder } from '../../support/service.ts'
import { keyOf, makeBlocks, makeRows, runMigrate, type Row } from './migration.ts'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp
let rows: Row[]
let blocks: string[]
let outBlocks: string[]
let files = 0

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  rows = makeRows(20_000)
  blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
  outBlocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-out'), rows)
})
afterAll(() => folder.dispose())

const ISO0 = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0']

/** Migrates a text from a file to a file. */
async function migrated(text: string | Buffer, more: readonly string[] = []) {
  const name = join(folder.path, `file-${files++}`)
  writeFileSync(name, text)
  const run = await runMigrate(setUp.config, [...ISO0, '--in', name, '--out', `${name}.out`, '--json', ...more])
  const read = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8') : undefined)
  return {
    ...run,
    name,
    out: read(`${name}.out`),
    rejects: read(`${name}.out.rejects`),
    summary: JSON.parse(run.stdout || '{}'),
  }
}

const csv = (i: number, block = blocks[i]!) => `${rows[i]!.id},${rows[i]!.pan},${block}\n`
const json = (i: number, block = blocks[i]!) =>
  `{"id":"${rows[i]!.id}","pan":"${rows[i]!.pan}","pinBlock":"${block}"}\n`
/** A block of this PAN that no PIN is in. */
const wrong = (i: number) => blocks[(i + 1) % rows.length]!

describe('rejects', () => {
  it('names line, id and code of each row of CSV that does not come out, and nothing else of it', async () => {
    const bad: [string, string, string][] = [
      ['one,two\n', '', 'ERR_ROW_MALFORMED'],
      [`"quo"te,${rows[0]!.pan},${blocks[0]}\n`, '', 'ERR_ROW_MALFORMED'],
      [`${'x'.repeat(100_000)}\n`, '', 'ERR_ROW_MALFORMED'],
      ['\n', '', 'ERR_ROW_MALFORMED'],
      [`pan-1,40000012345,${blocks[0]}\n`, 'pan-1', 'ERR_PAN_INVALID'],
      [`"pan,2",0${rows[0]!.pan},${blocks[0]}\n`, '"pan,2"', 'ERR_PAN_INVALID'],
      // Columns that changed places must not bring a PAN into the reject file.
      [`4000001234567899,pan-3,${blocks[0]}\n`, '', 'ERR_PAN_INVALID'],
      [`block-1,${rows[0]!.pan},${blocks[0]!.slice(1)}\n`, 'block-1', 'ERR_PIN_BLOCK_MALFORMED'],
      [`block-2,${rows[0]!.pan},${blocks[0]!.slice(1)}G\n`, 'block-2', 'ERR_PIN_BLOCK_MALFORMED'],
      [`card-0,${rows[1]!.pan},${blocks[1]}\n`, 'card-0', 'ERR_ID_DUPLICATE'],
      [csv(5001, wrong(5001)), 'card-5001', 'ERR_PIN_BLOCK_INVALID'],
      [`5000001234567899,5000001234567899,${blocks[0]}\n`, '', 'ERR_PIN_BLOCK_INVALID'],
      [`x-4000001234567899,4000001234567899,${blocks[0]}\n`, '', 'ERR_PIN_BLOCK_INVALID'],
      [`${'i'.repeat(129)},${rows[3]!.pan},${wrong(3)}\n`, '', 'ERR_PIN_BLOCK_INVALID'],
      [`esc\u001b[31m,${rows[3]!.pan},${wrong(3)}\n`, '', 'ERR_PIN_BLOCK_INVALID'],
      [`Köln,${rows[3]!.pan},${wrong(3)}\n`, 'Köln', 'ERR_PIN_BLOCK_INVALID'],
    ]
    // Good rows before, between and behind; the header is line 1.
    const lines = ['id,pan,pinBlock\n', csv(0)]
    const expectedRejects = ['line,id,code\n']
    const expectedOut = ['id,pan,pinBlock\n', csv(0, outBlocks[0])]
    bad.forEach(([line, id, code], i) => {
      lines.push(line, csv(10 + i))
      expectedRejects.push(`${lines.length - 1},${id},${code}\n`)
      expectedOut.push(csv(10 + i, outBlocks[10 + i]))
    })
    const { code, out, rejects, summary, name, stderr } = await migrated(lines.join(''))
    expect([code, rejects]).toEqual([65, expectedRejects.join('')])
    expect(out).toBe(expectedOut.join(''))
    expect(statSync(`${name}.out.rejects`).mode & 0o777).toBe(0o600)
    expect(summary).toMatchObject({
      outcome: 'complete',
      rowsRead: 1 + 2 * bad.length,
      rowsWritten: 1 + bad.length,
      rowsRejected: {
        ERR_ROW_MALFORMED: 4,
        ERR_PAN_INVALID: 3,
        ERR_PIN_BLOCK_MALFORMED: 2,
        ERR_ID_DUPLICATE: 1,
        ERR_PIN_BLOCK_INVALID: 6,
      },
    })
    const said = stderr + JSON.stringify(summary) + readFileSync(`${name}.out.migration.json`, 'utf8') + rejects!
    for (const { pan } of [...rows.slice(0, 30), { pan: '4000001234567899' }, { pan: '5000001234567899' }])
      expect(said).not.toContain(pan)
    for (const block of blocks.slice(0, 30)) expect(said).not.toContain(block)
  })

  it('does the same for NDJSON', async () => {
    const bad: [string, string, string][] = [
      ['{"id":"x"}\n', '', 'ERR_ROW_MALFORMED'],
      ['not json\n', '', 'ERR_ROW_MALFORMED'],
      ['  \n', '', 'ERR_ROW_MALFORMED'],
      [json(0).replace('"id"', '"pan":"1","id"'), '', 'ERR_ROW_MALFORMED'],
      [`{"id":7,"pan":"4000","pinBlock":"${blocks[0]}"}\n`, '"id":7,', 'ERR_PAN_INVALID'],
      [`{"id":"a\\u0062","pan":"${rows[0]!.pan}","pinBlock":""}\n`, '"id":"a\\u0062",', 'ERR_PIN_BLOCK_MALFORMED'],
      [
        `{"id":"c\\u0061rd-0","pan":"${rows[0]!.pan}","pinBlock":"${blocks[0]}"}\n`,
        '"id":"c\\u0061rd-0",',
        'ERR_ID_DUPLICATE',
      ],
      [
        `{"id":"\\u00340${rows[2]!.pan}","pan":"40${rows[2]!.pan}","pinBlock":"${blocks[0]}"}\n`,
        '',
        'ERR_PIN_BLOCK_INVALID',
      ],
      [json(5002, wrong(5002)), '"id":"card-5002",', 'ERR_PIN_BLOCK_INVALID'],
    ]
    // A PAN of 19 digits cannot take two more.
    bad[7]![0] = bad[7]![0].replaceAll(rows[2]!.pan, rows[2]!.pan.slice(0, 12))
    const lines = [json(0)]
    const expectedRejects: string[] = []
    const expectedOut = [json(0, outBlocks[0])]
    bad.forEach(([line, id, code], i) => {
      lines.push(line, json(10 + i))
      expectedRejects.push(`{"line":${lines.length - 1},${id}"code":"${code}"}\n`)
      expectedOut.push(json(10 + i, outBlocks[10 + i]))
    })
    const { code, out, rejects } = await migrated(lines.join(''))
    expect([code, rejects]).toEqual([65, expectedRejects.join('')])
    expect(out).toBe(expectedOut.join(''))
  })

  it('keeps line numbers right over many chunks', async () => {
    const places = [0, 1, 7998, 7999, 8000, 8001, 15_999, 16_000, 19_999]
    const text = rows.map((_, i) => csv(i, places.includes(i) ? wrong(i) : blocks[i])).join('')
    const { code, out, rejects } = await migrated(text)
    expect(code).toBe(65)
    expect(rejects).toBe(`line,id,code\n${places.map((i) => `${i + 1},card-${i},ERR_PIN_BLOCK_INVALID\n`).join('')}`)
    expect(out).toBe(rows.flatMap((_, i) => (places.includes(i) ? [] : [csv(i, outBlocks[i])])).join(''))
  })

  it('finds an id that comes again anywhere in the file with --check-ids only', async () => {
    const again = [...rows.keys(), 3, 19_000].map((i) => csv(i)).join('')
    expect((await migrated(again)).rejects).toBe('line,id,code\n20002,card-19000,ERR_ID_DUPLICATE\n')
    const checked = await migrated(again, ['--check-ids'])
    expect(checked.rejects).toBe('line,id,code\n20001,card-3,ERR_ID_DUPLICATE\n20002,card-19000,ERR_ID_DUPLICATE\n')
    expect(checked.out).toBe(rows.map((_, i) => csv(i, outBlocks[i])).join(''))
  })

  it('says the line at which a file was cut off', async () => {
    const text = rows
      .slice(0, 5000)
      .map((_, i) => csv(i))
      .join('')
    const { code, rejects, summary } = await migrated(text.slice(0, -5))
    expect([code, rejects, summary.rowsWritten]).toEqual([
      65,
      'line,id,code\n5000,card-4999,ERR_PIN_BLOCK_MALFORMED\n',
      4999,
    ])
    const short = await migrated(text.slice(0, -30))
    expect(short.rejects).toMatch(
      /^line,id,code\n5000,(card-4999)?,ERR_(ROW_MALFORMED|PAN_INVALID|PIN_BLOCK_MALFORMED)\n$/,
    )
  })

  it('makes no reject file where nothing is rejected', async () => {
    const { code, rejects, summary } = await migrated(csv(0))
    expect([code, rejects, summary.rejects]).toEqual([0, undefined, null])
  })

  it('rejects a row without the card data of its PRW, or with an impossible one', async () => {
    const prw = ['--prw', 'prw:seccos-3des']
    const line = (i: number, counter: string, panSequenceNumber: string, block = blocks[i]) =>
      `${rows[i]!.id},${rows[i]!.pan},${block},${counter},${panSequenceNumber}\n`
    const head = 'id,pan,pinBlock,counter,panSequenceNumber\n'
    const text =
      head +
      line(0, '0001', '01') +
      line(1, '', '01') +
      line(2, '1', '01') +
      line(3, '0001', 'xx') +
      line(4, '', '', wrong(4)) +
      line(5, '0001', '01')
    const { code, rejects, summary } = await migrated(text, prw)
    expect([code, rejects]).toEqual([
      65,
      'line,id,code\n3,card-1,ERR_CARD_DATA_INVALID\n4,card-2,ERR_CARD_DATA_INVALID\n5,card-3,ERR_CARD_DATA_INVALID\n6,card-4,ERR_PIN_BLOCK_INVALID\n',
    ])
    expect(summary.rowsWritten).toBe(2)
    const ndjson = await migrated(json(0).replace('}', ',"counter":"0001","panSequenceNumber":"00"}') + json(1), prw)
    expect(ndjson.rejects).toBe('{"line":2,"id":"card-1","code":"ERR_CARD_DATA_INVALID"}\n')
  })
})

describe('a file that cannot be read as rows', () => {
  it.each([
    ['its first line names a column twice', 'id,pan,pinBlock,pan\n', []],
    ['its first line does not name the column pinBlock', 'id,pan\n', []],
    ['its first line does not name the columns', 'a,b,c\n', ['--prw', 'prw:seccos-3des']],
    [
      'its first line does not name the column counter',
      'id,pan,pinBlock,panSequenceNumber\n',
      ['--prw', 'prw:seccos-3des'],
    ],
  ])('is refused with 74 and leaves nothing behind: %s', async (sentence, text, more) => {
    const { code, stderr, name } = await migrated(text, more)
    expect(code).toBe(74)
    expect(stderr).toContain(sentence)
    for (const file of ['.out', '.out.rejects', '.out.migration.json']) expect(existsSync(name + file)).toBe(false)
  })

  it('is nothing to be afraid of if it is empty', async () => {
    for (const text of ['', 'id,pan,pinBlock\n', '\ufeff', '\n']) {
      const { code, out, summary } = await migrated(text)
      expect([code, out, summary.rowsRead]).toEqual([0, text, 0])
    }
  })
})

describe('SECCOS', () => {
  it('becomes SECCOS under a key that may migrate, and nothing else', async () => {
    const own = await makeSetUp(join(folder.path, 'seccos'), (config) => {
      config.keys.find((key: any) => key.id === 'seccos-pin').migrate = true
    })
    const stored = makeBlocks('SECCOS', keyOf(own, 'seccos-pin'), rows.slice(0, 100))
    const name = join(folder.path, 'seccos.csv')
    writeFileSync(name, stored.map((block, i) => csv(i, block)).join(''))
    const to = (from: string, to: string, out: string) =>
      runMigrate(own.config, ['--from', from, '--to', to, '--in', name, '--out', join(folder.path, out)])
    expect((await to('seccos-pin:SECCOS', 'seccos-pin:SECCOS', 'seccos.out')).code).toBe(0)
    expect(readFileSync(join(folder.path, 'seccos.out'), 'utf8')).toBe(readFileSync(name, 'utf8'))
    for (const [from, into] of [
      ['seccos-pin:SECCOS', 'zpk-out:ISO-0'],
      ['zpk-in:ISO-0', 'seccos-pin:SECCOS'],
      ['zpk-in:ISO-0', 'zpk-out:ISO-1'],
    ]) {
      const { code, stderr } = await to(from!, into!, 'never')
      expect(code).toBe(77)
      expect(stderr).toContain('may not become')
      expect(existsSync(join(folder.path, 'never'))).toBe(false)
    }
  })
})
