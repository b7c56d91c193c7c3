import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createWeakPinRule, type WeakPinPolicy } from '../../../src/pin/weak-pin.ts'

const OFF: WeakPinPolicy = { repeated: false, rising: false, falling: false, list: [] }
const FLAGS = [false, true]
const EVERY_SWITCH = FLAGS.flatMap((repeated) =>
  FLAGS.flatMap((rising) => FLAGS.map((falling) => ({ repeated, rising, falling }))),
)
/** Neighbours in value, in length and in their beginning, and one that a rule refuses too. */
const LIST = ['2580', '2581', '0852', '1111', '25800', '258025802580', '0000', '000000000000', '9999', '471147114711']

/** The policy in strings. */
function oracle({ repeated, rising, falling, list }: WeakPinPolicy, pin: string): boolean {
  return (
    (repeated && pin === pin.charAt(0).repeat(pin.length)) ||
    (rising && '0123456789'.includes(pin)) ||
    (falling && '9876543210'.includes(pin)) ||
    list.includes(pin)
  )
}

/** As an operation holds it: 12 bytes, and zeros behind the digits. */
function clearPin(digits: string, behind = 0) {
  const pin = Buffer.alloc(12, behind)
  pin.set(Uint8Array.from(digits, Number))
  return { pin, pinDigits: digits.length }
}

const isWeak = (policy: Partial<WeakPinPolicy>, digits: string) =>
  createWeakPinRule({ ...OFF, ...policy })(clearPin(digits))

describe('a weak PIN', () => {
  it.each<[keyof WeakPinPolicy, string[], string[]]>([
    ['repeated', ['1111', '0000', '999999999999'], ['1112', '2111', '1211', '1221', '1212', '000000000001']],
    ['rising', ['1234', '0123', '6789', '0123456789', '34567'], ['7890', '8901', '1235', '2345678901', '1243', '1357']],
    [
      'falling',
      ['4321', '3210', '9876', '9876543210', '76543'],
      ['2109', '0987', '4320', '1098765432', '9753', '4312'],
    ],
  ])('is one that is %s, and neither wraps nor skips', (rule, weak, good) => {
    for (const pin of weak) expect([pin, isWeak({ [rule]: true }, pin)]).toEqual([pin, true])
    for (const pin of good) expect([pin, isWeak({ [rule]: true }, pin)]).toEqual([pin, false])
    for (const pin of weak) expect([pin, isWeak({}, pin)]).toEqual([pin, false])
  })

  it('is one of the list, and not one that begins or ends like it', () => {
    for (const pin of LIST) expect([pin, isWeak({ list: LIST }, pin)]).toEqual([pin, true])
    for (const pin of ['2582', '3580', '258000', '2580258025', '5800', '00000', '4711', '47114711471']) {
      expect([pin, isWeak({ list: LIST }, pin)]).toEqual([pin, false])
    }
  })

  it.each(EVERY_SWITCH)('is the same to the oracle for all 10 000 of four digits: %j', (switches) => {
    for (const list of [[], LIST]) {
      const policy = { ...switches, list }
      const rule = createWeakPinRule(policy)
      const all = Array.from({ length: 10_000 }, (_, i) => String(i).padStart(4, '0'))
      const weak = all.filter((pin) => rule(clearPin(pin)))
      expect(weak).toEqual(all.filter((pin) => oracle(policy, pin)))
      if (list.length > 0) continue
      const { repeated, rising, falling } = switches
      expect(weak.length).toBe((repeated ? 10 : 0) + (rising ? 7 : 0) + (falling ? 7 : 0))
    }
  })

  const anyPin = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 4, maxLength: 12 }).map((pin) => pin.join(''))
  /** Digits that go up, down or nowhere by one step from anywhere, with at most one of them changed. */
  const nearlyWeak = fc
    .tuple(
      fc.integer({ min: 0, max: 9 }),
      fc.constantFrom(-1, 0, 1, 9, 11),
      fc.integer({ min: 4, max: 12 }),
      fc.option(fc.tuple(fc.nat(11), fc.nat(9)), { nil: undefined }),
    )
    .map(([first, step, length, change]) => {
      const digits = Array.from({ length }, (_, i) => (first + i * step + 120) % 10)
      if (change !== undefined && change[0] < length) digits[change[0]] = change[1]
      return digits.join('')
    })

  it('is the same to the oracle at any length', () => {
    fc.assert(
      fc.property(
        fc.oneof(anyPin, nearlyWeak, fc.constantFrom(...LIST)),
        fc.constantFrom(...EVERY_SWITCH),
        fc.array(fc.oneof(anyPin, nearlyWeak), { maxLength: 20 }),
        fc.boolean(),
        (pin, switches, others, isListed) => {
          const policy = { ...switches, list: isListed ? [...others, pin] : others }
          expect(createWeakPinRule(policy)(clearPin(pin))).toBe(oracle(policy, pin))
        },
      ),
      { numRuns: 5000 },
    )
  })
})

describe('the rule', () => {
  const STRICT = { repeated: true, rising: true, falling: true, list: LIST }

  it('does not look at what follows the PIN in its slice, nor needs it', () => {
    const rule = createWeakPinRule(STRICT)
    for (const pin of ['1111', '1234', '4321', '2580', '0852', '1357', '25801', '000000']) {
      const expected = rule(clearPin(pin))
      for (const behind of [1, 5, 9, 0xff]) expect([pin, rule(clearPin(pin, behind))]).toEqual([pin, expected])
      expect(rule({ pin: Uint8Array.from(pin, Number), pinDigits: pin.length })).toBe(expected)
    }
    expect(rule({ pin: Uint8Array.of(1, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1), pinDigits: 4 })).toBe(true)
    expect(rule({ pin: Uint8Array.of(1, 1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1), pinDigits: 5 })).toBe(false)
  })

  it('does not change the PIN', () => {
    const input = clearPin('1234')
    createWeakPinRule(STRICT)(input)
    expect(input).toEqual(clearPin('1234'))
  })

  it('reads every place of the PIN just as often, whatever its digits, its length and the verdict', () => {
    const rule = createWeakPinRule(STRICT)
    const readsOf = (digits: string) => {
      const reads: Record<string, number> = {}
      const { pin, pinDigits } = clearPin(digits)
      const watched = new Proxy(pin, {
        get(bytes, key) {
          reads[String(key)] = (reads[String(key)] ?? 0) + 1
          return Reflect.get(bytes, key) as unknown
        },
      })
      rule({ pin: watched, pinDigits })
      return reads
    }
    const expected = readsOf('1357')
    expect(Object.keys(expected).map(Number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    expect(Math.min(...Object.values(expected))).toBeGreaterThan(LIST.length)
    for (const pin of ['1111', '1112', '1234', '4321', ...LIST, '13579135791', '987654321012']) {
      expect(readsOf(pin)).toEqual(expected)
    }
  })
})
