import { describe, expect, it } from 'vitest'
import { nextStep } from '../../../src/cli/rotate/next-step.ts'
import type { KeyEntry } from '../../../src/config/schema.ts'

const versions = (...states: KeyEntry['state'][]): KeyEntry[] =>
  states.map((state, i) => ({ id: 'k', version: i + 1, state }) as KeyEntry)

const numbersOf = (...states: KeyEntry['state'][]) => {
  const next = nextStep(versions(...states))
  if (next === undefined) return undefined
  if (next.step === 'new') return ['new', next.like.version]
  if (next.step === 'activate') return ['activate', next.pending.version, next.active?.version]
  return ['retire', next.retiring.map(({ version }) => version), next.active.version]
}

describe('the next step of a rotation', () => {
  it('goes through new, activate, retire, and begins again', () => {
    expect(numbersOf('active')).toEqual(['new', 1])
    expect(numbersOf('active', 'pending')).toEqual(['activate', 2, 1])
    expect(numbersOf('retiring', 'active')).toEqual(['retire', [1], 2])
    expect(numbersOf('retired', 'active')).toEqual(['new', 2])
  })

  it('ends a rotation before the next begins', () => {
    expect(numbersOf('retiring', 'active', 'pending')).toEqual(['retire', [1], 2])
  })

  it('activates what is pending where nothing is active, and retires nothing before that', () => {
    expect(numbersOf('pending')).toEqual(['activate', 1, undefined])
    expect(numbersOf('retiring', 'pending')).toEqual(['activate', 2, undefined])
  })

  it('finds none where no version is in use', () => {
    expect(numbersOf('retired')).toBeUndefined()
    expect(numbersOf('retiring')).toBeUndefined()
  })
})
