/** Bytes and their texts: strict hex and base64url, exclusive or, and comparison in constant time. */
import { timingSafeEqual } from 'node:crypto'

const HEX = /^(?:[0-9A-Fa-f]{2})*$/
const BASE64URL = /^[A-Za-z0-9_-]*$/

/** Decodes hex text of either case; undefined unless every character is a hex digit and their number is even. */
export function decodeHex(text: string): Buffer | undefined {
  return HEX.test(text) ? Buffer.from(text, 'hex') : undefined
}

/** Encodes bytes as upper-case hex, the case of every answer. */
export function encodeHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex').toUpperCase()
}

/**
 * Decodes ASCII hex digits, held as bytes because they are secret, into `target`.
 *
 * @param text - twice as many bytes as `target`, each an ASCII hex digit of either case.
 * @param target - takes the decoded bytes; wiped by its owner.
 * @returns false if the length differs or any byte is no hex digit; `target` then holds nothing of use.
 */
export function decodeHexBytes(text: Uint8Array, target: Uint8Array): boolean {
  if (text.length !== target.length * 2) return false
  let bad = 0
  for (let i = 0; i < target.length; i++) {
    const high = hexDigit(text[2 * i]!)
    const low = hexDigit(text[2 * i + 1]!)
    bad |= high | low
    target[i] = (high << 4) | (low & 0x0f)
  }
  return (bad & 0x10) === 0
}

/** The value of an ASCII hex digit, or a number with bit 4 set; no branch, because the digit is secret. */
function hexDigit(ascii: number): number {
  const digit = ascii - 0x30
  const letter = (ascii | 0x20) - 0x61
  const isDigit = ~((digit | (9 - digit)) >> 31)
  const isLetter = ~((letter | (5 - letter)) >> 31)
  return (digit & isDigit) | ((letter + 10) & isLetter) | (0x10 & ~(isDigit | isLetter))
}

/**
 * Encodes secret bytes as ASCII hex digits, held as bytes because they are secret.
 *
 * @param target - twice as long as `bytes`; wiped by its owner.
 */
export function encodeHexBytes(bytes: Uint8Array, target: Uint8Array, hexCase: 'upper' | 'lower'): void {
  const toLetters = (hexCase === 'upper' ? 0x41 : 0x61) - 10 - 0x30
  const digit = (nibble: number): number => nibble + 0x30 + (toLetters & ((9 - nibble) >> 31))
  for (let i = 0; i < bytes.length; i++) {
    target[2 * i] = digit(bytes[i]! >> 4)
    target[2 * i + 1] = digit(bytes[i]! & 0x0f)
  }
}

/** Decodes base64url without padding; undefined unless the text is the one canonical form (RFC 7515 section 2, RFC 4648 section 3.5). */
export function decodeBase64url(text: string): Buffer | undefined {
  if (!BASE64URL.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64url')
  // The unused low bits of the last character must be zero, or two texts would name the same bytes.
  return bytes.toString('base64url') === text ? bytes : undefined
}

/** Writes `a` XOR `b` into `target`; all three have the same length, and `target` may be one of them. */
export function xorInto(target: Uint8Array, a: Uint8Array, b: Uint8Array): void {
  for (let i = 0; i < target.length; i++) target[i] = a[i]! ^ b[i]!
}

/** Compares in a time that depends on the lengths only; false if they differ. */
export function equalConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
