/** The report of a benchmark: one page that needs nothing else, its plots as files, and its tables as Markdown. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { plotsOf } from './plots.ts'
import { headOf, tablesOf } from './report.ts'
import type { Results } from './results.ts'
import type { Plot } from './svg.ts'
import { isOfFigures, markdownOf, type Table } from './table.ts'

/** Writes report.html, tables.md and an SVG of each plot into a folder that is there. */
export function writeReport(results: Results, folder: string): void {
  const tables = tablesOf(results)
  const plots = plotsOf(results)
  writeFileSync(join(folder, 'tables.md'), markdownPage(headOf(results), tables))
  writeFileSync(join(folder, 'report.html'), htmlPage(headOf(results), tables, plots))
  for (const { name, svg } of plots) writeFileSync(join(folder, `${name}.svg`), svg)
}

function markdownPage(head: string, tables: readonly Table[]): string {
  return [head, ...tables.flatMap((table) => ['', `## ${table.title}`, '', ...markdownOf(table)]), ''].join('\n')
}

/** Which plots stand behind which table. */
const PLOTS_OF_TABLES: Readonly<Record<string, readonly string[]>> = {
  goals: ['throughput', 'latency'],
  cpu: ['cpu'],
  'hsm-latency': ['hsm-latency'],
  cells: ['rounds'],
}
/** Long tables wait to be opened; a page without a script can do that. */
const FOLDED = new Set(['goals', 'cells', 'hsm-latency', 'points'])

/** The page; `plots` are of these tables. */
export function htmlPage(head: string, tables: readonly Table[], plots: readonly Plot[]): string {
  const sections = tables.map((table) => {
    const shown = plots.filter(({ name }) => PLOTS_OF_TABLES[table.id]?.includes(name))
    const body = FOLDED.has(table.id)
      ? `<details><summary>${table.rows.length} rows</summary>${tableHtml(table)}</details>`
      : tableHtml(table)
    return `<section id="${table.id}"><h2>${escaped(table.title)}</h2>${shown.map(figureHtml).join('')}${body}</section>`
  })
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pinbridge: benchmark</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>pinbridge: how close to the HSM’s limit</h1>
<p class="head">${escaped(head)}</p>
<nav>${tables.map(({ id, title }) => `<a href="#${id}">${escaped(title)}</a>`).join('')}</nav>
${sections.join('\n')}
</main>
</body>
</html>
`
}

function figureHtml({ caption, svg }: Plot): string {
  // Its colours on a dark screen come with it.
  return `<figure>${svg}<figcaption>${escaped(caption)}</figcaption></figure>`
}

function tableHtml({ head, rows, notes }: Table): string {
  const isFigure = head.map((_, column) => isOfFigures(rows, column))
  const cells = (row: readonly string[], tag: 'th' | 'td'): string =>
    row.map((cell, column) => `<${tag}${isFigure[column]! ? ' class="n"' : ''}>${cellHtml(cell)}</${tag}>`).join('')
  return `<div class="scroll"><table><thead><tr>${cells(head, 'th')}</tr></thead><tbody>${rows
    .map((row) => `<tr>${cells(row, 'td')}</tr>`)
    .join('')}</tbody></table></div>${notes.map((note) => `<p class="note">${escaped(note)}</p>`).join('')}`
}

/** What is missed stands out, and the range of the rounds stands back. */
function cellHtml(text: string): string {
  if (text === 'MISSED') return '<strong class="missed">missed</strong>'
  return escaped(text).replace(/ \((.*)\)$/, ' <span class="range">$1</span>')
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1b2026; --faint: #5d6670; --line: #e3e6ea; --missed: #b3261e; --link: #0067a5 }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181d; --ink: #e8ebee; --faint: #9aa4ae; --line: #2c333b; --missed: #ff8a80; --link: #4fb3f0 }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 1120px; margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem }
h2 { font-size: 1.2rem; margin: 0 0 .75rem }
section { margin-top: 3rem; scroll-margin-top: 1rem }
.head, .note, figcaption { color: var(--faint) }
.note { margin: .35rem 0 0; font-size: .875rem; max-width: 52rem }
table + .note, .scroll + .note { margin-top: .75rem }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .9rem }
a { color: var(--link) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; white-space: nowrap; width: 100% }
th, td { padding: .3rem .75rem; text-align: left; border-bottom: 1px solid var(--line) }
th { color: var(--faint); font-weight: 600; vertical-align: bottom }
th:first-child, td:first-child { padding-left: 0 }
.n { text-align: right }
.range { color: var(--faint); font-size: .8em; margin-left: .25em }
.missed { color: var(--missed) }
summary { cursor: pointer; color: var(--link); font-size: .9rem; margin-bottom: .5rem }
figure { margin: 0 0 1.5rem }
figure svg { display: block; width: 100%; height: auto }
figcaption { font-size: .875rem; margin-top: .5rem }
@media print { details > * { display: block } }
`
