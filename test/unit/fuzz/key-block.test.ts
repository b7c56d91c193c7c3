import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { headerInWords } from '../../../src/key-block/header-words.ts'
import { formatHeader } from '../../../src/key-block/header.ts'
import { KeyBlockError } from '../../../src/key-block/key-block-error.ts'
import { parseKeyBlock } from '../../../src/key-block/key-block.ts'
import { damaged, fuzz, textOf } from './fuzz.ts'

const DIGITS = '0123456789'
const HEX = `${DIGITS}ABCDEF`
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
const MAC_DIGITS: Readonly<Record<string, number>> = { A: 8, B: 16, C: 8, D: 32 }

const hexOf = (value: number, digits: number) => value.toString(16).toUpperCase().padStart(digits, '0')

/** An optional block with its length in one of its two forms. */
const optional = fc
  .tuple(textOf(LETTERS, 2), textOf(`${HEX} ~-:`, 0, 30), fc.nat(3))
  .map(([id, data, form]) => {
    if (form === 0) return `${id}0002${hexOf(10 + data.length, 4)}${data}`
    if (form === 1) return `${id}0001${hexOf(8 + data.length, 2)}${data}`
    return `${id}${hexOf(4 + data.length, 2)}${data}`
  })
  .filter((block) => !block.startsWith('PB'))

const sample = fc
  .tuple(
    fc.constantFrom('A', 'B', 'C', 'D'),
    textOf(LETTERS + DIGITS, 4),
    textOf(DIGITS, 2),
    fc.constantFrom('E', 'N', 'S'),
    fc.array(optional, { maxLength: 3 }),
    fc.integer({ min: 1, max: 5 }),
    textOf(HEX, 200),
  )
  .map(([version, places, keyVersion, exportability, blocks, bodyBlocks, digits]) => {
    const unit = version === 'D' ? 16 : 8
    const missing = (unit - (blocks.join('').length % unit)) % unit
    const fill = missing > 0 && missing < 4 ? missing + unit : missing
    const all = fill === 0 ? blocks : [...blocks, `PB${hexOf(fill, 2)}${'0'.repeat(fill - 4)}`]
    const rest = digits.repeat(2).slice(0, 2 * unit * bodyBlocks + MAC_DIGITS[version]!)
    const header = `${places}${keyVersion}${exportability}${String(all.length).padStart(2, '0')}00${all.join('')}`
    return Buffer.from(`${version}${String(5 + header.length + rest.length).padStart(4, '0')}${header}${rest}`)
  })

/** The grammar once more, from the front, taking off what was read; undefined for what is no key block. */
function model(text: string): { blocks: string[]; body: string; mac: string } | undefined {
  if (
    !/^[ABCD]\d{4}[0-9A-Z]{4}[0-9A-Za-z]{2}[0-9A-Z]\d\d[012]0/.test(text) ||
    Number(text.slice(1, 5)) !== text.length
  ) {
    return undefined
  }
  const unit = text.startsWith('D') ? 16 : 8
  let rest = text.slice(16)
  const blocks: string[] = []
  while (blocks.length < Number(text.slice(12, 14))) {
    const short = /^[0-9A-Z]{2}([0-9A-F]{2})/.exec(rest)
    const long = /^[0-9A-Z]{2}00(?:01([0-9A-F]{2})|02([0-9A-F]{4}))/.exec(rest)
    const length = short?.[1] === '00' ? long && (long[1] ?? long[2]) : short?.[1]
    const least = short?.[1] === '00' ? long?.[0].length : 4
    if (!length || least === undefined) return undefined
    const block = rest.slice(0, Number.parseInt(length, 16))
    if (block.length < Number.parseInt(length, 16) || block.length < least || /[^ -~]/.test(block)) return undefined
    blocks.push(block)
    rest = rest.slice(block.length)
  }
  if (blocks.slice(0, -1).some((block) => block.startsWith('PB')) || blocks.join('').length % unit !== 0)
    return undefined
  const bodyDigits = rest.length - MAC_DIGITS[text[0]!]!
  if (bodyDigits <= 0 || bodyDigits % (2 * unit) !== 0 || /[^0-9A-F]/.test(rest)) return undefined
  return { blocks, body: rest.slice(0, bodyDigits), mac: rest.slice(bodyDigits) }
}

describe('key blocks', () => {
  it('are read as the grammar says, written again as they were, and refused with a sentence and nothing else', () =>
    fuzz(
      'key-block',
      damaged(sample, ['PB', 'KS', '00', '0001', '0002', 'FF', '04', 'A', 'D', '\n', '\x80', '\0', 'a']),
      (bytes) => {
        const text = bytes.toString('latin1')
        const wanted = model(text)
        let got: ReturnType<typeof parseKeyBlock> | undefined
        try {
          got = parseKeyBlock(text)
        } catch (error) {
          if (!(error instanceof KeyBlockError) || error.problem !== 'form') throw error
          expect(error.message).toMatch(/^this is not a key block: [ -~]+$/)
        }
        expect(
          got && {
            blocks: got.header.optionalBlocks.map((block) => block.text),
            body: got.encipheredBody.toString('hex').toUpperCase(),
            mac: got.mac.toString('hex').toUpperCase(),
          },
        ).toEqual(wanted)
        if (got === undefined) return 'refused'
        expect(formatHeader(got.header, text.length - got.headerText.length)).toBe(got.headerText)
        expect(headerInWords(got.header).length).toBeGreaterThanOrEqual(6)
        return 'taken'
      },
      (bytes) => bytes,
    ))
})
