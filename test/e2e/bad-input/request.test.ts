/** Requests that do not have the form of the contract: every route, one answer, and no vault is asked. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sealEc } from '../../support/node-jwe.ts'
import type { Answer } from '../../support/service.ts'
import { CHANGE, expectProblem, expectSameProcesses, iso0, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

let issuer: Issuer
let good: Record<string, Record<string, any>>
beforeAll(async () => {
  issuer = await openIssuer()
  const pinBlock = issuer.block('zpk-in', 'ISO-0', '1234', PAN)
  const from = { key: 'zpk-in', format: 'ISO-0' }
  const card = { pan: PAN, panSequenceNumber: '01' }
  const change = CHANGE
  const prw = { pinBlock, from, card, change, key: 'prw' }
  const mac = { key: 'pin-mac', pinBlock, prw: '00'.repeat(8), change }
  good = {
    'pin/set': {
      type: 'ISO0',
      encryptedPinBlock: sealEc(iso0('1234', PAN), issuer.jwk('jwe-ec')).compact,
      card,
      to: TO,
    },
    'pin/get': { pinBlock, from, card, recipient: issuer.recipient.kid },
    'pin-blocks/translate': { pinBlock, from, to: TO, card },
    'prw/generate': prw,
    'prw/verify': { ...prw, prw: '00'.repeat(8) },
    'mac/generate': mac,
    'mac/verify': { ...mac, mac: '00'.repeat(8) },
  }
})
afterAll(() => issuer.close())

const PAN = '4000001234567899'
const PATHS = ['pin/set', 'pin/get', 'pin-blocks/translate', 'prw/generate', 'prw/verify', 'mac/generate', 'mac/verify']
const REQUIRED: Record<string, string[]> = {
  'pin/set': ['type', 'encryptedPinBlock', 'card', 'to'],
  'pin/get': ['pinBlock', 'from', 'card', 'recipient'],
  'pin-blocks/translate': ['pinBlock', 'from', 'to', 'card'],
  'prw/generate': ['pinBlock', 'from', 'card', 'change', 'key'],
  'prw/verify': ['pinBlock', 'from', 'card', 'change', 'key', 'prw'],
  'mac/generate': ['key', 'pinBlock', 'prw', 'change'],
  'mac/verify': ['key', 'pinBlock', 'prw', 'change', 'mac'],
}

const answers: Answer[] = []

/** Sends a body and expects the one refusal. */
async function refuse(path: string, body: unknown): Promise<void> {
  const answer = await issuer.post(`/v1/${path}`, body)
  expect({ path, body, code: answer.json?.code }).toEqual({ path, body, code: 'ERR_REQUEST_INVALID' })
  expectProblem(answer, 400, 'ERR_REQUEST_INVALID')
  answers.push(answer)
}

describe.each(PATHS)('POST /v1/%s', (path) => {
  it('serves the good request that the refused ones differ from', async () => {
    expect((await issuer.post(`/v1/${path}`, good[path])).status).toBe(200)
  })

  it('refuses a body that is not one JSON object with 400 ERR_REQUEST_INVALID', async () => {
    const text = JSON.stringify(good[path])
    const utf16 = Buffer.from(text, 'utf16le')
    const notUtf8 = Buffer.concat([Buffer.from(`${text.slice(0, -1)},"`), Buffer.of(0xff, 0x22, 0x3a, 0x31, 0x7d)])
    const deep = `${'['.repeat(5000)}${']'.repeat(5000)}`
    const bodies = [
      text.slice(0, -1),
      `${text}x`,
      `${text}${text}`,
      `[${text}]`,
      'null',
      '1',
      '"x"',
      '[]',
      '{}',
      deep,
      utf16,
      notUtf8,
      `\ufeff${text}`,
      '{"__proto__":{}}',
    ]
    for (const body of bodies) await refuse(path, body)
  })

  it('refuses a repeated member, also one spelled with an escape, with 400 ERR_REQUEST_INVALID', async () => {
    const text = JSON.stringify(good[path])
    const [name] = Object.keys(good[path]!)
    const again = JSON.stringify(good[path]![name!])
    await refuse(path, `${text.slice(0, -1)},"${name}":${again}}`)
    const escaped = `\\u00${name!.charCodeAt(0).toString(16)}${name!.slice(1)}`
    await refuse(path, `${text.slice(0, -1)},"${escaped}":${again}}`)
    await refuse(path, text.replace('"key":', '"key":"x","key":').replace('"pan":', '"pan":"400000123457","pan":'))
  })

  it('refuses every required member when it is missing or of another type with 400 ERR_REQUEST_INVALID', async () => {
    for (const name of REQUIRED[path]!) {
      // A MAC or PRW of this profile needs them, so it is the vault that refuses their absence.
      for (const value of [undefined, null, 1, true, [], {}, [good[path]![name]]])
        await refuse(path, { ...good[path], [name]: value })
      // An empty recipient has the form of a name, and is one that does not exist.
      if (name !== 'recipient') await refuse(path, { ...good[path], [name]: '' })
    }
  })

  it('refuses unknown members at every level with 400 ERR_REQUEST_INVALID', async () => {
    await refuse(path, { ...good[path], extra: 1 })
    await refuse(path, { ...good[path], Card: {} })
    for (const [name, value] of Object.entries(good[path]!)) {
      if (typeof value === 'object') await refuse(path, { ...good[path], [name]: { ...value, extra: 1 } })
    }
  })

  it('refuses members out of their form with 400 ERR_REQUEST_INVALID', async () => {
    const FORMS: Record<string, unknown[]> = {
      pinBlock: [
        '0'.repeat(15),
        '0'.repeat(17),
        '0'.repeat(24),
        '0'.repeat(32),
        '0'.repeat(48),
        '0'.repeat(15) + 'g',
        `${'0'.repeat(15)}\n`,
        ` ${'0'.repeat(15)}`,
      ],
      card: [
        ...[
          '40000012345',
          '4'.repeat(20),
          '0000001234567899',
          '400000123456789a',
          '٤000001234567899',
          '4000001234567899\n',
          4000001234567899,
        ].map((pan) => ({ pan })),
        ...['1', '001', 'a1', 1].map((panSequenceNumber) => ({ pan: PAN, panSequenceNumber })),
        ...['3013', '3000', '312', '30-1', 3012].map((expiry) => ({ pan: PAN, expiry })),
      ],
      change: [
        { counter: '3' },
        { counter: '00003' },
        { counter: '000a' },
        { counter: 3 },
        { ...CHANGE, transactionId: 'a b' },
        { ...CHANGE, transactionId: 'ä' },
      ],
      from: [
        { key: 'zpk-in' },
        { format: 'ISO-0' },
        { key: '', format: 'ISO-0' },
        { key: 'a'.repeat(65), format: 'ISO-0' },
        { key: 'a/b', format: 'ISO-0' },
        { key: 'zpk-in', format: 'ISO-5' },
      ],
      to: [{ key: 'zpk-out' }, { format: 'ISO-0' }, { key: 'a b', format: 'ISO-0' }, { key: 'zpk-out', format: 0 }],
      key: ['a'.repeat(65), '../prw', 'prw\0'],
      prw: ['00', '00'.repeat(7), '00'.repeat(17), '0'.repeat(17), 'x'.repeat(16)],
      mac: ['00', '00'.repeat(3), '00'.repeat(17), 'x'.repeat(16)],
      type: ['iso0', 'ISO0 ', 'ISO-0', '3DES', 'SECCOS', '__proto__', 'constructor'],
      encryptedPinBlock: ['A'.repeat(8193)],
    }
    for (const name of Object.keys(good[path]!)) {
      for (const value of FORMS[name] ?? []) await refuse(path, { ...good[path], [name]: value })
    }
  })
})

describe('all of these refusals', () => {
  it('are byte for byte one answer', () => {
    expect(answers.length).toBeGreaterThan(400)
    // Where the body was not read to its end as JSON, the connection is closed behind the answer; the answer is the same.
    const bodies = answers.map((answer) => expectProblem(answer, 400, 'ERR_REQUEST_INVALID'))
    expect(new Set(bodies).size).toBe(1)
  })

  it('left the service serving, and no process was replaced', async () => {
    for (const path of PATHS) expect((await issuer.post(`/v1/${path}`, good[path])).status).toBe(200)
    expectSameProcesses(issuer.service)
  })
})
