import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { HSM_CALL_BOUNDS_S, HSM_CALLS, type StatusReport } from '../../../src/bridge/contract.ts'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { ServiceError } from '../../../src/errors.ts'
import type { Hsm } from '../../../src/hsm/hsm.ts'
import { SecretScope } from '../../../src/secret.ts'
import { MeasuredHsm } from '../../../src/vault/measured-hsm.ts'

const KEY = {} as KeyEntry
const BYTES = Buffer.alloc(8)

beforeEach(() => vi.useFakeTimers({ toFake: ['performance'] }))
afterEach(() => vi.useRealTimers())

/** An HSM that answers when it is told to, and notes which verb was called with what. */
function heldHsm() {
  const calls: {
    verb: string
    args: unknown[]
    resolve: (value?: unknown) => void
    reject: (error: unknown) => void
  }[] = []
  const verb =
    (name: string) =>
    (...args: unknown[]) =>
      new Promise((resolve, reject) => calls.push({ verb: name, args, resolve, reject }))
  const hsm = {
    ...Object.fromEntries(HSM_CALLS.map((name) => [name, verb(name)])),
    sessionObjects: 42,
  } as unknown as Hsm
  return { hsm, calls }
}
const SOURCE = { alg: 'RSA-OAEP-256', encryptedKey: BYTES } as const
const CONTENT = { iv: BYTES, ciphertext: BYTES, tag: BYTES, aad: '' }
const tick = (ms: number) => vi.advanceTimersByTime(ms)
const settled = () => new Promise((resolve) => setImmediate(resolve))
/** The counts of a report as `{ class: calls }`, without the empty classes. */
const classesOf = ({ counts }: StatusReport['calls'][number]) =>
  Object.fromEntries(counts.map((count, place) => [place, count] as const).filter(([, count]) => count > 0))

describe('MeasuredHsm', () => {
  it('passes every verb of the port on with its arguments, and its answer or error back', async () => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 16)
    using secrets = new SecretScope()
    const asked: [string, unknown[], Promise<unknown>][] = [
      ['openContent', [KEY, SOURCE, CONTENT, secrets], measured.openContent(KEY, SOURCE, CONTENT, secrets)],
      ['decipherBlocks', [KEY, BYTES, secrets], measured.decipherBlocks(KEY, BYTES, secrets)],
      ['encipherBlocks', [KEY, BYTES], measured.encipherBlocks(KEY, BYTES)],
      ['generateMac', [KEY, 'AES-CMAC', BYTES], measured.generateMac(KEY, 'AES-CMAC', BYTES)],
      ['verifyMac', [KEY, 'AES-CMAC', BYTES, BYTES], measured.verifyMac(KEY, 'AES-CMAC', BYTES, BYTES)],
      ['sign', [KEY, BYTES], measured.sign(KEY, BYTES)],
      ['fillRandom', [BYTES], measured.fillRandom(BYTES)],
    ]
    expect(asked.map(([verb]) => verb).sort()).toEqual([...HSM_CALLS].sort())
    for (const [i, [verb, args, promise]] of asked.entries()) {
      expect([calls[i]!.verb, ...calls[i]!.args]).toEqual([verb, ...args])
      const answer = { of: verb }
      calls[i]!.resolve(answer)
      expect(await promise).toBe(answer)
    }
    const refused = measured.fillRandom(BYTES)
    const error = new ServiceError('ERR_HSM_UNAVAILABLE')
    calls.at(-1)!.reject(error)
    await expect(refused).rejects.toBe(error)
    expect(measured.sessionObjects).toBe(42)
    const { calls: counted } = measured.takeReport()
    expect(counted.map(({ call, outcome }) => `${call} ${outcome}`).sort()).toEqual(
      [...HSM_CALLS.map((call) => `${call} ok`), 'fillRandom error'].sort(),
    )
  })

  it.each([
    ['on the lowest bound', 0.02, 0],
    ['above it', 0.021, 1],
    ['on a bound in between', 50, 10],
    ['on the highest bound', 5000, 16],
    ['above it', 5001, 17],
  ])('counts a duration %s in its class: %d ms', async (_where, ms, place) => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 4)
    const asked = measured.encipherBlocks(KEY, BYTES)
    tick(ms)
    calls[0]!.resolve(BYTES)
    await asked
    const [tally, ...others] = measured.takeReport().calls
    expect(others).toEqual([])
    expect(tally).toMatchObject({ call: 'encipherBlocks', outcome: 'ok' })
    expect(tally!.counts).toHaveLength(HSM_CALL_BOUNDS_S.length + 1)
    expect(classesOf(tally!)).toEqual({ [place]: 1 })
    expect(tally!.seconds).toBeCloseTo(ms / 1000, 9)
  })

  it('reports each call once', async () => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 4)
    const first = measured.fillRandom(BYTES)
    calls[0]!.resolve()
    await first
    expect(measured.takeReport().calls).toHaveLength(1)
    expect(measured.takeReport().calls).toEqual([])
  })

  it.each([
    ['error', new ServiceError('ERR_HSM_UNAVAILABLE')],
    ['error', new ServiceError('ERR_HSM_BUSY')],
    ['error', new ServiceError('ERR_INTERNAL')],
    ['error', new RangeError('foreign')],
    ['ok', new ServiceError('ERR_JWE_DECRYPTION_FAILED')],
  ])('counts as %s a call that ended with %s', async (outcome, error) => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 4)
    const asked = measured.decipherBlocks(KEY, BYTES, undefined as never)
    calls[0]!.reject(error)
    await expect(asked).rejects.toBe(error)
    expect(measured.takeReport().calls).toMatchObject([{ call: 'decipherBlocks', outcome }])
  })

  it('shows the most sessions in use and the most calls waiting since the last report', async () => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 2)
    expect(measured.takeReport().sessions).toEqual({ total: 2, inUse: 0, waiting: 0 })
    const asked = [1, 2, 3, 4, 5].map(() => measured.fillRandom(BYTES))
    for (const { resolve } of calls.slice(0, 4)) resolve()
    await Promise.all(asked.slice(0, 4))
    expect(measured.takeReport().sessions).toEqual({ total: 2, inUse: 2, waiting: 3 })
    expect(measured.takeReport().sessions).toEqual({ total: 2, inUse: 1, waiting: 0 })
    calls[4]!.resolve()
    await asked[4]
    // It was in use when this second began.
    expect(measured.takeReport().sessions).toEqual({ total: 2, inUse: 1, waiting: 0 })
    expect(measured.takeReport().sessions).toEqual({ total: 2, inUse: 0, waiting: 0 })
  })

  it('does not count the wait for a session', async () => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 1)
    const asked = [measured.fillRandom(BYTES), measured.fillRandom(BYTES), measured.fillRandom(BYTES)]
    for (const call of calls) {
      tick(3)
      call.resolve()
      await settled()
    }
    await Promise.all(asked)
    const [tally] = measured.takeReport().calls
    expect(tally!.seconds).toBeCloseTo(0.009, 9)
    // 2 to 5 ms.
    expect(classesOf(tally!)).toEqual({ 7: 3 })
  })

  it('makes no rejection of its own that nobody handles', async () => {
    const { hsm, calls } = heldHsm()
    const measured = new MeasuredHsm(hsm, 1)
    const asked = measured.fillRandom(BYTES).catch(() => 'handled')
    calls[0]!.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    expect(await asked).toBe('handled')
    await settled()
  })
})
