/**
 * What the e2e tests know and the service does not tell: the values of the development keys. With them node:crypto makes and
 * opens PIN blocks from outside, and test/unit/pin/pin-block-oracle.ts, naive and of strings, reads them.
 */
import { createCipheriv, createDecipheriv, randomBytes, randomInt } from 'node:crypto'
import { expect } from 'vitest'
import { ERROR_TITLES, type ErrorCode } from '../../../src/errors.ts'
import { seccosPayload, type PinChange, type SharedKeys } from '../../d1/simulator.ts'
import type { NodeJwk } from '../../support/node-jwe.ts'
import {
  makeSetUp,
  startService,
  temporaryFolder,
  type Answer,
  type CallOptions,
  type Service,
} from '../../support/service.ts'
import type { TestToken } from '../../support/tokens.ts'
import { oracleDecode, oracleEncode, type OracleFormat } from '../../unit/pin/pin-block-oracle.ts'

/** A running service, seen by someone who holds every key value. */
export interface Issuer {
  readonly service: Service
  /** The values of the symmetric development keys by id, hex. */
  readonly keys: Readonly<Record<string, string>>
  readonly shared: SharedKeys
  readonly jwk: (kid: 'jwe-ec' | 'jwe-rsa') => NodeJwk & { kty: string; kid: string; alg: string }
  readonly recipient: { readonly kid: string; readonly privateJwk: any }
  readonly post: (path: string, body: unknown, options?: CallOptions) => Promise<Answer>
  /** A PIN block under a zone key, hex. */
  readonly block: (key: string, format: OracleFormat, pin: string, pan: string) => string
  /** Enciphers 8 clear bytes as they are, hex. */
  readonly encipher: (key: string, clear: string) => string
  /** The PIN in a block under a zone key; undefined if it is not a block of that format. */
  readonly pinOf: (key: string, format: OracleFormat, block: string, pan: string) => string | undefined
  readonly seccos: (change: PinChange) => { pinBlock: string; prw: string; mac: string }
  readonly close: () => Promise<void>
}

/** D1's example of a PIN change. */
export const CHANGE = { counter: '0003', transactionId: '21430919092023091909' } as const

/** Where a pin/set puts the PIN. */
export const TO = { key: 'zpk-out', format: 'ISO-0' } as const

/** Makes a set-up in a temporary folder, with the keys in `token` or else in a SoftHSM token, and starts the service on it. */
export async function openIssuer(edit?: (config: any) => void, token?: TestToken): Promise<Issuer> {
  const folder = temporaryFolder()
  const { setUp, service } = await start(folder.path, edit, token).catch((error: unknown) => {
    folder.dispose()
    throw error
  })
  const keys = Object.fromEntries(setUp.keys.flatMap(({ id, value }) => (value === undefined ? [] : [[id, value]])))
  const value = (id: string) => {
    const hex = keys[id]
    if (hex === undefined) throw new Error(`the set-up printed no value for ${id}`)
    return Buffer.from(hex, 'hex')
  }
  const jwks: any[] = (await service.call('GET', '/v1/jwks')).json.keys
  const shared = { seccosPin: keys['seccos-pin']!, prw: keys['prw']!, pinMac: keys['pin-mac']! }
  const encipher = (key: string, clear: string) => tdea(createCipheriv, value(key), clear)
  return {
    service,
    keys,
    shared,
    jwk: (kid) => jwks.find((jwk) => jwk.kid === kid),
    recipient: setUp.recipients[0]!,
    post: (path, body, options) => service.call('POST', path, body, options),
    encipher,
    block: (key, format, pin, pan) => encipher(key, clearBlock(format, pin, pan)),
    pinOf: (key, format, block, pan) => oracleDecode(format, tdea(createDecipheriv, value(key), block), pan),
    seccos: (change) => seccosPayload(change, shared),
    close: async () => {
      await service.stop()
      folder.dispose()
    },
  }
}

async function start(folder: string, edit?: (config: any) => void, token?: TestToken) {
  const setUp = await makeSetUp(folder, edit, token)
  return { setUp, service: await startService(setUp) }
}

/** A clear PIN block, hex; random fill where the format has it. */
export function clearBlock(format: OracleFormat, pin: string, pan: string): string {
  const filler = [...randomBytes(14)].map(
    (byte) => ({ 'ISO-1': byte & 15, 'ISO-3': 10 + (byte % 6) })[format as string] ?? 15,
  )
  return oracleEncode(format, pin, pan, filler.map((nibble) => nibble.toString(16)).join(''))
}

/** A card that no other test uses, so that no limit of one test meets another. */
export function newPan(digits = 16): string {
  return String(randomInt(1, 10)) + newPin(digits - 1)
}

/** So many random decimal digits. */
export function newPin(digits = 4): string {
  return Array.from({ length: digits }, () => randomInt(10)).join('')
}

/** The payload of an ISO0 pin/set as JSON text. */
export function iso0(pin: string, pan: string): string {
  return JSON.stringify({ pinBlock: clearBlock('ISO-0', pin, pan) })
}

/** Expects a problem of exactly this status, code and constant text, and returns its bytes without the request id. */
export function expectProblem(answer: Answer, status: number, code: ErrorCode): string {
  expect({ status: answer.status, code: answer.json?.code }).toEqual({ status, code })
  const type = `urn:pinbridge:problem:${code.slice(4).toLowerCase().replaceAll('_', '-')}`
  const requestId = expect.stringMatching(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  expect(answer.json).toEqual({ type, title: ERROR_TITLES[code], status, code, requestId })
  expect(answer.headers['content-type']).toBe('application/problem+json')
  return answer.text.replace(answer.json.requestId, '')
}

/** Expects that all answers are byte for byte one, headers included, apart from the request id and the date. */
export function expectOneAnswer(answers: readonly Answer[], status: number, code: ErrorCode): void {
  expect(answers.length).toBeGreaterThan(1)
  const seen = answers.map((answer) => {
    const { date: _date, ...headers } = answer.headers
    return JSON.stringify([answer.status, headers, expectProblem(answer, status, code)])
  })
  expect([...new Set(seen)]).toEqual(seen.slice(0, 1))
}

/** The processes of a service that are alive, and the ones its ready line named. */
export function expectSameProcesses({ ready }: Service): void {
  for (const pid of [ready.pid, ready.gateway, ...ready.vaults]) expect(() => process.kill(pid, 0)).not.toThrow()
}

function tdea(create: typeof createCipheriv | typeof createDecipheriv, key: Buffer, blockHex: string): string {
  const cipher = create(key.length === 16 ? 'des-ede-ecb' : 'des-ede3', key, null).setAutoPadding(false)
  return Buffer.concat([cipher.update(Buffer.from(blockHex, 'hex')), cipher.final()])
    .toString('hex')
    .toUpperCase()
}
