/** Ceremonies typed at a pseudo-terminal, as custodians type them, with a real token. */
import { spawnSync } from 'node:child_process'
import { createPublicKey, verify } from 'node:crypto'
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { bytesNeedles, halvesNeedles, scanMemory, summary } from '../../support/memory.ts'
import { makeCeremonyToken, type CeremonyToken } from '../../support/ceremony-token.ts'
import { agreed } from '../../support/oracles.ts'
import { PseudoTerminal, type TerminalEnd } from '../../support/pseudo-terminal.ts'
import { editConfig, pinbridge } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'

// Random; those of TDEA with odd parity.
const TDEA = [
  '0E23CB6E1CF291E9463B92AE758F80B5',
  '0BF42F9868D9F492916D20CDD3B5C4CD',
  '9D34EC97B32AF23B3D40FD854329CD02',
]
const AES = [
  '7DA7D2F5069957F9DC43C2E1246A9D7B78254CE1C2557CB78892F8548646B7F0',
  '850F63FD5CCF4BED1B0D0BB0496516084F96A892933BD68283E2AD6C27EE4CED',
]
const NAMES = ['Anna Meier', 'Söngül Özil', 'Security officer 3']

const ZONE_KEY = ['--purpose', 'zone-pin', '--direction', 'both', '--formats', 'ISO-0', '--algorithm', 'TDEA-128']

const MAC_KEY = [
  ...['--purpose', 'pin-mac', '--use', 'generate,verify', '--profile', 'seccos-3des', '--algorithm', 'TDEA-128'],
]

let at: CeremonyToken
let count = 0
const open: PseudoTerminal[] = []
const shims: Shim[] = []

beforeAll(async () => {
  at = await makeCeremonyToken()
})
afterAll(async () => {
  for (const terminal of open) terminal.kill()
  for (const shim of shims) shim.close()
  await at.dispose()
})

/** A configuration beside the other one, of which something differs. */
function otherConfig(name: string, edit: (config: any) => void): string {
  const path = join(at.folder, 'etc', `${name}.yaml`)
  copyFileSync(at.config, path)
  editConfig(path, edit)
  return path
}

/** A module between that can be made to fail, and a configuration that has it. */
function withShim(name: string): { shim: Shim; config: string } {
  const folder = join(at.folder, name)
  mkdirSync(folder)
  const shim = new Shim(folder)
  shims.push(shim)
  return { shim, config: otherConfig(name, ({ hsm }) => shim.insert(hsm)) }
}

interface Started {
  readonly terminal: PseudoTerminal
  readonly transcript: string
}

function start(kind: string, args: readonly string[], config = at.config): Started {
  const transcript = join(at.folder, `transcript-${++count}.txt`)
  const words = ['ceremony', kind, ...args, '--config', config, '--transcript', transcript]
  const terminal = PseudoTerminal.pinbridge(words, { HOME: at.folder })
  open.push(terminal)
  return { terminal, transcript }
}

async function begin({ terminal }: Started): Promise<void> {
  await terminal.answer('begin? [y/N]', 'y')
  await terminal.answer('runs the ceremony', 'Jane Doe')
}

/** The turn of a custodian who makes no mistake; returns the KCV that was shown. */
async function turn({ terminal }: Started, number: number, component: string): Promise<string> {
  await terminal.answer(`custodian ${number}:`, NAMES[number - 1]!)
  await terminal.answer(`Component ${number}:`, component)
  const shown = await terminal.answer('the KCV on the sheet? [y/N]', 'y')
  return /typed: ([0-9A-F]+)/.exec(shown)![1]!
}

async function finish({ terminal }: Started): Promise<TerminalEnd> {
  await terminal.answer(/Store (?:this|the) key.*\[y\/N\]/, 'y')
  await terminal.answer('Press Enter to clear the screen and end', '')
  return terminal.end()
}

function xor(...values: string[]): string {
  const digits = values[0]!.length
  return values.reduce((a, b) => (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16).padStart(digits, '0'))
}

function tdeaKcv(key: string): string {
  return agreed(({ ecb }) => ecb('TDEA', key, '00'.repeat(8)))
    .slice(0, 6)
    .toUpperCase()
}

function aesKcv(key: string): string {
  return agreed(({ cmac }) => cmac('AES', key, '00'.repeat(16)))
    .slice(0, 10)
    .toUpperCase()
}

/** The text, if its signature is that of the token's key; nothing of src is asked. */
function verified(path: string): string {
  const text = readFileSync(path, 'utf8')
  const [, signed, signature] = /^([^]*\n)Signature: +(\S+)\n$/.exec(text)!
  const key = createPublicKey({ key: { ...at.signer.publicKey }, format: 'jwk' })
  const bytes = Buffer.from(signature!, 'base64url')
  expect(verify('sha256', Buffer.from(signed!), { key, dsaEncoding: 'ieee-p1363' }, bytes)).toBe(true)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  return text
}

/** What must be as it was: the configuration, and what is in the token. */
async function state(): Promise<string> {
  const objects = await at.lend(({ lib, anchor }) => {
    lib.C_FindObjectsInit(anchor.handle, [])
    const found = lib.C_FindObjects(anchor.handle, 100)
    lib.C_FindObjectsFinal(anchor.handle)
    return found.length
  })
  return `${objects} objects, ${readFileSync(at.config, 'utf8')}`
}

describe('ceremony import', () => {
  it('makes a retail MAC key of three components as its two objects, and leaves nothing of them in memory or on disk', async () => {
    const started = start('import', ['--components', '3', '--id', 'mac', ...MAC_KEY, '--json'])
    const { terminal, transcript } = started
    await begin(started)
    const shown: string[] = []
    for (const [i, component] of TDEA.entries())
      shown.push(await turn(started, i + 1, component.replace(/.{4}/g, '$& ')))
    expect(shown).toEqual(TDEA.map(tdeaKcv))
    const value = xor(...TDEA)
    const kcv = tdeaKcv(value)
    expect(await terminal.answer('sheet has none)', kcv.toLowerCase())).toContain(`KCV ${kcv}`)
    await terminal.answer('Store this key? [y/N]', 'y')
    await terminal.expect('Press Enter to clear the screen and end')

    const secrets = Object.entries({
      'component 1': TDEA[0]!,
      'component 2': TDEA[1]!,
      'component 3': TDEA[2]!,
      key: value,
    })
    const needles = secrets.flatMap(([what, hex]) => [
      ...bytesNeedles(what, Buffer.from(hex, 'hex')),
      ...halvesNeedles(what, Buffer.from(hex, 'hex')),
      // As it was typed; what is typed next may have overwritten the beginning.
      ...halvesNeedles(`${what}, typed`, Buffer.from(hex.replace(/.{4}/g, '$& ').trim())),
    ])
    const scan = scanMemory(await terminal.pid(), [
      ...needles,
      { what: 'a name, which is no secret', bytes: Buffer.from(NAMES[0]!) },
    ])
    expect(summary(scan.findings.filter(({ what }) => !what.startsWith('a name')))).toEqual({})
    expect(scan.findings.length).toBeGreaterThan(0)

    terminal.type('\r')
    expect(await terminal.end()).toEqual({ code: 0, restored: true, echoes: true })
    const result = JSON.parse(/\{"key".*\}/.exec(terminal.shown.replaceAll('\r', ''))![0])
    expect(result).toEqual({ key: { id: 'mac', version: 1, state: 'active', kcv }, transcript })
    expect(at.keys().at(-1)).toMatchObject({
      id: 'mac',
      purpose: 'pin-mac',
      kcv,
      origin: 'imported',
      profile: 'seccos-3des',
    })
    const ids = await at.lend(({ lib, anchor }) => {
      lib.C_FindObjectsInit(anchor.handle, [{ type: 0, value: 4 }])
      const found = lib.C_FindObjects(anchor.handle, 100)
      lib.C_FindObjectsFinal(anchor.handle)
      return found.map((handle) => lib.C_GetAttributeValue(anchor.handle, handle, [{ type: 3 }])[0]!.value.toString())
    })
    expect(ids.sort()).toEqual([expect.stringContaining('mac.cbc'), expect.stringContaining('mac')].sort())

    const text = verified(transcript)
    for (const name of [...NAMES, 'Jane Doe', 'pinbridge-test', 'Outcome:        completed'])
      expect(text).toContain(name)
    for (const each of [...shown, kcv, at.signer.kcv]) expect(text).toContain(each)
    // Neither on the screen, which no echo has reached, nor in any file.
    const files = globSync('**', { cwd: at.folder, withFileTypes: true }).filter((each) => each.isFile())
    const written = [terminal.shown, ...files.map((each) => readFileSync(join(each.parentPath, each.name), 'latin1'))]
    for (const [, hex] of secrets) {
      for (const form of [hex, hex.toLowerCase(), hex.replace(/.{4}/g, '$& ').trim()]) {
        expect(written.some((each) => each.includes(form))).toBe(false)
      }
    }
  }, 120_000)

  it('has an AES component typed again that is no hex, too short or not the one on the sheet', async () => {
    const key = ['--purpose', 'zone-pin', '--direction', 'in', '--formats', 'ISO-4', '--algorithm', 'AES-256']
    const expected = aesKcv(xor(...AES))
    const started = start('import', [
      '--components',
      '2',
      '--id',
      'aes',
      ...key,
      '--type-kcv',
      '--expect-kcv',
      expected,
    ])
    const { terminal, transcript } = started
    await begin(started)
    await terminal.answer('custodian 1:', NAMES[0]!)
    await terminal.answer('Component 1:', AES[0]!.slice(1))
    await terminal.answer(/it has 64 hex digits, and 63 were typed: [^]*Component 1:/, `G${AES[0]!.slice(1)}`)
    await terminal.answer(/neither a digit nor one of A to F[^]*Component 1:/, `E${AES[0]!.slice(1)}`)
    await terminal.answer('KCV on the sheet:', aesKcv(AES[0]!))
    await terminal.answer(/has another KCV: [^]*gives the ceremony up\) \[y\/N\]/, 'y')
    // Begun with a mistake, taken back with Ctrl-U and backspace.
    await terminal.answer('Component 1:', `12\u0015${AES[0]!.toLowerCase()}0\u007f`)
    await terminal.answer('KCV on the sheet:', aesKcv(AES[0]!).slice(0, 6).toLowerCase())
    await terminal.answer('custodian 2:', 'ANNA\u00a0 MEIER')
    await terminal.answer(/one person must not know two components[^]*custodian 2:/, NAMES[1]!)
    await terminal.answer('Component 2:', AES[1]!)
    // As older sheets have it.
    const older = agreed(({ ecb }) => ecb('AES', AES[1]!, '00'.repeat(16))).slice(0, 6)
    await terminal.answer('KCV on the sheet:', older)
    expect(await finish(started)).toEqual({ code: 0, restored: true, echoes: true })
    expect(at.keys().at(-1)).toMatchObject({ id: 'aes', kcv: expected, origin: 'imported' })
    const text = verified(transcript)
    const wrong = aesKcv(`E${AES[0]!.slice(1)}`)
    expect(text).toContain(`Component 1 was typed with the KCV ${wrong}, which is not the one on the sheet.`)
    expect(text).toContain('It is the KCV that was expected.')
  })

  it('refuses components of wrong parity, of zeros and the same twice, and a key of two equal halves', async () => {
    const before = await state()
    const started = start('import', ['--components', '2', '--id', 'weak', ...ZONE_KEY])
    const { terminal, transcript } = started
    const again = /It is refused: ([^]*)\r\n[^]*gives the ceremony up\) \[y\/N\]/
    await begin(started)
    await terminal.answer('custodian 1:', NAMES[0]!)
    await terminal.answer('Component 1:', `0F${TDEA[0]!.slice(2, -2)}B4`)
    expect(await terminal.answer(again, 'y')).toContain('its parity is not odd at digits 1 and 2, 31 and 32')
    await terminal.answer('Component 1:', '01'.repeat(16))
    expect(await terminal.answer(again, 'y')).toContain('it is all zeros')
    await terminal.answer('Component 1:', TDEA[0]!)
    await terminal.answer('the KCV on the sheet? [y/N]', 'y')
    await terminal.answer('custodian 2:', NAMES[1]!)
    await terminal.answer('Component 2:', TDEA[0]!)
    expect(await terminal.answer(again, 'y')).toContain('it is the same as component 1')
    // What makes both halves of the key the same, and stays odd.
    const half = xor(TDEA[0]!.slice(0, 16), TDEA[0]!.slice(16), TDEA[1]!.slice(0, 16))
    await terminal.answer('Component 2:', `${TDEA[1]!.slice(0, 16)}${half}`)
    await terminal.answer('the KCV on the sheet? [y/N]', 'y')
    await terminal.expect('the components make a weak key, or one of two equal parts')
    expect(await terminal.end()).toEqual({ code: 65, restored: true, echoes: true })
    expect(verified(transcript)).toMatch(/two equal parts[^]*Nothing was stored\.[^]*Outcome: +aborted\n/)
    expect(await state()).toBe(before)
  })

  it('refuses components that make another key than the one that was expected', async () => {
    const before = await state()
    const options = [
      '--components',
      '2',
      '--id',
      'other',
      ...ZONE_KEY,
      '--expect-kcv',
      tdeaKcv(xor(TDEA[0]!, TDEA[2]!)),
    ]
    const started = start('import', options)
    await begin(started)
    await turn(started, 1, TDEA[0]!)
    await turn(started, 2, TDEA[1]!)
    await started.terminal.expect('one of them belongs to another key')
    expect(await started.terminal.end()).toMatchObject({ code: 65 })
    expect(verified(started.transcript)).toContain('Outcome:        aborted')
    expect(await state()).toBe(before)
  })

  const STEPS = [
    'begin',
    'operator',
    'custodian',
    'component',
    'sheet',
    'second component',
    'KCV of the key',
    'store',
  ] as const
  const SOME = ['begin', 'second component', 'store']
  const TAKEN = process.env['PINBRIDGE_FULL'] ? STEPS : STEPS.filter((step) => SOME.includes(step))

  it.each(TAKEN)('leaves all as it was at Ctrl-C: %s', async (step) => {
    const before = await state()
    const started = start('import', ['--components', '2', '--id', 'stopped', ...ZONE_KEY])
    const { terminal, transcript } = started
    const answers: [(typeof STEPS)[number], string, string][] = [
      ['begin', 'begin? [y/N]', 'y'],
      ['operator', 'runs the ceremony', 'Jane Doe'],
      ['custodian', 'custodian 1:', NAMES[0]!],
      ['component', 'Component 1:', TDEA[0]!],
      ['sheet', 'the KCV on the sheet? [y/N]', 'y'],
      ['custodian', 'custodian 2:', NAMES[1]!],
      ['second component', 'Component 2:', TDEA[1]!],
      ['sheet', 'the KCV on the sheet? [y/N]', 'y'],
      ['KCV of the key', 'sheet has none)', ''],
      ['store', 'Store this key? [y/N]', 'y'],
    ]
    for (const [at, question, line] of answers) {
      await terminal.expect(question)
      if (at === step) {
        // In the middle of an answer.
        terminal.type(`${line.slice(0, 20)}\u0003`)
        break
      }
      terminal.type(`${line}\r`)
    }
    expect(await terminal.end()).toEqual({ code: 130, restored: true, echoes: true })
    if (['begin', 'operator'].includes(step)) expect(existsSync(transcript)).toBe(false)
    else expect(verified(transcript)).toMatch(/somebody stopped it\. Nothing was stored\.[^]*aborted/)
    expect(terminal.shown).not.toContain(TDEA[1]!.slice(0, 8))
    expect(await state()).toBe(before)
  })

  it('gives the terminal back when it is asked to end while a component is typed', async () => {
    const before = await state()
    const started = start('import', ['--components', '2', '--id', 'ended', ...ZONE_KEY])
    await begin(started)
    await started.terminal.answer('custodian 1:', NAMES[0]!)
    await started.terminal.expect('Component 1:')
    started.terminal.type(TDEA[0]!.slice(0, 20))
    await started.terminal.expect('*'.repeat(20))
    process.kill(await started.terminal.pid(), 'SIGTERM')
    expect(await started.terminal.end()).toEqual({ code: 130, restored: true, echoes: true })
    expect(verified(started.transcript)).toContain('aborted')
    expect(await state()).toBe(before)
  })

  it('keeps what is typed beyond a component off the screen, and signs that it was given up when the terminal hangs up', async () => {
    const before = await state()
    const started = start('import', ['--components', '2', '--id', 'gone', ...ZONE_KEY])
    const { terminal, transcript } = started
    await begin(started)
    await terminal.answer('custodian 1:', NAMES[0]!)
    await terminal.answer('Component 1:', `${TDEA[0]!}\r${TDEA[1]!}`)
    await terminal.answer('the KCV on the sheet? [y/N]', 'y')
    await terminal.answer('custodian 2:', NAMES[1]!)
    await terminal.expect('Component 2:')
    expect(terminal.shown).not.toContain(TDEA[1]!.slice(0, 8))
    terminal.type(TDEA[1]!.slice(0, 20))
    await terminal.expect('*'.repeat(20))
    await terminal.hangUp()
    expect(await terminal.end()).toMatchObject({ code: 130 })
    expect(verified(transcript)).toMatch(/Nothing was stored\.[^]*aborted/)
    expect(await state()).toBe(before)
  })

  it('takes the key out again when the terminal hangs up while it is stored', async () => {
    const before = await state()
    const { shim, config } = withShim('hangup')
    const started = start('import', ['--components', '2', '--id', 'half', ...MAC_KEY], config)
    await begin(started)
    await turn(started, 1, TDEA[0]!)
    await turn(started, 2, TDEA[1]!)
    await started.terminal.answer('sheet has none)', '')
    await started.terminal.expect('Store this key? [y/N]')
    // The first object of two is in the token.
    const fault = shim.inject({ function: 'C_CreateObject', kind: 'hang', every: 2 })
    started.terminal.type('y\r')
    await expect.poll(() => fault.hits(), { timeout: 50_000 }).toBe(1)
    await started.terminal.hangUp()
    fault.end()
    expect(await started.terminal.end()).toMatchObject({ code: 130 })
    const text = verified(started.transcript)
    expect(text).toMatch(/Nothing was stored\.[^]*aborted/)
    // It was heard of before anything else was done.
    expect(text).not.toContain('The key was stored')
    expect(await state()).toBe(before)
    expect(readFileSync(config, 'utf8')).not.toContain('id: half')
  }, 120_000)

  it('does not say that nothing was stored where the token keeps what is to be taken out', async () => {
    const before = await state()
    const { shim, config } = withShim('kept')
    const writing = join(at.folder, 'etc', '.kept.yaml.new')
    const started = start('import', ['--components', '2', '--id', 'kept', ...ZONE_KEY], config)
    await begin(started)
    await turn(started, 1, TDEA[0]!)
    await turn(started, 2, TDEA[1]!)
    await started.terminal.answer('sheet has none)', '')
    await started.terminal.expect('Store this key? [y/N]')
    writeFileSync(writing, '')
    const CKR_FUNCTION_FAILED = 0x06
    const fault = shim.inject({ function: 'C_DestroyObject', kind: 'return', value: CKR_FUNCTION_FAILED })
    started.terminal.type('y\r')
    expect(await started.terminal.end()).toMatchObject({ code: 69, restored: true })
    fault.end()
    rmSync(writing)
    const text = verified(started.transcript)
    expect(text).toMatch(/objects of key kept version 1 may be in [^]*aborted/)
    for (const each of [text, started.terminal.shown]) expect(each).not.toMatch(/Nothing was stored|taken out again/)
    // What the message advises.
    const destroying = PseudoTerminal.pinbridge(['keys', 'destroy', 'kept@1', '--config', at.config])
    open.push(destroying)
    await destroying.answer('to go on', 'kept@1')
    expect(await destroying.end()).toMatchObject({ code: 0 })
    expect(await state()).toBe(before)
  }, 120_000)

  it('stores nothing in a token that is full, and says so', async () => {
    const { shim, config } = withShim('full')
    // The first object of two fits.
    const CKR_DEVICE_MEMORY = 0x31
    const before = await state()
    const started = start('import', ['--components', '2', '--id', 'full', ...MAC_KEY], config)
    await begin(started)
    await turn(started, 1, TDEA[0]!)
    await turn(started, 2, TDEA[1]!)
    await started.terminal.answer('sheet has none)', '')
    await started.terminal.expect('Store this key? [y/N]')
    shim.inject({ function: 'C_CreateObject', kind: 'return', value: CKR_DEVICE_MEMORY, every: 2 })
    started.terminal.type('y\r')
    await started.terminal.expect('the token is full (CKR_DEVICE_MEMORY)')
    expect(await started.terminal.end()).toMatchObject({ code: 69, restored: true })
    expect(verified(started.transcript)).toMatch(/the token is full[^]*aborted/)
    expect(await state()).toBe(before)
    expect(readFileSync(config, 'utf8')).not.toContain('id: full')
  })

  it('takes the key out of the token again if the configuration cannot be written at the end', async () => {
    const before = await state()
    const writing = join(at.folder, 'etc', '.pinbridge.yaml.new')
    const started = start('import', ['--components', '2', '--id', 'late', ...ZONE_KEY])
    try {
      await begin(started)
      await turn(started, 1, TDEA[0]!)
      await turn(started, 2, TDEA[1]!)
      await started.terminal.answer('sheet has none)', '')
      await started.terminal.expect('Store this key? [y/N]')
      // As if another command were writing it.
      writeFileSync(writing, '')
      started.terminal.type('y\r')
      await started.terminal.expect('another command is writing it')
      expect(await started.terminal.end()).toMatchObject({ code: 77, restored: true })
      expect(verified(started.transcript)).toMatch(
        /The key was stored[^]*The key was taken out again[^]*another command[^]*Nothing was stored[^]*aborted/,
      )
    } finally {
      rmSync(writing)
    }
    expect(await state()).toBe(before)
  })

  it('asks nothing where it could not finish: no terminal, a wrong PIN, no key that signs, a key that is there', async () => {
    const before = await state()
    const args = (config: string, id: string) => [
      ...['ceremony', 'import', '--config', config, '--transcript', join(at.folder, 'none.txt')],
      ...['--components', '2', '--id', id, ...ZONE_KEY],
    ]
    const NODE = new URL('../../../node_modules/.bin/node', import.meta.url).pathname
    const CLI = new URL('../../../dist/cli/main.js', import.meta.url).pathname
    const without = spawnSync('setsid', ['--wait', NODE, CLI, ...args(at.config, 'zpk')], { encoding: 'utf8' })
    expect([without.status, without.stderr]).toEqual([
      64,
      'a ceremony is typed at a terminal, and there is none here\n',
    ])

    const pinFile = join(at.folder, 'wrong-pin')
    writeFileSync(pinFile, '99887766\n', { mode: 0o600 })
    const cases: [string, string, number, RegExp][] = [
      [otherConfig('pin', ({ hsm }) => (hsm.pinFile = pinFile)), 'zpk', 69, /the token refused the PIN/],
      [otherConfig('pin', ({ hsm }) => (hsm.pinFile = pinFile)), 'zpk', 69, /refused this PIN before/],
      [
        otherConfig('unsigned', ({ keys }) => keys.shift()),
        'zpk',
        69,
        /pinbridge keys generate --config FILE --id transcript/,
      ],
      [at.config, 'mac', 64, /there is a key mac already/],
      [otherConfig('forgotten', ({ keys }) => keys.splice(1)), 'mac', 73, /holds a key mac version 1 already/],
    ]
    for (const [config, id, code, message] of cases) {
      const terminal = PseudoTerminal.spawn([NODE, CLI, ...args(config, id)])
      open.push(terminal)
      expect(await terminal.end()).toEqual({ code, restored: true, echoes: true })
      expect(terminal.shown).toMatch(message)
      expect(terminal.shown).not.toContain('[y/N]')
    }
    expect(existsSync(join(at.folder, 'none.txt'))).toBe(false)
    expect(await state()).toBe(before)
  }, 120_000)
})

describe('ceremony generate and export', () => {
  /** The turn of a custodian who is shown a component; returns it as it stood on the screen. */
  async function takeDown(
    { terminal }: Started,
    number: number,
  ): Promise<{ component: string; kcv: string; screen: string }> {
    await terminal.answer(`custodian ${number}:`, NAMES[number - 1]!)
    await terminal.answer('Press Enter to see it', '')
    const screen = await terminal.answer('Press Enter when it is written down', '')
    const component = [...screen.matchAll(/^ {2}((?:[0-9A-F]{4} ?){2,4})\s*$/gm)].map(([, digits]) => digits).join('')
    return {
      component: component.replaceAll(' ', ''),
      kcv: /KCV of the component: ([0-9A-F]+)/.exec(screen)![1]!,
      screen,
    }
  }

  it('gives out components that make the key, each once, and has them typed back', async () => {
    const started = start('generate', ['--components', '3', '--id', 'zpk', ...ZONE_KEY, '--exportable'])
    const { terminal, transcript } = started
    await begin(started)
    const components: string[] = []
    let keyKcv = ''
    for (const number of [1, 2, 3]) {
      const { component, kcv, screen } = await takeDown(started, number)
      expect(component).toMatch(/^[0-9A-F]{32}$/)
      expect(kcv).toBe(tdeaKcv(component))
      keyKcv = /KCV of the key: +([0-9A-F]{6})/.exec(screen)![1]!
      if (number === 2) {
        // The component of another: it is neither accepted nor shown again.
        await terminal.answer('Component 2:', components[0]!)
        await terminal.answer(/That is another value[^]*\[y\/N\]/, 'y')
      }
      await terminal.answer(`Component ${number}:`, component)
      components.push(component)
    }
    expect(await finish(started)).toEqual({ code: 0, restored: true, echoes: true })
    expect(new Set(components).size).toBe(3)
    expect(keyKcv).toBe(tdeaKcv(xor(...components)))
    expect(at.keys().at(-1)).toMatchObject({ id: 'zpk', kcv: keyKcv, exportable: true, origin: 'imported' })
    // Shown once, on the other screen, which is cleared before it is left.
    for (const component of components) {
      const line = component.slice(0, 16).replace(/.{4}(?=.)/g, '$& ')
      const parts = terminal.shown.split(line)
      expect(parts).toHaveLength(2)
      expect(parts[0]!.lastIndexOf('\u001b[?1049h')).toBeGreaterThan(parts[0]!.lastIndexOf('\u001b[?1049l'))
      const CLEARED_AND_LEFT = '\u001b[H\u001b[2J\u001b[3J\u001b[?1049l'
      expect(parts[1]!.indexOf('\u001b')).toBe(parts[1]!.indexOf(CLEARED_AND_LEFT))
    }
    const text = verified(transcript)
    for (const component of components) expect(text.toUpperCase()).not.toContain(component)
    expect(text).toContain('Component 2 was typed back with a mistake.')

    const again = start('export', ['zpk', '--components', '2'])
    await begin(again)
    const given: string[] = []
    for (const number of [1, 2]) {
      const { component } = await takeDown(again, number)
      await again.terminal.answer(`Component ${number}:`, component)
      given.push(component)
    }
    await again.terminal.answer('Press Enter to clear the screen and end', '')
    expect(await again.terminal.end()).toEqual({ code: 0, restored: true, echoes: true })
    expect(tdeaKcv(xor(...given))).toBe(keyKcv)
    expect(given.some((component) => components.includes(component))).toBe(false)
    verified(again.transcript)
  }, 120_000)

  it('leaves all as it was where the new key is not confirmed in the end', async () => {
    const before = await state()
    const started = start('generate', ['--components', '2', '--id', 'unwanted', ...ZONE_KEY])
    await begin(started)
    for (const number of [1, 2]) {
      const { component } = await takeDown(started, number)
      await started.terminal.answer(`Component ${number}:`, component)
    }
    await started.terminal.answer('Store the key', 'n')
    expect(await started.terminal.end()).toEqual({ code: 130, restored: true, echoes: true })
    expect(verified(started.transcript)).toMatch(/destroyed[^]*aborted/)
    expect(await state()).toBe(before)
  })

  it('says what the token answered that does not give a key out', async () => {
    const { shim, config } = withShim('keeps')
    const started = start('export', ['zpk', '--components', '2'], config)
    await started.terminal.expect('begin? [y/N]')
    const CKR_DEVICE_MEMORY = 0x31
    shim.inject({ function: 'C_CreateObject', kind: 'return', value: CKR_DEVICE_MEMORY })
    started.terminal.type('y\r')
    await started.terminal.answer('runs the ceremony', 'Jane Doe')
    expect(await started.terminal.end()).toMatchObject({ code: 69, restored: true })
    expect(started.terminal.shown).toContain('the token does not give it out (CKR_DEVICE_MEMORY)')
    expect(verified(started.transcript)).toMatch(/does not give it out[^]*aborted/)
  })

  it('gives out no key that is not exportable', async () => {
    const { terminal } = start('export', ['aes', '--components', '2'])
    expect(await terminal.end()).toMatchObject({ code: 77 })
    expect(terminal.shown).toContain('key aes version 1 is not exportable')
    const pending = otherConfig(
      'pending',
      ({ keys }) => (keys.find(({ id }: KeyEntry) => id === 'zpk').state = 'pending'),
    )
    const unsaid = start('export', ['zpk', '--components', '2'], pending).terminal
    expect(await unsaid.end()).toMatchObject({ code: 64 })
    expect(unsaid.shown).toContain('no active version: say which one with --key-version')
  })
})

describe('ceremony verify', () => {
  it('knows a transcript of the HSM key from one that was changed, with and without the HSM', async () => {
    const transcript = join(at.folder, 'transcript-1.txt')
    const text = readFileSync(transcript, 'utf8')
    const jwk = join(at.folder, 'transcript.jwk')
    writeFileSync(jwk, JSON.stringify(at.signer.publicKey))
    const pem = join(at.folder, 'transcript.pem')
    const publicKey = createPublicKey({ key: { ...at.signer.publicKey }, format: 'jwk' })
    writeFileSync(pem, publicKey.export({ format: 'pem', type: 'spki' }))
    for (const by of [
      ['--config', at.config],
      ['--public-key', pem, '--json'],
    ]) {
      const { code, stdout } = await pinbridge(['ceremony', 'verify', transcript, ...by])
      expect(code).toBe(0)
      expect(stdout).toContain('completed')
    }
    const changed = join(at.folder, 'changed.txt')
    const cases: [string, string, string, RegExp][] = [
      [text.replace('Anna Meier', 'Anna Maier'), jwk, '65', /was changed after it was signed/],
      [`${text}One line more.\n`, pem, '65', /is no signed transcript, or something was added/],
      [text, at.config, '65', /holds no public key of P-256/],
    ]
    const other = otherConfig('other-signer', ({ keys }) => (keys[0].kcv = 'ABCDEF0123'))
    const replaced = await pinbridge(['ceremony', 'verify', transcript, '--config', other])
    expect([replaced.code, replaced.stdout]).toEqual([65, ''])
    expect(replaced.stderr).toContain('key transcript version 1 has the KCV ABCDEF0123')
    for (const [content, key, code, message] of cases) {
      writeFileSync(changed, content)
      const result = await pinbridge(['ceremony', 'verify', changed, '--public-key', key])
      expect([String(result.code), result.stdout]).toEqual([code, ''])
      expect(result.stderr).toMatch(message)
    }
  })
})
