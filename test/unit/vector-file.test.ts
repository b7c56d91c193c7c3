import { describe, expect, it } from 'vitest'
import { KcvVectors, checkVectors, readVectors } from '../support/vector-file.ts'

describe('vector files', () => {
  const good = () => structuredClone(readVectors(KcvVectors, 'kcv.json'))

  it('accepts a whole file', () => {
    expect(() => checkVectors(KcvVectors, good())).not.toThrow()
  })

  it.each([
    ['an unknown member', (file: ReturnType<typeof good>) => ({ ...file, extra: 1 }), 'form'],
    ['no groups', (file: ReturnType<typeof good>) => ({ ...file, testGroups: [] }), 'form'],
    ['no tests at all', (file: ReturnType<typeof good>) => ({ ...file, numberOfTests: 0 }), 'form'],
    [
      'a wrong count',
      (file: ReturnType<typeof good>) => ({ ...file, numberOfTests: file.numberOfTests + 1 }),
      'number',
    ],
    ['no source', ({ source: _, ...file }: ReturnType<typeof good>) => file, 'form'],
  ])('refuses %s', (_, change, message) => {
    expect(() => checkVectors(KcvVectors, change(good()))).toThrow(message)
  })

  it('refuses an unknown member of a test, a repeated tcId and an unknown flag', () => {
    const unknown = good()
    Object.assign(unknown.testGroups[0]!.tests[0]!, { expected: 1 })
    expect(() => checkVectors(KcvVectors, unknown)).toThrow('form')
    const repeated = good()
    repeated.testGroups[0]!.tests[0]!.tcId = 2
    expect(() => checkVectors(KcvVectors, repeated)).toThrow('tcId')
    const flagged = good()
    flagged.testGroups[0]!.tests[0]!.flags = ['NoSuchNote']
    expect(() => checkVectors(KcvVectors, flagged)).toThrow('flag')
  })
})
