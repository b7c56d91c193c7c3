import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readJson, readMembers } from '../../src/json-bytes.ts'

const nested = (depth: number, open = '[', close = ']') => open.repeat(depth) + close.repeat(depth)

describe('readJson', () => {
  // By the idea of the y_ files of nst/JSONTestSuite.
  it.each([
    'null',
    'true',
    'false',
    '""',
    '"a"',
    '0',
    '-0',
    '123',
    '-1',
    '1.5',
    '-0.0',
    '1e0',
    '1E+2',
    '1.5e-3',
    '0e1',
    '123456789012345678901234567890.123456789012345678901234567890',
    '1e-400',
    '[]',
    '{}',
    '[ ]',
    ' { } ',
    '[null, 1, "1", {}]',
    '\t\r\n [1]\n',
    '[1 , 2]',
    '{"a":"b"}',
    '{ "a" : "b" , "c" : [ ] }',
    '{"":0}',
    '{"a":{"a":{"a":1}}}',
    '[{"a":1},{"a":1}]',
    '{"a\\u0000b":1}',
    '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
    '"\\u0060\\u012a\\u12AB\\uFFFF"',
    '"\\u0000"',
    '"\\ud83d\\ude39"',
    '"\\uD834\\uDD1E"',
    '"\\uDBFF\\uDFFF"',
    '"\\\\u0000"',
    '"/"',
    '"\u007f"',
    '"\u2028\u2029"',
    '"€𝄞"',
    '"\ufeff"',
    '"\uffff"',
    '"new\u00a0line"',
    '{"constructor":1,"toString":2}',
  ])('reads %j as JSON.parse does', (text) => {
    expect(readJson(Buffer.from(text))).toEqual(JSON.parse(text))
  })

  // By the idea of the n_ files of nst/JSONTestSuite.
  it.each([
    '',
    ' ',
    '[',
    ']',
    '{',
    '}',
    '[1',
    '[1,',
    '[1,]',
    '[,1]',
    '[1,,2]',
    '[1 2]',
    '[1]]',
    '["a"',
    '["a",\n4\n,1',
    '[a]',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    '{,"a":1}',
    '{"a" 1}',
    '{"a":1 "b":2}',
    '{"a"::1}',
    '{"a","b"}',
    '{a:1}',
    "{'a':1}",
    '{1:1}',
    '{null:1}',
    '{"a":1}}',
    '{"a":1}#',
    '{"a":1}{"b":2}',
    '{"a":1}/**/',
    '// c\n{}',
    '1 1',
    'nul',
    'nulll',
    'True',
    'tru',
    'fals',
    'NaN',
    'Infinity',
    '-Infinity',
    'undefined',
    '-',
    '+1',
    '++1',
    '--1',
    '01',
    '-01',
    '00',
    '1.',
    '.5',
    '-.5',
    '1.e1',
    '1e',
    '1e+',
    '1E-',
    '1e1.5',
    '1e1e1',
    '0x10',
    '1_000',
    '1,5',
    '- 1',
    '１',
    '"',
    '"a',
    '"\\"',
    '"\\',
    '"\\a"',
    '"\\x41"',
    '"\\U0041"',
    '"\\u"',
    '"\\u12"',
    '"\\u12G4"',
    '"\\u 123"',
    '"\\u+123"',
    '"\\u{41}"',
    "'a'",
    '"a\nb"',
    '"a\tb"',
    '"\u0000"',
    '"\u001f"',
    '"\\ud800"',
    '"\\udc00"',
    '"\\ud800a"',
    '"\\ud800\\n"',
    '"\\ud800\\u0041"',
    '"\\ud800\\ud800"',
    '"\\ud800\\udbff"',
    '"\\udc00\\ud800"',
    '"\\ud800\\u"',
    '"\\ud800\\',
    '{"\\ud800":1}',
    '\u00a0[]',
    '[]\u00a0',
    '\u2028[]',
    '\ufeff[]',
    '[\u000c]',
    '[\u000b]',
    '[]\u0000',
    '*',
    'é',
  ])('refuses %j', (text) => {
    expect(readJson(Buffer.from(text))).toBeUndefined()
  })

  it.each([
    ['a byte order mark', 'efbbbf5b5d'],
    ['UTF-16', 'fffe5b005d00'],
    ['a lone continuation byte', '228022'],
    ['a lone start byte', '22c322'],
    ['a cut sequence of three', '22e28222'],
    ['an overlong slash in two bytes', '22c0af22'],
    ['an overlong slash in three', '22e080af22'],
    ['an overlong slash in four', '22f08080af22'],
    ['an overlong NUL', '22c08022'],
    ['a high surrogate', '22eda08022'],
    ['a low surrogate', '22edb08022'],
    ['a surrogate pair (CESU-8)', '22eda0b4edb49e22'],
    ['a code point above U+10FFFF', '22f490808022'],
    ['the byte FF', '22ff22'],
    ['ISO 8859-1', '22e922'],
    ['an invalid byte in a name', '7b22ff223a317d'],
    ['an invalid byte outside a string', '5bff5d'],
    ['an invalid byte after the value', '5b5dff'],
  ])('refuses %s', (_name, hex) => {
    expect(readJson(Buffer.from(hex, 'hex'))).toBeUndefined()
  })

  it.each([
    ['as it is', '{"a":1,"a":1}'],
    ['with one escape', '{"a":1,"\\u0061":2}'],
    ['with escapes twice', '{"\\u0061":1,"\\u0061":2}'],
    ['with upper-case and lower-case digits', '{"\\u00E9":1,"\\u00e9":2}'],
    ['as UTF-8 and as an escape', '{"é":1,"\\u00e9":2}'],
    ['as UTF-8 and as a surrogate pair', '{"𝄞":1,"\\ud834\\udd1e":2}'],
    ['with a short escape and a long one', '{"\\n":1,"\\u000a":2}'],
    ['with an escaped solidus', '{"/":1,"\\/":2}'],
    ['not next to each other', '{"a":1,"b":2,"a":3}'],
    ['in a nested object', '{"x":[{"a":1,"a":1}]}'],
    ['and empty', '{"":1,"":2}'],
  ])('refuses a member name that is repeated %s', (_name, text) => {
    expect(readJson(Buffer.from(text))).toBeUndefined()
  })

  it('takes names that differ only by case or by normalization for different', () => {
    expect(readJson(Buffer.from('{"a":1,"A":2,"é":3,"e\u0301":4}'))).toEqual({ a: 1, A: 2, é: 3, 'e\u0301': 4 })
  })

  it.each(['{"__proto__":{"admin":true}}', '{"\\u005f_proto__":1}', '{"a":[{"__proto__":null}]}'])(
    'refuses %s',
    (text) => {
      expect(readJson(Buffer.from(text))).toBeUndefined()
    },
  )

  it('reads 16 levels and refuses 17', () => {
    expect(readJson(Buffer.from(nested(16)))).toBeDefined()
    expect(readJson(Buffer.from(nested(17)))).toBeUndefined()
    expect(readJson(Buffer.from(`${'{"a":'.repeat(16)}1${'}'.repeat(16)}`))).toBeDefined()
    expect(readJson(Buffer.from(`${'{"a":'.repeat(17)}1${'}'.repeat(17)}`))).toBeUndefined()
  })

  it('takes the limit it is told', () => {
    expect(readJson(Buffer.from('1'), { maxDepth: 0 })).toBe(1)
    expect(readJson(Buffer.from('[]'), { maxDepth: 0 })).toBeUndefined()
    expect(readJson(Buffer.from('[{}]'), { maxDepth: 2 })).toEqual([{}])
    expect(readJson(Buffer.from('[{}]'), { maxDepth: 1 })).toBeUndefined()
  })

  it('refuses a megabyte of brackets without a deep stack', () => {
    expect(readJson(Buffer.alloc(1 << 20, '['))).toBeUndefined()
    expect(readJson(Buffer.alloc(1 << 20, '{"a":'))).toBeUndefined()
  })

  it('takes time in proportion to the input', { retry: 2 }, () => {
    const members = (count: number) => Buffer.from(`{${Array.from({ length: count }, (_, i) => `"k${i}":"v"`).join()}}`)
    const fastest = (bytes: Buffer) => {
      const times = Array.from({ length: 5 }, () => {
        const start = performance.now()
        expect(readJson(bytes)).toBeDefined()
        return performance.now() - start
      })
      return Math.min(...times)
    }
    const [small, large] = [members(5_000), members(50_000)]
    fastest(small)
    // Ten times the members; a quadratic reader would take a hundred times as long.
    expect(fastest(large)).toBeLessThan(40 * Math.max(fastest(small), 0.5))
  })

  it('agrees with JSON.parse on every valid text', () => {
    const values = fc.json({ maxDepth: 6 }).filter((text) => !text.includes('__proto__'))
    fc.assert(
      fc.property(values, fc.constantFrom(undefined, 1, '\t'), (text, indent) => {
        const value: unknown = JSON.parse(text)
        expect(readJson(Buffer.from(JSON.stringify(value, null, indent)))).toEqual(value)
      }),
      { numRuns: 500 },
    )
  })

  it('agrees with JSON.parse on every string, however it is escaped', () => {
    const escaped = (unit: number) => `\\u${unit.toString(16).padStart(4, '0')}`
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        expect(readJson(Buffer.from(JSON.stringify(value)))).toBe(value)
        const text = Array.from({ length: value.length }, (_, i) => escaped(value.charCodeAt(i))).join('')
        expect(readJson(Buffer.from(`"${text}"`))).toBe(value)
      }),
      { numRuns: 500 },
    )
  })

  it('reads nothing that JSON.parse refuses', () => {
    const piece = fc.constantFrom(...'{}[]:,"\\u0aeE+-.19 \n', 'true', 'null', '"a"', '"b":', '\\u0041')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join('')
        const value = readJson(Buffer.from(text))
        if (value !== undefined) expect(value).toEqual(JSON.parse(text))
      }),
      { numRuns: 5000 },
    )
  })

  it('reads a view in the middle of other memory', () => {
    const memory = Buffer.from('xx{"a":1}xx')
    expect(readJson(memory.subarray(2, 9))).toEqual({ a: 1 })
    expect(readJson(new Uint8Array(memory.buffer, memory.byteOffset + 2, 7))).toEqual({ a: 1 })
  })
})

describe('readMembers', () => {
  const shown = (text: string) => {
    const members = readMembers(Buffer.from(text))
    return members && [...members].map(([name, { kind, bytes, escaped }]) => [name, kind, bytes.toString(), escaped])
  }

  it('tells each member its kind and its bytes, a string without quotes', () => {
    const text = ' { "s" : "0412" ,"e":"", "n":-1.5e3, "o": {"a":[1, 2]}, "a":[ ], "t":true, "f":false, "z":null } '
    expect(shown(text)).toEqual([
      ['s', 'string', '0412', false],
      ['e', 'string', '', false],
      ['n', 'number', '-1.5e3', false],
      ['o', 'object', '{"a":[1, 2]}', false],
      ['a', 'array', '[ ]', false],
      ['t', 'true', 'true', false],
      ['f', 'false', 'false', false],
      ['z', 'null', 'null', false],
    ])
  })

  it('marks a string that contains an escape, and leaves its bytes as they are', () => {
    expect(shown('{"a":"\\u0030412","b":"\\"","c":"x\\\\","d":["\\n"]}')).toEqual([
      ['a', 'string', '\\u0030412', true],
      ['b', 'string', '\\"', true],
      ['c', 'string', 'x\\\\', true],
      ['d', 'array', '["\\n"]', false],
    ])
  })

  it('resolves escapes in names', () => {
    expect(shown('{"pin\\u0042lock":"1"}')).toEqual([['pinBlock', 'string', '1', false]])
  })

  it('reports no member of a nested object', () => {
    expect(shown('{"a":{"pinBlock":"1"}}')).toEqual([['a', 'object', '{"pinBlock":"1"}', false]])
  })

  it('returns an empty map for an empty object', () => {
    expect(readMembers(Buffer.from('{}'))).toEqual(new Map())
  })

  it.each([
    '',
    'null',
    '"x"',
    '[]',
    '[{"a":1}]',
    '{"a":1}x',
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"a":1,"a":2}}',
    '{"__proto__":1}',
    '{"a":01}',
    '\ufeff{}',
  ])('refuses %j', (text) => {
    expect(readMembers(Buffer.from(text))).toBeUndefined()
  })

  it('refuses nesting beyond the limit', () => {
    expect(readMembers(Buffer.from(`{"a":${nested(15)}}`))).toBeDefined()
    expect(readMembers(Buffer.from(`{"a":${nested(16)}}`))).toBeUndefined()
    expect(readMembers(Buffer.from('{"a":[]}'), { maxDepth: 1 })).toBeUndefined()
  })

  it('returns views, so that wiping the payload wipes every member', () => {
    const payload = Buffer.from('{"pinBlock":"0412345678901234"}')
    const { bytes } = readMembers(payload)!.get('pinBlock')!
    expect(bytes.buffer).toBe(payload.buffer)
    payload.fill(0)
    expect(bytes).toEqual(Buffer.alloc(16))
  })
})
