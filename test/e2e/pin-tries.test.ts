/**
 * The HSM PIN on a token that locks: openCryptoki's takes two wrong ones, says so in its flags, and is locked by the third.
 * The flags are read with its own tool, so that what is counted here are the tries that the token saw.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { loadConfig } from '../../src/config/config.ts'
import { refusalPath } from '../../src/pin-file.ts'
import { editConfig, makeSetUp, pinbridge, startService, temporaryFolder } from '../support/service.ts'
import { makeTestToken, type TestToken } from '../support/tokens.ts'
import { launch, until } from './processes/processes.ts'
import { translations } from './processes/traffic.ts'

const WRONG = '00000000'
let folder: ReturnType<typeof temporaryFolder>
let token: TestToken
let setUp: DevelopmentSetUp

beforeEach(async () => {
  folder = temporaryFolder()
  token = await makeTestToken('opencryptoki')
  setUp = await makeSetUp(
    folder.path,
    (config) => {
      config.hsm.vaults = 2
    },
    token,
  )
})
afterEach(async () => {
  await token.dispose()
  folder.dispose()
})

/** How many wrong PINs the token has seen since the last right one. */
function wrongTries(): number {
  const shown = execFileSync('/usr/sbin/pkcsconf', ['-t'], { encoding: 'utf8' })
  const flags = shown.split('Token #').find((text) => new RegExp(`Label: ${token.members.tokenLabel} `).test(text))!
  if (flags.includes('USER_PIN_LOCKED')) return 3
  if (flags.includes('USER_PIN_FINAL_TRY')) return 2
  return flags.includes('USER_PIN_COUNT_LOW') ? 1 : 0
}

/** Somebody else's wrong try: openCryptoki's own tool asks to change the PIN. */
function tryWrongPin(): void {
  const slot = /Token #(\d+) Info:\s+Label: (\S+)/g
  const shown = execFileSync('/usr/sbin/pkcsconf', ['-t'], { encoding: 'utf8' })
  const own = [...shown.matchAll(slot)].find(([, , label]) => label === token.members.tokenLabel)![1]!
  try {
    execFileSync('/usr/sbin/pkcsconf', ['-p', '-c', own, '-U', WRONG, '-n', '11112222'], { stdio: 'pipe' })
  } catch {
    // It ends with an error, as it should.
  }
}

const readyz = async (port: number) => (await fetch(`http://127.0.0.1:${port}/readyz`)).status

describe('a wrong HSM PIN', () => {
  it('is tried once, over restarts and doctor too, and the right one serves without a restart', async () => {
    const { pinFile } = token.members
    const right = readFileSync(pinFile, 'utf8')
    expect(wrongTries()).toBe(0)
    writeFileSync(pinFile, `${WRONG}\n`)
    for (const start of [1, 2, 3]) {
      const service = launch(setUp)
      try {
        const port = await service.managementPort()
        await until(`no login any more, start ${start}`, () =>
          service.log().some(({ msg }) => msg === 'no vault is started until the HSM PIN file changes'),
        )
        await sleep(1000)
        expect([start, wrongTries(), await readyz(port)]).toEqual([start, 1, 503])
      } finally {
        await service.end()
      }
    }
    expect((await pinbridge(['doctor', '--config', setUp.config])).code).toBe(69)
    expect(wrongTries()).toBe(1)

    const service = launch(setUp)
    try {
      const port = await service.managementPort()
      await sleep(1000)
      expect([wrongTries(), await readyz(port)]).toEqual([1, 503])
      writeFileSync(pinFile, right)
      await until('ready', async () => (await readyz(port)) === 200)
      // A login that succeeds sets the token's count back.
      expect(wrongTries()).toBe(0)
      expect(service.output()).not.toContain(WRONG)
      expect(service.output()).not.toContain(right.trim())
    } finally {
      await service.end()
    }
  })

  it('that somebody else has tried twice leaves one try, and the service does not spend it', async () => {
    tryWrongPin()
    tryWrongPin()
    expect(wrongTries()).toBe(2)
    const service = launch(setUp)
    try {
      const port = await service.managementPort()
      await until('the refusal to log in', () => service.log().some(({ reason }) => reason === 'pin-tries-low'))
      await sleep(1000)
      expect([wrongTries(), await readyz(port)]).toEqual([2, 503])
      const lastTry = await pinbridge(['doctor', '--config', setUp.config])
      expect([lastTry.code, lastTry.stdout]).toEqual([
        69,
        expect.stringMatching(/^wrong +PIN tries +one wrong PIN more/m),
      ])
      expect(wrongTries()).toBe(2)
      tryWrongPin()
      const locked = await pinbridge(['doctor', '--config', setUp.config])
      expect([locked.code, locked.stdout]).toEqual([
        69,
        expect.stringMatching(/^wrong +PIN tries .*locked its user PIN/m),
      ])
      expect(wrongTries()).toBe(3)
    } finally {
      await service.end()
    }
  })

  it('costs one try, however often keys are tried out with it, where the refusal cannot be written down either', async () => {
    const { pinFile } = token.members
    mkdirSync(refusalPath(loadConfig(setUp.config).hsm.tokens[0]!))
    const right = readFileSync(pinFile, 'utf8')
    const service = await startService(setUp)
    const configuration = async () => (await service.manage('/readyz')).json.configuration
    const changeKeys = (day: string) => {
      editConfig(setUp.config, (draft) => {
        draft.keys[0].created = day
      })
      service.process.kill('SIGHUP')
      return createHash('sha256').update(readFileSync(setUp.config)).digest('hex')
    }
    try {
      writeFileSync(pinFile, `${WRONG}\n`)
      for (const day of ['2026-01-01', '2026-01-02', '2026-01-03']) {
        const sha256 = changeKeys(day)
        await until(`the refusal of ${day}`, async () => (await configuration()).refused === sha256)
        expect([day, wrongTries()]).toEqual([day, 1])
      }
      process.kill(service.ready.vaults[0]!, 'SIGKILL')
      await until('no login any more', () =>
        service.output().includes('no vault is started until the HSM PIN file changes'),
      )
      expect(wrongTries()).toBe(1)
      writeFileSync(pinFile, right)
      await until('two vaults', async () => (await service.manage('/readyz')).json.vaults.length === 2)
      expect(wrongTries()).toBe(0)
      const sha256 = changeKeys('2026-01-04')
      await until('the change', async () => (await configuration()).inUse === sha256)
    } finally {
      await service.stop()
    }
  })

  it('written while the service runs costs one try, whatever vaults die, and nothing that is served', async () => {
    const { pinFile } = token.members
    const right = readFileSync(pinFile, 'utf8')
    const service = await startService(setUp)
    try {
      const ask = translations(service)
      writeFileSync(pinFile, `${WRONG}\n`)
      process.kill(service.ready.vaults[0]!, 'SIGKILL')
      await until('one try', () => wrongTries() === 1)
      await sleep(1500)
      expect(wrongTries()).toBe(1)
      expect(await ask(service)).toMatchObject({ status: 200, wrong: false })
      writeFileSync(pinFile, right)
      await until('two vaults', async () => (await service.manage('/readyz')).json.vaults.length === 2)
      expect(wrongTries()).toBe(0)
      expect(await ask(service)).toMatchObject({ status: 200, wrong: false })
    } finally {
      await service.stop()
    }
  })
})
