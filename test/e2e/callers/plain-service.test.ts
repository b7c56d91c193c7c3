/**
 * What the benchmark compares does the same work: the plain service answers the benchmark's requests as pinbridge does, and so do
 * the libraries that are given the keys' values.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { Agent, request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createOperations, FROM, TO, type HttpOperationId } from '../../../scripts/benchmark/operations.ts'
import { LEFT_OUT, type SoftwareId } from '../../../scripts/benchmark/software-holders.ts'
import { prepareWork } from '../../../scripts/benchmark/software-work.ts'
import { OPERATIONS } from '../../../scripts/benchmark/results.ts'
import { openEc } from '../../support/node-jwe.ts'
import { newPan, openIssuer, type Issuer } from '../routes/issuer.ts'

const NODE = new URL('../../../node_modules/.bin/node', import.meta.url).pathname
const PLAIN_SERVICE = new URL('../../../scripts/benchmark/plain-service.ts', import.meta.url).pathname

let issuer: Issuer
let plain: { readonly process: ChildProcess; readonly url: string; readonly agent: Agent }

beforeAll(async () => {
  issuer = await openIssuer()
  const { config, ca, clients } = issuer.service.setUp
  const child = spawn(NODE, [PLAIN_SERVICE, config], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(createInterface(child.stdout), 'line')
  const { url, pid } = JSON.parse(String(line))
  expect(pid).toBe(child.pid)
  const { cert, key } = clients.find(({ id }) => id === 'cms-adapter')!
  const connect = { ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) }
  plain = { process: child, url, agent: new Agent({ connect }) }
})

afterAll(async () => {
  plain?.process.kill()
  await plain?.agent.destroy()
  await issuer?.close()
})

async function askPlain(path: string, body: string, dispatcher: Agent = plain.agent) {
  const headers = { 'content-type': 'application/json' }
  const answer = await request(`${plain.url}${path}`, { dispatcher, method: 'POST', headers, body })
  return { status: answer.statusCode, text: await answer.body.text() }
}

/** What both answer; statuses and texts may differ in nothing but what is random in a JWE. */
async function askBoth(path: string, body: string) {
  const [ours, its] = await Promise.all([issuer.post(path, body), askPlain(path, body)])
  expect(its.status).toBe(ours.status)
  return { ours: ours.text, its: its.text }
}

function operations() {
  return createOperations(issuer.service.setUp, [issuer.jwk('jwe-ec'), issuer.jwk('jwe-rsa')])
}

describe('the plain service', () => {
  it.for<HttpOperationId>(['pin-set-ecdh', 'pin-set-rsa', 'translate', 'prw-verify'])(
    'answers %s as pinbridge does',
    async (operation) => {
      const { path, makeRequests } = operations()[operation]
      const { bodies, assertAnswer } = makeRequests(3)
      for (const [index, body] of bodies.entries()) {
        const { ours, its } = await askBoth(path, body)
        assertAnswer(index, its)
        expect(JSON.parse(its)).toEqual(JSON.parse(ours))
      }
    },
  )

  it('answers pin-get as pinbridge does', async () => {
    const { path, makeRequests } = operations()['pin-get']
    const { bodies, assertAnswer } = makeRequests(1)
    const { ours, its } = await askBoth(path, bodies[0]!)
    assertAnswer(0, its)
    const [our, other] = [ours, its].map((answer) => {
      const { header, payload } = openEc(JSON.parse(answer).encryptedPinBlock, issuer.recipient.privateJwk)
      const { epk, ...rest } = header
      return { ...rest, epk: Object.keys(epk).sort(), payload: payload.toString() }
    })
    expect(other).toEqual(our)
  })

  it('answers a batch as pinbridge does, with a row that is wrong', async () => {
    const rows = [1, 2, 3].map((id) => {
      const pan = newPan()
      return `${id},${pan},${issuer.block('zpk-in', 'ISO-0', '12345', id === 2 ? newPan() : pan)}\n`
    })
    const body = JSON.stringify({ from: FROM, to: TO, rows: `id,pan,pinBlock\n${rows.join('')}` })
    const { ours, its } = await askBoth('/v1/pin-blocks/translate-batch', body)
    expect(JSON.parse(ours).rows.match(/ERR_PIN_BLOCK_INVALID/g)).toHaveLength(1)
    expect(JSON.parse(its)).toEqual(JSON.parse(ours))
  })

  it('says no where pinbridge does', async () => {
    const all = operations()
    const [translation] = all.translate.makeRequests(1).bodies.map((body) => JSON.parse(body))
    const [verification] = all['prw-verify'].makeRequests(1).bodies.map((body) => JSON.parse(body))
    const [setting] = all['pin-set-rsa'].makeRequests(1).bodies.map((body) => JSON.parse(body))
    const spoilt = setting.encryptedPinBlock.replace(/.{8}$/, 'AAAAAAAA')
    const asked = [
      [all.translate.path, { ...translation, card: { pan: newPan() } }],
      [all.translate.path, { ...translation, card: { pan: Number(translation.card.pan) } }],
      [all['prw-verify'].path, { ...verification, prw: '0011223344556677' }],
      [all['pin-set-rsa'].path, { ...setting, encryptedPinBlock: spoilt }],
    ] as const
    const answers: unknown[] = []
    for (const [path, body] of asked) {
      const { ours, its } = await askBoth(path, JSON.stringify(body))
      const told = ({ code, verified }: any) => code ?? verified
      answers.push([told(JSON.parse(ours)), told(JSON.parse(its))])
    }
    expect(answers).toEqual([
      ['ERR_PIN_BLOCK_INVALID', 'ERR_PIN_BLOCK_INVALID'],
      ['ERR_REQUEST_INVALID', 'FST_ERR_VALIDATION'],
      [false, false],
      ['ERR_JWE_DECRYPTION_FAILED', 'ERR_JWE_DECRYPTION_FAILED'],
    ])
  })

  it('wants a client certificate', async () => {
    const stranger = new Agent({ connect: { ca: readFileSync(issuer.service.setUp.ca) } })
    await expect(askPlain('/v1/prw/verify', '{}', stranger)).rejects.toThrow()
    await stranger.destroy()
  })
})

describe.for<SoftwareId>(['node-crypto', 'node-forge'])('%s', (subject) => {
  it('gives the answers that pinbridge would', async () => {
    const done: string[] = []
    for (const operation of OPERATIONS) {
      if (LEFT_OUT[`${subject}:${operation}`] !== undefined || operation === 'batch') continue
      const { setUp } = issuer.service
      const work = prepareWork(subject, operation, 2, setUp, dirname(setUp.config))
      await work.run(1)
      work.check()
      done.push(operation)
    }
    const all = ['pin-set-ecdh', 'pin-set-rsa', 'pin-get', 'translate', 'migrate', 'prw-verify']
    expect(done).toEqual(subject === 'node-crypto' ? all : ['pin-set-rsa', 'translate', 'migrate', 'prw-verify'])
  })
})
