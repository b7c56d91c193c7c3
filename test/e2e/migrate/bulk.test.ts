import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, writeSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { bytesNeedles, scanMemory } from '../../support/memory.ts'
import { makeSetUp, temporaryFolder } from '../../support/service.ts'
import { isAlive, until } from '../processes/processes.ts'
import { oracleEncode } from '../../unit/pin/pin-block-oracle.ts'
import { keyOf, makeBlocks, makeRows, startMigrate, vaultsOf } from './migration.ts'

const STEP = 100_000
const folder = temporaryFolder()
let setUp: DevelopmentSetUp

beforeAll(async () => {
  setUp = await makeSetUp(folder.path, (config) => {
    // Two, whatever the machine: so that there is one left when one is killed.
    config.hsm.vaults = 2
  })
})
afterAll(() => folder.dispose())

/** So wide that a million rows are 240 MB, which nobody could hold unseen. */
const NOTE = 'n'.repeat(200)

/** A file of `steps` × 100 000 rows, and the digest of what it must become. */
function makeFile(name: string, steps: number): { path: string; digest: string } {
  const path = join(folder.path, name)
  const file = openSync(path, 'wx')
  const digest = createHash('sha256')
  for (let step = 0; step < steps; step++) {
    const rows = makeRows(STEP, step + 1)
    const lines = (blocks: string[]) =>
      (step === 0 ? 'id,pan,pinBlock,note\n' : '') +
      rows.map(({ pan }, i) => `${step * STEP + i},${pan},${blocks[i]},${NOTE}\n`).join('')
    writeSync(file, lines(makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)))
    digest.update(lines(makeBlocks('ISO-0', keyOf(setUp, 'zpk-out'), rows)))
  }
  closeSync(file)
  return { path, digest: digest.digest('hex') }
}

/** The most memory that a process has had, in MiB. */
function peakMiB(pid: number): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
}

/** Runs a migration and looks at its memory until it ends. */
async function watched(path: string, out: string) {
  const running = startMigrate(setUp.config, [
    '--from',
    'zpk-in:ISO-0',
    '--to',
    'zpk-out:ISO-0',
    '--in',
    path,
    '--out',
    out,
    '--json',
  ])
  const peaks = { command: 0, vaults: 0 }
  let isEnded = false
  void running.ended.then(() => (isEnded = true))
  while (!isEnded) {
    try {
      peaks.command = Math.max(peaks.command, peakMiB(running.pid))
      for (const vault of vaultsOf(running.pid)) peaks.vaults = Math.max(peaks.vaults, peakMiB(vault))
    } catch {
      // It ended meanwhile.
    }
    await sleep(20)
  }
  const { code, stdout } = await running.ended
  expect(code).toBe(0)
  return { peaks, summary: JSON.parse(stdout) }
}

describe('a million rows', () => {
  it('take no more memory than a hundred thousand', async () => {
    const small = makeFile('small.csv', 1)
    const large = makeFile('large.csv', process.env['PINBRIDGE_FULL'] ? 50 : 10)
    const few = await watched(small.path, join(folder.path, 'small.out'))
    const many = await watched(large.path, join(folder.path, 'large.out'))
    expect([few.summary.output.sha256, many.summary.output.sha256]).toEqual([small.digest, large.digest])
    // What the garbage collector lets lie differs from run to run; the nine hundred thousand rows more are 216 MB.
    expect(many.peaks.command).toBeLessThan(few.peaks.command + 90)
    expect(many.peaks.vaults).toBeLessThan(few.peaks.vaults + 90)
    expect(Math.max(many.peaks.command, many.peaks.vaults)).toBeLessThan(256)
    console.log('peak MiB', { few: few.peaks, many: many.peaks })
  }, 120_000)
})

describe('a vault that is killed', () => {
  it('is replaced, and no row is lost or twice', async () => {
    const { path, digest } = makeFile('killed.csv', 5)
    const out = join(folder.path, 'killed.out')
    const running = startMigrate(setUp.config, [
      '--from',
      'zpk-in:ISO-0',
      '--to',
      'zpk-out:ISO-0',
      '--in',
      path,
      '--out',
      out,
    ])
    let killed = 0
    let isEnded = false
    void running.ended.then(() => (isEnded = true))
    while (!isEnded) {
      const [vault] = vaultsOf(running.pid)
      if (killed < 4 && vault !== undefined && running.stderr().includes('HSM open')) {
        await sleep(50)
        if (!isAlive(vault)) continue
        process.kill(vault, 'SIGKILL')
        killed++
      }
      await sleep(50)
    }
    const { code, log } = await running.ended
    expect([code, createHash('sha256').update(readFileSync(out)).digest('hex')]).toEqual([0, digest])
    expect(killed).toBeGreaterThan(0)
    expect(log.filter(({ msg }) => msg === 'a vault ended').length).toBeGreaterThanOrEqual(killed)
  })
})

describe('the command', () => {
  it('never has a clear PIN block in its memory', async () => {
    const rows = makeRows(STEP, 77)
    const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
    const path = join(folder.path, 'canaries.csv')
    writeFileSync(path, rows.map(({ pan }, i) => `${i},${pan},${blocks[i]}\n`).join(''))
    // What a clear block has of its own: PINs of many digits, so that chance makes none of it.
    const watchedRows = rows.filter(({ pin }) => pin.length === 12).slice(0, 300)
    const needles = watchedRows.flatMap(({ pin, pan }, i) =>
      bytesNeedles(`clear block ${i}`, Buffer.from(oracleEncode('ISO-0', pin, pan, 'FF'), 'hex')),
    )
    const running = startMigrate(setUp.config, [
      '--from',
      'zpk-in:ISO-0',
      '--to',
      'zpk-out:ISO-0',
      '--in',
      path,
      '--out',
      join(folder.path, 'canaries.out'),
    ])
    await until('the rows to be done', () => running.stderr().includes('HSM open') || undefined)
    let scans = 0
    let isEnded = false
    void running.ended.then(() => (isEnded = true))
    while (!isEnded && isAlive(running.pid)) {
      process.kill(running.pid, 'SIGSTOP')
      try {
        // The rows themselves are there: the scan sees what it looks at.
        const seen = scanMemory(running.pid, [...needles, { what: 'a PAN', bytes: Buffer.from(watchedRows[0]!.pan) }])
        expect(seen.findings.filter(({ what }) => what !== 'a PAN')).toEqual([])
        scans++
      } catch (error) {
        // It ended between the question and the look: a process that is ending still has its number, and no memory.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      } finally {
        process.kill(running.pid, 'SIGCONT')
      }
      await sleep(60)
    }
    expect((await running.ended).code).toBe(0)
    expect(scans).toBeGreaterThan(0)
  })
})
