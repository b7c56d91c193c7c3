import { cpSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { editConfig, makeSetUp, pinbridge, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { makeNextVersions } from '../../support/key-versions.ts'
import { launch, recordsOf, until } from './processes.ts'
import { startTraffic, tally, translations } from './traffic.ts'

let folder: ReturnType<typeof temporaryFolder>
let setUp: DevelopmentSetUp

/** The folder of a set-up. */
const at = ({ config }: DevelopmentSetUp, name: string) => join(dirname(config), name)

/** Copies a token of a set-up, with a PIN file and a SoftHSM configuration of its own. */
function copyToken(from: DevelopmentSetUp, name: string): object {
  cpSync(at(from, 'token'), at(setUp, name), { recursive: true })
  cpSync(at(from, 'hsm-pin'), at(setUp, `${name}-pin`))
  const conf = readFileSync(at(from, 'softhsm2.conf'), 'utf8')
  writeFileSync(at(setUp, `${name}.conf`), conf.replace(at(from, 'token'), at(setUp, name)))
  return { name, pinFile: `${name}-pin`, environment: { SOFTHSM2_CONF: at(setUp, `${name}.conf`) } }
}

/** Puts the two tokens into the configuration; the second may be another set-up's. */
function useTwo(second: DevelopmentSetUp = setUp): void {
  const tokens = [copyToken(setUp, 'left'), copyToken(second, 'right')]
  editConfig(setUp.config, (config) => {
    const { module, tokenLabel } = config.hsm
    config.hsm = { tokens: tokens.map((token) => ({ ...token, module, tokenLabel })), vaults: 1 }
  })
}

beforeEach(async () => {
  folder = temporaryFolder()
  setUp = await makeSetUp(folder.path)
})
afterEach(() => folder.dispose())

const vaultsOf = async (service: Service) =>
  (await service.manage('/readyz')).json.vaults as { id: number; token: string }[]
const cpuTicks = (pid: number) => {
  const [, , utime, stime] = /\) (?:\S+ ){11}((\d+) (\d+))/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))!
  return Number(utime) + Number(stime)
}

describe('two tokens with the same keys', () => {
  it('share the work, and losing one costs no more than the requests in flight', async () => {
    useTwo()
    const service = await startService(setUp)
    try {
      expect((await vaultsOf(service)).map(({ token }) => token).sort()).toEqual(['left', 'right'])
      const before = service.ready.vaults.map(cpuTicks)
      const traffic = startTraffic(service, translations(service), { concurrency: 8 })
      await sleep(2000)
      const spent = service.ready.vaults.map((pid, i) => cpuTicks(pid) - before[i]!)
      const goneAt = performance.now()
      renameSync(at(setUp, 'left'), at(setUp, 'left.away'))
      await until('one token left', async () => (await vaultsOf(service)).every(({ token }) => token === 'right'))
      await sleep(1000)
      expect((await service.manage('/readyz')).status).toBe(200)
      const backAt = performance.now()
      renameSync(at(setUp, 'left.away'), at(setUp, 'left'))
      const { ms } = await until('both tokens', async () => (await vaultsOf(service)).length === 2)
      const outcomes = await traffic.stop()
      const failed = outcomes.filter(({ status }) => status !== 200)
      const late = failed.filter(({ startedAt }) => startedAt > goneAt + 1000)
      console.log(
        `CPU ticks of the two vaults ${spent.join(', ')}; one token lost for ${Math.round(backAt - goneAt)} ms:`,
        tally(outcomes),
        `back after ${Math.round(ms)} ms`,
      )
      expect(Math.min(...spent) * 4).toBeGreaterThan(Math.max(...spent))
      expect(outcomes.filter(({ wrong }) => wrong)).toEqual([])
      expect(new Set(failed.map(({ code }) => code))).toEqual(new Set(['ERR_HSM_UNAVAILABLE'].slice(0, failed.length)))
      expect(failed.length).toBeLessThanOrEqual(8)
      expect(late).toEqual([])
    } finally {
      await service.stop()
    }
  })

  it('serve by the one that is there, also from the start, and by the other once it is', async () => {
    useTwo()
    renameSync(at(setUp, 'right'), at(setUp, 'right.away'))
    const service = await startService(setUp)
    try {
      expect(service.ready.vaults).toHaveLength(1)
      expect((await vaultsOf(service)).map(({ token }) => token)).toEqual(['left'])
      renameSync(at(setUp, 'right.away'), at(setUp, 'right'))
      await until('both tokens', async () => (await vaultsOf(service)).length === 2)
    } finally {
      await service.stop()
    }
  })

  it('go on by one when the other refuses its PIN, which is tried once', async () => {
    useTwo()
    writeFileSync(at(setUp, 'right-pin'), '999999')
    const service = await startService(setUp)
    try {
      await sleep(1500)
      const refusals = recordsOf(service.output()).filter(({ reason }) => reason === 'pin-refused')
      expect(refusals.map(({ token }) => token)).toEqual(['right'])
      expect((await service.manage('/readyz')).status).toBe(200)
    } finally {
      await service.stop()
    }
  })
})

describe('a token whose keys are not those of the catalogue', () => {
  it('is refused by name, and the other serves', async () => {
    const other = temporaryFolder()
    useTwo(await makeSetUp(other.path))
    const service = await startService(setUp)
    try {
      const [refused] = recordsOf(service.output()).filter(({ msg }) => msg === 'the HSM cannot be used')
      expect(refused).toMatchObject({ token: 'right', reason: 'keys-unusable' })
      expect(refused.problems).toContain("key jwe-ec: its KCV is not the catalogue's")
      expect((await vaultsOf(service)).map(({ token }) => token)).toEqual(['left'])
      const traffic = startTraffic(service, translations(service), { concurrency: 4 })
      await sleep(1000)
      const outcomes = await traffic.stop()
      expect(tally(outcomes)).toEqual({ 200: outcomes.length })
      expect(outcomes.filter(({ wrong }) => wrong)).toEqual([])
    } finally {
      await service.stop()
      other.dispose()
    }
  })

  it('shows in doctor, by name and with what is right of the other', async () => {
    const other = temporaryFolder()
    useTwo(await makeSetUp(other.path))
    const { code, stdout } = await pinbridge(['doctor', '--config', setUp.config])
    expect(code).toBe(69)
    expect(stdout).toMatch(/^wrong +right: key jwe-ec v1 .*: its KCV is not the catalogue's$/m)
    expect(stdout).toMatch(/^ok +left: token /m)
    other.dispose()
  })

  it('has a new key of the other refused, whichever of them a vault is tried out on first', async () => {
    useTwo()
    // In the left one alone.
    const versions = await makeNextVersions(setUp.config, ['zpk-in'])
    const service = await startService(setUp)
    try {
      const before = await vaultsOf(service)
      editConfig(setUp.config, (config) => config.keys.push(versions.get('zpk-in')!.entry))
      service.process.kill('SIGHUP')
      const refusals = () => recordsOf(service.output()).filter(({ msg }) => /cannot be used by it/.test(msg))
      await until('the refusal', () => refusals().length > 0, 60_000)
      expect(refusals()[0].problems).toEqual([expect.stringMatching(/^token right: key zpk-in: 0 objects carry/)])
      expect(await vaultsOf(service)).toMatchObject(before.map(({ id, token }) => ({ id, token })))
      expect((await service.manage('/readyz')).status).toBe(200)
    } finally {
      await service.stop()
    }
  })

  it('ends a service that has no other token, with exit code 70', async () => {
    const other = temporaryFolder()
    useTwo(await makeSetUp(other.path))
    editConfig(setUp.config, (config) => config.hsm.tokens.shift())
    const service = launch(setUp)
    const code = await new Promise((resolve) => service.process.once('exit', resolve))
    expect(code).toBe(70)
    other.dispose()
  })
})

describe('a PIN that was refused', () => {
  it('is not tried again by a restart, nor by doctor and migrate, until the file changes', async () => {
    const pin = readFileSync(at(setUp, 'hsm-pin'), 'utf8')
    writeFileSync(at(setUp, 'hsm-pin'), `${pin.startsWith('0') ? '1' : '0'}${pin.slice(1)}`)
    const refusals = (output: string) => output.match(/CKR_PIN_INCORRECT/g)?.length ?? 0
    const first = launch(setUp)
    await until('the refusal', () => refusals(first.output()) === 1)
    await until('its record', () => /until the HSM PIN file changes/.test(first.output()))
    await first.end()

    const doctor = await pinbridge(['doctor', '--config', setUp.config])
    expect([doctor.code, refusals(doctor.stdout)]).toEqual([69, 0])
    expect(doctor.stdout).toContain('the token refused this PIN before')
    const migrate = await pinbridge(
      ['migrate', '--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0', '--in', '/dev/null', '--dry-run'].concat(
        '--config',
        setUp.config,
      ),
    )
    expect(refusals(migrate.stderr)).toBe(0)

    const second = launch(setUp)
    try {
      await until('its word', () => /until the HSM PIN file changes/.test(second.output()))
      await sleep(1500)
      expect(refusals(second.output())).toBe(0)
      writeFileSync(at(setUp, 'hsm-pin'), pin)
      await until('ready', () => second.output().includes('"event":"ready"'))
    } finally {
      await second.end()
    }
  })
})
