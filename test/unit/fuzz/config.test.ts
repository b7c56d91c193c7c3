import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Parser, stringify } from 'yaml'
import { parseYaml } from '../../../src/config/yaml.ts'
import { Site, validConfig } from '../config/valid-config.ts'
import { damaged, fuzz } from './fuzz.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const CANARY = 'CANARY'
const TEXT = Buffer.from(stringify(validConfig(), { lineWidth: 0, aliasDuplicateObjects: false }))

describe('YAML', () => {
  const PIECES = [
    ...'{}[]:,-#&*!|>%@`"\'?\n\t \0',
    '\n---\n',
    '\n...\n',
    '%YAML 1.1\n---\n',
    '<<: ',
    '&a ',
    '*a',
    '!!str ',
    '!!binary ',
    '? ',
    '\nenvironment: production\n',
    ' {a: 1, a: 2}\n',
    'yes',
    '010',
    '0x1F',
    '1_000',
    '.inf',
    '~',
    '\xef\xbb\xbf',
    '\xff',
    '\\x41',
  ]

  it('is plain data or refused: no value stands in a problem, and what is read is what its own text, written anew, says', () =>
    fuzz(
      'yaml',
      // A part of the file, because the parser's time goes by the length, and nothing of the rest would be new.
      damaged(
        fc.nat(TEXT.length).map((at) => TEXT.subarray(at, at + 400)),
        PIECES,
      ),
      (bytes) => {
        const { data, problems } = parseYaml(bytes.toString())
        for (const { sentence } of problems) expect(SENTENCES).toContain(sentence)
        if (problems.length > 0) {
          expect(data).toBeUndefined()
          return 'refused'
        }
        const tokens = tokensOf(bytes.toString())
        expect(tokens.map(({ type }) => type)).not.toContainEqual(
          expect.stringMatching(/^(?:anchor|tag|alias|directive)$/),
        )
        for (const { items } of tokens) {
          const names = (items ?? []).flatMap(({ key }) => key?.source ?? [])
          expect(names).toEqual([...new Set(names)])
        }
        // JSON is YAML 1.2, and JSON.parse another reader: data of any other kind, or a second name for one thing, shows here.
        const json = JSON.stringify(data, (_, value: unknown) => (isFiniteOrNoNumber(value) ? value : String(value)))
        if (isPlain(data)) expect(parseYaml(json).data).toEqual(JSON.parse(json))
        return 'taken'
      },
      (bytes) => bytes,
    ))

  /** All that may be said of a text (src/config/yaml.ts). */
  const SENTENCES = [
    'has a tag, and tags are not allowed',
    'is written twice',
    'only one YAML document is allowed',
    'a tab is not allowed as indentation',
    'the indentation is not valid YAML',
    'directives are not allowed',
    'is not valid YAML',
    'is not a YAML document that can be read',
    'is an alias, and aliases are not allowed',
    'has an anchor, and anchors are not allowed',
    'has a member whose name is not text',
  ]
  interface SyntaxToken {
    readonly type: string
    readonly items?: readonly { readonly key?: { readonly source?: string } | null }[]
  }

  /** All tokens of a text, from the concrete syntax and not from the document that is made of it. */
  function tokensOf(text: string): SyntaxToken[] {
    const within = (node: unknown): SyntaxToken[] => {
      if (Array.isArray(node)) return node.flatMap(within)
      if (typeof node !== 'object' || node === null) return []
      return [...('type' in node ? [node as SyntaxToken] : []), ...Object.values(node).flatMap(within)]
    }
    return within([...new Parser().parse(text)])
  }
  const isFiniteOrNoNumber = (value: unknown) => typeof value !== 'number' || Number.isFinite(value)
  /** Sets and lists of text, numbers, truth values and nothing; the top may be any of them. */
  function isPlain(value: unknown): boolean {
    if (Array.isArray(value)) return value.every(isPlain)
    if (typeof value !== 'object' || value === null) return value !== undefined && isFiniteOrNoNumber(value)
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
    return Object.values(value).every(isPlain)
  }
})

describe('a configuration', () => {
  const junk = fc.oneof(
    fc.constantFrom<unknown>(CANARY, `${CANARY}\n`, '', 0, -1, 1.5, 2 ** 53, true, null, [], {}, [CANARY], {
      [CANARY]: CANARY,
    }),
    fc.constantFrom('ISO-0', 'zpk', 'jwe-ec', 'active', 'AES-128', 'production', '../../etc/passwd', 'A1B2C3'),
    fc.jsonValue({ maxDepth: 1 }),
  )
  const change = fc.tuple(
    fc.nat(10_000),
    junk,
    fc.constantFrom('replace', 'remove', 'repeat', 'nothing', 'nothing', 'nothing'),
  )

  it('with any of its members replaced, removed or repeated is loaded or refused with problems that hold no value of it', () =>
    fuzz('configuration', fc.array(change, { maxLength: 2 }), (changes) => {
      const config = validConfig()
      for (const [at, value, how] of changes) apply(config, at, value, how)
      // It throws what is no ConfigError.
      const problems = site.problemsOfText(stringify(config, { lineWidth: 0, aliasDuplicateObjects: false }))
      // A member's name is its place, and is told.
      for (const problem of problems) expect(problem.replace(/^FILE:\d+: [^ ]*/, '')).not.toContain(CANARY)
      return problems.length === 0 ? 'taken' : 'refused'
    }))

  function apply(config: any, at: number, value: unknown, how: string): void {
    const places: [any, string | number][] = []
    const walk = (node: any): void => {
      for (const name of Object.keys(node)) {
        places.push([node, Array.isArray(node) ? Number(name) : name])
        if (typeof node[name] === 'object' && node[name] !== null) walk(node[name])
      }
    }
    walk(config)
    const [node, name] = places[at % places.length]!
    if (how === 'replace') node[name] = structuredClone(value)
    if (how === 'remove' && Array.isArray(node)) node.splice(name as number, 1)
    if (how === 'remove' && !Array.isArray(node)) delete node[name]
    if (how === 'repeat' && Array.isArray(node)) node.push(structuredClone(node[name as number]))
  }
})
