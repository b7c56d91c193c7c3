/** Secrets to look for in texts, in every encoding that a careless log, error or metric would write them in. */

/** One secret: what it is, and the texts that would give it away. */
export interface Canary {
  readonly what: string
  readonly texts: readonly string[]
}

/** The shortest text that is looked for: a shorter one would be found by chance. */
const MIN_CHARACTERS = 8

/** A secret that is bytes: hex of either case, base64, base64url, and the list of numbers that JSON makes of a Buffer. */
export function bytesCanary(what: string, bytes: Buffer): Canary {
  const list = [...bytes].join(',')
  const texts = [
    bytes.toString('hex'),
    ...base64Inside(bytes),
    list,
    list.replaceAll(',', ', '),
    bytes.toString('latin1'),
  ]
  return { what, texts: usable(what, texts) }
}

/** A secret that is decimal digits, a PIN or a PAN: as text, as the bytes of that text, one digit a byte, and packed. */
export function digitsCanary(what: string, digits: string): Canary {
  const even = digits.length % 2 === 0 ? digits : `0${digits}`
  const texts = [
    digits,
    ...bytesCanary(what, Buffer.from(digits)).texts,
    ...bytesCanary(what, Buffer.from([...digits].map(Number))).texts,
    ...bytesCanary(what, Buffer.from(even, 'hex')).texts,
  ]
  return { what, texts: usable(what, texts) }
}

/** A secret that is text already. */
export function textCanary(what: string, text: string): Canary {
  return { what, texts: usable(what, [text, ...bytesCanary(what, Buffer.from(text)).texts]) }
}

/** What of the canaries stands in a text; upper and lower case are one. */
export function findCanaries(text: string, canaries: readonly Canary[]): string[] {
  const haystack = text.toLowerCase()
  return canaries.filter(({ texts }) => texts.some((needle) => haystack.includes(needle))).map(({ what }) => what)
}

/** Base64 and base64url of bytes wherever they stand in a longer encoded text: at each of the three alignments, without the ends. */
function base64Inside(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const start = before === 0 ? 0 : before + 1
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replaceAll('=', '')
    const whole = Math.floor(((before + bytes.length) * 8) / 6)
    const text = encoded.slice(start, whole)
    return [text, text.replaceAll('+', '-').replaceAll('/', '_')]
  })
}

function usable(what: string, texts: readonly string[]): string[] {
  const long = texts.filter((text) => text.length >= MIN_CHARACTERS).map((text) => text.toLowerCase())
  if (long.length === 0) throw new Error(`${what} is too short to look for`)
  return [...new Set(long)]
}
