import { describe, expect, it } from 'vitest'
import { matches, textOf, type Filter } from '../../../src/audit/filter.ts'
import type { AuditRecord } from '../../../src/audit/record.ts'

const RECORD: AuditRecord = {
  ...{ seq: 7, time: '2026-11-23T12:00:00.500Z', kind: 'outcome', requestId: 'r-1', correlationId: 'c-1' },
  ...{ client: 'cms-adapter', operation: 'pin/set', keys: [{ id: 'zpk-out', version: 2, kcv: 'A1B2C3' }] },
  ...{ translation: { to: 'ISO-0' }, card: 'ab12', code: 'ERR_PIN_REFUSED', prev: '0'.repeat(64) },
}
const START: AuditRecord = { seq: 1, time: RECORD.time, kind: 'start', reason: 'process', prev: '0'.repeat(64) }
const AT_MS = Date.parse(RECORD.time)

describe('a filter', () => {
  it.each<[keyof Filter, string]>([
    ['client', 'cms-adapter'],
    ['operation', 'pin/set'],
    ['card', 'ab12'],
    ['code', 'ERR_PIN_REFUSED'],
    ['correlationId', 'c-1'],
  ])('by %s matches the whole value, and nothing that has none', (name, value) => {
    expect(matches(RECORD, { [name]: value })).toBe(true)
    expect(matches(RECORD, { [name]: value.slice(0, -1) })).toBe(false)
    expect(matches(START, { [name]: value })).toBe(false)
  })

  it('narrows by each of its members', () => {
    expect(matches(RECORD, {})).toBe(true)
    expect(matches(RECORD, { client: 'cms-adapter', code: 'ERR_PIN_REFUSED', sinceMs: AT_MS, untilMs: AT_MS })).toBe(
      true,
    )
    expect(matches(RECORD, { client: 'cms-adapter', code: 'OK' })).toBe(false)
  })

  it('by time has both ends in it', () => {
    expect([AT_MS - 1, AT_MS, AT_MS + 1].map((sinceMs) => matches(RECORD, { sinceMs }))).toEqual([true, true, false])
    expect([AT_MS - 1, AT_MS, AT_MS + 1].map((untilMs) => matches(RECORD, { untilMs }))).toEqual([false, true, true])
  })
})

describe('a line for people', () => {
  it('says what the record says', () => {
    expect(textOf(RECORD)).toBe(
      '       7 2026-11-23T12:00:00.500Z outcome cms-adapter pin/set ERR_PIN_REFUSED >ISO-0 zpk-out.v2 card=ab12 correlation-id=c-1',
    )
    expect(textOf(START)).toBe('       1 2026-11-23T12:00:00.500Z start   process')
  })

  it('steers no terminal', () => {
    expect(textOf({ ...RECORD, correlationId: '\u001b[2J\u202e\u009b' })).toContain('correlation-id=?[2J??')
  })
})
