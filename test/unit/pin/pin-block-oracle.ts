/**
 * A second reading of ISO 9564-1, independent of src: strings of hex digits, naive, one sentence of the standard a
 * line. It is for tests only: it holds PINs as strings and returns at the first thing that is wrong.
 */

/** The formats the oracle knows, by the name the service gives them. */
export const ORACLE_FORMATS = ['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'] as const

/** One of them. */
export type OracleFormat = (typeof ORACLE_FORMATS)[number]

/** Enciphers, or deciphers, one block under some key; hex in and out. */
export type OracleCipherOfBlock = (blockHex: string) => string

const CONTROL: Record<OracleFormat, string> = { 'ISO-0': '0', 'ISO-1': '1', SECCOS: '2', 'ISO-3': '3', 'ISO-4': '4' }
const NIBBLES: Record<OracleFormat, number> = { 'ISO-0': 16, 'ISO-1': 16, SECCOS: 16, 'ISO-3': 16, 'ISO-4': 32 }
const FILLER: Record<OracleFormat, RegExp> = {
  'ISO-0': /^F*$/,
  'ISO-1': /^[0-9A-F]*$/,
  SECCOS: /^F*$/,
  'ISO-3': /^[A-F]*$/,
  'ISO-4': /^A*[0-9A-F]{16}$/,
}

/**
 * The clear PIN block, of ISO-4 the PIN field, where `filler` holds at least as many nibbles as the format needs behind
 * the PIN: of ISO-4 that is 14 less the PIN's length, then the random half.
 */
export function oracleEncode(format: OracleFormat, pin: string, pan: string, filler: string): string {
  const pinField = (CONTROL[format] + pin.length.toString(16) + pin + filler).toUpperCase().slice(0, NIBBLES[format])
  return xorHex(pinField, oraclePanField(format, pan))
}

/** The PIN, or undefined if the clear block is not one of `format` for `pan`. */
export function oracleDecode(format: OracleFormat, block: string, pan: string): string | undefined {
  if (block.length !== NIBBLES[format]) return undefined
  const pinField = xorHex(block, oraclePanField(format, pan))
  const length = '0123456789ABCDEF'.indexOf(pinField.charAt(1))
  if (pinField.charAt(0) !== CONTROL[format] || length < 4 || length > 12) return undefined
  const pin = pinField.slice(2, 2 + length)
  return /^[0-9]+$/.test(pin) && FILLER[format].test(pinField.slice(2 + length)) ? pin : undefined
}

/** The PAN field that is added to the clear block, or zeros for a format that adds none. */
export function oraclePanField(format: OracleFormat, pan: string): string {
  if (format !== 'ISO-0' && format !== 'ISO-3') return '0'.repeat(NIBBLES[format])
  const withoutCheckDigit = pan.substring(0, pan.length - 1)
  let field = ''
  for (let i = 1; i <= 12; i++) field = (withoutCheckDigit[withoutCheckDigit.length - i] ?? '0') + field
  return `0000${field}`
}

/** The PAN field of ISO-4, of a PAN of 1–19 digits. */
export function oraclePanField4(pan: string): string {
  const digits = pan.length < 12 ? '0'.repeat(12 - pan.length) + pan : pan
  const field = String(digits.length - 12) + digits
  return field + '0'.repeat(32 - field.length)
}

/** Enciphers a clear block: in one pass, or for ISO-4 in two with the PAN field added in between. */
export function oracleEncipher(
  format: OracleFormat,
  encipher: OracleCipherOfBlock,
  block: string,
  pan: string,
): string {
  if (format !== 'ISO-4') return encipher(block).toUpperCase()
  return encipher(xorHex(encipher(block), oraclePanField4(pan))).toUpperCase()
}

/** Deciphers what `oracleEncipher` has enciphered. */
export function oracleDecipher(
  format: OracleFormat,
  decipher: OracleCipherOfBlock,
  block: string,
  pan: string,
): string {
  if (format !== 'ISO-4') return decipher(block).toUpperCase()
  return decipher(xorHex(decipher(block), oraclePanField4(pan))).toUpperCase()
}

function xorHex(a: string, b: string): string {
  return [...a]
    .map((nibble, i) => (parseInt(nibble, 16) ^ parseInt(b.charAt(i), 16)).toString(16))
    .join('')
    .toUpperCase()
}
