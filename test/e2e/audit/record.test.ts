import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { JWK } from 'jose'
import { sha256 } from '../../../src/audit/record.ts'
import { iso0Block, seal, seccosPayload, type PinChange } from '../../d1/simulator.ts'
import { editConfig, makeSetUp, pinbridge, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { filesIn, linesOf } from '../../unit/audit/trails.ts'
import { keyValue, tdea } from '../processes/traffic.ts'

const folder = temporaryFolder()
const PAN = '4123456789012345'
const DAY_MS = 86_400_000
let config: string
let directory: string
let service: Service
beforeAll(async () => {
  const setUp = await makeSetUp(folder.path, (draft) => {
    draft.logLevel = 'info'
    draft.hsm.vaults = 1
    // Where records are counted, none may come between.
    draft.audit.sealEveryMs = DAY_MS
  })
  config = setUp.config
  directory = join(config, '..', 'audit')
  service = await startService(setUp)
})
afterAll(async () => {
  await service.stop('SIGKILL')
  folder.dispose()
})

/** A cut-off write may stand at the end of a file. */
const records = () =>
  filesIn(directory)
    .flatMap(linesOf)
    .map((line) => JSON.parse(line))
const recordsOf = (requestId: string) => records().filter((record) => record.requestId === requestId)
const pinBlock = (pan = PAN) => tdea(keyValue(service, 'zpk-in'), iso0Block('4711', pan))
const ISO_0_IN = { key: 'zpk-in', format: 'ISO-0' }
const ISO_3_OUT = { key: 'zpk-out', format: 'ISO-3' }
const translation = (over: object = {}) => ({
  pinBlock: pinBlock(),
  from: ISO_0_IN,
  to: ISO_3_OUT,
  card: { pan: PAN },
  ...over,
})
const refOf = (id: string) => ({ id, version: 1, kcv: service.setUp.keys.find((key) => key.id === id)!.kcv })
const verify = (...args: string[]) => pinbridge(['audit', 'verify', '--config', config, ...args, ...filesIn(directory)])

describe('a running service', () => {
  it('records what is about to be done and how it ended, with keys, formats, vault, and the card as a hash', async () => {
    const headers = { 'x-correlation-id': 'audit-1' }
    const { status } = await service.call('POST', '/v1/pin-blocks/translate', translation(), { headers })
    expect(status).toBe(200)
    const own = records().filter(({ correlationId }) => correlationId === 'audit-1')
    const members = {
      ...{ client: 'cms-adapter', operation: 'pin-blocks/translate', correlationId: 'audit-1' },
      ...{ keys: [refOf('zpk-in'), refOf('zpk-out')], translation: { from: 'ISO-0', to: 'ISO-3' } },
      card: expect.stringMatching(/^[0-9a-f]{32}$/),
    }
    expect(own).toMatchObject([
      { kind: 'intent', ...members },
      { kind: 'outcome', ...members, code: 'OK', vaults: [{ token: 'pinbridge-dev', vault: 1 }] },
    ])
    expect(own[0].card).toBe(own[1].card)
    expect(own[0].requestId).toBe(own[1].requestId)
    expect(readFileSync(filesIn(directory)[0]!, 'utf8')).not.toContain(PAN)
  })

  it('records the keys of a pin/set that only the vault knows, and answers none of them', async () => {
    const { json } = await service.call('GET', '/v1/jwks')
    const change: PinChange = {
      ...{ pan: PAN, panSequenceNumber: '01', pin: '4711', counter: '0003' },
      transactionId: '21430919092023091909',
    }
    const payload = seccosPayload(change, {
      seccosPin: keyValue(service, 'seccos-pin'),
      prw: keyValue(service, 'prw'),
      pinMac: keyValue(service, 'pin-mac'),
    })
    const jwk = json.keys.find(({ kid }: JWK) => kid === 'jwe-ec')
    const { pan, panSequenceNumber, counter, transactionId } = change
    const answer = await service.call('POST', '/v1/pin/set', {
      ...{ type: '3DES_SECCOS', encryptedPinBlock: await seal(payload, jwk) },
      ...{ card: { pan, panSequenceNumber }, change: { counter, transactionId } },
      to: { key: 'zpk-out', format: 'ISO-0' },
    })
    expect(answer.status).toBe(200)
    expect(Object.keys(answer.json).sort()).toEqual(['format', 'key', 'pinBlock', 'verified'])
    const outcome = records().findLast(({ kind, operation }) => kind === 'outcome' && operation === 'pin/set')
    expect(outcome.keys).toEqual(['zpk-out', 'jwe-ec', 'seccos-pin', 'prw', 'pin-mac'].map(refOf))
    expect(outcome.translation).toEqual({ to: 'ISO-0' })
  })

  it('records refusals of a known client, a verification that says no, and batches by their counts', async () => {
    const refused = await service.call(
      'POST',
      '/v1/pin-blocks/translate',
      translation({ to: { key: 'nobody', format: 'ISO-0' } }),
    )
    expect(refused.status).toBe(403)
    expect(recordsOf(refused.json.requestId)).toMatchObject([
      {
        ...{ kind: 'outcome', code: 'ERR_KEY_USE_FORBIDDEN', keys: [refOf('zpk-in')] },
        ...{ translation: { from: 'ISO-0', to: 'ISO-0' }, card: expect.stringMatching(/^[0-9a-f]{32}$/) },
      },
    ])
    const mac = { key: 'pin-mac', pinBlock: pinBlock(), prw: '00'.repeat(8), card: { pan: PAN }, mac: '00'.repeat(8) }
    await service.call('POST', '/v1/mac/verify', { ...mac, change: { counter: '0003', transactionId: '1' } })
    expect(records().at(-1)).toMatchObject({ kind: 'outcome', operation: 'mac/verify', code: 'OK', verified: false })
    const items = ['1', '2'].map((id) => ({
      id,
      pinBlock: id === '1' ? pinBlock() : '00'.repeat(8),
      card: { pan: PAN },
    }))
    await service.call('POST', '/v1/pin-blocks/translate-batch', { from: ISO_0_IN, to: ISO_3_OUT, items })
    expect(records().at(-1)).toMatchObject({ kind: 'outcome', items: 2, rejected: 1, code: 'OK' })
    const before = records().length
    await service.call('GET', '/v1/keys')
    await service.call('POST', '/v1/pin-blocks/translate', {})
    expect(records()).toHaveLength(before)
  })

  it('answers nothing that it cannot record, and says so, until it can', async () => {
    const { gateway } = service.ready
    // A full disk, as the kernel has it for one process: what would go beyond is cut off, and the next write fails.
    const limit = (bytes: number | string) =>
      execFileSync('prlimit', [`--pid=${gateway}`, `--fsize=${bytes}:unlimited`])
    const translate = () => service.call('POST', '/v1/pin-blocks/translate', translation())
    await translate()
    const file = filesIn(directory).at(-1)!
    const intent = linesOf(file).at(-2)!
    // Room for the intent and a part of the outcome: the translation is made, and not released.
    limit(readFileSync(file).length + intent.length + 50)
    const unreleased = await translate()
    limit(64)
    expect([unreleased.status, unreleased.json.code, unreleased.headers['retry-after']]).toEqual([
      ...[503, 'ERR_HSM_UNAVAILABLE', '5'],
    ])
    expect(unreleased.headers['content-type']).toBe('application/problem+json')
    expect(Object.keys(unreleased.json).sort()).toEqual(['code', 'requestId', 'status', 'title', 'type'])
    expect(recordsOf(unreleased.json.requestId).map(({ kind }) => kind)).toEqual(['intent'])
    await vi.waitFor(async () => {
      expect((await service.manage('/readyz')).json.reason).toBe('audit-unwritable')
      expect((await translate()).status).toBe(503)
    }, 20_000)
    expect(service.output()).toContain('"problem":"EFBIG","msg":"the audit record cannot be written"')
    expect(service.output()).toContain('"code":"ERR_HSM_UNAVAILABLE","status":503')
    expect((await service.manage('/metrics')).text).toMatch(/^pinbridge_audit_writable 0$/m)
    limit('unlimited')
    await vi.waitFor(async () => expect((await translate()).status).toBe(200), { timeout: 20_000, interval: 200 })
    expect((await service.manage('/readyz')).status).toBe(200)
    const starts = records().filter(({ kind }) => kind === 'start')
    expect(starts[1]).toMatchObject({
      reason: 'writable-again',
      torn: [{ file: basename(file), bytes: expect.any(Number) }],
    })
    const { code, stdout } = await verify()
    expect([code, stdout]).toEqual([0, expect.stringContaining('each is chained to the one before')])
  })

  it('has its record sealed when it is told to stop, and begins the next time where it ended', async () => {
    await service.stop()
    const { code, stdout } = await verify('--json')
    const verdict = JSON.parse(stdout)
    expect(code).toBe(0)
    expect(verdict.sealedTo).toBe(verdict.last.seq - 1)
    const sealed = /"seq":(\d+),"hash":"([0-9A-F]{64})","msg":"the audit record is sealed"/g
    const [, seq, hash] = [...service.output().matchAll(sealed)].at(-1)!
    expect(Number(seq)).toBe(verdict.sealedTo)
    expect((await verify('--anchor', `${seq}:${hash}`)).code).toBe(0)
    expect((await verify('--anchor', `${Number(seq) + 1000}:${hash}`)).code).toBe(1)
  })
})

describe('pinbridge audit', () => {
  it('names the first record that was changed, and exits with 1', async () => {
    const [file] = filesIn(directory)
    const text = readFileSync(file!, 'utf8')
    writeFileSync(file!, text.replace('"client":"cms-adapter"', '"client":"cms-adaptor"'))
    const { code, stdout } = await verify()
    writeFileSync(file!, text)
    expect([code, stdout]).toEqual([
      1,
      expect.stringMatching(/^BROKEN at audit-0{11}1-\S+:2 \(seq 2\): it was changed/),
    ])
  })

  it('names a seal that another key made', async () => {
    const file = filesIn(directory).at(-1)!
    const text = readFileSync(file, 'utf8')
    writeFileSync(
      file,
      text.replace(/"mac":"(.)/, (_, digit: string) => `"mac":"${digit === '0' ? '1' : '0'}`),
    )
    const { code, stdout } = await verify()
    writeFileSync(file, text)
    expect([code, stdout]).toEqual([1, expect.stringContaining('the HSM did not make this seal')])
  })

  it('tells when seals were taken away and the rest was chained anew: exit code 2', async () => {
    const forged = join(folder.path, 'forged')
    mkdirSync(forged)
    const [first] = filesIn(directory)
    let prev = '0'.repeat(64)
    const kept = linesOf(first!)
      .map((line) => JSON.parse(line))
      .filter(({ kind }) => kind !== 'seal')
      .map((record, i) => {
        const time = new Date(Date.parse(record.time) + i * DAY_MS).toISOString()
        const line = JSON.stringify({ ...record, seq: i + 1, time, prev })
        prev = sha256(line)
        return `${line}\n`
      })
    const path = join(forged, basename(first!))
    writeFileSync(path, kept.join(''))
    const { code, stdout } = await pinbridge(['audit', 'verify', '--config', config, path])
    expect([code, stdout]).toEqual([2, expect.stringContaining('SEALS MISSING')])
  })

  it('verifies the seals of a key that is retiring, and not those of one that is retired', async () => {
    const after = async (state: string) => {
      const other = join(config, '..', 'other.yaml')
      copyFileSync(config, other)
      editConfig(other, (draft) => {
        delete draft.audit
        draft.keys.find(({ id }: { id: string }) => id === 'audit-mac').state = state
      })
      return await pinbridge(['audit', 'verify', '--config', other, ...filesIn(directory)])
    }
    expect(await after('retiring')).toMatchObject({ code: 0 })
    const { code, stdout } = await after('retired')
    expect([code, stdout]).toEqual([1, expect.stringContaining('the HSM holds no key audit-mac v1')])
  })

  it('says which file it cannot read', async () => {
    const nowhere = join(directory, 'nowhere.ndjson')
    for (const args of [['verify', '--config', config], ['show']]) {
      const { code, stderr } = await pinbridge(['audit', ...args, nowhere])
      expect([code, stderr]).toEqual([66, `${nowhere} does not exist\n`])
    }
  })

  it('shows what is looked for, by a card that it is given on standard input too', async () => {
    const show = (...args: string[]) => pinbridge(['audit', 'show', '--json', ...args, ...filesIn(directory)])
    const byId = await show('--correlation-id', 'audit-1', '--since', '2020-01-01T00:00:00Z', '--until', '2100-01-01')
    expect(
      byId.stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line).kind),
    ).toEqual(['intent', 'outcome'])
    const { card } = JSON.parse(byId.stdout.split('\n')[0]!)
    const byCard = await show('--card-hash', card, '--operation', 'pin/set', '--code', 'OK')
    expect(byCard.stdout.trim().split('\n')).toHaveLength(1)
    const cli = new URL('../../../dist/cli/main.js', import.meta.url).pathname
    const byPan = execFileSync(
      process.execPath,
      [cli, 'audit', 'show', '--json', '--pan-from-stdin', '--config', config, ...filesIn(directory)],
      { input: `${PAN}\n`, encoding: 'utf8' },
    )
    expect(byPan).toBe((await show('--card-hash', card)).stdout)
    expect(byPan.split('\n').length).toBeGreaterThan(4)
  })
})
