import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { NewRecord } from '../../../src/audit/record.ts'
import type { AuditTrail } from '../../../src/audit/trail.ts'
import { UnwritableError } from '../../../src/audit/writer.ts'
import type { Bridge } from '../../../src/bridge/contract.ts'
import type { GatewayConfig } from '../../../src/config/schema.ts'
import { ServiceError, type ErrorCode } from '../../../src/errors.ts'
import { createAudited } from '../../../src/gateway/audited.ts'
import { createLiveKeys } from '../../../src/gateway/live-keys.ts'
import { openContext } from '../../../src/gateway/request-context.ts'
import { createSubjectHash } from '../../../src/gateway/subject-hash.ts'

const PAN = '4123456789012345'
const ZONES = { from: { key: 'zpk', format: 'ISO-0' }, to: { key: 'zpk', format: 'ISO-3' } } as const
const MAC = { key: 'mac', pinBlock: '00'.repeat(8), mac: '00'.repeat(4), card: { pan: PAN } }
const ZPK: GatewayConfig['keys'][number] = {
  ...{ id: 'zpk', version: 3, purpose: 'zone-pin' as const, algorithm: 'TDEA-128' as const },
  ...{ kcv: 'a1b2c3', state: 'active' as const },
}
const UNAVAILABLE = { code: 'ERR_HSM_UNAVAILABLE', detail: { reason: 'audit-unwritable' } }

/** What is done in which order; `onAppend` stands for the disk. */
function audited(
  onAppend: () => Promise<void> = async () => {},
  answer: object = { verified: false, usedKeys: [{ id: 'jwe', version: 1, kcv: 'AA' }] },
) {
  const done: string[] = []
  const records: NewRecord[] = []
  const trail = {
    append: async (record: NewRecord) => {
      records.push(record)
      await onAppend()
      done.push(record.kind)
    },
  } as unknown as AuditTrail
  const bridge = {
    call: async (operation: string, _body: object, onGiven: (vault: object) => void) => {
      done.push(operation)
      onGiven({ token: 'hsm-a', vault: 2 })
      return answer
    },
  } as unknown as Bridge
  const hash = createSubjectHash(Buffer.alloc(32))
  const keys = createLiveKeys({ keys: [ZPK], setPinTypes: [], counterOnceKeys: [] })
  return { ...createAudited({ bridge, trail, keys, hash: async () => hash }), done, records, hash }
}

function requestOf(outcome?: ErrorCode, operation = 'mac/verify') {
  const raw = new IncomingMessage(new Socket())
  const context = openContext(
    { raw },
    { requestId: 'r-1', route: '/', correlationId: undefined, traceparent: undefined },
  )
  context.client = { id: 'cms', dnsName: 'cms.test', grants: [] }
  context.operation = operation
  context.keys = ['zpk', 'nobody']
  if (outcome) context.outcome = { code: outcome }
  return { raw, body: { ...ZONES, card: { pan: PAN }, recipient: 'whoever' } }
}

describe('an operation', () => {
  it('waits for its intent', async () => {
    let write = () => {}
    const { ask, done } = audited(() => new Promise((resolve) => (write = resolve)))
    const answer = ask(requestOf(), 'verifyMac', MAC)
    await new Promise(setImmediate)
    expect(done).toEqual([])
    write()
    await answer
    expect(done).toEqual(['intent', 'verifyMac'])
  })

  it('is not done where its intent cannot be written, and that is no outcome of its own', async () => {
    const { ask, recordOutcome, done, records } = audited(() => Promise.reject(new UnwritableError()))
    const request = requestOf()
    await expect(ask(request, 'verifyMac', MAC)).rejects.toMatchObject(UNAVAILABLE)
    expect(done).toEqual([])
    const refused = requestOf('ERR_HSM_UNAVAILABLE')
    await recordOutcome(refused)
    expect(records.map(({ kind }) => kind)).toEqual(['intent'])
  })

  it('is recorded with the keys that the vault used, which are in no answer, and what came of it', async () => {
    const { ask, recordOutcome, records, hash } = audited()
    const request = requestOf()
    expect(await ask(request, 'verifyMac', MAC)).toEqual({ verified: false })
    await recordOutcome(request)
    const members = { requestId: 'r-1', client: 'cms', operation: 'mac/verify', card: hash.card(PAN) }
    const zpk = { id: 'zpk', version: 3, kcv: 'A1B2C3' }
    expect(records).toEqual([
      expect.objectContaining({ kind: 'intent', ...members, keys: [zpk] }),
      expect.objectContaining({
        ...{ kind: 'outcome', ...members, keys: [zpk, { id: 'jwe', version: 1, kcv: 'AA' }], verified: false },
        ...{ code: 'OK', vaults: [{ token: 'hsm-a', vault: 2 }] },
      }),
    ])
  })

  it('is recorded in the versions that the vault says it used, each once, whatever was meant', async () => {
    const ref = (id: string, version: number) => ({ id, version, kcv: `0${version}` })
    const keysAfter = async (answer: object) => {
      const { ask, recordOutcome, records } = audited(undefined, answer)
      const request = requestOf()
      await ask(request, 'openSetPin', { type: '', encryptedPinBlock: '', card: { pan: PAN }, jweKeys: [] })
      await recordOutcome(request)
      return records.flatMap((record) => ('keys' in record ? [record.keys] : []))
    }
    const meant = { id: 'zpk', version: 3, kcv: 'A1B2C3' }
    expect(await keysAfter({ key: ref('zpk', 4), usedKeys: [ref('zpk', 2), ref('zpk', 4)] })).toEqual([
      [meant],
      [ref('zpk', 2), ref('zpk', 4)],
    ])
    expect(await keysAfter({ prw: { key: ref('prw', 2) }, mac: { key: ref('mac', 5) } })).toEqual([
      [meant],
      [meant, ref('prw', 2), ref('mac', 5)],
    ])
  })
})

describe('a refusal', () => {
  it.each(['ERR_KEY_USE_FORBIDDEN', 'ERR_TRANSLATION_FORBIDDEN', 'ERR_COUNTER_REPLAYED', 'ERR_RATE_LIMITED'] as const)(
    'of a known client by %s is recorded, with card and formats and nothing of the caller’s text',
    async (code) => {
      const { recordOutcome, records, hash } = audited()
      await recordOutcome(requestOf(code))
      expect(records).toMatchObject([{ kind: 'outcome', code, card: hash.card(PAN), keys: [{ id: 'zpk' }] }])
      expect(records).toMatchObject([{ translation: { from: 'ISO-0', to: 'ISO-3' } }])
      expect(JSON.stringify(records)).not.toMatch(/nobody|whoever|4123456789012345/)
    },
  )

  it('is not recorded where nobody is known, nothing was meant, or no PIN is touched', async () => {
    const { recordOutcome, records } = audited()
    await recordOutcome(requestOf('ERR_REQUEST_INVALID'))
    await recordOutcome(requestOf('ERR_KEY_USE_FORBIDDEN', 'keys'))
    await recordOutcome({ raw: new IncomingMessage(new Socket()) })
    expect(records).toEqual([])
  })

  it('is not told where it cannot be written', async () => {
    const { recordOutcome } = audited(() => Promise.reject(new UnwritableError()))
    const refusal = recordOutcome(requestOf('ERR_KEY_USE_FORBIDDEN'))
    await expect(refusal).rejects.toThrow(ServiceError)
    await expect(refusal).rejects.toMatchObject(UNAVAILABLE)
  })
})
