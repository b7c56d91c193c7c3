import { Ajv } from 'ajv'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readBatchBody, type BatchBody } from '../../../../src/gateway/batch/batch-body.ts'
import { BatchRequest } from '../../../../src/gateway/routes/pin-blocks-batch.ts'
import { readJson } from '../../../../src/json-bytes.ts'

const judge = new Ajv({ strict: false }).compile(BatchRequest)
const FROM = { key: 'zpk-in', format: 'ISO-0' }
const TO = { key: 'zpk-out', format: 'ISO-3' }
const ITEM = { id: 'a', pinBlock: '0123456789abcDEF', card: { pan: '4000001234567899' } }

/** What the reader is measured by: the strict JSON reader, the schema that the document shows, and the rules beside it. */
function expected(text: string): object[] | undefined {
  const body = readJson(Buffer.from(text), { maxDepth: 8, maxMembers: 32 }) as any
  const isTaken: boolean = judge(body)
  if (!isTaken || body.items === undefined) return undefined
  const { items, from } = body as { items: (typeof ITEM)[]; from: { format: string } }
  const digits = from.format === 'ISO-4' ? 32 : 16
  if (new Set(items.map(({ id }) => id)).size !== items.length) return undefined
  if (items.some(({ pinBlock }) => pinBlock.length !== digits)) return undefined
  return items.map(({ id, pinBlock, card }) => ({ id, pinBlock: pinBlock.toUpperCase(), pan: card.pan }))
}

/** What the reader reads, as objects again. */
function actual(text: string): object[] | undefined {
  let body: BatchBody
  try {
    body = readBatchBody(Buffer.from(text))
  } catch (error) {
    expect(error).toMatchObject({ code: 'ERR_REQUEST_INVALID' })
    return undefined
  }
  const { batch } = body
  const packed = batch.packed()
  const hex = packed.toString('hex').toUpperCase()
  const blockDigits = (hex.length - batch.items * 20) / batch.items
  return Array.from({ length: batch.items }, (_, i) => ({
    id: JSON.parse(
      `"${batch.bytes.toString('utf8', batch.idAt[batch.lineOfItem[i]!], batch.idEnd[batch.lineOfItem[i]!])}"`,
    ) as string,
    pinBlock: hex.slice(batch.items * 20 + i * blockDigits, batch.items * 20 + (i + 1) * blockDigits),
    pan: hex.slice(i * 20, (i + 1) * 20).replace(/^0+/, ''),
  }))
}

const agree = (text: string) => expect(actual(text), text).toEqual(expected(text))

const chars = (alphabet: string, minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom(...alphabet), minLength, maxLength })
const id = fc.oneof(fc.string({ maxLength: 66 }), fc.string({ unit: 'grapheme', maxLength: 66 }), chars('ab', 1, 2))
const pinBlock = fc.oneof(chars('0123456789abcdefABCDEF', 16, 16), chars('0123456789abcdefABCDEF', 32, 32), fc.string())
const pan = fc.oneof(
  { weight: 5, arbitrary: fc.bigInt({ min: 10n ** 11n, max: 10n ** 19n - 1n }).map(String) },
  chars('0123456789', 10, 21),
  fc.string(),
)
const card = fc.record(
  { pan, panSequenceNumber: chars('0123456789x', 1, 3), expiry: chars('0123', 4, 4), more: fc.constant(1) },
  { requiredKeys: [] },
)
const wellFormed = fc.record({
  id: fc.uuid(),
  pinBlock: chars('0123456789abcdefABCDEF', 16, 16),
  card: fc.record({
    pan: fc.bigInt({ min: 10n ** 11n, max: 10n ** 19n - 1n }).map(String),
  }),
})
const item = fc.oneof(
  { weight: 8, arbitrary: wellFormed },
  fc.record({ id, pinBlock, card }),
  fc.record({ id, pinBlock, card, extra: fc.jsonValue() }, { requiredKeys: [] }),
  fc.jsonValue(),
)
const zone = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(FROM, TO, { key: 'zpk-aes', format: 'ISO-4' }) },
  fc.jsonValue(),
)
const request = fc.record(
  { from: zone, to: zone, items: fc.oneof({ weight: 9, arbitrary: fc.array(item, { maxLength: 6 }) }, fc.jsonValue()) },
  { requiredKeys: ['items'] },
)

/** Any spelling of a JSON text: space wherever it may stand, and letters of strings as escapes. */
const respell = (text: string, seed: number): string => {
  let state = seed
  const next = (n: number) => (state = (state * 1103515245 + 12345) & 0x7fffffff) % n
  let inString = false
  return [...text]
    .map((character, i, all) => {
      if (character === '"' && all[i - 1] !== '\\') inString = !inString
      if (
        inString &&
        /[a-z0-9]/.test(character) &&
        all[i - 1] !== '\\' &&
        !/\\u.{0,3}$/.test(all.slice(i - 5, i).join(''))
      )
        return next(9) === 0 ? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}` : character
      return !inString && /[[\]{},:]/.test(character) && next(4) === 0 ? ` \n${character}\t\r` : character
    })
    .join('')
}

describe('readBatchBody', () => {
  it('takes and reads what the JSON reader and the schema of the document take', () => {
    let taken = 0
    fc.assert(
      fc.property(request, fc.nat(), (body, seed) => {
        const text = JSON.stringify(body)
        if (expected(text) !== undefined) taken++
        agree(text)
        agree(respell(text, seed))
      }),
      { numRuns: 3000 },
    )
    // Or the property would be about refusals alone.
    expect(taken).toBeGreaterThan(100)
  })

  it('agrees with them on a text of which any one character is changed, left out or doubled', () => {
    const text = JSON.stringify({
      from: FROM,
      to: TO,
      items: [
        { ...ITEM, card: { ...ITEM.card, expiry: '2612' } },
        { ...ITEM, id: 'é"\\b' },
      ],
    })
    fc.assert(
      fc.property(
        fc.nat(text.length - 1),
        fc.constantFrom(...'"\\{}[]:,0a \n\u0000é', ''),
        fc.boolean(),
        (at, by, keep) => {
          agree(text.slice(0, at) + by + text.slice(keep ? at : at + 1))
        },
      ),
      { numRuns: 4000 },
    )
  })

  it.each([
    ['an id of 64 characters of four bytes', '😀'.repeat(64), true],
    ['one of 65', '😀'.repeat(65), false],
    ['one of 64 characters that need an escape', '\u0001'.repeat(64), true],
    ['one of 65 of them', '\n'.repeat(65), false],
    ['an empty one', '', false],
  ])('counts the characters of %s', (_what, id, isTaken) => {
    const text = JSON.stringify({ from: FROM, to: TO, items: [{ ...ITEM, id }] })
    expect(actual(text) !== undefined).toBe(isTaken)
    agree(text)
  })

  it('sees that two spellings of an id are one', () => {
    const items = ['"a"', '"\\u0061"'].map((id) => JSON.stringify(ITEM).replace('"a"', id)).join(',')
    expect(actual(`{"from":${JSON.stringify(FROM)},"to":${JSON.stringify(TO)},"items":[${items}]}`)).toBeUndefined()
  })

  it('refuses a repeated member wherever it stands', () => {
    const text = JSON.stringify({ from: FROM, to: TO, items: [ITEM] })
    for (const member of ['"from":{"key":"zpk-in","format":"ISO-0"}', '"id":"a"', '"pan":"4000001234567899"']) {
      expect(text).toContain(member)
      expect(actual(text.replace(member, `${member},${member}`))).toBeUndefined()
    }
  })
})
