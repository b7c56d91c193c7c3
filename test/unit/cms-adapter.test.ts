/** What the reference CMS adapter promises in README: its table of codes, its assumptions, and its length. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ERROR_CODES } from '../../src/client/openapi.ts'
import type { PinbridgeErrorCode } from '../../src/client/client.ts'
import { refusalOf } from '../d1/adapter/d1-contract.ts'

const D1 = new URL('../d1', import.meta.url).pathname
const FILES = ['cms-adapter.ts', ...readdirSync(join(D1, 'adapter')).map((name) => `adapter/${name}`)]
const read = (name: string) => readFileSync(join(D1, name), 'utf8')
const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const SECTION = README.split('## A CMS adapter in an afternoon\n')[1]!.split('\n## ')[0]!
const rows = SECTION.split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.split('|').map((cell) => cell.trim()))
const CODES: readonly PinbridgeErrorCode[] = [...ERROR_CODES, 'UNKNOWN_CODE', 'NO_ANSWER']

describe("the adapter's table of codes", () => {
  it('stands in README, code by code', () => {
    const told = rows.flatMap(([, codes = '', status, errorCode]) =>
      [...codes.matchAll(/`(ERR_\w+|UNKNOWN_CODE|NO_ANSWER)`/g)].map(([, code]) => [code, Number(status), errorCode]),
    )
    const made = CODES.map((code) => {
      const { status, body } = refusalOf(code, 'PUT')
      return [code, status, `\`${(body as { errorCode: string }).errorCode}\``]
    })
    expect(told.toSorted()).toEqual(made.toSorted())
  })

  it('is 500 throughout in a GET, and knows no status but those of D1', () => {
    expect(new Set(CODES.map((code) => refusalOf(code, 'GET').status))).toEqual(new Set([500]))
    expect(new Set(CODES.map((code) => refusalOf(code, 'PUT').status))).toEqual(new Set([400, 403, 500]))
  })
})

it('has each of its assumptions once, numbered as in README', () => {
  const inCode = FILES.flatMap((name) => [...read(name).matchAll(/ASSUMPTION (\d)/g)].map(([, number]) => number))
  const inReadme = rows.map(([, number]) => number).filter((number) => /^\d$/.test(number ?? ''))
  expect(inCode.toSorted()).toEqual(['1', '2', '3', '4', '5'])
  // The steps are numbered too.
  expect(inReadme.join('')).toMatch(/12345$/)
})

it('has less than 400 lines, and README names each of its files', () => {
  const lines = FILES.map((name) => read(name).split('\n').length - 1)
  expect(lines.reduce((sum, each) => sum + each, 0)).toBeLessThan(400)
  for (const name of FILES) expect(SECTION).toContain(`(test/d1/${name})`)
})
