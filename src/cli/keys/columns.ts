/** A plain table for a person: a line of headings, a line for each row, columns as wide as they need. */
import { styleText } from 'node:util'

/** Lays rows out under their headings; each line ends in a newline. */
export function columnsOf(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, i) => Math.max(heading.length, ...rows.map((row) => row[i]!.length)))
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd()
  const heading = styleText('bold', line(headings), { stream: process.stdout })
  return [heading, ...rows.map(line)].map((each) => `${each}\n`).join('')
}
