import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { loadConfig } from '../../../src/config/config.ts'
import { parseYaml } from '../../../src/config/yaml.ts'
import { Site, validConfig } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

describe('what plain data does not have', () => {
  it.each([
    ['a member that is written twice', 'a: 1\nb:\n  - c: 1\n    c: CANARY', ['FILE:4: b[0].c: is written twice']],
    ['a member that is written twice, in flow style', 'a: {b: 1, b: 2}', ['FILE:1: a.b: is written twice']],
    ['a tag', 'a: 1\nb: !CANARY x', ['FILE:2: b: has a tag, and tags are not allowed']],
    ['a tag of YAML itself', 'a: !!str 12', ['FILE:1: a: has a tag, and tags are not allowed']],
    ['a binary tag', 'a: !!binary aGk=', ['FILE:1: a: has a tag, and tags are not allowed']],
    ['a tag on a name', '!!str a: 1', ['FILE:1: a: has a tag, and tags are not allowed']],
    [
      'an anchor and its alias',
      'a: &CANARY {b: 1}\nc: *CANARY',
      ['FILE:1: a: has an anchor, and anchors are not allowed', 'FILE:2: c: is an alias, and aliases are not allowed'],
    ],
    ['an alias of nothing', 'c: *CANARY', ['FILE:1: c: is an alias, and aliases are not allowed']],
    ['an anchor at the top', '&CANARY\na: 1', ['FILE:2: has an anchor, and anchors are not allowed']],
    [
      'an alias as a name',
      'a: &b c\n*b : 1',
      expect.arrayContaining(['FILE:2: is an alias, and aliases are not allowed']),
    ],
    ['another version of YAML', '%YAML 1.1\n---\na: yes', ['FILE:1: directives are not allowed']],
    ['even its own version', '%YAML 1.2\n---\na: yes', ['FILE:1: directives are not allowed']],
    ['a tag directive', '%TAG ! tag:CANARY,2000:\n---\na: 1', ['FILE:1: directives are not allowed']],
    ['a new meaning of !!', '%TAG !! tag:CANARY,2000:\n---\na: 1', ['FILE:1: directives are not allowed']],
    ['an unknown directive', '%CANARY x\n---\na: 1', ['FILE:1: directives are not allowed']],
    ['a second document', 'a: 1\n---\nb: CANARY', ['FILE:2: only one YAML document is allowed']],
    ['a number as a name', '1: x\n"1": y', ['FILE:1: has a member whose name is not text']],
    ['a list as a name', 'x:\n  ? [CANARY]\n  : b', ['FILE:2: x: has a member whose name is not text']],
    ['an empty name', 'a: 1\n: b', ['FILE:1: has a member whose name is not text']],
    ['a tab as indentation', 'a:\n\tb: 1', ['FILE:2: a tab is not allowed as indentation']],
    ['an escape that does not exist', 'a: 1\nb: "\\qCANARY"', ['FILE:2: is not valid YAML']],
    ['an open list', 'a: [CANARY', expect.arrayContaining([expect.stringMatching(/^FILE:1: .*YAML$/)])],
  ])('refuses %s', (_, text, problems) => {
    const found = site.problemsOfText(text)
    expect(found).toEqual(problems)
    expect(found.join()).not.toContain('CANARY')
  })

  it('reports all of it in the order of the lines', () => {
    expect(site.problemsOfText('a: *x\nb: !t 1\nc: 1\nc: 2\n"d": &y 1')).toEqual([
      'FILE:1: a: is an alias, and aliases are not allowed',
      'FILE:2: b: has a tag, and tags are not allowed',
      'FILE:4: c: is written twice',
      'FILE:5: d: has an anchor, and anchors are not allowed',
    ])
  })

  it('knows no merge key', () => {
    expect(site.problemsOfText(`${stringify(validConfig())}"<<": {logLevel: debug}\n`)).toEqual([
      expect.stringMatching(/^FILE:\d+: \["<<"\]: is not a known member$/),
    ])
    expect(parseYaml('<<: {a: 1}').data).toEqual({ '<<': { a: 1 } })
  })

  it('takes __proto__ for a member like any other', () => {
    const before = Object.keys(Object.prototype)
    const problems = site.problemsOfText(`${stringify(validConfig())}__proto__: {logLevel: debug}\n`)
    expect(problems).toEqual([expect.stringMatching(/^FILE:\d+: __proto__: is not a known member$/)])
    expect(Object.keys(Object.prototype)).toEqual(before)
  })

  it('reads YAML 1.2, where yes and no are texts', () => {
    expect(parseYaml('a: yes\nb: no\nc: 010\nd: 1:30').data).toEqual({ a: 'yes', b: 'no', c: 10, d: '1:30' })
  })

  it('gives up on absurd nesting with a problem', () => {
    expect(site.problemsOfText('['.repeat(200_000))[0]).toMatch(/^FILE:1: .*YAML/)
  })

  it.each([
    ['nothing', ''],
    ['a comment', '# nothing\n'],
    ['a text', 'CANARY'],
    ['a list', '- CANARY'],
  ])('refuses %s instead of a set of members', (_, text) => {
    expect(site.problemsOfText(text)).toEqual(['FILE:1: must be a set of members'])
  })
})

describe('the file itself', () => {
  it('must exist', () => {
    expect(() => loadConfig(join(site.directory, 'none.yaml'))).toThrow('none.yaml: does not exist')
    expect(() => loadConfig(join(site.file, 'none.yaml'))).toThrow('none.yaml: does not exist')
  })

  it('must be a file', () => {
    const directory = join(site.directory, 'folder.yaml')
    mkdirSync(directory)
    expect(() => loadConfig(directory)).toThrow('folder.yaml: is not a regular file')
  })

  it('must be UTF-8', () => {
    expect(site.problemsOfText(Buffer.from('a: \xff', 'latin1'))).toEqual(['FILE: is not UTF-8 text'])
  })

  it('must be of a sensible size', () => {
    expect(site.problemsOfText('#'.repeat(4 * 1024 * 1024 + 1))).toEqual(['FILE: is larger than 4194304 bytes'])
  })

  it.each([
    [0o620, '0620'],
    [0o602, '0602'],
  ])('must not be writable by others (%o)', (mode, text) => {
    const path = site.write('open.yaml', stringify(validConfig()), mode)
    expect(() => loadConfig(path)).toThrow(`${path}: must not be writable by group or others, and its mode is ${text}`)
  })

  it('may be read by everyone', () => {
    expect(loadConfig(site.write('read.yaml', stringify(validConfig()), 0o644)).environment).toBe('development')
  })
})
