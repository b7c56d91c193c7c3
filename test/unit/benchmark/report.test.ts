import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { writeReport } from '../../../scripts/benchmark/page.ts'
import { plotsOf } from '../../../scripts/benchmark/plots.ts'
import { headOf, tablesOf } from '../../../scripts/benchmark/report.ts'
import type { Results } from '../../../scripts/benchmark/results.ts'
import { figure, markdownOf, percent, textOf, withSpread, type Table } from '../../../scripts/benchmark/table.ts'
import { cellOf, inventedResults, resultsOf } from '../../support/benchmark-results.ts'

const TABLE: Table = {
  id: 'a',
  title: 'Title',
  head: ['', 'a second', 'who'],
  rows: [
    ['translate', '1 234', 'we'],
    ['batch', '–', 'they'],
  ],
  notes: ['One note.', 'Another.'],
}

describe('table', () => {
  it.each([
    [0.123, '0.12'],
    [9.994, '9.99'],
    [9.996, '10.0'],
    [99.94, '99.9'],
    [1234.5, '1 235'],
    [999_499, '999 499'],
    [999_500, '1.00 M'],
    [12_345_678, '12.3 M'],
  ])('writes %d as %s', (value, text) => expect(figure(value)).toBe(text))

  it('writes the unit once, unless it changes', () => {
    expect(withSpread({ median: 0.5, least: 0.456, most: 0.6 }, percent)).toBe('50 % (46–60)')
    expect(withSpread({ median: 1234, least: 1200, most: 1300 })).toBe('1 234 (1 200–1 300)')
    expect(withSpread({ median: 1.1e6, least: 1e6, most: 2e6 })).toBe('1.10 M (1.00–2.00)')
    expect(withSpread({ median: 1.1e6, least: 9e5, most: 2e6 })).toBe('1.10 M (900 000–2.00 M)')
    expect(withSpread(undefined)).toBe('–')
  })

  it('sets figures right and words left', () => {
    expect(textOf(TABLE)).toEqual([
      'Title',
      '',
      '           a second  who',
      'translate     1 234  we',
      'batch             –  they',
      'One note.',
      'Another.',
    ])
    expect(markdownOf(TABLE)).toEqual([
      '|  | a second | who |',
      '|---|---:|---|',
      '| translate | 1 234 | we |',
      '| batch | – | they |',
      '',
      'One note. Another.',
    ])
  })

  it('breaks notes at 120 columns', () => {
    const note = `${'x'.repeat(100)} ${'y'.repeat(19)} z`
    const lines = textOf({ ...TABLE, notes: [note] }).slice(5)
    expect(lines).toEqual([`${'x'.repeat(100)} ${'y'.repeat(19)}`, 'z'])
  })
})

describe('tablesOf', () => {
  it('says all of a whole run within 120 columns', () => {
    const tables = tablesOf(inventedResults())
    expect(tables.map(({ id }) => id)).toEqual([
      'summary',
      'goals',
      'cpu',
      'cells',
      'hsm-latency',
      'model',
      'points',
      'issuers',
    ])
    const lines = tables.flatMap(textOf)
    expect(lines.filter((line) => line.length > 120)).toEqual([])
    expect(lines.filter((line) => /NaN|undefined|Infinity/.test(line))).toEqual([])
  })

  it('says what there is of a run of few cells', () => {
    const bare = cellOf({ operation: 'translate', subject: 'hsm-calls', concurrency: 1 }, [
      { cpuUs: { 'hsm-calls': 1000 } },
    ])
    const ours = cellOf({ operation: 'translate', subject: 'pinbridge', concurrency: 64 }, [
      { wallMs: 500, cpuUs: { gateway: 2000, vaults: 2000 } },
    ])
    const tables = tablesOf(resultsOf([bare, ours], { start: { keys: 50, readyMs: [] } }))
    expect(tables.map(({ id }) => id)).toEqual(['summary', 'goals', 'cpu', 'cells'])
    expect(tables[0]!.rows).toEqual([
      ['translate', '1 000', '–', '2 000 (2 000–2 000)', '25 % (25–25)', '30 %', '50 %', '–', '–', '–'],
    ])
    expect(tables[0]!.notes.at(-1)).toBe('Floors missed: CPU ratio (translate).')
    expect(tables[2]!.rows).toEqual([['translate', '1.00', '2.00', '2.00', '4.00 (4.00–4.00)', '3.00']])
    expect(tablesOf(resultsOf([]))).toEqual([expect.objectContaining({ id: 'goals' })])
  })

  it('names the machine', () => {
    expect(headOf(resultsOf([]))).toBe(
      '2 cores of Invented CPU, 8 GB, Node v24.0.0; medians of 5 interleaved rounds, with the least and the most.',
    )
  })
})

describe('writeReport', () => {
  const folders: string[] = []
  const written = (results: Results): string => {
    const folder = mkdtempSync(join(tmpdir(), 'pinbridge-report-'))
    folders.push(folder)
    writeReport(results, folder)
    return folder
  }
  afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })))

  it('writes a page that needs nothing else, its plots, and the tables for README', () => {
    const folder = written(inventedResults())
    expect(readdirSync(folder).toSorted()).toEqual([
      'cpu.svg',
      'hsm-latency.svg',
      'latency.svg',
      'report.html',
      'rounds.svg',
      'tables.md',
      'throughput.svg',
    ])
    const page = readFileSync(join(folder, 'report.html'), 'utf8')
    expect(page.match(/<svg /g)).toHaveLength(5)
    expect(page.match(/<script|<link|<img|src=|url\(|@import|href="(?!#)/)).toBeNull()
    expect(page.match(/NaN|undefined|Infinity/)).toBeNull()
    const tables = readFileSync(join(folder, 'tables.md'), 'utf8')
    for (const table of tablesOf(inventedResults())) expect(tables).toContain(markdownOf(table).join('\n'))
  })

  it('draws only what was measured', () => {
    const ours = cellOf({ operation: 'translate', subject: 'pinbridge', concurrency: 64 }, [
      { cpuUs: { gateway: 2000 }, latencyUs: { p50: 1000, p99: 2000, p999: 3000 } },
    ])
    expect(plotsOf(resultsOf([ours])).map(({ name }) => name)).toEqual(['throughput', 'latency', 'rounds'])
    expect(plotsOf(resultsOf([]))).toEqual([])
  })

  it('writes text of the results as text', () => {
    const { machine } = resultsOf([])
    const folder = written(resultsOf([], { machine: { ...machine, model: '<b>&"' } }))
    expect(readFileSync(join(folder, 'report.html'), 'utf8')).toContain('of &lt;b&gt;&amp;&quot;,')
  })
})

describe('plotsOf', () => {
  const plots = plotsOf(inventedResults())

  it.each([
    ['throughput', ['connections', 'operations a second, log.', 'pinbridge', 'plain', 'prw-verify']],
    ['latency', ['milliseconds from request to answer, logarithmic', 'p50', 'p99', 'p99.9', 'translate, plain']],
    ['cpu', ['percent of the CPU time of all pinbridge processes', 'gateway', 'vaults', 'migrate, 1.23 µs']],
    ['hsm-latency', ['milliseconds added to every PKCS#11 call', 'pinbridge, by the model']],
    ['rounds', ['a round’s throughput, percent from the median of all', 'hsm-calls']],
  ])('names in %s what is drawn, with its unit', (name, texts) => {
    const { svg } = plots.find((plot) => plot.name === name)!
    const drawn = [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map(([, text]) => text)
    for (const text of texts) expect(drawn).toContain(text)
  })

  it('draws in colours that have a dark side, and the same each time', () => {
    for (const { svg } of plots) {
      const style = /<style>(.*)<\/style>/.exec(svg)![1]!
      const colours = new Set(
        [...svg.replace(style, '').matchAll(/(?:fill|stroke)="(#[^"]*)"/g)].map(([, each]) => each),
      )
      for (const each of colours) expect(style).toContain(`[fill="${each}"]`)
      expect(svg).not.toContain('<script')
    }
    expect(plotsOf(inventedResults())).toEqual(plots)
  })
})
