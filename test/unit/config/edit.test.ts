import {
  chmodSync,
  existsSync,
  lstatSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import {
  addKeyEntry,
  changeKeyEntries,
  changeKeyEntry,
  expectEditable,
  removeKeyEntry,
} from '../../../src/config/edit.ts'
import { ConfigEditError, ConfigError } from '../../../src/config/problems.ts'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { changeKeyList } from '../../../src/config/key-list-text.ts'
import { Site, validConfig } from './valid-config.ts'

const NEW: KeyEntry = {
  id: 'zpk',
  version: 2,
  state: 'pending',
  purpose: 'zone-pin',
  direction: 'both',
  algorithm: 'TDEA-128',
  kcv: '123456',
  check: '12E456',
  formats: ['ISO-0', 'ISO-3'],
  origin: 'generated',
  created: '2026-11-23',
}

const site = await Site.make()
afterAll(() => site.remove())

/** The valid configuration as a person keeps it. */
function commented(): string {
  return stringify(validConfig(), { lineWidth: 0, aliasDuplicateObjects: false })
    .replace('keys:\n', 'keys: # ours\n  # the JWE key\n')
    .replace('  - id: zpk\n', '\n  # zones: ask Ms Weber   before changing\n  - id:   zpk   # main\n')
    .replace('profiles:\n', '  # end of keys\n\n\nprofiles:\n')
}

function messageOf(run: () => void, type: new (...args: never[]) => Error): string {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(type)
    return (error as Error).message
  }
  throw new Error('it did not throw')
}

describe('the writer of the configuration', () => {
  beforeEach(() => {
    site.write('pinbridge.yaml', commented(), 0o640)
  })
  const text = (): string => readFileSync(site.file, 'utf8')
  const files = (): string[] => readdirSync(site.directory).sort()

  it('adds an entry behind the last and leaves every other line as it was', () => {
    addKeyEntry(site.file, NEW)
    const added = text().split('\n')
    const before = commented().split('\n')
    const at = before.indexOf('  # end of keys')
    expect(added.slice(at, at + 11)).toEqual([
      '  - id: zpk',
      '    version: 2',
      '    state: pending',
      '    purpose: zone-pin',
      '    direction: both',
      '    algorithm: TDEA-128',
      '    kcv: "123456"',
      '    check: "12E456"',
      '    formats: [ISO-0, ISO-3]',
      '    origin: generated',
      '    created: "2026-11-23"',
    ])
    expect(added.toSpliced(at, 11)).toEqual(before)
  })

  it('writes the members in one order, whoever put them together', () => {
    const { id, ...others } = NEW
    addKeyEntry(site.file, { ...others, id })
    expect(Object.keys(parse(text()).keys.at(-1))).toEqual(Object.keys(NEW))
  })

  it('changes two states at once, and nothing else', () => {
    addKeyEntry(site.file, NEW)
    const before = text()
    changeKeyEntries(site.file, [
      { key: { id: 'zpk', version: 2, state: 'pending' }, members: { state: 'active' } },
      { key: { id: 'zpk', version: 1, state: 'active' }, members: { state: 'retiring' } },
    ])
    const parts = before.split('    state: active\n')
    const zpk = parts.findIndex((part) => part.includes('id:   zpk'))
    const expected = parts.reduce(
      (all, part, i) => `${all}    state: ${i - 1 === zpk ? 'retiring' : 'active'}\n${part}`,
    )
    expect(text()).toBe(expected.replace('state: pending', 'state: active'))
  })

  it('puts in a member, replaces one, and takes one out', () => {
    changeKeyEntry(site.file, { id: 'zpk', version: 1 }, { expires: '2028-12-31', formats: ['ISO-0'], migrate: true })
    expect(parse(text()).keys[1]).toMatchObject({ expires: '2028-12-31', formats: ['ISO-0'], migrate: true })
    changeKeyEntry(site.file, { id: 'zpk', version: 1 }, { expires: undefined, migrate: undefined })
    expect(parse(text()).keys[1]).toEqual({ ...validConfig().keys[1], formats: ['ISO-0'] })
    expect(text()).toContain('# zones: ask Ms Weber   before changing')
  })

  it('removes an entry with its lines, and gives the file back as it was', () => {
    addKeyEntry(site.file, NEW)
    removeKeyEntry(site.file, { id: 'zpk', version: 2, state: 'pending' })
    expect(text()).toBe(commented())
  })

  it('keeps the mode, follows a link, and leaves nothing beside', () => {
    const link = join(site.directory, 'link.yaml')
    if (!existsSync(link)) symlinkSync('pinbridge.yaml', link)
    const before = files()
    addKeyEntry(link, NEW)
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(statSync(site.file).mode & 0o777).toBe(0o640)
    expect(parse(text()).keys.at(-1)).toEqual(NEW)
    expect(files()).toEqual(before)
  })

  it('leaves the file alone, to the inode, if the configuration would not be fit', () => {
    const before = statSync(site.file)
    const twin = messageOf(() => addKeyEntry(site.file, { ...NEW, version: 1 }), ConfigError)
    expect(twin).toContain('is the version of keys[1] too')
    const named = messageOf(() => removeKeyEntry(site.file, { id: 'prw', version: 1 }), ConfigError)
    expect(named).toContain('names no')
    const two = messageOf(() => addKeyEntry(site.file, { ...NEW, state: 'active' }), ConfigError)
    expect(two).toContain('one version of a key is at a time')
    expect(text()).toBe(commented())
    expect(statSync(site.file).ino).toBe(before.ino)
    expect(files()).toEqual(files().filter((name) => !name.endsWith('.new')))
  })

  it('says which key is gone, or in another state than it was', () => {
    const gone = messageOf(() => removeKeyEntry(site.file, { id: 'zpk', version: 7 }), ConfigEditError)
    expect(gone).toBe(
      'the configuration has no key zpk version 7 any more. By hand: remove from keys the entry of zpk version 7',
    )
    const changed = messageOf(
      () => changeKeyEntry(site.file, { id: 'zpk', version: 1, state: 'pending' }, { state: 'active' }),
      ConfigEditError,
    )
    expect(changed).toContain('key zpk version 1 is active and no longer pending: somebody has changed it meanwhile')
    expect(changed).toContain('By hand: change of keys\n  zpk version 1: state: active')
  })

  it('has written the file, even where its folder may not be read, and so not be synced', (context) => {
    if (process.getuid!() === 0) context.skip('root reads every folder')
    chmodSync(site.directory, 0o300)
    try {
      addKeyEntry(site.file, NEW)
      expect(parse(text()).keys.at(-1)).toEqual(NEW)
    } finally {
      chmodSync(site.directory, 0o700)
    }
  })

  it('keeps out a second writer', () => {
    writeFileSync(join(site.directory, '.pinbridge.yaml.new'), '')
    try {
      const message = messageOf(() => addKeyEntry(site.file, NEW), ConfigEditError)
      expect(message).toContain('another command is writing it; if none is running, remove ')
      expect(message).toContain('By hand: add this to keys:\n  - id: zpk\n    version: 2\n')
      expect(text()).toBe(commented())
      // Asked before a token is touched, because what is destroyed there cannot be taken back.
      expect(messageOf(() => expectEditable(site.file), ConfigEditError)).toContain('another command is writing it')
    } finally {
      rmSync(join(site.directory, '.pinbridge.yaml.new'))
    }
  })
})

describe('the list of keys in a text', () => {
  const add = (text: string): string | undefined => changeKeyList(text, { kind: 'add', entry: NEW })
  const flow =
    '{ id: zpk, version: 2, state: pending, purpose: zone-pin, direction: both, algorithm: TDEA-128, kcv: "123456", ' +
    'check: "12E456", formats: [ISO-0, ISO-3], origin: generated, created: "2026-11-23" }'
  const json =
    '{ "id": "zpk", "version": 2, "state": "pending", "purpose": "zone-pin", "direction": "both", "algorithm": "TDEA-128", ' +
    '"kcv": "123456", "check": "12E456", "formats": ["ISO-0", "ISO-3"], "origin": "generated", "created": "2026-11-23" }'

  it.each([
    [
      'flow items in a block list',
      'keys:\n- { id: a } # a\n# end\nb: 1\n',
      `keys:\n- { id: a } # a\n- ${flow}\n# end\nb: 1\n`,
    ],
    ['a flow list on one line', 'keys: [ { id: a }, ] # all\n', `keys: [ { id: a }, ${flow}, ] # all\n`],
    [
      'a flow list on lines',
      'keys: [\n  { id: a },\n  { id: b }\n]\n',
      `keys: [\n  { id: a },\n  { id: b },\n  ${flow}\n]\n`,
    ],
    ['an empty list', 'keys: []\nb: 1\n', `keys: [${flow}]\nb: 1\n`],
    ['no newline at the end', 'keys:\n  - {id: a}', `keys:\n  - {id: a}\n  - ${flow}\n`],
    ['CRLF', 'keys:\r\n  - {id: a}\r\nb: 1\r\n', `keys:\r\n  - {id: a}\r\n  - ${flow}\r\nb: 1\r\n`],
    ['JSON', '{"keys": [{"id": "a"}]}', `{"keys": [{"id": "a"}, ${json}]}`],
  ])('takes an entry in %s', (_name, before, after) => {
    expect(add(before)).toBe(after)
  })

  it('changes and removes in flow style as well', () => {
    const text = 'keys: [{ id: a, state: active, kid: "x" }, { id: b }]\n'
    expect(changeKeyList(text, { kind: 'change', at: 0, members: { state: 'retiring', version: 3 } })).toBe(
      'keys: [{ id: a, state: retiring, kid: "x", version: 3 }, { id: b }]\n',
    )
    expect(changeKeyList(text, { kind: 'change', at: 0, members: { kid: undefined as never } })).toBe(
      'keys: [{ id: a, state: active }, { id: b }]\n',
    )
    expect(changeKeyList(text, { kind: 'remove', at: 0 })).toBe('keys: [{ id: b }]\n')
    expect(changeKeyList(text, { kind: 'remove', at: 1 })).toBe('keys: [{ id: a, state: active, kid: "x" }]\n')
  })

  it('removes the first, a middle and the last of a block list, comments between them kept', () => {
    const text =
      'keys:\n  # one\n  - id: a\n    formats:\n      - x\n\n  # two\n  -\n    id: b\n  - id: c # last\nb: 1\n'
    const remove = (at: number): string | undefined => changeKeyList(text, { kind: 'remove', at })
    expect(remove(0)).toBe('keys:\n  # one\n\n  # two\n  -\n    id: b\n  - id: c # last\nb: 1\n')
    expect(remove(1)).toBe('keys:\n  # one\n  - id: a\n    formats:\n      - x\n\n  # two\n  - id: c # last\nb: 1\n')
    expect(remove(2)).toBe('keys:\n  # one\n  - id: a\n    formats:\n      - x\n\n  # two\n  -\n    id: b\nb: 1\n')
  })

  it('replaces a block list by a line, and takes the first member out', () => {
    const text = 'keys:\n  - id: a\n    formats:\n      - x\n      - y # why\n    state: active\n'
    expect(changeKeyList(text, { kind: 'change', at: 0, members: { formats: ['ISO-0'] } })).toBe(
      'keys:\n  - id: a\n    formats:\n      [ISO-0] # why\n    state: active\n',
    )
    expect(changeKeyList(text, { kind: 'change', at: 0, members: { id: undefined as never } })).toBe(
      'keys:\n  - formats:\n      - x\n      - y # why\n    state: active\n',
    )
  })

  it('gives up where there is no list of keys', () => {
    expect(add('b: 1\n')).toBeUndefined()
    expect(add('keys: text\n')).toBeUndefined()
  })
})
