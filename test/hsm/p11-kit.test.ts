import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { loadConfig, profilesOf } from '../../src/config/config.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { openHsm } from '../../src/hsm/pkcs11/open-hsm.ts'
import { agreed } from '../support/oracles.ts'
import { startP11Kit, type P11KitServer } from '../support/p11-kit.ts'
import { makeSetUp, temporaryFolder } from '../support/service.ts'
import { makeTestToken, type TestToken } from '../support/tokens.ts'

const CALLERS = 8
const folder = temporaryFolder()
let token: TestToken
let remote: P11KitServer
let setUp: DevelopmentSetUp

beforeAll(async () => {
  token = await makeTestToken('softhsm')
  remote = await startP11Kit(folder.path, token.members)
  Object.assign(process.env, remote.members.environment)
  const members = { ...token.members, ...remote.members }
  setUp = await makeSetUp(folder.path, undefined, { ...token, kind: 'p11-kit', members })
})
afterAll(async () => {
  await remote.dispose()
  await token.dispose()
  folder.dispose()
})

/** Opens it as a vault does. */
async function open() {
  const { keys, environment, hsm, ...config } = loadConfig(setUp.config)
  const catalogue = new KeyCatalogue(keys, profilesOf(config))
  const [address] = hsm.tokens
  const settings = { address: address!, sessions: 4, environment, keys, catalogue }
  const opened = await openHsm(settings, token.pin)
  const zpkOut = keys.find(({ id }) => id === 'zpk-out')!
  const value = setUp.keys.find(({ id }) => id === 'zpk-out')!.value!
  return {
    close: () => opened.close(),
    /** Enciphers random blocks and says how it ended; a wrong answer throws. */
    work: async (): Promise<string> => {
      const blocks = randomBytes(8 * 500)
      try {
        const answer = (await opened.hsm.encipherBlocks(zpkOut, blocks)).toString('hex')
        if (answer !== agreed(({ ecb }) => ecb('TDEA', value, blocks.toString('hex')))) throw new Error('wrong')
        return 'right'
      } catch (error) {
        if (error instanceof Error && 'code' in error) return String(error.code)
        throw error
      }
    },
  }
}

it.each([
  ['p11-kit-remote is', () => Promise.resolve(remote.killRemotes())],
  ['server and p11-kit-remote are', () => remote.killServer().then(() => remote.killRemotes())],
])('fails and is never wrong when %s killed in mid-call, and opens anew in the same process', async (_, kill) => {
  const first = await open()
  const outcomes = new Map<string, number>()
  let running = true
  const callers = Array.from({ length: CALLERS }, async () => {
    while (running) {
      const outcome = await first.work()
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      // Calls that are made synchronously leave no room for the kill otherwise.
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  })
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(await kill()).toBe(1)
  await new Promise((resolve) => setTimeout(resolve, 200))
  running = false
  await Promise.all(callers)
  first.close()
  console.log(Object.fromEntries(outcomes))
  expect([...outcomes.keys()].sort()).toEqual(['ERR_HSM_UNAVAILABLE', 'right'])

  if (remote.pid() === undefined) {
    await expect(open()).rejects.toMatchObject({ reason: 'token-absent' })
    await remote.start()
  }
  const second = await open()
  expect(await second.work()).toBe('right')
  second.close()
})
