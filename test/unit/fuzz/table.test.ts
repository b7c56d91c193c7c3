import { expect, it } from 'vitest'
import { CASES, CORPUS_NAMES } from './fuzz.ts'

it('the parsers are fuzzed with 100 000 cases and more, and every list of the corpus is that of a parser', () => {
  expect(Object.values(CASES).reduce((sum, cases) => sum + cases, 0)).toBeGreaterThanOrEqual(100_000)
  expect(Object.keys(CASES)).toEqual(expect.arrayContaining(CORPUS_NAMES))
})
