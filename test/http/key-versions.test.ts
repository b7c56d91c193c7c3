import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ServiceError } from '../../src/errors.ts'
import { start, testConfig, VALID, type Harness } from './harness.ts'

let http: Harness
beforeEach(async () => {
  http = await start({ guesses: { perPinBlock: 2 } })
})
afterEach(() => http.close())

const ZPK_IN = testConfig().keys.find(({ id }) => id === 'zpk-in')!
const OLD = { ...ZPK_IN, version: 1, state: 'retiring', kcv: '0a0a0a' } as const
const NEW = { ...ZPK_IN, version: 2, kcv: '0b0b0b' } as const
/** Puts another catalogue in the place of the one in use, as a reload does. */
const replaceKeys = (...keys: (typeof ZPK_IN)[]) => {
  const { keys: all, ...rest } = testConfig()
  http.keys.replace({ ...rest, keys: [...all.filter(({ id }) => id !== 'zpk-in'), ...keys] })
}
const versioned = (path: keyof typeof VALID, version: unknown, member: 'from' | 'to' = 'from') => {
  const body = VALID[path] as Record<string, any>
  return { ...body, [member]: { ...body[member], version } }
}

const WITH_ZONES = [
  ['/v1/pin/set', 'to'],
  ['/v1/pin/get', 'from'],
  ['/v1/pin-blocks/translate', 'from'],
  ['/v1/pin-blocks/translate', 'to'],
  ['/v1/pin-blocks/translate-batch', 'from'],
  ['/v1/prw/generate', 'from'],
  ['/v1/prw/verify', 'from'],
] as const

describe('the version of a zone', () => {
  it.each(WITH_ZONES)('goes to the vault as it was given: %s, %s', async (path, member) => {
    expect((await http.send('POST', path, versioned(path, 2, member))).status).toBe(200)
    expect((await http.send('POST', path, VALID[path])).status).toBe(200)
    const [named, unnamed] = http.calls.map(({ body }) => body[member])
    expect(named).toEqual({ ...(VALID[path] as any)[member], version: 2 })
    expect(unnamed).toEqual((VALID[path] as any)[member])
  })

  it.each(WITH_ZONES)('is a whole number from 1 to 9999: %s, %s', async (path, member) => {
    for (const version of [0, -1, 1.5, 10_000, '2', null, [2]]) {
      const { status, json } = await http.send('POST', path, versioned(path, version, member))
      expect([version, status, json['code']]).toEqual([version, 400, 'ERR_REQUEST_INVALID'])
    }
    expect(http.calls).toEqual([])
  })

  it('needs no grant of its own, and a key without a grant is refused in every version', async () => {
    const path = '/v1/pin-blocks/translate'
    const narrow = { client: 'narrow' } as const
    expect((await http.send('POST', path, versioned(path, 7), narrow)).status).toBe(200)
    const aes = { ...VALID[path], from: { key: 'spare', format: 'ISO-0', version: 1 } }
    expect(await http.send('POST', path, aes, narrow)).toMatchObject({ status: 403 })
  })

  it('that the vault refuses is answered as a key that there is not', async () => {
    http.answers.translatePinBlocks = ({ from }) => {
      throw new ServiceError(from.version === 9 ? 'ERR_KEY_USE_FORBIDDEN' : 'ERR_INTERNAL')
    }
    const path = '/v1/pin-blocks/translate'
    const unknown = { ...VALID[path], from: { key: 'no-such-key', format: 'ISO-0' } }
    const answers = [await http.send('POST', path, versioned(path, 9)), await http.send('POST', path, unknown)]
    const texts = answers.map(({ status, text, json }) => [status, text.replace(String(json['requestId']), '')])
    expect(texts[0]).toEqual(texts[1])
    expect(texts[0]![0]).toBe(403)
  })

  it('is no budget of its own: what is guessed of a block counts for the block under its key', async () => {
    http.answers.verifyPrw = () => ({ verified: false })
    const path = '/v1/prw/verify'
    const statuses: number[] = []
    for (const version of [undefined, 1, 2, 3]) {
      const body = version === undefined ? VALID[path] : versioned(path, version)
      statuses.push((await http.send('POST', path, body)).status)
    }
    expect(statuses).toEqual([200, 200, 429, 429])
  })

  it('stands in the request record, with the KCV of that version, if the catalogue knows it', async () => {
    replaceKeys(OLD, NEW)
    const path = '/v1/pin-blocks/translate'
    for (const body of [VALID[path], versioned(path, 1), versioned(path, 2), versioned(path, 3)]) {
      await http.send('POST', path, body)
    }
    const records = await http.requestRecords(4)
    const zpkOut = { id: 'zpk-out', version: 1, kcv: 'B2B2B2' }
    const of = (version: number, kcv: string) => [{ id: 'zpk-in', version, kcv }, zpkOut]
    expect(records.map(({ keys }) => keys)).toEqual([of(2, '0B0B0B'), of(1, '0A0A0A'), of(2, '0B0B0B'), [zpkOut]])
  })
})

describe('keys that are used', () => {
  it('stand in no answer beside the one that made it', async () => {
    const ref = { id: 'prw', version: 2, kcv: 'D4D4D4' }
    const verified = { verified: true, usedKeys: [ref] }
    http.answers.verifyPrw = () => verified
    http.answers.verifyMac = () => verified
    for (const path of ['/v1/prw/verify', '/v1/mac/verify'] as const) {
      expect((await http.send('POST', path, VALID[path])).json).toEqual({ verified: true })
    }
    const { generatePrw } = http.answers
    http.answers.generatePrw = async (body) => ({ ...(await generatePrw(body)), usedKeys: [ref] })
    expect((await http.send('POST', '/v1/prw/generate', VALID['/v1/prw/generate'])).json).not.toHaveProperty('usedKeys')
  })
})

describe('a catalogue that is replaced', () => {
  const jwe = (version: number, state: 'pending' | 'active' | 'retiring' | 'retired') =>
    ({ ...testConfig().keys[0]!, id: 'gone', version, state }) as const

  it('is what GET /v1/keys shows from then on', async () => {
    replaceKeys(OLD, NEW)
    const keys = (await http.send('GET', '/v1/keys')).json['keys'] as { id: string }[]
    expect(keys.filter(({ id }) => id === 'zpk-in')).toEqual([OLD, NEW])
  })

  it('says which JWE keys a pin/set may open, each once however many versions it has', async () => {
    replaceKeys(jwe(1, 'retiring'), jwe(2, 'active'), jwe(3, 'pending'))
    await http.send('POST', '/v1/pin/set', VALID['/v1/pin/set'])
    replaceKeys(jwe(1, 'retired'))
    await http.send('POST', '/v1/pin/set', VALID['/v1/pin/set'])
    expect(http.calls.map(({ body }) => body['jweKeys'])).toEqual([['jwe-ec', 'gone'], ['jwe-ec']])
  })

  it('says which types pin/set takes, in the document too', async () => {
    const { keys } = testConfig()
    http.keys.replace({ keys, counterOnceKeys: [], setPinTypes: ['NEW'] })
    const set = async (type: string) =>
      (await http.send('POST', '/v1/pin/set', { ...VALID['/v1/pin/set'], type })).status
    expect([await set('ISO0'), await set('NEW')]).toEqual([400, 200])
    const document: any = await (await fetch(`${http.managementUrl}/openapi.json`)).json()
    const { schema } = document.paths['/v1/pin/set'].post.requestBody.content['application/json']
    expect(schema.properties.type).toMatchObject({ type: 'string', enum: ['NEW'] })
  })

  it('says which keys a change counter is used up by', async () => {
    const set = async (transactionId: string) => {
      const body = { ...VALID['/v1/pin/set'], change: { counter: '0001', transactionId } }
      return (await http.send('POST', '/v1/pin/set', body)).status
    }
    expect([await set('a'), await set('b')]).toEqual([200, 200])
    const { keys, setPinTypes } = testConfig()
    http.keys.replace({ keys, setPinTypes, counterOnceKeys: ['jwe-ec'] })
    expect([await set('a'), await set('b')]).toEqual([200, 409])
  })
})
