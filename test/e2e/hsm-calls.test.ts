/**
 * The benchmark's bare PKCS#11 calls (scripts/benchmark/hsm-calls.c) against those that a service makes: a limit that asked the HSM
 * for more than the service does would flatter the service.
 */
import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHsmCalls, type RunHsmCalls } from '../../scripts/benchmark/hsm-calls.ts'
import { createOperations, type HttpOperationId } from '../../scripts/benchmark/operations.ts'
import type { OperationId } from '../../scripts/benchmark/results.ts'
import { csvOf, CSV_HEAD, makeRows } from '../../scripts/benchmark/rows.ts'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import type { NodeJwk } from '../support/node-jwe.ts'
import { editConfig, makeSetUp, pinbridge, startService, temporaryFolder, type Service } from '../support/service.ts'
import { Shim } from '../support/shim.ts'

type Calls = Readonly<Record<string, number>>

/** What a service does besides what the operation needs. */
const BESIDES: Readonly<Record<HttpOperationId, Calls>> = {
  // The binding asks for the length of a value, and then for the value.
  'pin-set-ecdh': { C_GetAttributeValue: 1 },
  'pin-set-rsa': {},
  'pin-get': {},
  translate: {},
  batch: {},
  // A MAC has no room for a known answer in the same call.
  'prw-verify': { C_SignInit: 1, C_Sign: 1 },
}

const REQUESTS = 3
const MIGRATED_ROWS = 120_000

/** Makes of two counts of each function one; functions that are left with none are left out. */
function merge(a: Calls, b: Calls, count: (a: number, b: number) => number): Calls {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])]
  const merged = names.map((name) => [name, count(a[name] ?? 0, b[name] ?? 0)] as const)
  return Object.fromEntries(merged.filter(([, calls]) => calls !== 0))
}

const less = (a: Calls, b: Calls): Calls => merge(a, b, (all, some) => all - some)

describe('the PKCS#11 calls of the benchmark', () => {
  const folder = temporaryFolder()
  const shim = new Shim(folder.path)
  const bareFolder = temporaryFolder()
  const bareShim = new Shim(bareFolder.path)
  let setUp: DevelopmentSetUp
  let runHsmCalls: RunHsmCalls
  let service: Service | undefined

  beforeAll(async () => {
    setUp = await makeSetUp(folder.path)
    const bareConfig = join(bareFolder.path, 'pinbridge.yaml')
    copyFileSync(setUp.config, bareConfig)
    // A shim for each, so that what vaults ask for by themselves is not counted for both.
    editConfig(bareConfig, ({ hsm }) => bareShim.insert(hsm))
    editConfig(setUp.config, ({ hsm }) => {
      shim.insert(hsm)
      hsm.vaults = 1
    })
    runHsmCalls = createHsmCalls(bareConfig)
  })
  afterAll(async () => {
    await service?.stop()
    for (const one of [shim, bareShim]) one.close()
    for (const one of [folder, bareFolder]) one.dispose()
  })

  /** The calls of one request, without those that find token and keys. */
  const neededFor = async (operation: OperationId, rows: number): Promise<Calls> => {
    const callsOf = async (operations: number) => {
      const before = bareShim.allCalls()
      expect((await runHsmCalls(operation, { processes: 1, operations })).operations).toBe(operations)
      return less(bareShim.allCalls(), before)
    }
    return less(await callsOf(2 * rows), await callsOf(rows))
  }

  it('are no more than pinbridge makes to migrate a file', async () => {
    const valueOf = (id: string) => setUp.keys.find((key) => key.id === id)!.value!
    const rows = makeRows(MIGRATED_ROWS, { from: valueOf('zpk-in'), to: valueOf('zpk-out') })
    const files = mkdtempSync(join(folder.path, 'files-'))
    const [input, output] = [join(files, 'input.csv'), join(files, 'output.csv')]
    writeFileSync(input, CSV_HEAD + csvOf(rows, rows.blocksUnderFrom, 0, MIGRATED_ROWS))
    const zones = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0']
    const before = shim.allCalls()
    const { code } = await pinbridge(['migrate', '--config', setUp.config, ...zones, '--in', input, '--out', output])
    expect(code).toBe(0)
    const made = less(shim.allCalls(), before)
    const needed = await neededFor('migrate', MIGRATED_ROWS)
    // Its vaults begin with small chunks and with known answers, so that it makes some more.
    for (const [name, calls] of Object.entries(needed)) expect(made[name]).toBeGreaterThanOrEqual(calls)
  })

  describe('and those of a running service', () => {
    beforeAll(async () => {
      service = await startService(setUp)
    })

    it.each(Object.entries(BESIDES) as [HttpOperationId, Calls][])('are the same for %s', async (id, besides) => {
      const { keys } = (await service!.call('GET', '/v1/jwks')).json as { keys: NodeJwk[] }
      const { path, rowsPerRequest, makeRequests } = createOperations(setUp, keys)[id]
      const { bodies, assertAnswer } = makeRequests(1 + REQUESTS)
      // The first begins with small messages, and has the key of the limits derived.
      const made: Calls[] = []
      for (const [index, body] of bodies.entries()) {
        const before = shim.allCalls()
        const { status, text } = await service!.call('POST', path, body)
        expect(status).toBe(200)
        assertAnswer(index, text)
        if (index > 0) made.push(less(shim.allCalls(), before))
      }
      // What a vault asks for by itself, every ten seconds, comes on top of a request now and then, and not of each.
      const least = made.reduce((a, b) => merge(a, b, Math.min))
      expect(least).toEqual(merge(await neededFor(id, rowsPerRequest), besides, (all, more) => all + more))
    })
  })
})
