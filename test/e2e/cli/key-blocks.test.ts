/** `pinbridge keys import` and `pinbridge keys export`: key blocks of other implementations in, ours out, on a real token. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, cpSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeUnexportable } from '../../../src/cli/keys/make-unexportable.ts'
import { storeSymmetricKey } from '../../../src/cli/keys/store-key.ts'
import type { PlannedKey } from '../../../src/cli/keys/planned-key.ts'
import { withToken } from '../../../src/cli/open-token.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { countObjects } from '../../../src/hsm/pkcs11/key-objects.ts'
import { unwrapExportableKey } from '../../../src/hsm/pkcs11/unwrap-key.ts'
import { readHeader } from '../../../src/key-block/header.ts'
import { sealKeyBlock, type BlockKeys } from '../../../src/key-block/key-block.ts'
import { SecretScope } from '../../../src/secret.ts'
import { oracleOpen } from '../../support/key-block-oracle.ts'
import { agreed } from '../../support/oracles.ts'
import { giveToUnprivileged, makeSetUp, pinbridge, temporaryFolder, type CommandResult } from '../../support/service.ts'
import { KeyBlockVectors, readVectors } from '../../support/vector-file.ts'

const CLI = new URL('../../../dist/cli/main.js', import.meta.url).pathname
const REFUSED = 'the key block is not valid under this transport key, or is for another use'
const VECTORS = readVectors(KeyBlockVectors, 'tr31.json').testGroups.flatMap(({ tests }) => tests)
const vector = (comment: string) => VECTORS.find((each) => each.comment === comment)!
const PAYSHIELD = ['A', 'B', 'C'].map((version) => vector(`Thales payShield 10K, version ${version}`))
const A_7_2_2 = vector('TR-31:2018 A.7.2.2')
const X9_8_1 = vector('ANSI X9.143:2021 8.1, length hidden')

const folder = temporaryFolder()
let config: string

/** The transport keys of the vectors, by the ids that they have here. */
const TRANSPORT_KEYS = [
  ['zmk', 'TDEA-128', PAYSHIELD[0]!.key, { legacyBlocks: true }],
  ['zmk-2', 'TDEA-128', A_7_2_2.key, {}],
  ['zmk-aes', 'AES-256', X9_8_1.key, {}],
  ['zmk-128', 'AES-128', '00112233445566778899aabbccddeeff', { use: ['export'] }],
] as const

async function addTransportKeys(path: string): Promise<void> {
  await withToken(loadConfig(path, {}, 'keys'), undefined, async (opened) => {
    for (const [id, algorithm, value, members] of TRANSPORT_KEYS) {
      const planned = {
        id,
        version: 1,
        state: 'active',
        purpose: 'key-transport',
        algorithm,
        use: ['import', 'export'],
      }
      await storeSymmetricKey(opened, path, { ...planned, ...members } as PlannedKey, Buffer.from(value, 'hex'))
    }
  })
}

beforeAll(async () => {
  config = (await makeSetUp(folder.path)).config
  await addTransportKeys(config)
})
afterAll(() => folder.dispose())

function file(content: string): string {
  const path = join(folder.path, 'block.txt')
  writeFileSync(path, content)
  return path
}

function importBlock(block: string, options: string): Promise<CommandResult> {
  return pinbridge(['keys', 'import', '--config', config, '--block-file', file(`${block}\n`), ...options.split(' ')])
}

function exportKey(options: string): Promise<CommandResult> {
  return pinbridge(['keys', 'export', '--config', config, ...options.split(' ')])
}

const configText = () => readFileSync(config, 'utf8')
const entryOf = (id: string) => loadConfig(config, {}, 'keys').keys.find((key) => key.id === id)

describe('pinbridge keys import --inspect', () => {
  it('shows the header of a block in words, without a configuration', async () => {
    const block = vector('ANSI X9.143:2021 8.6, an EC key with certificates').block
    const { code, stdout, stderr } = await pinbridge(['keys', 'import', '--inspect', '--block-file', file(block)])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(/^ +key usage +S0 +asymmetric key pair for digital signatures$/m)
    expect(stdout).toMatch(/^ +block KP +012331550BC9 +check value of the protection key$/m)
    expect(stdout).toMatch(/^ +block CT +020002F0MIIC.*… \(1474 characters\) +public key certificate$/m)
  })

  it('prints it as JSON, with every optional block byte for byte, and warns of an obsolete version', async () => {
    const { block } = vector('TR-31:2018 A.7.3.1')
    const inspected = await pinbridge(['keys', 'import', '--inspect', '--json', '--block-file', file(block)])
    expect(inspected.code).toBe(0)
    expect(inspected.stderr).toContain('version C are obsolete')
    expect(JSON.parse(inspected.stdout).header).toMatchObject({
      versionId: 'C',
      usage: 'B0',
      modeOfUse: 'X',
      keyVersion: '12',
      exportability: 'S',
      optionalBlocks: [{ id: 'KS', data: '00604B120F9292800000', text: 'KS1800604B120F9292800000' }],
    })
  })

  it('says what is wrong with the text of a block (65), and that a file is not there (66)', async () => {
    const wrong = await pinbridge(['keys', 'import', '--inspect', '--block-file', file('B0080P0TE00E0000')])
    expect([wrong.code, wrong.stdout, wrong.stderr]).toEqual([
      65,
      '',
      'this is not a key block: its length field says 80 characters, and there are 16\n',
    ])
    const absent = await pinbridge(['keys', 'import', '--inspect', '--block-file', join(folder.path, 'none')])
    expect([absent.code, absent.stderr]).toEqual([66, '--block-file: it cannot be read (ENOENT)\n'])
  })
})

describe('pinbridge keys import', () => {
  it('puts a TDEA zone PIN key of a block of version B into the HSM, with the KCV of the source', async () => {
    const { code, stdout, stderr } = await importBlock(
      A_7_2_2.block,
      '--transport zmk-2 --id zpk-b --purpose zone-pin --algorithm TDEA-128 --direction out --formats ISO-0',
    )
    expect([code, stdout]).toEqual([0, `Key zpk-b version 1 is in the HSM, active: TDEA-128, KCV ${A_7_2_2.kcv}\n`])
    expect(stderr).toMatch(/^ +mode of use +E +enciphers or wraps only$/m)
    // A zone key that enciphers has its KCV as its known answer: the token computes what the source printed.
    expect(entryOf('zpk-b')).toMatchObject({ kcv: A_7_2_2.kcv, check: A_7_2_2.kcv, origin: 'imported' })
    expect((await pinbridge(['keys', 'show', 'zpk-b', '--config', config])).code).toBe(0)
    expect(stdout + stderr + configText()).not.toMatch(new RegExp(A_7_2_2.wrapped, 'i'))
  })

  it('puts an AES key of a block of version D into the HSM, and prints JSON', async () => {
    const { code, stdout } = await importBlock(
      X9_8_1.block,
      '--transport zmk-aes@1 --id zpk-d --purpose zone-pin --algorithm AES-128 --direction out --formats ISO-4 --exportable --json',
    )
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      key: { id: 'zpk-d', version: 1, state: 'active', algorithm: 'AES-128', kcv: X9_8_1.kcv },
      header: { versionId: 'D', usage: 'P0', exportability: 'E' },
    })
  })

  it.each([PAYSHIELD[0]!, PAYSHIELD[2]!].map(({ block }) => [block[0]!, block] as const))(
    'takes a payShield block of version %s, which is obsolete, with a warning',
    async (version, block) => {
      const { code, stderr } = await importBlock(
        block,
        `--transport zmk --id kek-${version} --purpose key-transport --algorithm TDEA-128 --use import`,
      )
      expect(code).toBe(0)
      expect(stderr).toContain(`Warning: key blocks of version ${version} are obsolete`)
      expect(entryOf(`kek-${version}`)).toMatchObject({ kcv: '5C9405', use: ['import'] })
    },
  )

  const asZpk = '--id refused --purpose zone-pin --algorithm TDEA-128 --formats ISO-0'
  it.each([
    ['a damaged MAC', `${A_7_2_2.block.slice(0, -1)}0`, `--transport zmk-2 ${asZpk} --direction out`],
    ['another transport key', A_7_2_2.block, `--transport zmk ${asZpk} --direction out`],
    ['another key usage', PAYSHIELD[1]!.block, `--transport zmk ${asZpk} --direction in`],
    ['a KCV of another key in its header', contradicting(), `--transport zmk-2 ${asZpk} --direction out`],
  ])('refuses a block with %s, with one sentence (65), and leaves everything as it was', async (_, block, options) => {
    const before = configText()
    const { code, stdout, stderr } = await importBlock(block, options)
    expect([code, stdout]).toEqual([65, ''])
    expect(stderr.trimEnd().split('\n').at(-1)).toBe(REFUSED)
    expect(configText()).toBe(before)
  })

  it('has left nothing of what it refused in the token', async () => {
    const { stdout } = await pinbridge(['keys', 'list', '--config', config, '--json'])
    expect(stdout).toContain('"zpk-b"')
    expect(stdout).not.toContain('refused')
  })

  it('takes no block under a key that is not for import (77)', async () => {
    const { code, stdout, stderr } = await importBlock(X9_8_1.block, `--transport zmk-128 ${asZpk} --direction out`)
    expect([code, stdout, stderr]).toEqual([77, '', 'key zmk-128@1 is not for import: its "use" says export\n'])
  })

  it('takes no key under one that is weaker than it (77)', async () => {
    const stronger = asZpk.replace('TDEA-128', 'TDEA-192')
    const { code, stdout, stderr } = await importBlock(A_7_2_2.block, `--transport zmk-2 ${stronger} --direction out`)
    expect([code, stdout]).toEqual([77, ''])
    expect(stderr).toBe('key refused is of TDEA-192 and must not travel under zmk-2, which is weaker (TDEA-128)\n')
  })

  it('leaves a token that cannot be written as it was, and says so (69)', async () => {
    const other = temporaryFolder()
    const [from, copy] = [join(folder.path, 'dev'), join(other.path, 'dev')]
    cpSync(from, copy, { recursive: true })
    const path = join(copy, 'pinbridge.yaml')
    for (const each of [path, join(copy, 'softhsm2.conf')]) {
      writeFileSync(each, readFileSync(each, 'utf8').replaceAll(from, copy))
    }
    const blockFile = join(copy, 'block.txt')
    writeFileSync(blockFile, A_7_2_2.block)
    const before = readFileSync(path, 'utf8')
    makeReadOnly(join(copy, 'token'))
    const uid = giveToUnprivileged(other.path)
    const options = `--transport zmk-2 ${asZpk} --direction out`.split(' ')
    const { code, stderr } = await pinbridge(
      ['keys', 'import', '--config', path, '--block-file', blockFile, ...options],
      {},
      uid,
    )
    expect([code, stderr]).toEqual([69, expect.stringMatching(/read-only|only be read|write-protected/)])
    expect(stderr).not.toContain('could not be cleaned')
    expect(readFileSync(path, 'utf8')).toBe(before)
    other.dispose()
  })
})

describe('pinbridge keys export', () => {
  const made = new Map<string, string>()

  beforeAll(async () => {
    for (const [id, members] of [
      ['out-aes', '--purpose zone-pin --algorithm AES-256 --direction both --formats ISO-4'],
      ['out-tdea', '--purpose zone-pin --algorithm TDEA-192 --direction in --formats ISO-0'],
      ['out-prw', '--purpose prw --algorithm AES-128 --use generate,verify --profile dk-aes'],
    ] as const) {
      const options = `--id ${id} ${members} --exportable --json`.split(' ')
      const { code, stdout, stderr } = await pinbridge(['keys', 'generate', '--config', config, ...options])
      if (code !== 0) throw new Error(stderr)
      made.set(id, JSON.parse(stdout).key?.kcv ?? entryOf(id)!.kcv)
    }
  })

  /** The KCV of what an independent reader finds in a block. */
  function oracleKcv(block: string, kbpk: string): string {
    const { key } = oracleOpen(block, kbpk)!
    return block[7] === 'A'
      ? agreed((oracle) => oracle.cmac('AES', key, '00'.repeat(16)))
          .slice(0, 10)
          .toUpperCase()
      : agreed((oracle) => oracle.ecb('TDEA', key, '00'.repeat(8)))
          .slice(0, 6)
          .toUpperCase()
  }

  it.each([
    ['out-aes', 'zmk-aes', '', 'D0144P0AB00N0000'],
    ['out-prw', 'zmk-aes', '--exportability E', 'D0144V0AC00E0000'],
    ['out-tdea', 'zmk-aes', '--mode-of-use E --kcv-blocks', 'D0144P0TE00N0300'],
    ['kek-exported', 'zmk', '', 'B0096K1TB00N0000'],
  ])('gives %s out under %s in a block that an independent reader opens', async (id, transport, options, header) => {
    if (id === 'kek-exported') {
      const value = Buffer.from('0123456789abcdeffedcba9876543210', 'hex')
      await withToken(loadConfig(config, {}, 'keys'), undefined, (opened) =>
        storeSymmetricKey(
          opened,
          config,
          {
            ...{ id, version: 1, state: 'active', purpose: 'key-transport', algorithm: 'TDEA-128' },
            ...{ use: ['import', 'export'], exportable: true },
          },
          value,
        ),
      )
      made.set(id, entryOf(id)!.kcv)
    }
    const { code, stdout, stderr } = await exportKey(`${id} --transport ${transport} ${options}`.trim())
    expect([code, stdout]).toEqual([0, expect.stringMatching(new RegExp(`^${header}[0-9A-Z]+\n$`))])
    expect(stderr).toContain(`Key ${id} version 1, KCV ${made.get(id)}, under ${transport}`)
    const kbpk = TRANSPORT_KEYS.find(([name]) => name === transport)![2]
    expect(oracleKcv(stdout.trimEnd(), kbpk)).toBe(made.get(id))
    expect(stdout + stderr + configText()).not.toMatch(new RegExp(oracleOpen(stdout.trimEnd(), kbpk)!.key, 'i'))
    if (options.includes('kcv-blocks')) {
      const blocks = readHeader(stdout).header.optionalBlocks.map(({ text }) => text)
      expect(blocks.slice(0, 2)).toEqual([`KC0C00${made.get(id)}`, 'KP10012331550BC9'])
    }
  })

  it('makes a block that a second token takes, as the same key', async () => {
    const second = temporaryFolder()
    try {
      const other = (await makeSetUp(second.path)).config
      await addTransportKeys(other)
      const { stdout } = await exportKey('out-tdea --transport zmk-aes --mode-of-use D --kcv-blocks --exportability S')
      const options = '--id copied --purpose zone-pin --algorithm TDEA-192 --direction in --formats ISO-0'
      const blockFile = ['--block-file', file(stdout), '--transport', 'zmk-aes']
      const imported = await pinbridge(['keys', 'import', '--config', other, ...blockFile, ...options.split(' ')])
      expect([imported.code, imported.stdout]).toEqual([
        0,
        `Key copied version 1 is in the HSM, active: TDEA-192, KCV ${made.get('out-tdea')}\n`,
      ])
    } finally {
      second.dispose()
    }
  })

  it('gives nothing out of a key that is not exportable (77)', async () => {
    const { code, stdout, stderr } = await exportKey('zpk-in --transport zmk-aes')
    expect([code, stdout]).toEqual([77, ''])
    expect(stderr).toContain('only a key that was made with --exportable leaves the HSM')
  })

  it('takes back what it put into the token if the configuration cannot be changed', async () => {
    await withToken(loadConfig(config, {}, 'keys'), undefined, (opened) => {
      using secrets = new SecretScope()
      const key = entryOf('out-aes')!
      const value = unwrapExportableKey(opened, key, secrets)
      const without = file(configText().replace('id: out-aes', 'id: out-other'))
      const change = () => makeUnexportable([opened], without, { profiles: [] }, key, value)
      expect(change).toThrow('the configuration has no key out-aes version 1 any more')
      expect(countObjects(opened.token, key)).toBe(1)
      expect(unwrapExportableKey(opened, key, secrets).equals(value)).toBe(true)
      return Promise.resolve()
    })
  })

  it('ends the exportability for good with --final, once the id is typed', async () => {
    const wrong = await answered('out-prw --transport zmk-aes --final', 'out-aes\n')
    expect([wrong.code, wrong.stdout]).toEqual([64, ''])
    expect(entryOf('out-prw')).toMatchObject({ exportable: true, origin: 'generated' })
    const right = await answered('out-prw --transport zmk-aes --final', 'out-prw\n')
    expect([right.code, right.stderr]).toEqual([0, expect.stringContaining('cannot be exported any more')])
    expect(oracleKcv(right.stdout.trimEnd(), X9_8_1.key)).toBe(made.get('out-prw'))
    const entry = entryOf('out-prw')!
    expect([entry.exportable, entry.origin, entry.kcv]).toEqual([undefined, 'imported', made.get('out-prw')])
    // The token has it once, with the flags of a key that cannot leave.
    expect((await pinbridge(['keys', 'show', 'out-prw', '--config', config])).code).toBe(0)
    expect((await exportKey('out-prw --transport zmk-aes')).code).toBe(77)
  })
})

it.each([
  ['import', ['key block', 'damaged', 'cannot do inside', 'Exit codes', 'Examples']],
  ['export', ['--exportable', '--final', 'cannot do inside', 'Exit codes', 'Example']],
])('pinbridge keys %s --help says what it does, what it asks and what it cannot do', async (command, words) => {
  const { code, stdout } = await pinbridge(['keys', command, '--help'])
  expect(code).toBe(0)
  for (const word of words) expect(stdout).toContain(word)
})

/** Runs an export without a terminal, so that lines of standard input answer. */
async function answered(options: string, input: string): Promise<CommandResult> {
  const args = [CLI, 'keys', 'export', '--config', config, ...options.split(' ')]
  const child = spawn(process.execPath, args, { detached: true, env: { PATH: process.env['PATH'] } })
  child.stdin.end(input)
  const [stdout, stderr] = await Promise.all([child.stdout, child.stderr].map((stream) => text(stream)))
  const code = child.exitCode ?? ((await once(child, 'exit')) as [number])[0]
  return { code, stdout: stdout!, stderr: stderr! }
}

/** A block that is right but for the KCV in its header, which is that of another key; made by our own writer. */
function contradicting(): string {
  const header = {
    ...readHeader(A_7_2_2.block).header,
    optionalBlocks: [{ id: 'KC', data: '00000000', text: 'KC0C00000000' }],
  }
  const derive = (usage: string): Buffer => {
    const parts = ['01', '02'].map((counter) =>
      agreed((oracle) => oracle.cmac('TDEA', A_7_2_2.key, `${counter}${usage}0000000080`)),
    )
    return Buffer.from(parts.join(''), 'hex')
  }
  const keys: BlockKeys = { algorithm: 'TDEA', kbek: derive('0000'), kbak: derive('0001') }
  const block = sealKeyBlock(header, Buffer.from(A_7_2_2.wrapped, 'hex'), keys, Buffer.alloc(6))
  if (oracleOpen(block, A_7_2_2.key)?.key !== A_7_2_2.wrapped) throw new Error('the block is wrong in more than its KC')
  return block
}

/** Takes the right to write away from everybody: from root, who needs none, the file system does. */
function makeReadOnly(path: string): void {
  for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' })) {
    const each = join(path, name)
    chmodSync(each, statSync(each).mode & ~0o222)
  }
  chmodSync(path, 0o500)
}
