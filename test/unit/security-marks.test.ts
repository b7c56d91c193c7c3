/** SECURITY.md and the code name the same mitigations: each M-n stands in both, and what is named in the document is there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const ROOT = new URL('../..', import.meta.url).pathname
const SECURITY = readFileSync(join(ROOT, 'SECURITY.md'), 'utf8')
const CODE = ['src', 'native-config', 'scripts', 'Dockerfile']

/** Every mark of a text by where it stands: `M-3`, and `O-2`, `U-14` and so on by another letter. */
function marksIn(text: string, letter: string): Set<string> {
  return new Set([...text.matchAll(new RegExp(`\\b${letter}-[1-9]\\d*\\b`, 'g'))].map(([mark]) => mark))
}

/** The marks that begin a row of a table, each defined once. */
function definedIn(text: string, letter: string): string[] {
  return [...text.matchAll(new RegExp(`^\\| (${letter}-[1-9]\\d*) \\|`, 'gm'))].map(([, mark]) => mark!)
}

function textsBelow(path: string): string[] {
  const full = join(ROOT, path)
  if (!existsSync(full)) return []
  if (!/^(?:src|native-config|scripts)/.test(path)) return [readFileSync(full, 'utf8')]
  return readdirSync(full, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8'))
}

describe('SECURITY.md', () => {
  it('has a row for every mitigation that the code is marked with, and the code a mark for every row', () => {
    const marked = new Set(CODE.flatMap(textsBelow).flatMap((text) => [...marksIn(text, 'M')]))
    expect([...marked].sort()).toEqual(definedIn(SECURITY, 'M').sort())
  })

  it.each(['ASUM', 'AS', 'A', 'M', 'O', 'U'])(
    'defines each %s-n once, and refers to none that is not defined',
    (letter) => {
      const defined = definedIn(SECURITY, letter)
      expect(defined.length).toBeGreaterThan(2)
      expect(defined).toEqual([...new Set(defined)])
      const undefinedMarks = [...marksIn(SECURITY, letter)].filter((mark) => !defined.includes(mark))
      expect(undefinedMarks).toEqual([])
    },
  )

  it('names tests and files that are there', () => {
    const named = [...SECURITY.matchAll(/\b(?:test|src|scripts|native-config)\/[\w./-]*[\w-]/g)].map(([path]) => path)
    expect(named.length).toBeGreaterThan(20)
    const isThere = (path: string) => ['', '.ts', '.test.ts'].some((suffix) => existsSync(join(ROOT, path + suffix)))
    expect(named.filter((path) => !isThere(path))).toEqual([])
  })
})
