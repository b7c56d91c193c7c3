import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { CASES, CORPUS_NAMES } from './fuzz.ts'

it('the parsers are fuzzed with 100 000 cases and more, and every list of the corpus is that of a parser', () => {
  expect(Object.values(CASES).reduce((sum, cases) => sum + cases, 0)).toBeGreaterThanOrEqual(100_000)
  expect(Object.keys(CASES)).toEqual(expect.arrayContaining(CORPUS_NAMES))
})

it('each of them is fuzzed, by one test', () => {
  const tests = globSync('*.test.ts', { cwd: import.meta.dirname })
  const text = tests.map((name) => readFileSync(join(import.meta.dirname, name), 'utf8')).join('\n')
  const fuzzed = [...text.matchAll(/\bfuzz\(\s*'([a-z-]+)'/g)].map(([, name]) => name)
  expect(fuzzed.sort()).toEqual(Object.keys(CASES).sort())
})
