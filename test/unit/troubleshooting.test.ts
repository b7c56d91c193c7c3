import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { ERROR_TITLES } from '../../src/errors.ts'
import * as exitCodes from '../../src/exit-codes.ts'
import { REASONS, TOKEN_STATES } from '../../src/gateway/status-metrics.ts'

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const [, SECTION] = /^## Troubleshooting$([\s\S]*?)^## /m.exec(README)!
const TABLES = [...SECTION!.matchAll(/^\| ([^|]+) \|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)/gm)].map(([, title, rows]) => ({
  title: title!,
  rows: rows!
    .trim()
    .split('\n')
    .map((row) =>
      row
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim()),
    ),
}))

function rowsOf(title: string): string[][] {
  return TABLES.find((table) => table.title === title)!.rows
}

describe('the troubleshooting tables of README', () => {
  it('have each code that is answered, once, with a cause', () => {
    const rows = rowsOf('answer')
    expect(rows.map(([code]) => code).toSorted()).toEqual(
      Object.keys(ERROR_TITLES)
        .map((code) => `\`${code}\``)
        .toSorted(),
    )
    for (const [code, cause] of rows) expect([code, cause]).not.toEqual([code, ''])
  })

  it('have each reason of /readyz, and for no vault each state of a token', () => {
    const rows = rowsOf('`/readyz` says')
    const reasons = rows.map(([reason]) => /^`([a-z-]+)`/.exec(reason!)![1]!)
    expect(new Set(reasons)).toEqual(new Set(REASONS))
    const states = rows.flatMap(([reason]) => /token `([a-z-]+)`/.exec(reason!)?.[1] ?? [])
    expect(states.toSorted()).toEqual(TOKEN_STATES.filter((state) => state !== 'serving').toSorted())
  })

  it('have each exit code of the commands', () => {
    const told = rowsOf('exit code').flatMap(([codes]) => codes!.split(', ').map(Number))
    // 1 and 2 are of commands that have an answer; 143 is SIGTERM's.
    const known = [1, 2, 143, ...Object.values(exitCodes)]
    expect(told.toSorted((a, b) => a - b)).toEqual(known.toSorted((a, b) => a - b))
  })

  it('have the exit codes that the table of commands has', () => {
    const [, commands] = /^## The command$([\s\S]*?)^## /m.exec(README)!
    const cells = [...commands!.matchAll(/^\| `pinbridge.*\| ([^|]*) \|$/gm)].map(([, cell]) => cell!)
    expect(cells.length).toBeGreaterThan(10)
    const told = new Set(rowsOf('exit code').flatMap(([codes]) => codes!.split(', ')))
    for (const cell of cells) {
      for (const [code] of cell.matchAll(/(?<=^|; |, |: )\d{1,3}(?= |,|;|$)/g))
        expect([cell, told.has(code) || code === '0']).toEqual([cell, true])
    }
  })

  it('have a cause and what helps in each row', () => {
    for (const { title, rows } of TABLES) {
      for (const row of rows)
        expect([title, row[0], row.some((cell, i) => i > 0 && cell !== '')]).toEqual([title, row[0], true])
    }
    expect(TABLES).toHaveLength(4)
  })
})
