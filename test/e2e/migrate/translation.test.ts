import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { makeSetUp, temporaryFolder } from '../../support/service.ts'
import { agreed } from '../../support/oracles.ts'
import { keyOf, makeBlocks, makeRows, readBlockByForge, readBlocks, runMigrate, type Row } from './migration.ts'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp

beforeAll(async () => {
  setUp = await makeSetUp(folder.path, (config) => {
    // A second key of each purpose, so that a PIN block can be rotated within it.
    for (const id of ['zpk-out', 'seccos-pin']) config.keys.find((key: any) => key.id === id).migrate = true
  })
})
afterAll(() => folder.dispose())

const ROWS = 9_000
const PAIRS = [
  ['zpk-in', 'ISO-0', 'zpk-out', 'ISO-0'],
  ['zpk-in', 'ISO-0', 'zpk-aes', 'ISO-4'],
  ['zpk-aes', 'ISO-4', 'zpk-out', 'ISO-3'],
  ['zpk-in', 'ISO-1', 'zpk-out', 'ISO-3'],
] as const

/** Quotes as RFC 4180 has them, where a row number asks for them. */
const field = (text: string, i: number) => (i % 3 === 0 || /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text)

/** Files of one row each way: what the row is, with `block` in its place. */
const FORMS = {
  csv: {
    head: '\ufeffname,"pan",pinBlock,id,"branch, city"\r\n',
    row: ({ id, pan }: Row, block: string, i: number) =>
      `${field(`Müller "${i}"`, 0)},${field(pan, i)},${field(block, i + 1)},${field(id, i + 2)},${i % 5 === 0 ? '' : field('Köln, 1', 0)}${i % 2 ? '\r\n' : '\n'}`,
  },
  ndjson: {
    head: '',
    row: ({ id, pan }: Row, block: string, i: number) =>
      [
        `{"id":"${id}","pan":"${pan}","pinBlock":"${block}"}\n`,
        `{ "name" : "M\\u00fcller" ,"pinBlock": "${block}", "id":"${id}" ,"pan"\t:"${pan}","tags":[1,{"a":null}]} \r\n`,
        `{"pan":"${pan}","id":${i},"n":-0.5e3,"pinBlock":"${block}","Köln":true}\n`,
      ][i % 3]!,
  },
}

describe.each(PAIRS)('migrate %s:%s to %s:%s', (fromKey, fromFormat, toKey, toFormat) => {
  it.each(Object.entries(FORMS))(
    'translates every row of %s, and carries along the rest of it as it is',
    async (kind, { head, row }) => {
      const rows = makeRows(ROWS, kind.length)
      const blocks = makeBlocks(fromFormat, keyOf(setUp, fromKey), rows).map((block, i) =>
        i % 4 ? block : block.toLowerCase(),
      )
      const name = join(folder.path, `${fromKey}-${fromFormat}-${toFormat}.${kind}`)
      const fileOf = (all: readonly string[]) =>
        head +
        rows
          .map((each, i) => row(each, all[i]!, i))
          .join('')
          .replace(/\r?\n$/, '')
      writeFileSync(name, fileOf(blocks))
      const args = [
        '--from',
        `${fromKey}:${fromFormat}`,
        '--to',
        `${toKey}:${toFormat}`,
        '--in',
        name,
        '--out',
        `${name}.out`,
      ]
      const { code, stderr } = await runMigrate(setUp.config, args)
      expect([code, code === 0 ? '' : stderr]).toEqual([0, ''])

      const out = readFileSync(`${name}.out`, 'utf8')
      const pattern =
        kind === 'csv' ? /(?<=[,"])([0-9A-F]{16}|[0-9A-F]{32})(?=[,"])/ : /(?<="pinBlock": ?")([0-9A-F]+)(?=")/
      const lines = out.slice(head.length).match(/[^\n]+\n?/g)!
      // A PAN of 16 digits looks like a block; a block is the one that is not it.
      const made = lines.map((line, i) => {
        const found = [...line.matchAll(new RegExp(pattern, 'g'))].map((match) => match[0])
        return found.find((text) => text !== rows[i]!.pan)!
      })
      expect(made).toHaveLength(ROWS)
      expect(out).toBe(fileOf(made))
      const pans = rows.map(({ pan }) => pan)
      expect(readBlocks(toFormat, keyOf(setUp, toKey), made, pans)).toEqual(rows.map(({ pin }) => pin))
      for (let i = 0; i < ROWS; i += 450) {
        expect(readBlockByForge(toFormat, keyOf(setUp, toKey), made[i]!, pans[i]!)).toBe(rows[i]!.pin)
      }
      if (toFormat === 'ISO-0') expect(made).toEqual(makeBlocks('ISO-0', keyOf(setUp, toKey), rows))
      for (const file of ['.out', '.out.migration.json']) expect(statSync(name + file).mode & 0o777).toBe(0o600)
    },
  )
})

describe('migrate --prw', () => {
  const expiry = (i: number) => `${20 + (i % 70)}${String(1 + (i % 12)).padStart(2, '0')}`
  const digits = (i: number, length: number) => String(i).padStart(length, '0')
  const prwOf = (key: string, { pan, pin }: Row, i: number) =>
    agreed(({ cmac }) =>
      cmac(
        'TDEA',
        key,
        pan.padStart(20, '0') + digits(i % 100, 2) + digits(pin.length, 2) + pin.padEnd(12, 'F') + digits(i, 4),
      ),
    ).toUpperCase()

  it('adds the PRW of each row to CSV, and a column to its header', async () => {
    const rows = makeRows(300).map((row) => ({ ...row, pin: row.pin.slice(0, 9) }))
    const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
    const name = join(folder.path, 'prw.csv')
    const line = (i: number, block: string) =>
      `${digits(i, 4)},${rows[i]!.id},${rows[i]!.pan},${block},${digits(i % 100, 2)}`
    writeFileSync(
      name,
      `counter,id,pan,pinBlock,panSequenceNumber\r\n${rows.map((_, i) => `${line(i, blocks[i]!)}\r\n`).join('')}`,
    )
    const args = [
      '--from',
      'zpk-in:ISO-0',
      '--to',
      'zpk-out:ISO-0',
      '--prw',
      'prw:seccos-3des',
      '--in',
      name,
      '--out',
      `${name}.out`,
    ]
    const { code } = await runMigrate(setUp.config, args)
    expect(code).toBe(0)
    const made = makeBlocks('ISO-0', keyOf(setUp, 'zpk-out'), rows)
    const key = keyOf(setUp, 'prw')
    const expected = rows.map((row, i) => `${line(i, made[i]!)},${prwOf(key, row, i)}\r\n`)
    expect(readFileSync(`${name}.out`, 'utf8')).toBe(
      `counter,id,pan,pinBlock,panSequenceNumber,prw\r\n${expected.join('')}`,
    )
  })

  it('adds PRW and random number to NDJSON', async () => {
    const rows = makeRows(300).map((row) => ({ ...row, pin: row.pin.slice(0, 9) }))
    const blocks = makeBlocks('ISO-4', keyOf(setUp, 'zpk-aes'), rows)
    const name = join(folder.path, 'prw.ndjson')
    const text = rows.map(
      ({ id, pan }, i) =>
        `{"id":"${id}","pan":"${pan}","pinBlock":"${blocks[i]}","expiry":"${expiry(i)}","panSequenceNumber":"${digits(i % 100, 2)}" }\n`,
    )
    writeFileSync(name, text.join(''))
    const args = [
      '--from',
      'zpk-aes:ISO-4',
      '--to',
      'zpk-out:ISO-0',
      '--prw',
      'prw-aes:dk-aes',
      '--in',
      name,
      '--out',
      `${name}.out`,
    ]
    const { code } = await runMigrate(setUp.config, args)
    expect(code).toBe(0)
    const made = makeBlocks('ISO-0', keyOf(setUp, 'zpk-out'), rows)
    const key = keyOf(setUp, 'prw-aes')
    const randoms = new Set<string>()
    readFileSync(`${name}.out`, 'utf8')
      .trimEnd()
      .split('\n')
      .forEach((line, i) => {
        const { prw, randomNumber } = JSON.parse(line) as { prw: string; randomNumber: string }
        const { pan, pin } = rows[i]!
        const message =
          pan.padStart(20, '0') +
          digits(i % 100, 2) +
          expiry(i) +
          digits(pin.length, 2) +
          pin.padEnd(12, 'F') +
          randomNumber
        expect(prw).toBe(agreed(({ cmac }) => cmac('AES', key, message)).toUpperCase())
        expect(`${line}\n`).toBe(
          text[i]!.replace(blocks[i]!, made[i]!).replace(
            ' }\n',
            ` ,"prw":"${prw}","randomNumber":"${randomNumber}"}\n`,
          ),
        )
        randoms.add(randomNumber)
      })
    expect(randoms.size).toBe(300)
  })
})
