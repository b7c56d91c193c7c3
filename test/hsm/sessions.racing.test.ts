import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SecretScope } from '../../src/secret.ts'
import { agreed } from '../support/oracles.ts'
import { makeHsm, type TestHsm } from '../support/hsm.ts'

const SESSIONS = 3
const nameOf = ({ name, code, detail }: any) => `${name} ${code} ${detail?.ckr}`
let token: TestHsm

beforeAll(async () => {
  token = await makeHsm()
})
afterAll(() => token.dispose())

describe.each(['sync', 'async'] as const)('1 200 operations at once over 3 sessions, calls made %s', (mode) => {
  let open: Awaited<ReturnType<TestHsm['open']>>
  const sessions = { opened: 0, closed: 0 }
  beforeAll(async () => {
    open = await token.open((opened) => {
      opened.sessions = SESSIONS
    })
    Object.assign(open.adapter.modes, { cipher: mode, rsa: mode })
    const { lib } = open.token
    const [openSession, closeSession] = [lib.C_OpenSession.bind(lib), lib.C_CloseSession.bind(lib)]
    lib.C_OpenSession = (...args) => {
      sessions.opened++
      return openSession(...args)
    }
    lib.C_CloseSession = (...args) => {
      sessions.closed++
      closeSession(...args)
    }
  })
  afterAll(() => {
    open.close()
  })

  it('each give their own result, also among ones that fail between Init and Final', async () => {
    using secrets = new SecretScope()
    const key = (id: string) => open.key(id)
    const failures: string[] = []
    const work = Array.from({ length: 1200 }, async (_, n) => {
      const kind = n % 6
      const message = randomBytes((n % 40) + 1)
      const blocks = randomBytes(8 * ((n % 5) + 1))
      if (kind === 0) {
        const there = await open.hsm.encipherBlocks(key('zpk-out'), blocks)
        expect(await open.hsm.decipherBlocks(key('zpk-out'), there, secrets)).toEqual(blocks)
      } else if (kind === 1) {
        const mac = await open.hsm.generateMac(key('prw'), 'TDEA-CMAC', message)
        expect(mac.toString('hex')).toBe(
          agreed((oracle) => oracle.cmac('TDEA', token.value('prw'), message.toString('hex'))),
        )
      } else if (kind === 2) {
        const mac = await open.hsm.generateMac(key('pin-mac'), 'ISO-9797-1-ALG-3', message)
        expect(mac.toString('hex')).toBe(
          agreed((oracle) => oracle.retailMac(token.value('pin-mac'), message.toString('hex'), 2)),
        )
      } else if (kind === 3) {
        expect(await open.hsm.verifyMac(key('prw-aes'), 'AES-CMAC', message, randomBytes(16))).toBe(false)
      } else {
        // Init succeeds and the operation does not: 7 bytes are no block.
        const call =
          kind === 4
            ? open.hsm.decipherBlocks(key('zpk-in'), randomBytes(7), secrets)
            : open.hsm.encipherBlocks(key('zpk-aes'), randomBytes(9))
        await call.then(
          () => expect.unreachable('7 bytes are no block'),
          (error: unknown) => failures.push(nameOf(error)),
        )
      }
    })
    await Promise.all(work)
    expect(failures).toHaveLength(400)
    expect(failures.filter((failure) => /OPERATION_ACTIVE|SESSION/.test(failure))).toEqual([])
    expect(
      failures.filter(
        (failure) =>
          !/^ServiceError ERR_HSM_UNAVAILABLE CKR_((ENCRYPTED_)?DATA_LEN_RANGE|ARGUMENTS_BAD)$/.test(failure),
      ),
    ).toEqual([])
    // A session that failed is closed, and one takes its place.
    expect(sessions).toEqual({ opened: 400, closed: 400 })
  })
})
