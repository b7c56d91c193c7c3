import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { makeSetUp, temporaryFolder } from '../../support/service.ts'
import { isAlive } from '../processes/processes.ts'
import { keyOf, makeBlocks, makeRows, runMigrate, startMigrate, vaultsOf } from './migration.ts'

const KILLS = process.env['PINBRIDGE_FULL'] ? 300 : 25
const ROWS = 300_000
const folder = temporaryFolder()
let setUp: DevelopmentSetUp
let input: string

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  const rows = makeRows(ROWS)
  const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
  input = join(folder.path, 'in.csv')
  const line = (i: number) => {
    // Rejects of every kind among the rows, at no regular distance.
    const reject = (i * 7919) % 4001
    const { id, pan } = rows[i]!
    if (reject === 1) return 'damaged\n'
    if (reject === 2) return `${id},${pan},0000000000000000\n`
    if (reject === 3) return `${id},${pan.slice(0, 5)},${blocks[i]}\n`
    return `${id},${pan},${blocks[i]}\n`
  }
  writeFileSync(input, `id,pan,pinBlock\n${rows.map((_, i) => line(i)).join('')}`)
})
afterAll(() => folder.dispose())

describe('a migration that is killed again and again', () => {
  it(`comes to the same bytes as one that is not, ${KILLS} kills`, async () => {
    const argsFor = (out: string) => ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0', '--in', input, '--out', out]
    // Its own, so that a second try finds nothing of the first.
    const place = mkdtempSync(join(folder.path, 'try-'))
    const reference = join(place, 'reference.csv')
    const started = performance.now()
    const whole = await runMigrate(setUp.config, argsFor(reference))
    const wholeMs = performance.now() - started
    expect(whole.code).toBe(65)

    let kills = 0
    let vaultKills = 0
    let completed = 0
    let resumedFurther = 0
    for (let migration = 0; kills < KILLS || completed < migration; migration++) {
      const out = join(place, `out-${migration}.csv`)
      for (;;) {
        const isFirst = !existsSync(`${out}.migration.json`)
        const running = startMigrate(setUp.config, [...argsFor(out), ...(isFirst ? [] : ['--resume'])])
        let isEnded = false
        void running.ended.then(() => (isEnded = true))
        const victim = ['command', 'command', 'command', 'group', 'group', 'vault'][Math.floor(Math.random() * 6)]
        // Told to stop late at first, so that there is a record to go on from: by itself it writes one a second.
        await sleep((isFirst ? 0.6 + 0.3 * Math.random() : 0.9 * Math.random()) * wholeMs)
        if (!isEnded && isFirst) process.kill(running.pid, 'SIGINT')
        else if (!isEnded && kills < KILLS) {
          kills++
          if (victim === 'command') process.kill(running.pid, 'SIGKILL')
          if (victim === 'group') process.kill(-running.pid, 'SIGKILL')
          if (victim === 'vault') {
            // The command goes on without it.
            const [vault] = vaultsOf(running.pid)
            if (vault !== undefined && isAlive(vault)) process.kill(vault, 'SIGKILL')
            vaultKills++
          }
        }
        const { code, signal, log, stderr } = await running.ended
        const { resumedAtLine = 1 } = log.find(({ msg }) => msg === 'migration-started') ?? {}
        if (resumedAtLine > 1) resumedFurther++
        // By SIGINT itself where it was told before it listened, on a machine that has become slower.
        if (signal === 'SIGKILL' || (isFirst && (code === 130 || signal === 'SIGINT'))) continue
        expect([code, code === 65 ? '' : stderr]).toEqual([65, ''])
        break
      }
      expect(readFileSync(out).equals(readFileSync(reference))).toBe(true)
      expect(readFileSync(`${out}.rejects`).equals(readFileSync(`${reference}.rejects`))).toBe(true)
      expect(existsSync(`${out}.migration.json.new`)).toBe(false)
      completed++
    }
    expect(kills).toBe(KILLS)
    expect(vaultKills).toBeGreaterThan(0)
    // Some of it was gone on with, and not all begun again.
    expect(resumedFurther).toBeGreaterThan(0)
  }, 600_000)
})
