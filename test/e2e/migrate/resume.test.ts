import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { editConfig, makeSetUp, temporaryFolder } from '../../support/service.ts'
import { isAlive, until } from '../processes/processes.ts'
import { keyOf, makeBlocks, makeRows, runMigrate, startMigrate, vaultsOf } from './migration.ts'

const folder = temporaryFolder()
const ROWS = 400_000
let setUp: DevelopmentSetUp
let input: string
let expected: string
let rejects: string
let args: string[]
let out: string
let files = 0

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  const rows = makeRows(ROWS)
  // Every thousandth block belongs to another PAN.
  const isBad = (i: number) => i % 1000 === 999
  const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
  const made = makeBlocks('ISO-0', keyOf(setUp, 'zpk-out'), rows)
  const line = (i: number, block: string) => `${rows[i]!.id},${rows[i]!.pan},${block}\r\n`
  const head = 'id,pan,pinBlock\r\n'
  input = join(folder.path, 'in.csv')
  writeFileSync(input, head + rows.map((_, i) => line(i, isBad(i) ? '0000000000000000' : blocks[i]!)).join(''))
  expected = head + rows.map((_, i) => (isBad(i) ? '' : line(i, made[i]!))).join('')
  const bad = rows.flatMap((_, i) => (isBad(i) ? [`${i + 2},card-${i},ERR_PIN_BLOCK_INVALID\n`] : []))
  rejects = `line,id,code\n${bad.join('')}`
})
afterAll(() => folder.dispose())
beforeEach(() => {
  const dir = join(folder.path, `place-${files++}`)
  mkdirSync(dir)
  out = join(dir, 'out.csv')
  args = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0', '--in', input, '--out', out]
})

const record = () => JSON.parse(readFileSync(`${out}.migration.json`, 'utf8'))
const resume = (more: readonly string[] = [], config = setUp.config) =>
  runMigrate(config, [...args, '--resume', ...more])

function expectComplete(): void {
  expect(readFileSync(out, 'utf8') === expected).toBe(true)
  expect(readFileSync(`${out}.rejects`, 'utf8')).toBe(rejects)
  expect(record()).toMatchObject({ state: 'complete', rowsRead: ROWS, rowsWritten: ROWS - ROWS / 1000 })
  for (const file of ['', '.rejects', '.migration.json']) expect(statSync(out + file).mode & 0o777).toBe(0o600)
}

/** Starts a migration and stops it once something is on record. */
async function stopped(signal: NodeJS.Signals, more: readonly string[] = []) {
  const running = startMigrate(setUp.config, [...args, ...more])
  await until('some progress', () => existsSync(out) && statSync(out).size > 2_000_000, 30_000)
  process.kill(running.pid, signal)
  return await running.ended
}

describe('a migration that is stopped', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('by %s ends with %i at a record, says how to go on, and is gone on with', async (signal, exitCode) => {
    const { code, stderr, log } = await stopped(signal)
    expect([code, stderr]).toEqual([exitCode, expect.stringContaining('the same command with --resume goes on')])
    expect(log.at(-1)).toMatchObject({ msg: 'migration-ended', outcome: 'interrupted', exitCode })
    const { state, output, rowsWritten, lines } = record()
    expect([state, statSync(out).size]).toEqual(['running', output.bytes])
    expect(rowsWritten).toBeGreaterThan(0)
    expect(rowsWritten).toBeLessThan(ROWS - ROWS / 1000)
    const resumed = await resume()
    expect(resumed.code).toBe(65)
    expect(resumed.log[0]).toMatchObject({ msg: 'migration-started', resumedAtLine: Number(lines) + 1 })
    expectComplete()
  })

  it('by SIGKILL leaves no vault behind, and is gone on with', async () => {
    const running = startMigrate(setUp.config, args)
    await until('some progress', () => existsSync(out) && statSync(out).size > 2_000_000, 30_000)
    const vaults = vaultsOf(running.pid)
    expect(vaults.length).toBeGreaterThan(0)
    process.kill(running.pid, 'SIGKILL')
    await running.ended
    await until('the vaults to end', () => !vaults.some(isAlive), 5_000)
    expect((await resume()).code).toBe(65)
    expectComplete()
  })

  it('with --check-ids knows the ids from before', async () => {
    const own = join(folder.path, 'twice.csv')
    const text = readFileSync(input, 'utf8')
    writeFileSync(own, text + text.split('\r\n')[1]!)
    args[args.indexOf('--in') + 1] = own
    await stopped('SIGINT', ['--check-ids'])
    expect((await resume(['--check-ids'])).code).toBe(65)
    expect(readFileSync(out, 'utf8') === expected).toBe(true)
    expect(readFileSync(`${out}.rejects`, 'utf8')).toBe(`${rejects}${ROWS + 2},card-0,ERR_ID_DUPLICATE\n`)
  })

  it('that has not begun yet begins, and one that is complete says again what it said', async () => {
    const first = await resume(['--json'])
    expect(first.code).toBe(65)
    expectComplete()
    const again = await resume(['--json'])
    expect([again.code, again.stdout]).toEqual([65, first.stdout])
    expect(again.log.map(({ msg }) => msg)).toEqual(['migration-started', 'migration-ended'])
    expectComplete()
  })

  it('that is complete is held against its files first: exit code 74', async () => {
    await resume([])
    const text = readFileSync(out)
    const rows = readFileSync(input)
    const own = join(folder.path, 'complete.csv')
    args[args.indexOf('--in') + 1] = own
    writeFileSync(own, rows)
    expect((await resume([])).code).toBe(65)
    for (const [file, change] of [
      [out, Buffer.concat([Buffer.from('I'), text.subarray(1)])],
      [out, text.subarray(0, -1)],
      [own, Buffer.concat([rows, Buffer.from('x,4000001234567899,0011223344556677\n')])],
      [own, rows.subarray(0, -20)],
    ] as const) {
      writeFileSync(file, change)
      const { code, stdout } = await resume(['--json'])
      expect({ code, outcome: stdout && (JSON.parse(stdout) as { outcome: string }).outcome }).not.toMatchObject({
        outcome: 'complete',
      })
      expect(code).toBe(74)
      writeFileSync(out, text)
      writeFileSync(own, rows)
    }
  })
})

describe('a migration is not gone on with', () => {
  let begun: string

  beforeAll(async () => {
    const dir = join(folder.path, 'begun')
    mkdirSync(dir)
    begun = join(dir, 'out.csv')
    out = begun
    args = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0', '--in', input, '--out', out]
    await stopped('SIGINT')
  })
  beforeEach(() => {
    for (const file of ['', '.rejects', '.migration.json']) copyFileSync(begun + file, out + file)
  })

  /** Everything is as it was before. */
  function expectUntouched(except?: string): void {
    for (const file of ['', '.rejects', '.migration.json']) {
      if (file !== except) expect(readFileSync(out + file).equals(readFileSync(begun + file)), file).toBe(true)
    }
  }

  it('if the input begins with other bytes, or is shorter: exit code 74', async () => {
    const own = join(folder.path, 'changed.csv')
    args[args.indexOf('--in') + 1] = own
    const text = readFileSync(input)
    for (const change of [
      () => writeFileSync(own, Buffer.concat([Buffer.from('I'), text.subarray(1)])),
      () => writeFileSync(own, text.toString('latin1').replace('card-7,', 'card-9,'), 'latin1'),
      () => writeFileSync(own, text.subarray(0, record().input.bytes - 1)),
      () => writeFileSync(own, ''),
    ]) {
      change()
      const { code, stderr } = await resume()
      expect([code, stderr]).toEqual([
        74,
        expect.stringContaining('the input does not begin with what has been read of it'),
      ])
      expectUntouched()
    }
  })

  it('if the output or the rejects are not what was written: exit code 74', async () => {
    const damage: [string, () => void][] = [
      ['', () => truncateSync(out, record().output.bytes - 1)],
      ['', () => writeFileSync(out, Buffer.concat([Buffer.from('I'), readFileSync(out).subarray(1)]))],
      ['', () => rmSync(out)],
      [
        '.rejects',
        () => writeFileSync(`${out}.rejects`, readFileSync(`${out}.rejects`, 'utf8').replace('card', 'cord')),
      ],
    ]
    for (const [file, damaged] of damage) {
      copyFileSync(begun + file, out + file)
      damaged()
      const { code, stderr } = await resume()
      expect([code, stderr]).toEqual([74, expect.stringContaining(out + file)])
      expectUntouched(file)
      rmSync(out + file, { force: true })
      copyFileSync(begun + file, out + file)
    }
  })

  it('if the record is none: exit code 74', async () => {
    for (const text of ['', '{', '{}', '{"state":"running"}']) {
      writeFileSync(`${out}.migration.json`, text)
      const { code, stderr } = await resume()
      expect([code, stderr]).toEqual([74, expect.stringContaining('is not the record of a migration')])
    }
    expectUntouched('.migration.json')
  })

  it('with other parameters, or a key of another version: exit code 64', async () => {
    for (const more of [['--check-ids'], ['--rejects', `${out}.other`], ['--to', 'zpk-out:ISO-3']]) {
      const { code, stderr } = await resume(more)
      expect([more, code, stderr]).toEqual([more, 64, expect.stringContaining('was begun with another')])
    }
    const config = join(folder.path, 'dev', 'rotated.yaml')
    copyFileSync(setUp.config, config)
    editConfig(config, (config) => (config.keys.find((key: any) => key.id === 'zpk-out').version = 2))
    expect((await resume([], config)).code).toBe(64)
    expectUntouched()
  })

  it('unless what stands behind the record is dropped', async () => {
    appendFileSync(out, 'half a row')
    appendFileSync(`${out}.rejects`, 'half a reject')
    expect((await resume()).code).toBe(65)
    expectComplete()
  })
})
