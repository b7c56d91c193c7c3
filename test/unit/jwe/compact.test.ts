import { describe, expect, it } from 'vitest'
import { checkContentForm, MAX_JWE_CHARACTERS, parseCompact, serializeCompact } from '../../../src/jwe/compact.ts'
import { expectCode } from './expect-code.ts'

const IV = 'AAECAwQFBgcICQoL'
const TAG = 'AAECAwQFBgcICQoLDA0ODw'
const GOOD = `e30..${IV}.AA.${TAG}`

function rejects(text: string): void {
  expectCode(() => parseCompact(text), 'ERR_JWE_INVALID')
}

describe('parseCompact', () => {
  it('decodes five parts and keeps the protected header as received', () => {
    const jwe = parseCompact(`e30.AQI.${IV}.AAAA.${TAG}`)
    expect(jwe.protectedHeader).toBe('e30')
    expect(jwe.header.toString()).toBe('{}')
    expect(jwe.encryptedKey.toString('hex')).toBe('0102')
    expect(jwe.iv.toString('hex')).toBe('000102030405060708090a0b')
    expect(jwe.ciphertext.toString('hex')).toBe('000000')
    expect(jwe.tag.toString('hex')).toBe('000102030405060708090a0b0c0d0e0f')
    expect(serializeCompact(jwe)).toBe(`e30.AQI.${IV}.AAAA.${TAG}`)
  })

  it('accepts an empty encrypted key', () => {
    expect(parseCompact(GOOD).encryptedKey).toHaveLength(0)
  })

  it('accepts 8192 characters and rejects 8193 with ERR_JWE_INVALID', () => {
    // 44 characters of header, iv, tag and dots, with an encrypted key of 0 or 2 characters and whole groups of four.
    const sized = (key: string, ciphertext: number) => `e30.${key}.${IV}.${'A'.repeat(ciphertext)}.${TAG}`
    const longest = sized('AAA', 8192 - 3 - sized('', 0).length)
    const longer = sized('AAAA', 8192 - 3 - sized('', 0).length)
    expect(longest).toHaveLength(MAX_JWE_CHARACTERS)
    expect(longer).toHaveLength(MAX_JWE_CHARACTERS + 1)
    expect(parseCompact(longest).encryptedKey).toHaveLength(2)
    rejects(longer)
    expect(parseCompact(longer.replace('AAAA', '')).encryptedKey).toHaveLength(0)
  })

  it.each([
    ['nothing', ''],
    ['one part', 'e30'],
    ['four parts', `e30..${IV}.AA`],
    ['six parts', `${GOOD}.`],
    ['six full parts', `${GOOD}.AA`],
    ['an empty header', `..${IV}.AA.${TAG}`],
    ['an empty iv', `e30...AA.${TAG}`],
    ['an empty ciphertext', `e30..${IV}..${TAG}`],
    ['an empty tag', `e30..${IV}.AA.`],
    ['padding', `e30=..${IV}.AA.${TAG}`],
    ['padding of the ciphertext', `e30..${IV}.AA==.${TAG}`],
    ['a non-canonical last character of the header', `e31..${IV}.AA.${TAG}`],
    ['a non-canonical last character of the ciphertext', `e30..${IV}.AB.${TAG}`],
    ['a non-canonical last character of the tag', `e30..${IV}.AA.${TAG.slice(0, -1)}x`],
    ['a lone base64url character', `e30..${IV}.A.${TAG}`],
    ['the base64 alphabet', `e30..${IV}.+A.${TAG}`],
    ['leading white space', ` ${GOOD}`],
    ['a trailing line feed', `${GOOD}\n`],
    ['white space inside', `e30..${IV}. AA.${TAG}`],
    ['a character that is not ASCII', `e30..${IV}.ÀA.${TAG}`],
    ['a full-width letter', `e30..${IV}.ＡA.${TAG}`],
    ['the JSON serialization', '{"protected":"e30"}'],
  ])('rejects %s with ERR_JWE_INVALID', (_name, text) => {
    rejects(text)
  })
})

describe('checkContentForm', () => {
  it('accepts an iv of 12 bytes and a tag of 16', () => {
    expect(() => checkContentForm(parseCompact(GOOD))).not.toThrow()
  })

  it.each([
    ['an iv of 11 bytes', `e30..AAECAwQFBgcICQo.AA.${TAG}`],
    ['an iv of 16 bytes', `e30..${TAG}.AA.${TAG}`],
    ['a tag of 15 bytes', `e30..${IV}.AA.AAECAwQFBgcICQoLDA0O`],
    ['a tag of 4 bytes', `e30..${IV}.AA.AAECAw`],
    ['a tag of 17 bytes', `e30..${IV}.AA.AAECAwQFBgcICQoLDA0ODxA`],
  ])('rejects %s with ERR_JWE_INVALID', (_name, text) => {
    const jwe = parseCompact(text)
    expectCode(() => checkContentForm(jwe), 'ERR_JWE_INVALID')
  })
})
