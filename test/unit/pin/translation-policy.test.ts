import { describe, expect, it } from 'vitest'
import type { PinFormat } from '../../../src/pin/pin.ts'
import { translationVerdict, type TranslationVerdict } from '../../../src/pin/translation-policy.ts'

// The rules of PCI PIN v3.1 requirements 3-2 and 3-3, and our own for SECCOS.
const SAME_PAN = '3-3: 0, 3 and 4 become one another with the PAN unchanged'
const NEVER_1 = '3-3: what binds a PAN never becomes format 1'
const FROM_1 = '3-3: format 1 becomes 0, 3 or 4'
const STAYS_1 = '3-3: format 1 stays format 1'
const TO_THE_CARD = '3-2 and 3-3: format 2 only for submission to an IC card'
const GETS_A_PAN = 'ours: SECCOS binds no PAN, so it gets one by a grant only'
const IN_TWO_STEPS = 'ours: with the way to SECCOS it would be 0, 3 or 4 to 1'
const SAME_CARD = 'ours: another key means another card'

/** Every cell once more, in words of its own: a change of policy has to be made twice. */
const CELLS: readonly [from: PinFormat, to: PinFormat, verdict: TranslationVerdict, because: string][] = [
  ['ISO-0', 'ISO-0', 'permitted', SAME_PAN],
  ['ISO-0', 'ISO-1', 'forbidden', NEVER_1],
  ['ISO-0', 'ISO-3', 'permitted', SAME_PAN],
  ['ISO-0', 'ISO-4', 'permitted', SAME_PAN],
  ['ISO-0', 'SECCOS', 'seccos-grant', TO_THE_CARD],
  ['ISO-1', 'ISO-0', 'permitted', FROM_1],
  ['ISO-1', 'ISO-1', 'permitted', STAYS_1],
  ['ISO-1', 'ISO-3', 'permitted', FROM_1],
  ['ISO-1', 'ISO-4', 'permitted', FROM_1],
  ['ISO-1', 'SECCOS', 'seccos-grant', TO_THE_CARD],
  ['ISO-3', 'ISO-0', 'permitted', SAME_PAN],
  ['ISO-3', 'ISO-1', 'forbidden', NEVER_1],
  ['ISO-3', 'ISO-3', 'permitted', SAME_PAN],
  ['ISO-3', 'ISO-4', 'permitted', SAME_PAN],
  ['ISO-3', 'SECCOS', 'seccos-grant', TO_THE_CARD],
  ['ISO-4', 'ISO-0', 'permitted', SAME_PAN],
  ['ISO-4', 'ISO-1', 'forbidden', NEVER_1],
  ['ISO-4', 'ISO-3', 'permitted', SAME_PAN],
  ['ISO-4', 'ISO-4', 'permitted', SAME_PAN],
  ['ISO-4', 'SECCOS', 'seccos-grant', TO_THE_CARD],
  ['SECCOS', 'ISO-0', 'seccos-grant', GETS_A_PAN],
  ['SECCOS', 'ISO-1', 'forbidden', IN_TWO_STEPS],
  ['SECCOS', 'ISO-3', 'seccos-grant', GETS_A_PAN],
  ['SECCOS', 'ISO-4', 'seccos-grant', GETS_A_PAN],
  ['SECCOS', 'SECCOS', 'seccos-grant', SAME_CARD],
]

const FORMATS = [...new Set(CELLS.map(([from]) => from))]

describe('translationVerdict', () => {
  it('is tested for all 25 cells', () => {
    expect(new Set(CELLS.map(([from, to]) => `${from} ${to}`)).size).toBe(25)
  })

  it.each(CELLS)('from %s to %s is %s (%s)', (from, to, verdict) => {
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

  it.each(['ISO-2', 'ISO-5', 'iso-0', 'ISO-0 ', '', '__proto__', 'constructor', 'length', '0', '4', '-1'])(
    'forbids the unknown format %j, from and to every other and itself',
    (name) => {
      const unknown = name as PinFormat
      for (const known of FORMATS) {
        expect(translationVerdict(unknown, known)).toBe('forbidden')
        expect(translationVerdict(known, unknown)).toBe('forbidden')
      }
      expect(translationVerdict(unknown, unknown)).toBe('forbidden')
    },
  )

  it.each([undefined, null, 0, 4, {}, ['ISO-0']])('forbids what is no name: %j', (value) => {
    const unknown = value as PinFormat
    for (const known of FORMATS) {
      expect(translationVerdict(unknown, known)).toBe('forbidden')
      expect(translationVerdict(known, unknown)).toBe('forbidden')
    }
  })
})
