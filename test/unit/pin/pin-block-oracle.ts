/**
 * A second reading of ISO 9564-1, independent of src: strings of hex digits, naive, one sentence of the standard a
 * line. It is for tests only: it holds PINs as strings and returns at the first thing that is wrong.
 */

/** The formats the oracle knows, by the name the service gives them. */
export const ORACLE_FORMATS = ['ISO-0', 'ISO-1', 'ISO-3', 'SECCOS'] as const

/** One of them. */
export type OracleFormat = (typeof ORACLE_FORMATS)[number]

const CONTROL: Record<OracleFormat, string> = { 'ISO-0': '0', 'ISO-1': '1', SECCOS: '2', 'ISO-3': '3' }
const FILLER: Record<OracleFormat, RegExp> = {
  'ISO-0': /^F*$/,
  'ISO-1': /^[0-9A-F]*$/,
  SECCOS: /^F*$/,
  'ISO-3': /^[A-F]*$/,
}

/** The PIN block, where `filler` holds at least as many nibbles as the format needs. */
export function oracleEncode(format: OracleFormat, pin: string, pan: string, filler: string): string {
  const pinField = (CONTROL[format] + pin.length.toString(16) + pin + filler).toUpperCase().slice(0, 16)
  return xorHex(pinField, oraclePanField(format, pan))
}

/** The PIN, or undefined if the block is not one of `format` for `pan`. */
export function oracleDecode(format: OracleFormat, block: string, pan: string): string | undefined {
  if (block.length !== 16) return undefined
  const pinField = xorHex(block, oraclePanField(format, pan))
  const length = '0123456789ABCDEF'.indexOf(pinField.charAt(1))
  if (pinField.charAt(0) !== CONTROL[format] || length < 4 || length > 12) return undefined
  const pin = pinField.slice(2, 2 + length)
  return /^[0-9]+$/.test(pin) && FILLER[format].test(pinField.slice(2 + length)) ? pin : undefined
}

/** The PAN field, or zeros for a format without one. */
export function oraclePanField(format: OracleFormat, pan: string): string {
  if (format === 'ISO-1' || format === 'SECCOS') return '0'.repeat(16)
  const withoutCheckDigit = pan.substring(0, pan.length - 1)
  let field = ''
  for (let i = 1; i <= 12; i++) field = (withoutCheckDigit[withoutCheckDigit.length - i] ?? '0') + field
  return `0000${field}`
}

function xorHex(a: string, b: string): string {
  return [...a]
    .map((nibble, i) => (parseInt(nibble, 16) ^ parseInt(b.charAt(i), 16)).toString(16))
    .join('')
    .toUpperCase()
}
