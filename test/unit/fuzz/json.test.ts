import fc from 'fast-check'
import { expect, it } from 'vitest'
import { readJson, readMembers } from '../../../src/json-bytes.ts'
import { damaged, fuzz } from './fuzz.ts'
import { strictJson } from './json-model.ts'

const PIECES = [
  ...'{}[]:,"\\ \t\n\r\0-+.eE0',
  '\\u0061',
  '\\ud800',
  '\\udc00',
  '\\ud83d\\ude00',
  '"__proto__":1,',
  '"constructor":{"prototype":1}',
  '"a":1,',
  '"\\u0061":1,',
  '[[[[[[[[[[[[[[[[',
  '1e999',
  '-0',
  '\xef\xbb\xbf',
  '\xc0\xaf',
  '\xed\xa0\x80',
  '\xf4\x90\x80\x80',
  '\xff',
]
const texts = fc
  .oneof(
    fc.json({ maxDepth: 4 }),
    fc.json({ maxDepth: 3, stringUnit: 'binary' }),
    fc.constantFrom(
      '{"pinBlock":"0412345678901234","prw":"0011223344556677","mac":"8899aabbccddeeff"}',
      '{"card":{"pan":"4000001234567899"},"to":{"key":"zpk-out","format":"ISO-0"}}',
      '{"a":[1,-2.5e3,true,false,null,"x\\n"],"b":{"c":{}}}',
    ),
  )
  .map((text) => Buffer.from(text))

it('the strict JSON reader takes exactly what its model takes, and reads the same', () =>
  fuzz(
    'json',
    fc.tuple(damaged(texts, PIECES), fc.constantFrom(undefined, 2, 8), fc.constantFrom(undefined, 3)),
    ([bytes, maxDepth, maxMembers]) => {
      const limits = { ...(maxDepth && { maxDepth }), ...(maxMembers && { maxMembers }) }
      const model = strictJson(bytes, maxDepth, maxMembers)
      expect(readJson(bytes, limits)).toEqual(model?.value)
      const members = readMembers(bytes, limits)
      const value = model?.value
      const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
      expect(members && [...members.keys()].sort()).toEqual(isObject ? Object.keys(value).sort() : undefined)
      for (const [name, member] of members ?? []) {
        const spelled = member.kind === 'string' ? `"${member.bytes.toString()}"` : member.bytes.toString()
        expect(JSON.parse(spelled)).toEqual((value as Record<string, unknown>)[name])
        expect(member.escaped).toBe(member.kind === 'string' && spelled.includes('\\'))
      }
      return model ? 'taken' : 'refused'
    },
    (bytes): [Buffer, undefined, undefined] => [bytes, undefined, undefined],
  ))
