/** Batches and migrations on an HSM so slow that one message could not hold them: they take long, and no vault is taken for hung. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { editConfig, makeSetUp, startService, temporaryFolder } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'
import { childrenOf } from '../processes/processes.ts'
import { keyOf, makeBlocks, makeRows, readBlocks, runMigrate } from '../migrate/migration.ts'

const VAULTS = 2
const CALL_US = 50_000
/** Rows of a batch that takes longer than a connection may be silent. */
const LONG = 4000
/** A vault that has not answered a message by then is killed. */
const HSM_MS = 3000
/** Each costs a call: in one message of 256 rows, 12.8 s. */
const ROWS = process.env['PINBRIDGE_FULL'] ? 4000 : 250

const folder = temporaryFolder()
const shim = new Shim(folder.path)
let setUp: DevelopmentSetUp

beforeAll(async () => {
  setUp = await makeSetUp(folder.path, (config) => {
    config.hsm.vaults = VAULTS
    for (const key of config.keys) if (['zpk-in', 'zpk-out'].includes(key.id)) key.migrate = true
    Object.assign(config.limits, { hsmMs: HSM_MS })
    shim.insert(config.hsm)
  })
  for (const name of ['C_Decrypt', 'C_Encrypt', 'C_Sign'] as const) {
    shim.inject({ function: name, kind: 'delay', value: CALL_US })
  }
})
afterAll(() => {
  shim.close()
  folder.dispose()
})

describe('an HSM that takes 50 ms for each call', () => {
  it(
    `makes the PRWs of ${ROWS} rows of a migration, one call each, and no vault is lost over it`,
    { timeout: 60_000 + ROWS * 30 },
    async () => {
      const rows = makeRows(ROWS)
      const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
      const [input, output] = ['in.csv', 'out.csv'].map((name) => join(folder.path, name))
      const lines = rows.map(({ id, pan }, i) => `${id},${pan},${blocks[i]},01,0003`)
      writeFileSync(input!, ['id,pan,pinBlock,panSequenceNumber,counter', ...lines, ''].join('\n'))
      const signedBefore = shim.calls('C_Sign')
      const startedMs = performance.now()
      const zones = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0', '--prw', 'prw:seccos-3des']
      const run = await runMigrate(setUp.config, [...zones, '--in', input!, '--out', output!])
      const seconds = (performance.now() - startedMs) / 1000
      console.log(`${ROWS} rows with PRWs in ${seconds.toFixed(1)} s`)

      expect(run.log.filter(({ msg }) => msg === 'a vault ended' || msg === 'a chunk is done again')).toEqual([])
      expect(run.code).toBe(0)
      const [head, ...out] = readFileSync(output!, 'utf8').trimEnd().split('\n')
      expect(head).toBe('id,pan,pinBlock,panSequenceNumber,counter,prw')
      const fields = out.map((line) => line.split(','))
      expect(fields.map(([id]) => id)).toEqual(rows.map(({ id }) => id))
      const pans = rows.map(({ pan }) => pan)
      const outgoing = fields.map((row) => row[2]!)
      expect(readBlocks('ISO-0', keyOf(setUp, 'zpk-out'), outgoing, pans)).toEqual(rows.map(({ pin }) => pin))
      expect(fields.filter((row) => !/^[0-9A-F]{16}$/.test(row[5]!))).toEqual([])
      expect(new Set(fields.map((row) => row[5])).size).toBe(ROWS)
      expect(shim.calls('C_Sign') - signedBefore).toBeGreaterThanOrEqual(ROWS)
    },
  )

  it('translates a batch of 10 000 while single translations go on, and one that takes longer than a connection may be silent', async () => {
    const limits = { hsmMs: 1000, requestMs: 2000 }
    editConfig(setUp.config, (config) => Object.assign(config.limits, limits))
    const service = await startService(setUp)
    try {
      const before = childrenOf(service.ready.pid)
      const rows = makeRows(10_000)
      const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
      const zones = { from: { key: 'zpk-in', format: 'ISO-0' }, to: { key: 'zpk-out', format: 'ISO-0' } }
      const items = rows.map(({ id, pan }, i) => ({ id, pinBlock: blocks[i], card: { pan } }))
      const translate = (batch: readonly object[]) =>
        service.call('POST', '/v1/pin-blocks/translate-batch', { ...zones, items: batch })
      const asked = translate(items)
      const singles = await Promise.all(
        items
          .slice(0, 20)
          .map(({ pinBlock, card }) => service.call('POST', '/v1/pin-blocks/translate', { pinBlock, ...zones, card })),
      )
      const batch = await asked
      const pinsOf = (answers: readonly { pinBlock: string }[]) => {
        const pans = rows.slice(0, answers.length).map(({ pan }) => pan)
        const out = answers.map(({ pinBlock }) => pinBlock)
        return readBlocks('ISO-0', keyOf(setUp, 'zpk-out'), out, pans)
      }
      const pins = rows.map(({ pin }) => pin)
      expect(singles.map(({ status }) => status)).toEqual(Array(20).fill(200))
      expect(pinsOf(singles.map(({ json }) => json))).toEqual(pins.slice(0, 20))
      expect(batch.status).toBe(200)
      expect(batch.json.items.map(({ id }: { id: string }) => id)).toEqual(rows.map(({ id }) => id))
      expect(pinsOf(batch.json.items)).toEqual(pins)

      // So slow that no message of a pair of keys that was not used yet is quick enough for the next to be larger.
      const slower = (['C_Decrypt', 'C_Encrypt'] as const).map((name) =>
        shim.inject({ function: name, kind: 'delay', value: 3 * CALL_US }),
      )
      const startedMs = performance.now()
      const to = { key: 'zpk-out', format: 'ISO-3' }
      const long = await service.call('POST', '/v1/pin-blocks/translate-batch', {
        ...zones,
        to,
        items: items.slice(0, LONG),
      })
      const tookMs = performance.now() - startedMs
      for (const fault of slower) fault.end()
      console.log(`a batch of ${LONG} in ${(tookMs / 1000).toFixed(1)} s`)
      expect(long.status).toBe(200)
      expect(tookMs).toBeGreaterThan(limits.requestMs + 2 * limits.hsmMs)
      expect(childrenOf(service.ready.pid)).toEqual(before)
    } finally {
      await service.stop()
    }
  })
})
