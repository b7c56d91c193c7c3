/** The name that a certificate is made out to, as a person types it: `CN=pinbridge,O=Example Bank,C=DE`. */
import { EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** The parts that a name may have, with the most characters of each (RFC 5280 appendix A.1). */
const MOST_CHARACTERS = { CN: 64, O: 64, OU: 64, L: 128, ST: 128, C: 2 } as const

/** One part of a name. */
export interface NamePart {
  readonly type: keyof typeof MOST_CHARACTERS
  readonly value: string
}

/**
 * Reads a name, in the order it is written in; a comma inside a value is written as `\,`.
 *
 * @throws CommandError that says what is wrong with it.
 */
export function parseSubject(text: string): NamePart[] {
  const parts = splitAtCommas(text).map(parsePart)
  if (!parts.some(({ type }) => type === 'CN')) throw unfit('it needs a common name, such as CN=pinbridge')
  return parts
}

function splitAtCommas(text: string): string[] {
  return text.split(/(?<!\\),/).map((part) => part.replaceAll('\\,', ',').trim())
}

function parsePart(part: string): NamePart {
  const at = part.indexOf('=')
  const type = part.slice(0, Math.max(at, 0)).trim().toUpperCase()
  const value = part.slice(at + 1).trim()
  if (!isType(type)) throw unfit(`each part is one of ${Object.keys(MOST_CHARACTERS).join(', ')}, and =`)
  if (value === '' || /\p{Cc}/u.test(value)) throw unfit(`${type} needs a value without control characters`)
  if (type === 'C' && !/^[A-Z]{2}$/.test(value)) throw unfit('C is a country in two capital letters, such as DE')
  if (Array.from(value).length > MOST_CHARACTERS[type]) {
    throw unfit(`${type} has at most ${MOST_CHARACTERS[type]} characters`)
  }
  return { type, value }
}

function isType(type: string): type is NamePart['type'] {
  return Object.hasOwn(MOST_CHARACTERS, type)
}

function unfit(sentence: string): CommandError {
  return new CommandError(EX_USAGE, `--subject: ${sentence}; write it as 'CN=pinbridge,O=Example Bank,C=DE'`)
}
