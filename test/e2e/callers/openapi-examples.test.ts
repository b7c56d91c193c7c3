/**
 * The examples of the OpenAPI document, sent to a service that runs: carried out as they stand, but for the values that a key makes, and
 * answered in the form of the example.
 */
import { afterAll, beforeAll, expect, it } from 'vitest'
import * as madeUp from '../../../src/gateway/document/example.ts'
import { sealEc } from '../../support/node-jwe.ts'
import { pinbridge } from '../../support/service.ts'
import { CHANGE, iso0, openIssuer, type Issuer } from '../routes/issuer.ts'

const PIN = '4821'
const { pan, panSequenceNumber } = madeUp.FULL_CARD

let issuer: Issuer
let document: any
/** What stands for each made-up value in a request, by operation; a function asks the service for it. */
let real: Readonly<Record<string, Readonly<Record<string, string>>>>
beforeAll(async () => {
  issuer = await openIssuer()
  document = (await issuer.service.manage('/openapi.json')).json
  real = await realValues()
})
afterAll(() => issuer?.close())

interface Sent {
  readonly path: string
  readonly method: string
  readonly name: string
  readonly request: any
  readonly answer: any
}

/** Every example, with its request and its answer. */
function examples(): Sent[] {
  return Object.entries<any>(document.paths).flatMap(([path, item]) =>
    Object.entries<any>(item).flatMap(([method, { requestBody, responses }]) => {
      const requests: any = requestBody?.content['application/json'].examples
      const answers = Object.entries<any>(Object.values<any>(responses[200].content)[0].examples)
      return answers.map(([name, { value: answer }]) => ({
        path,
        method: method.toUpperCase(),
        name,
        request: requests?.[name].value,
        answer,
      }))
    }),
  )
}

const exampleOf = (path: string, name: string) => examples().find((each) => each.path === path && each.name === name)!

/** A request with real values in place of made-up ones. */
function filled(request: object, values: Readonly<Record<string, string>>): object {
  const text = Object.entries(values).reduce((json, [from, to]) => json.replaceAll(from, to), JSON.stringify(request))
  return JSON.parse(text) as object
}

async function realValues(): Promise<typeof real> {
  const block = issuer.block('zpk-in', 'ISO-0', PIN, pan)
  const translated = await issuer.post(
    '/v1/pin-blocks/translate',
    filled(exampleOf('/v1/pin-blocks/translate', 'toIso4').request, { [madeUp.BLOCK]: block }),
  )
  const aesBlock: string = translated.json.pinBlock
  // The longer ones first, because they begin as the shorter ones do.
  const blocks = {
    [madeUp.AES_BLOCK]: aesBlock,
    [madeUp.BLOCK]: block,
    [madeUp.OTHER_BLOCK]: issuer.encipher('zpk-in', 'FF'.repeat(8)),
  }
  const made = async (path: string, name: string) =>
    (await issuer.post(path, filled(exampleOf(path, name).request, blocks))).json
  const aesPrw = await made('/v1/prw/generate', 'dkAes')
  const prws = {
    [madeUp.AES_PRW]: aesPrw.prw,
    [madeUp.PRW]: (await made('/v1/prw/generate', 'seccos')).prw,
    [madeUp.RANDOM_NUMBER]: aesPrw.randomNumber,
  }
  const { stdout } = await pinbridge(['keys', 'public', 'jwe-open', '--config', issuer.service.setUp.config])
  const toSet = (payload: string) => ({ [madeUp.jweFor('jwe-ec')]: sealEc(payload, issuer.jwk('jwe-ec')).compact })
  const seccos = issuer.seccos({ pan, panSequenceNumber, pin: PIN, ...CHANGE })
  return {
    '/v1/pin/set': toSet(iso0(PIN, pan)),
    '/v1/pin/set seccos': toSet(JSON.stringify(seccos)),
    '/v1/prw/verify': { ...blocks, ...prws },
    '/v1/mac/verify dkAes': { ...blocks, [madeUp.MAC]: (await made('/v1/mac/generate', 'dkAes')).mac },
    '/v1/mac/verify': { ...blocks, [madeUp.MAC]: (await made('/v1/mac/generate', 'seccos')).mac },
    '/v1/jwe/open': {
      [madeUp.jweFor('jwe-open')]: sealEc(JSON.stringify({ pan, exp: '0631' }), JSON.parse(stdout)).compact,
    },
    blocks,
  }
}

/** What an answer looks like: names, words and lengths as they are, without the values that a key or a clock makes. */
function formOf(value: unknown): unknown {
  if (typeof value === 'number') return 'a number'
  if (typeof value === 'string') {
    return value
      .replaceAll(/eyJ[\w-]*(?:\.[\w-]*)+/g, (compact) => `${compact.split('.').length} parts`)
      .replaceAll(/(?<![\w-])[\w-]{43}(?![\w-])/g, '32 bytes')
      .replaceAll(/(?<![\w-])(?:[0-9A-F]{2}){3,16}(?![\w-])/g, (hex) => `${hex.length} digits`)
  }
  if (Array.isArray(value)) return value.map(formOf)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).map(([name, member]) => [name, formOf(member)] as const)
  return Object.fromEntries(members.sort(([a], [b]) => a.localeCompare(b)))
}

it('are carried out, and answered in the form that the document shows', async () => {
  const all = examples()
  expect(all.length).toBeGreaterThan(20)
  for (const { path, method, name, request, answer } of all) {
    const values = real[`${path} ${name}`] ?? real[path] ?? real['blocks']!
    const got = await issuer.service.call(method, path, request && filled(request, values))
    expect({ path, name, status: got.status, code: got.json?.code }).toEqual({ path, name, status: 200 })
    if (method !== 'GET') {
      expect({ path, name, answer: formOf(got.json) }).toEqual({ path, name, answer: formOf(answer) })
      continue
    }
    // The keys of the example are among those of the service.
    const id = path === '/v1/jwks' ? 'kid' : 'id'
    for (const key of answer.keys) {
      expect(formOf(got.json.keys.find((each: any) => each[id] === key[id])), key[id]).toMatchObject(
        formOf(key) as object,
      )
    }
  }
})

it('hold nothing but what is made up: as they stand, no key makes anything of them', async () => {
  for (const [path, name, code] of [
    ['/v1/pin/set', 'iso0', 'ERR_JWE_INVALID'],
    ['/v1/pin/get', 'iso0', 'ERR_PIN_BLOCK_INVALID'],
    ['/v1/jwe/open', 'card', 'ERR_JWE_INVALID'],
  ] as const) {
    const got = await issuer.post(path, exampleOf(path, name).request)
    expect(got.json.code, path).toBe(code)
  }
})
