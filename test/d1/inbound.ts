/**
 * Thales D1's inbound side, as an issuer calls it to register consumers and cards: the token endpoint of RFC 7523, and two PUTs
 * under the patterns that D1 publishes. Assertions and JWEs are checked with jose; what came is kept, so that a test can look at it.
 *
 * Assumed, since the public pages do not show it: the names of the bodies' members (`encryptedData`, `cards`), and the wording of errors.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { compactDecrypt, importJWK, jwtVerify, type JWK } from 'jose'

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
const MOST_ASSERTION_S = 15 * 60
const ACCESS_TOKEN_S = 15 * 60
const MOST_BODY_BYTES = 64 * 1024

const CONSUMER_ID = /^[A-Za-z0-9_-]{1,64}$/
const CARD_ID = /^[A-Za-z0-9_-]{1,48}$/
const CORRELATION_ID = /^[a-zA-Z0-9_\-. ]{1,64}$/
const PAN = /^[1-9][0-9]{11,18}$/
const EXP_MMYY = /^(?:0[1-9]|1[0-2])[0-9]{2}$/

/** What was agreed with an issuer when it was onboarded. */
export interface Onboarded {
  readonly issuerId: string
  /** The public keys that its assertions are verified with; each has a kid. */
  readonly assertionKeys: JWK[]
  /** The private key of what the issuer seals data to; it has a kid. */
  readonly dataKey: JWK
  /** The `aud` of its assertions, if one was agreed. */
  readonly audience?: string
}

/** A consumer as D1 knows it after a registration. */
export interface RegisteredConsumer {
  personalInformation?: unknown
  readonly cards: Map<string, { readonly pan: string; readonly exp: string }>
}

/** A running D1. */
export interface D1Inbound {
  readonly url: string
  readonly consumers: ReadonlyMap<string, RegisteredConsumer>
  /** Moves its clock on. */
  readonly later: (seconds: number) => void
  /** Answers the next request 500. */
  readonly failOnce: () => void
  readonly close: () => Promise<void>
}

/** An answer that D1 refuses with; its members are those of D1's errorGeneric. */
class Refusal extends Error {
  readonly status: number
  readonly body: { readonly errorCode: string; readonly error: string }

  constructor(status: 400 | 401 | 404 | 500, errorCode: string, error: string) {
    super(error)
    this.status = status
    this.body = { errorCode, error }
  }
}

const badRequest = (error: string) => new Refusal(400, 'BAD_REQUEST', error)
const unauthorized = () => new Refusal(401, 'UNAUTHORIZED', 'The authorization is missing or invalid')

/** Starts D1 on a free port of the loopback interface. */
export async function startD1Inbound({ issuerId, assertionKeys, dataKey, audience }: Onboarded): Promise<D1Inbound> {
  const consumers = new Map<string, RegisteredConsumer>()
  const accessTokens = new Map<string, number>()
  const usedJtis = new Set<unknown>()
  let ahead = 0
  let fails = false
  const nowS = () => Date.now() / 1000 + ahead

  async function giveToken(request: IncomingMessage): Promise<object> {
    const form = new URLSearchParams(await textOf(request))
    if (form.get('grant_type') !== GRANT_TYPE) throw badRequest('grant_type')
    const assertion = form.get('assertion')
    if (assertion === null) throw badRequest('assertion')
    const { payload } = await jwtVerify(
      assertion,
      ({ kid }) => {
        const key = assertionKeys.find((each) => kid !== undefined && each.kid === kid)
        if (key === undefined) throw new Error('unknown kid')
        return importJWK(key, 'ES256')
      },
      {
        algorithms: ['ES256'],
        issuer: issuerId,
        subject: issuerId,
        ...(audience !== undefined && { audience }),
        requiredClaims: ['exp', 'iat', 'jti'],
        currentDate: new Date(nowS() * 1000),
      },
    ).catch(() => {
      throw unauthorized()
    })
    if (payload.exp! > nowS() + MOST_ASSERTION_S || usedJtis.has(payload.jti)) throw unauthorized()
    usedJtis.add(payload.jti)
    const token = randomBytes(32).toString('base64url')
    accessTokens.set(token, nowS() + ACCESS_TOKEN_S)
    return { access_token: token, expires_in: String(ACCESS_TOKEN_S), scope: 'consumer', token_type: 'Bearer' }
  }

  function expectToken({ headers: { authorization } }: IncomingMessage): void {
    const [, token = ''] = /^Bearer (\S+)$/.exec(authorization ?? '') ?? []
    if (!((accessTokens.get(token) ?? 0) > nowS())) throw unauthorized()
  }

  async function opened(jwe: unknown): Promise<Record<string, unknown>> {
    if (typeof jwe !== 'string') throw badRequest('encryptedData')
    try {
      const { plaintext, protectedHeader } = await compactDecrypt(jwe, await importJWK(dataKey, 'ECDH-ES'), {
        keyManagementAlgorithms: ['ECDH-ES'],
        contentEncryptionAlgorithms: ['A256GCM'],
      })
      if (protectedHeader.kid !== dataKey.kid) throw new Error('another kid')
      return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext)) as Record<string, unknown>
    } catch {
      throw badRequest('encryptedData')
    }
  }

  async function registerConsumer(consumerId: string, body: Record<string, unknown>): Promise<void> {
    const { encryptedData } = body
    const known: RegisteredConsumer = consumers.get(consumerId) ?? { cards: new Map() }
    if (encryptedData !== undefined) {
      const { personalInformation, ...strangers } = await opened(encryptedData)
      if (personalInformation === undefined || Object.keys(strangers).length > 0) throw badRequest('encryptedData')
      known.personalInformation = personalInformation
    }
    consumers.set(consumerId, known)
  }

  async function registerCards(consumerId: string, { cards }: Record<string, unknown>): Promise<void> {
    if (!Array.isArray(cards) || cards.length === 0) throw badRequest('cards')
    const made: [string, { pan: string; exp: string }][] = []
    for (const { cardId, encryptedData } of cards as Record<string, unknown>[]) {
      if (typeof cardId !== 'string' || !CARD_ID.test(cardId)) throw badRequest('cardId')
      const { pan, exp, ...strangers } = await opened(encryptedData)
      if (typeof pan !== 'string' || !PAN.test(pan) || typeof exp !== 'string' || !EXP_MMYY.test(exp)) {
        throw badRequest('encryptedData')
      }
      if (Object.keys(strangers).length > 0) throw badRequest('encryptedData')
      made.push([cardId, { pan, exp }])
    }
    const known = consumers.get(consumerId) ?? { cards: new Map() }
    for (const [cardId, card] of made) known.cards.set(cardId, card)
    consumers.set(consumerId, known)
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '', 'http://d1').pathname
    const correlationId = request.headers['x-correlation-id']
    if (typeof correlationId === 'string' && !CORRELATION_ID.test(correlationId)) throw badRequest('x-correlation-id')
    if (fails) {
      fails = false
      throw new Refusal(500, 'INTERNAL_ERROR', 'Internal error')
    }
    if (request.method === 'POST' && path === '/oauth2/token') {
      const token = await giveToken(request)
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(token))
      return
    }
    const [, issuer, consumerId, cards] = /^\/issuers\/([^/]*)\/consumers\/([^/]*)(\/cards)?$/.exec(path) ?? []
    if (request.method !== 'PUT' || issuer === undefined || consumerId === undefined) {
      throw new Refusal(404, 'NOT_FOUND', 'There is no such resource')
    }
    expectToken(request)
    if (issuer.length !== 10) throw badRequest('issuerId')
    if (issuer !== issuerId) throw new Refusal(404, 'NOT_FOUND', 'There is no such issuer')
    if (!CONSUMER_ID.test(consumerId)) throw badRequest('consumerId')
    const body = jsonOf(await textOf(request))
    await (cards === undefined ? registerConsumer(consumerId, body) : registerCards(consumerId, body))
    response.writeHead(204).end()
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      const { status, body } =
        error instanceof Refusal ? error : new Refusal(500, 'INTERNAL_ERROR', 'the simulator failed')
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    consumers,
    later: (seconds) => void (ahead += seconds),
    failOnce: () => void (fails = true),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > MOST_BODY_BYTES) throw badRequest('body')
  }
  return text
}

function jsonOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = text === '' ? {} : JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // It is refused as any other body that is no object.
  }
  throw badRequest('body')
}
