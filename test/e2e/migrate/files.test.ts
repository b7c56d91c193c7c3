import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
  appendFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { editConfig, makeSetUp, temporaryFolder } from '../../support/service.ts'
import { until } from '../processes/processes.ts'
import { keyOf, makeBlocks, makeRows, runMigrate, startMigrate, vaultsOf, type Row } from './migration.ts'

const folder = temporaryFolder()
const ISO0 = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0']
let setUp: DevelopmentSetUp
let rows: Row[]
let input: string
let text: string
let expected: string
let files = 0

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  rows = makeRows(100_000)
  const file = (key: string) => {
    const blocks = makeBlocks('ISO-0', keyOf(setUp, key), rows)
    return `id,pan,pinBlock\n${rows.map(({ id, pan }, i) => `${id},${pan},${blocks[i]}\n`).join('')}`
  }
  text = file('zpk-in')
  expected = file('zpk-out')
  input = join(folder.path, 'in.csv')
  writeFileSync(input, text)
})
afterAll(() => folder.dispose())

/** A folder of its own, and a path of nothing in it. */
function place(): { dir: string; out: string } {
  const dir = join(folder.path, `place-${files++}`)
  mkdirSync(dir)
  return { dir, out: join(dir, 'out.csv') }
}

/** The configuration, edited. */
function configWith(edit: (config: any) => void): string {
  const path = join(folder.path, 'dev', `edited-${files++}.yaml`)
  copyFileSync(setUp.config, path)
  chmodSync(path, 0o600)
  editConfig(path, edit)
  return path
}

const migrate = (more: readonly string[], options = {}, config = setUp.config) =>
  runMigrate(config, [...ISO0, ...more], options)

describe('what is there', () => {
  it.each(['out.csv', 'out.csv.rejects', 'out.csv.migration.json'])(
    'is not overwritten: %s, exit code 73',
    async (name) => {
      const { dir, out } = place()
      writeFileSync(join(dir, name), 'precious')
      const { code, stderr } = await migrate(['--in', input, '--out', out])
      expect([code, readdirSync(dir)]).toEqual([73, [name]])
      expect(stderr).toContain(name)
      expect(readFileSync(join(dir, name), 'utf8')).toBe('precious')
    },
  )

  it('is not overwritten through a link either, even one that leads nowhere', async () => {
    const { dir, out } = place()
    symlinkSync(join(dir, 'elsewhere'), out)
    expect((await migrate(['--in', input, '--out', out])).code).toBe(73)
    expect(readdirSync(dir)).toEqual(['out.csv'])
  })

  it('is not taken for output that is the input, by whatever name', async () => {
    const { dir, out } = place()
    const own = join(dir, 'own.csv')
    writeFileSync(own, text.slice(0, 1000))
    linkSync(own, out)
    expect((await migrate(['--in', own, '--out', own])).code).toBe(64)
    expect((await migrate(['--in', own, '--out', out])).code).toBe(64)
    expect((await migrate(['--in', own, '--out', join(dir, 'new.csv'), '--rejects', own])).code).toBe(64)
    expect(
      (await migrate(['--in', own, '--out', join(dir, 'new.csv'), '--rejects', join(dir, 'new.csv.migration.json')]))
        .code,
    ).toBe(64)
    expect(readFileSync(own, 'utf8')).toBe(text.slice(0, 1000))
  })

  it('belongs to one migration at a time, also for --resume', async () => {
    const { out } = place()
    const held = startMigrate(setUp.config, [...ISO0, '--in', input, '--out', out])
    await until('the output', () => existsSync(out))
    process.kill(held.pid, 'SIGSTOP')
    try {
      const { code, stderr } = await migrate(['--in', input, '--out', out, '--resume'])
      expect([code, stderr]).toEqual([73, expect.stringContaining('another migration is writing it')])
    } finally {
      process.kill(held.pid, 'SIGCONT')
    }
    expect((await held.ended).code).toBe(0)
    expect(readFileSync(out, 'utf8')).toBe(expected)
  })
})

describe('standard input and output', () => {
  it('stand for files, without a record, and the rejects are said', async () => {
    const bad = `${text}x,y,z\n`
    const { code, stdout, stderr } = await migrate(['--in', '-', '--out', '-'], { input: Buffer.from(bad) })
    expect(code).toBe(65)
    expect(stdout).toBe(expected)
    expect(stderr).toMatch(/^100002,x,ERR_PAN_INVALID$/m)
    expect(stderr).toMatch(/^rows written +100000$/m)
  })

  it('write the rejects where they are told', async () => {
    const { out } = place()
    const { code, stdout } = await migrate(['--in', '-', '--out', '-', '--rejects', out], {
      input: Buffer.from('x,y,z\n'),
    })
    expect([code, stdout, readFileSync(out, 'utf8')]).toEqual([65, '', 'line,id,code\n1,x,ERR_PAN_INVALID\n'])
  })

  it('do not go with --resume', async () => {
    for (const args of [
      ['--in', '-', '--out', place().out],
      ['--in', input, '--out', '-'],
    ]) {
      expect((await migrate([...args, '--resume'])).code).toBe(64)
    }
  })

  it('put a migration from standard input on record', async () => {
    const { out } = place()
    const { code } = await migrate(['--in', '-', '--out', out], { input: Buffer.from(text) })
    expect([code, readFileSync(out, 'utf8') === expected]).toEqual([0, true])
    expect(JSON.parse(readFileSync(`${out}.migration.json`, 'utf8'))).toMatchObject({
      state: 'complete',
      inputSize: null,
      lines: 100_001,
    })
  })

  it('fail with 74 when nobody can take what comes out', async () => {
    const full = await migrate(['--in', input, '--out', '-'], { shell: 'exec 1>/dev/full' })
    expect([full.code, full.stderr]).toEqual([
      74,
      expect.stringContaining('standard output: no space is left (ENOSPC)'),
    ])
    const closed = await migrate(['--in', input, '--out', '-'], { shell: 'exec 1> >(exec head -c 10 >/dev/null)' })
    expect([closed.code, closed.stderr]).toEqual([74, expect.stringContaining('standard output: EPIPE')])
  })
})

describe('a disk that fills up', () => {
  it('stops the migration with 74, says how far it got, and --resume goes on when there is room again', async () => {
    const { out } = place()
    // 1 KiB blocks: a third of the output, and room for the record.
    const full = await migrate(['--in', input, '--out', out], {
      shell: `ulimit -f ${Math.floor(expected.length / 3072)}`,
    })
    expect(full.code).toBe(74)
    expect(full.stderr).toContain(`${out}: it is too large (EFBIG)`)
    expect(full.stderr).toMatch(/\d+ lines of the input are done with, and \d+ rows written/)
    expect(full.stderr).toContain('--resume goes on')
    const record = JSON.parse(readFileSync(`${out}.migration.json`, 'utf8'))
    expect(record.state).toBe('running')
    expect(record.rowsWritten).toBeGreaterThan(0)
    expect(readFileSync(out, 'utf8')).toBe(expected.slice(0, record.output.bytes))
    const resumed = await migrate(['--in', input, '--out', out, '--resume'])
    expect(resumed.code).toBe(0)
    expect(readFileSync(out, 'utf8')).toBe(expected)
    expect(resumed.log.find(({ msg }) => msg === 'migration-started').resumedAtLine).toBe(Number(record.lines) + 1)
  })
})

describe('--dry-run', () => {
  it('checks every block and writes nothing', async () => {
    const { dir, out } = place()
    const bad = join(dir, 'bad.csv')
    writeFileSync(bad, text + 'x,y,z\n'.repeat(30))
    const before = readdirSync(dir)
    for (const more of [['--out', out], []]) {
      const { code, stderr, stdout } = await migrate(['--in', bad, '--dry-run', '--json', ...more])
      expect(code).toBe(65)
      expect(JSON.parse(stdout)).toMatchObject({
        outcome: 'complete',
        dryRun: true,
        rowsRead: 100_030,
        rowsWritten: 0,
        rowsRejected: { ERR_PAN_INVALID: 30 },
      })
      expect(stderr.match(/^\d+,x,ERR_\w+$/gm)).toHaveLength(20)
      expect(readdirSync(dir)).toEqual(before)
    }
    expect((await migrate(['--in', input, '--dry-run'])).code).toBe(0)
  })

  it('finds a block that is wrong', async () => {
    const { dir } = place()
    const wrong = join(dir, 'wrong.csv')
    writeFileSync(wrong, text.replace(/^(card-5,\d+),.*$/m, '$1,0000000000000000'))
    const { code, stderr } = await migrate(['--in', wrong, '--dry-run'])
    expect([code, stderr]).toEqual([65, expect.stringMatching(/^7,card-5,ERR_PIN_BLOCK_INVALID$/m)])
  })
})

describe('the log', () => {
  it('holds the start and the end, with keys, counts and digests and without a PAN', async () => {
    const { out } = place()
    const config = configWith((config) => (config.logLevel = 'error'))
    const { log, stderr, stdout } = await migrate(['--in', input, '--out', out, '--json'], {}, config)
    const kcv = (id: string) => setUp.keys.find((key) => key.id === id)!.kcv
    const summary = JSON.parse(stdout)
    expect(log.map(({ msg }) => msg)).toEqual(['migration-started', 'migration-ended'])
    expect(log[0]).toMatchObject({
      from: { key: 'zpk-in', version: 1, kcv: kcv('zpk-in'), format: 'ISO-0' },
      to: { key: 'zpk-out', version: 1, kcv: kcv('zpk-out'), format: 'ISO-0' },
      input: { file: input, bytes: text.length },
      output: out,
    })
    const digest = async (path: string) =>
      (await import('node:crypto')).createHash('sha256').update(readFileSync(path)).digest('hex')
    expect(log[1]).toMatchObject({
      outcome: 'complete',
      exitCode: 0,
      rowsRead: 100_000,
      rowsWritten: 100_000,
      input: { bytes: text.length, sha256: await digest(input) },
      output: { bytes: expected.length, sha256: await digest(out) },
    })
    expect(summary.output.sha256).toBe(await digest(out))
    for (const { pan } of rows.slice(0, 100)) expect(stderr + stdout).not.toContain(pan)
  })
})

describe('keys', () => {
  const edits: [string, string, (key: any) => void][] = [
    ['a key without migrate: true', 'it does not carry migrate: true', (key) => delete key.migrate],
    ['a key with migrate: false', 'it does not carry migrate: true', (key) => (key.migrate = false)],
    ['a pending key', 'it is pending and not active', (key) => (key.state = 'pending')],
    ['a retired key', 'it is retired and not active', (key) => (key.state = 'retired')],
    ['the wrong direction', 'its direction is not in or both', (key) => (key.direction = 'out')],
    ['a format that it does not serve', 'it does not serve ISO-0', (key) => (key.formats = ['ISO-3'])],
  ]
  it.each(edits)('may not: %s, exit code 77 before a vault is started', async (_, sentence, edit) => {
    const { dir, out } = place()
    const config = configWith((config) => edit(config.keys.find((key: any) => key.id === 'zpk-in')))
    const { code, stderr, log } = await migrate(['--in', input, '--out', out], {}, config)
    expect([code, readdirSync(dir), log]).toEqual([77, [], []])
    expect(stderr).toContain(`key zpk-in: ${sentence}`)
  })

  it('may not: one that is not there, one of another purpose, a PRW profile that is another', async () => {
    const zones = (from: string, to: string) => ['--from', from, '--to', to, '--in', input, '--out', place().out]
    for (const [args, sentence] of [
      [zones('nothing:ISO-0', 'zpk-out:ISO-0'), 'key nothing: there is none'],
      [zones('zpk-in:ISO-0', 'prw:ISO-0'), 'key prw: it is not for PIN blocks'],
      [zones('zpk-in:ISO-0', 'zpk-in:ISO-0'), 'key zpk-in: its direction is not out or both'],
      [[...zones('zpk-in:ISO-0', 'zpk-out:ISO-0'), '--prw', 'prw:dk-aes'], 'key prw: its profile is not dk-aes'],
      [[...zones('zpk-in:ISO-0', 'zpk-out:ISO-0'), '--prw', 'zpk-in:dk-aes'], 'key zpk-in: it is not for PRWs'],
    ] as const) {
      const { code, stderr } = await runMigrate(setUp.config, args)
      expect([code, stderr]).toEqual([77, expect.stringContaining(sentence)])
    }
  })
})

describe('the HSM', () => {
  it('with a wrong PIN ends it at once with 69 and leaves nothing behind', async () => {
    const { dir, out } = place()
    const pin = join(folder.path, 'wrong-pin')
    writeFileSync(pin, '00000000', { mode: 0o600 })
    const config = configWith((config) => (config.hsm.pinFile = pin))
    const { code, stderr } = await migrate(['--in', input, '--out', out], {}, config)
    expect([code, readdirSync(dir)]).toEqual([69, []])
    expect(stderr).toContain('the HSM cannot be used')
    expect(stderr.match(/"process":"vault-\d+"/g)).toHaveLength(1)
  })

  it('without one of the keys ends it at once with 69', async () => {
    const config = configWith((config) => (config.keys.find((key: any) => key.id === 'zpk-out').version = 9))
    const { code, stderr } = await migrate(['--in', input, '--out', place().out], {}, config)
    expect([code, stderr]).toEqual([69, expect.stringContaining('key zpk-out: 0 objects carry its CKA_ID')])
  })
})

describe('the processes', () => {
  it('are confined: the command writes its own files only, and a vault holds the two keys and no more', async () => {
    const { out } = place()
    const running = startMigrate(setUp.config, [...ISO0, '--in', input, '--out', out])
    const { value: vaults } = await until('a vault', () =>
      vaultsOf(running.pid).length > 0 ? vaultsOf(running.pid) : undefined,
    )
    const flags = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    expect(flags(running.pid)).toContain('--permission')
    const mayWrite = flags(running.pid).filter((flag) => flag.startsWith('--allow-fs-write'))
    expect(mayWrite.map((flag) => flag.split('=')[1])).toEqual([
      out,
      `${out}.rejects`,
      `${out}.migration.json`,
      `${out}.migration.json.new`,
      expect.stringMatching(/\/hsm-pin\.[\w-]+\.refused$/),
      expect.stringMatching(/\/pinbridge-\*$/),
    ])
    expect(flags(running.pid)).not.toContain('--allow-addons')
    expect(flags(vaults[0]!).filter((flag) => flag.startsWith('--allow-fs-write'))).toEqual([])
    expect((await running.ended).code).toBe(0)
  })
})

describe('usage', () => {
  it.each([
    ['no --out', ['--in', 'x']],
    ['no --in', ['--out', 'x']],
    ['an unknown option', ['--in', 'x', '--out', 'y', '--force']],
    ['an unknown format', ['--from', 'zpk-in:ISO-2', '--in', 'x', '--out', 'y']],
    ['a key without a format', ['--from', 'zpk-in', '--in', 'x', '--out', 'y']],
    ['--resume with --dry-run', ['--in', 'x', '--out', 'y', '--dry-run', '--resume']],
  ])('is wrong with %s: exit code 64', async (_, args) => {
    const { code, stdout, stderr } = await migrate(args)
    expect([code, stdout]).toEqual([64, ''])
    expect(stderr).not.toBe('')
  })

  it('says what it can do', async () => {
    const { code, stdout } = await runMigrate(setUp.config, ['--help'])
    expect(code).toBe(0)
    for (const word of ['--resume', '--check-ids', 'migrate: true', '65', '130']) expect(stdout).toContain(word)
  })

  it('exits 78 for a configuration, and 74 for an input, that cannot be read', async () => {
    expect((await migrate(['--in', input, '--out', place().out], {}, join(folder.path, 'nowhere.yaml'))).code).toBe(78)
    for (const path of [join(folder.path, 'nowhere.csv'), folder.path, '/dev/null']) {
      expect([path, (await migrate(['--in', path, '--out', place().out])).code]).toEqual([path, 74])
    }
  })
})

describe('an input that changes while it is read', () => {
  it('is said, with exit code 74', async () => {
    const { dir, out } = place()
    const growing = join(dir, 'growing.csv')
    copyFileSync(input, growing)
    const running = startMigrate(setUp.config, [...ISO0, '--in', growing, '--out', out])
    await until('the start', () => running.stderr().includes('migration-started'))
    appendFileSync(growing, 'x')
    const { code, stderr } = await running.ended
    expect([code, stderr]).toEqual([74, expect.stringContaining('the input changed while it was read')])
    const again = await migrate(['--in', growing, '--out', out, '--resume'])
    expect(again.code).toBe(74)
  })
})
