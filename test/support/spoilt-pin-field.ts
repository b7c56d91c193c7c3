/** PIN fields of 16 nibbles that are no PIN field, each in one way: what ERR_PIN_BLOCK_INVALID is said of. */
import { randomInt } from 'node:crypto'

/** Sets one nibble of a field of hex digits. */
function set(field: string, nibble: number, values: string): string {
  return field.slice(0, nibble) + values.charAt(randomInt(values.length)) + field.slice(nibble + 1)
}

/** By cause, what spoils the field of a PIN of 4 digits in format 0, 3 or 4 before a PAN is added to it. */
export const SPOILT: Readonly<Record<string, (field: string) => string>> = {
  control: (field) => set(field, 0, '9'),
  'length 3': (field) => set(field, 1, '3'),
  'length 13': (field) => set(field, 1, 'D'),
  'first digit': (field) => set(field, 2, 'BCDE'),
  'last digit': (field) => set(field, 5, 'BCDE'),
  'first filler': (field) => set(field, 6, '01234567'),
  'last filler': (field) => set(field, 15, '01234567'),
}
