import { describe, expect, it } from 'vitest'
import type { PinFormat } from '../../../src/pin/pin.ts'
import { translationVerdict, type TranslationVerdict } from '../../../src/pin/translation-policy.ts'

/** Every cell once more, in words of its own: a change of policy has to be made twice. */
const CELLS: readonly [PinFormat, PinFormat, TranslationVerdict][] = [
  ['ISO-0', 'ISO-0', 'permitted'],
  ['ISO-0', 'ISO-1', 'forbidden'],
  ['ISO-0', 'ISO-3', 'permitted'],
  ['ISO-0', 'ISO-4', 'permitted'],
  ['ISO-0', 'SECCOS', 'seccos-grant'],
  ['ISO-1', 'ISO-0', 'permitted'],
  ['ISO-1', 'ISO-1', 'permitted'],
  ['ISO-1', 'ISO-3', 'permitted'],
  ['ISO-1', 'ISO-4', 'permitted'],
  ['ISO-1', 'SECCOS', 'seccos-grant'],
  ['ISO-3', 'ISO-0', 'permitted'],
  ['ISO-3', 'ISO-1', 'forbidden'],
  ['ISO-3', 'ISO-3', 'permitted'],
  ['ISO-3', 'ISO-4', 'permitted'],
  ['ISO-3', 'SECCOS', 'seccos-grant'],
  ['ISO-4', 'ISO-0', 'permitted'],
  ['ISO-4', 'ISO-1', 'forbidden'],
  ['ISO-4', 'ISO-3', 'permitted'],
  ['ISO-4', 'ISO-4', 'permitted'],
  ['ISO-4', 'SECCOS', 'seccos-grant'],
  ['SECCOS', 'ISO-0', 'seccos-grant'],
  ['SECCOS', 'ISO-1', 'forbidden'],
  ['SECCOS', 'ISO-3', 'seccos-grant'],
  ['SECCOS', 'ISO-4', 'seccos-grant'],
  ['SECCOS', 'SECCOS', 'seccos-grant'],
]

describe('translationVerdict', () => {
  it('is tested for all 25 cells', () => {
    expect(new Set(CELLS.map(([from, to]) => `${from} ${to}`)).size).toBe(25)
  })

  it.each(CELLS)('from %s to %s is %s', (from, to, verdict) => {
    expect(translationVerdict(from, to)).toBe(verdict)
  })

  it('has no way of any number of steps from a format that binds a PAN to format 1', () => {
    for (const start of ['ISO-0', 'ISO-3', 'ISO-4', 'SECCOS'] as const) {
      const reached = new Set<PinFormat>([start])
      for (const from of reached) {
        for (const [, to] of CELLS) if (translationVerdict(from, to) !== 'forbidden') reached.add(to)
      }
      expect([...reached].sort()).toEqual(['ISO-0', 'ISO-3', 'ISO-4', 'SECCOS'])
    }
  })

  it.each(['ISO-2', 'iso-0', '', '__proto__', 'constructor', 'length', '0'])(
    'forbids the unknown format %j',
    (name) => {
      const unknown = name as PinFormat
      expect(translationVerdict(unknown, 'ISO-0')).toBe('forbidden')
      expect(translationVerdict('ISO-1', unknown)).toBe('forbidden')
      expect(translationVerdict(unknown, unknown)).toBe('forbidden')
    },
  )
})
