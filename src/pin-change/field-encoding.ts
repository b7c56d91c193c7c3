/**
 * The four encodings of a field. Each writes the whole width of `target` and returns false if the value does not fit;
 * `target` then holds nothing of use. None branches on a digit, which may be a PIN's.
 */

/** On which side of its field a value stands. */
export type Align = 'left' | 'right'

/**
 * Writes decimal digits as BCD, a digit a nibble, the high nibble first.
 *
 * @param characters - ASCII digits; not wiped here.
 * @param fill - the nibble, 0–15, that takes the places that the value leaves.
 * @returns false if a character is no digit, or if there are more of them than nibbles.
 */
export function putBcd(characters: Uint8Array, target: Uint8Array, align: Align, fill: number): boolean {
  const nibbles = 2 * target.length
  if (characters.length > nibbles || !areDigits(characters)) return false
  const start = align === 'left' ? 0 : nibbles - characters.length
  target.fill((fill << 4) | fill)
  for (let i = 0; i < characters.length; i++) {
    const place = start + i
    const byte = place >> 1
    const digit = characters[i]! & 0x0f
    target[byte] = place & 1 ? (target[byte]! & 0xf0) | digit : (target[byte]! & 0x0f) | (digit << 4)
  }
  return true
}

/**
 * Writes characters as they are, one a byte.
 *
 * @param characters - visible ASCII; not wiped here.
 * @param fill - the byte that takes the places that the value leaves.
 * @returns false if a character is not visible ASCII, or if there are more of them than bytes.
 */
export function putAscii(characters: Uint8Array, target: Uint8Array, align: Align, fill: number): boolean {
  if (characters.length > target.length) return false
  let bad = 0
  for (const character of characters) bad |= Number(character < 0x21) | Number(character > 0x7e)
  if (bad !== 0) return false
  target.fill(fill)
  target.set(characters, align === 'left' ? 0 : target.length - characters.length)
  return true
}

/**
 * Writes decimal digits as one big-endian number.
 *
 * @param characters - at most 9 ASCII digits; not wiped here.
 * @returns false if a character is no digit, or if the number needs more bytes.
 */
export function putBinary(characters: Uint8Array, target: Uint8Array): boolean {
  if (characters.length === 0 || characters.length > 9 || !areDigits(characters)) return false
  let rest = 0
  for (const character of characters) rest = 10 * rest + (character & 0x0f)
  for (let i = target.length - 1; i >= 0; i--) {
    target[i] = rest & 0xff
    rest >>>= 8
  }
  return rest === 0
}

/** Writes bytes that must take the whole width; false if they are missing or have another length. */
export function putRaw(value: Uint8Array | undefined, target: Uint8Array): boolean {
  if (value?.length !== target.length) return false
  target.set(value)
  return true
}

/** Whether every character is an ASCII digit, without stopping at the first that is not. */
function areDigits(characters: Uint8Array): boolean {
  let bad = 0
  for (const character of characters) bad |= Number(character < 0x30) | Number(character > 0x39)
  return bad === 0
}
