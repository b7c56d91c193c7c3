import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ServiceError, ERROR_TITLES, type ErrorCode } from '../../src/errors.ts'
import { STATUS } from '../../src/gateway/problem.ts'
import { start, VALID, type Harness } from './harness.ts'

let http: Harness
beforeAll(async () => {
  http = await start()
})
afterAll(() => http.close())

type Route = keyof typeof VALID
const ROUTES = Object.entries(VALID) as [Route, Record<string, unknown>][]
const SET = VALID['/v1/pin/set']
const TRANSLATE = VALID['/v1/pin-blocks/translate']

/** Sends what the schema must refuse, and proves that no vault was asked. */
async function refused(path: string, body: unknown, code: ErrorCode = 'ERR_REQUEST_INVALID', headers = {}) {
  const before = http.calls.length
  const answer = await http.send('POST', path, body, { headers })
  expect(answer.json).toMatchObject({ code, status: STATUS[code], title: ERROR_TITLES[code] })
  expect(answer.status).toBe(STATUS[code])
  expect(answer.headers['content-type']).toBe('application/problem+json')
  expect(http.calls.length).toBe(before)
}

describe('valid requests', () => {
  it.each(ROUTES)('POST %s asks the vault once and answers 200', async (path, body) => {
    const before = http.calls.length
    const answer = await http.send('POST', path, body)
    expect(answer.text).not.toContain('ERR_')
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/json')
    expect(answer.headers['cache-control']).toBe('no-store')
    expect(http.calls.length).toBe(before + 1)
  })

  it('translate hands one packed item to the vault', async () => {
    const { json } = await http.send('POST', '/v1/pin-blocks/translate', TRANSLATE)
    const key = { id: 'zpk-out', version: 1, kcv: 'A1B2C3' }
    expect(json).toEqual({ pinBlock: '0123456789ABCDEF', format: 'ISO-0', key })
    expect(http.calls.at(-1)).toEqual({
      operation: 'translatePinBlocks',
      body: {
        from: TRANSLATE.from,
        to: TRANSLATE.to,
        items: 1,
        packed: Buffer.from('00004111111111111111' + '0123456789abcdef', 'hex'),
      },
    })
  })

  it('translate takes 16 bytes in ISO format 4, and gives as many as the vault does', async () => {
    const { translatePinBlocks } = http.answers
    http.answers.translatePinBlocks = async (body) => ({
      ...(await translatePinBlocks(body)),
      packed: Buffer.alloc(16, 0xa5),
    })
    const card = { pan: '4111111111111111119' }
    const aes = { key: 'zpk-aes', format: 'ISO-4' }
    const pinBlock = '00112233445566778899aAbBcCdDeEfF'
    const answer = await http.send('POST', '/v1/pin-blocks/translate', {
      ...TRANSLATE,
      pinBlock,
      from: aes,
      to: aes,
      card,
    })
    http.answers.translatePinBlocks = translatePinBlocks
    expect(answer.json).toMatchObject({ pinBlock: 'A5'.repeat(16) })
    expect(http.calls.at(-1)?.body).toMatchObject({
      items: 1,
      packed: Buffer.from('04111111111111111119' + '00112233445566778899aabbccddeeff', 'hex'),
    })
  })

  it('takes a 19-digit PAN as text and keeps every digit', async () => {
    await http.send('POST', '/v1/mac/generate', { ...VALID['/v1/mac/generate'], card: { pan: '4111111111111111119' } })
    expect(http.calls.at(-1)?.body['card']).toEqual({ pan: '4111111111111111119' })
  })

  it.each([
    ['to alone', {}],
    ['issue.prw alone', { to: undefined, issue: { prw: 'prw' } }],
    ['to and issue.mac', { issue: { mac: 'pin-mac' } }],
    ['a change', { change: { counter: '0003', transactionId: '21430919092023091909' } }],
  ])('pin/set takes %s', async (_name, members) => {
    expect((await http.send('POST', '/v1/pin/set', { ...SET, ...members })).status).toBe(200)
  })

  it.each(ROUTES)('%s: drops what an answer must not hold, at every depth', async (path, body) => {
    const given = { ...http.answers }
    const leak = (value: unknown): unknown =>
      typeof value !== 'object' || value === null || Array.isArray(value) || Buffer.isBuffer(value)
        ? value
        : { ...Object.fromEntries(Object.entries(value).map(([k, v]) => [k, leak(v)])), clearPin: '1234' }
    for (const [name, answer] of Object.entries(given)) {
      Object.assign(http.answers, { [name]: async (request: never) => leak(await answer(request)) })
    }
    const issued = { value: '0123456789ABCDEF', profile: 'p', key: { id: 'a', version: 1, kcv: 'A1B2C3' } }
    http.answers.openSetPin = () =>
      leak({ pinBlock: '00', prw: issued, mac: issued, verified: { prw: true, mac: true } }) as never
    const answer = await http.send('POST', path, body)
    Object.assign(http.answers, given)
    expect(answer.status).toBe(200)
    expect(answer.text).not.toContain('clearPin')
  })
})

describe('bodies that are refused before a vault is asked', () => {
  it.each(ROUTES)('%s: an unknown member, a missing one, a repeated one', async (path, body) => {
    await refused(path, { ...body, extra: 1 })
    for (const name of Object.keys(body)) if (name !== 'change') await refused(path, { ...body, [name]: undefined })
    const text = JSON.stringify(body)
    const [name, value] = Object.entries(body)[0]!
    await refused(path, text.replace(/\}$/, `,${JSON.stringify(name)}:${JSON.stringify(value)}}`))
  })

  it.each<[string, unknown]>([
    ['a 19-digit PAN as a number', JSON.stringify(TRANSLATE).replace('"4111111111111111"', '4111111111111111119')],
    ['an 11-digit PAN', { ...TRANSLATE, card: { pan: '41111111111' } }],
    ['a 20-digit PAN', { ...TRANSLATE, card: { pan: '41111111111111111111' } }],
    ['a PAN with a line feed behind it', { ...TRANSLATE, card: { pan: '4111111111111111\n' } }],
    ['a PAN in other digits', { ...TRANSLATE, card: { pan: '٤١١١١١١١١١١١١١١١' } }],
    ['an unknown card member', { ...TRANSLATE, card: { pan: '4111111111111111', cvv: '123' } }],
    ['a thirteenth month', { ...TRANSLATE, card: { pan: '4111111111111111', expiry: '2713' } }],
    ['an unknown format', { ...TRANSLATE, to: { key: 'zpk-out', format: 'ISO-2' } }],
    ['a format as an array', { ...TRANSLATE, to: { key: 'zpk-out', format: ['ISO-0'] } }],
    ['an odd PIN block', { ...TRANSLATE, pinBlock: '0123456789abcde' }],
    ['two blocks where the format has one', { ...TRANSLATE, pinBlock: '0123456789abcdef0123456789abcdef' }],
    ['half a block of format 4', { ...TRANSLATE, from: { key: 'zpk-aes', format: 'ISO-4' } }],
    ['a key id that is a path', { ...TRANSLATE, from: { key: '../zpk', format: 'ISO-0' } }],
    ['an array', [TRANSLATE]],
    ['null', 'null'],
    ['a text', '"x"'],
    ['nothing', ''],
    ['half an object', '{"pinBlock":'],
    ['two values', '{}{}'],
    ['a byte order mark', `\ufeff${JSON.stringify(TRANSLATE)}`],
    ['__proto__', `{"__proto__":{"admin":true},${JSON.stringify(TRANSLATE).slice(1)}`],
    ['constructor', `{"constructor":{"prototype":{"admin":true}},${JSON.stringify(TRANSLATE).slice(1)}`],
    ['deep nesting', `${'['.repeat(2000)}${']'.repeat(2000)}`],
    ['invalid UTF-8', Buffer.from('7b22c328223a317d', 'hex')],
    [
      'an invalid byte in a text',
      Buffer.concat([Buffer.from('{"pinBlock":"'), Buffer.from([0xff]), Buffer.from('"}')]),
    ],
  ])('translate: %s', async (_name, body) => {
    await refused('/v1/pin-blocks/translate', body)
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined()
  })

  it.each<[string, Record<string, unknown>]>([
    ['neither to nor issue', { to: undefined }],
    ['issue without a member', { issue: {} }],
    ['issue.mac without to', { to: undefined, issue: { mac: 'pin-mac' } }],
    ['issue.prw and issue.mac without to', { to: undefined, issue: { prw: 'prw', mac: 'pin-mac' } }],
    ['an unknown type', { type: 'ISO1' }],
    ['a JWE of 8193 characters', { encryptedPinBlock: 'a'.repeat(8193) }],
    ['an unknown issue member', { issue: { pvv: 'prw' } }],
    ['a counter of five digits', { change: { counter: '00003' } }],
    ['jweKeys, which the gateway alone decides', { jweKeys: ['jwe-ec'] }],
  ])('pin/set: %s', async (_name, members) => refused('/v1/pin/set', { ...SET, ...members }))

  it.each([
    'text/plain',
    'application/json; charset=latin1',
    'application/jsonx',
    'multipart/form-data',
    'nonsense',
    '',
  ])('content type %j is 415', async (type) =>
    refused('/v1/pin-blocks/translate', TRANSLATE, 'ERR_UNSUPPORTED_MEDIA_TYPE', { 'content-type': type }),
  )

  it('a content coding is 415', async () =>
    refused('/v1/pin-blocks/translate', TRANSLATE, 'ERR_UNSUPPORTED_MEDIA_TYPE', { 'content-encoding': 'gzip' }))

  it('takes charset=utf-8', async () => {
    const headers = { 'content-type': 'Application/JSON; Charset="UTF-8"' }
    expect((await http.send('POST', '/v1/pin-blocks/translate', TRANSLATE, { headers })).status).toBe(200)
  })

  it('a body over the limit is 413', async () =>
    refused('/v1/pin-blocks/translate', { ...TRANSLATE, x: 'a'.repeat(70_000) }, 'ERR_REQUEST_TOO_LARGE'))

  it('a POST without body and type is 400', async () => refused('/v1/pin-blocks/translate', undefined))

  it('a query is 400', async () => refused('/v1/pin-blocks/translate?pan=1', TRANSLATE))

  it('a GET with a body is 400', async () => {
    expect((await http.send('GET', '/v1/keys', { a: 1 })).json).toMatchObject({ code: 'ERR_REQUEST_INVALID' })
  })
})

describe('errors of the vault', () => {
  it.each(Object.entries(STATUS))('%s is %i, constant and complete', async (code, status) => {
    http.answers.sealGetPin = () => {
      throw new ServiceError(code as ErrorCode, { ckr: 'CKR_DEVICE_ERROR', method: 'C_Decrypt' })
    }
    const answer = await http.send('POST', '/v1/pin/get', VALID['/v1/pin/get'], { anyCode: true })
    expect(answer.status).toBe(status)
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(answer.json).toEqual({
      type: `urn:pinbridge:problem:${code.slice(4).toLowerCase().replaceAll('_', '-')}`,
      title: ERROR_TITLES[code as ErrorCode],
      status,
      code,
      requestId: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/) as string,
    })
    expect(answer.headers['retry-after'] !== undefined).toBe([429, 503].includes(status))
  })

  it('a foreign error is ERR_INTERNAL and says nothing', async () => {
    http.answers.sealGetPin = () => {
      throw Object.assign(new TypeError('canary-in-message'), { statusCode: 418, headers: { 'x-canary': '1' } })
    }
    const answer = await http.send('POST', '/v1/pin/get', VALID['/v1/pin/get'])
    expect(answer.status).toBe(500)
    expect(answer.text).not.toContain('canary')
    expect(answer.headers['x-canary']).toBeUndefined()
    expect(JSON.stringify(http.records)).not.toContain('canary')
    expect(http.records.at(-1)).toMatchObject({ code: 'ERR_INTERNAL', errorType: 'TypeError' })
  })

  it('an answer that its schema does not allow is ERR_INTERNAL', async () => {
    http.answers.sealGetPin = () => ({}) as never
    const answer = await http.send('POST', '/v1/pin/get', VALID['/v1/pin/get'])
    expect(answer.json).toMatchObject({ code: 'ERR_INTERNAL' })
  })

  it('a rejected item of translate is ERR_PIN_BLOCK_INVALID', async () => {
    const { translatePinBlocks } = http.answers
    http.answers.translatePinBlocks = async (body) => ({ ...(await translatePinBlocks(body)), rejected: [0] })
    const answer = await http.send('POST', '/v1/pin-blocks/translate', TRANSLATE)
    http.answers.translatePinBlocks = translatePinBlocks
    expect(answer.json).toMatchObject({ code: 'ERR_PIN_BLOCK_INVALID', status: 422 })
    expect(answer.text).not.toContain('pinBlock')
  })
})
