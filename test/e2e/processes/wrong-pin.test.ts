import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { makeSetUp, startService, temporaryFolder } from '../../support/service.ts'
import { childrenOf, launch, recordsOf, until } from './processes.ts'

let folder: ReturnType<typeof temporaryFolder>
let setUp: DevelopmentSetUp

beforeEach(async () => {
  folder = temporaryFolder()
  setUp = await makeSetUp(folder.path, (config) => {
    config.hsm.vaults = 2
  })
})
afterEach(() => folder.dispose())

const startsIn = (output: string) =>
  recordsOf(output).filter(({ msg }) => msg === 'HSM open' || msg === 'the HSM cannot be used').length

describe('a wrong HSM PIN', () => {
  const refusals = (log: any[]) => log.filter(({ reason }) => reason === 'pin-refused')

  async function readyz(port: number): Promise<any> {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
    return { status: answer.status, ...((await answer.json()) as object) }
  }

  it('is tried once in all; the service is up and not ready until another PIN stands in the file', async () => {
    const pinFile = join(dirname(setUp.config), 'hsm-pin')
    const pin = readFileSync(pinFile, 'utf8')
    const wrong = `${pin.startsWith('0') ? '1' : '0'}${pin.slice(1)}`
    writeFileSync(pinFile, wrong)
    const service = launch(setUp)
    try {
      const port = await service.managementPort()
      await until('the refusal', () => refusals(service.log()).length > 0)
      await sleep(3000)
      expect(refusals(service.log())).toHaveLength(1)
      expect(startsIn(service.output())).toBe(1)
      expect(
        service.log().filter(({ msg }) => msg === 'no vault is started until the HSM PIN file changes'),
      ).toHaveLength(1)
      expect(await readyz(port)).toMatchObject({ status: 503, ready: false, reason: 'no-vault', vaults: [], queued: 0 })
      expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
      expect(service.output()).not.toContain('"event":"ready"')
      expect(childrenOf(service.process.pid!).vaults).toEqual([])

      // Another wrong one costs one more try, and the right one ends it.
      writeFileSync(pinFile, `${wrong.slice(0, 5)}${wrong[5] === '0' ? '1' : '0'}${wrong.slice(6)}`)
      await until('the second refusal', () => refusals(service.log()).length > 1)
      await sleep(1500)
      expect(refusals(service.log())).toHaveLength(2)
      writeFileSync(pinFile, pin)
      const { ms } = await until('ready', () => service.output().includes('"event":"ready"'))
      console.log(`right PIN written: ready after ${Math.round(ms)} ms`)
      expect(await readyz(port)).toMatchObject({ status: 200, ready: true })
      expect(refusals(service.log())).toHaveLength(2)
      for (const tried of [pin, wrong]) expect(service.output()).not.toContain(tried.trim())
    } finally {
      await service.end()
    }
  })

  it('does not stop what runs; and once a vault has met it, none is started with it again', async () => {
    const pinFile = join(dirname(setUp.config), 'hsm-pin')
    const pin = readFileSync(pinFile, 'utf8')
    const service = await startService(setUp)
    try {
      writeFileSync(pinFile, `${pin.startsWith('0') ? '1' : '0'}${pin.slice(1)}`)
      for (const victim of childrenOf(service.ready.pid).vaults) {
        process.kill(victim, 'SIGKILL')
        await sleep(1500)
      }
      expect(refusals(recordsOf(service.output()))).toHaveLength(1)
      expect((await service.manage('/readyz')).status).toBe(503)
      writeFileSync(pinFile, pin)
      await until('two ready vaults', async () => (await service.manage('/readyz')).json.vaults.length === 2)
      expect(refusals(recordsOf(service.output()))).toHaveLength(1)
    } finally {
      await service.stop()
    }
  })
})
