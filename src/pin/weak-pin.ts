/**
 * Which PINs an issuer refuses because they are guessed first: all digits the same, rising or falling by one, or on the
 * issuer's own list.
 *
 * The verdict takes the same steps for every PIN: every rule and every entry of the list is gone through, twelve places
 * each, and what is found is collected in one number. Only the policy, which is no secret, sets how long that takes.
 */
import { MAX_PIN_DIGITS, type ClearPin } from './pin.ts'

/** Stands in an entry of the list behind its digits, so that a PIN does not match one that goes on. */
const NO_DIGIT = 0xff

/** The issuer's policy; with every rule false and an empty list, no PIN is weak. */
export interface WeakPinPolicy {
  /** All digits the same: 1111. */
  readonly repeated: boolean
  /** Each digit one more than the one before it: 1234. After 9 comes nothing. */
  readonly rising: boolean
  /** Each digit one less than the one before it: 4321. After 0 comes nothing. */
  readonly falling: boolean
  /** The issuer's own list, each of 4–12 digits. */
  readonly list: readonly string[]
}

/** Whether a PIN is weak; it is not wiped here, its owner does. */
export type IsWeakPin = (clearPin: ClearPin) => boolean

/** Makes the rule of a policy; the list becomes bytes here, so that no PIN has to become a string to be held against it. */
export function createWeakPinRule(policy: WeakPinPolicy): IsWeakPin {
  const list = packList(policy.list)
  const repeated = Number(policy.repeated)
  const rising = Number(policy.rising)
  const falling = Number(policy.falling)

  return ({ pin, pinDigits }) => {
    let notRepeated = 0
    let notRising = 0
    let notFalling = 0
    for (let i = 1; i < MAX_PIN_DIGITS; i++) {
      const isDigit = maskBelow(i, pinDigits)
      const step = pin[i]! - pin[i - 1]!
      notRepeated |= step & isDigit
      notRising |= (step - 1) & isDigit
      notFalling |= (step + 1) & isDigit
    }
    let weak = (repeated & isZero(notRepeated)) | (rising & isZero(notRising)) | (falling & isZero(notFalling))
    for (let entry = 0; entry < list.length; entry += MAX_PIN_DIGITS) {
      let difference = 0
      for (let i = 0; i < MAX_PIN_DIGITS; i++) {
        const isDigit = maskBelow(i, pinDigits)
        difference |= list[entry + i]! ^ ((pin[i]! & isDigit) | (NO_DIGIT & ~isDigit))
      }
      weak |= isZero(difference)
    }
    return weak !== 0
  }
}

/** The list as bytes, 12 an entry: one digit a byte, then `NO_DIGIT`. */
function packList(list: readonly string[]): Uint8Array {
  const packed = new Uint8Array(list.length * MAX_PIN_DIGITS).fill(NO_DIGIT)
  list.forEach((digits, i) => packed.set(Uint8Array.from(digits, Number), i * MAX_PIN_DIGITS))
  return packed
}

/** All ones if `a` < `b`, else 0, without a branch; both are small and not negative. */
function maskBelow(a: number, b: number): number {
  return (a - b) >> 31
}

/** 1 if no bit is set, else 0, without a branch. */
function isZero(bits: number): number {
  return ((bits | -bits) >>> 31) ^ 1
}
