/**
 * A reference CMS adapter: Thales D1's PIN calls on one side, pinbridge on the other, the issuer's cards in between. Written to be
 * copied: README, "A CMS adapter in an afternoon", walks through it.
 *
 * Plain HTTP on loopback: D1 comes by mutual TLS to the bank's edge, which passes requests on to this process beside it.
 */
import { createHash, randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyReply } from 'fastify'
import { PinbridgeError, type PinbridgeClient } from '../../src/client/client.ts' // elsewhere 'pinbridge/client'
import { createAccessTokens, oauthRefusal, type TokenOptions } from './adapter/access-token.ts'
import type { Card, CardStore } from './adapter/card-store.ts'
import * as d1 from './adapter/d1-contract.ts'

/** What the bank gives the adapter. */
export interface CmsAdapterOptions extends TokenOptions {
  readonly pinbridge: Pick<PinbridgeClient, 'getPin' | 'setPin'>
  readonly store: CardStore
  /** The zone key and the format of PIN blocks that are kept, and the key of their PRWs. */
  readonly zone: { readonly key: string; readonly format: 'ISO-0' | 'ISO-3' | 'ISO-4' }
  readonly prwKey: string
  /** The kid of D1's public key, which PINs are sealed to. */
  readonly recipient: string
  /** Is given a record of each refusal, so that D1's correlation id leads to pinbridge's code and request id. */
  readonly log: (record: object) => void
}

interface CardCall {
  Params: { issuerId: string; cardId: string }
  Headers: { [d1.CHANGE_ID_HEADER]?: string }
  Body: { type: string; encryptedPinBlock: string }
}

const FORM = 'application/x-www-form-urlencoded'
const TOKEN_PATH = '/oauth2/token'
const BAD_REQUEST = 'HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n'
const PIN_PATH = '/cms/api/v1/issuers/:issuerId/cards/:cardId/pin'

/** Starts the adapter on a port of the loopback interface, any free one unless told. */
export async function startCmsAdapter(options: CmsAdapterOptions, port = 0) {
  const { pinbridge, store, zone, prwKey, recipient, log } = options
  const tokens = createAccessTokens(options)

  const activeCard = ({ issuerId, cardId }: CardCall['Params']): Card => {
    const card = store.findCard(issuerId, cardId)
    if (card?.state === 'ACTIVE') return card
    throw d1.refusal(card === undefined ? 'NOT_FOUND' : 'CARD_NOT_ACTIVE')
  }

  /** Asks for the change that a card was sent, and keeps the PIN. However often, it is the same request, which pinbridge answers again. */
  const carryOut = async (card: Card, correlationId: string, isFirst = false) => {
    const { pan, panSequenceNumber, changeCounter, changeId: transactionId, type, encryptedPinBlock } = card
    const change = { counter: d1.digits(changeCounter), transactionId }
    const asked = { type, encryptedPinBlock: encryptedPinBlock!, card: { pan, panSequenceNumber }, change }
    try {
      store.accept(card, await pinbridge.setPin({ ...asked, to: zone, issue: { prw: prwKey } }, { correlationId }))
    } catch (error) {
      // Only a 4xx says that nothing came of it, and 401, 403 and 429 say it of no earlier try. Else it stays noted: the counter may be used up.
      const { status = 500, mayHaveHappened = false } = error as Partial<PinbridgeError>
      const isOurs = error instanceof PinbridgeError && d1.refusalOf(error.code, 'PUT').status === 500
      if (status < 500 && !mayHaveHappened && (isFirst || !isOurs)) store.giveUp(card)
      throw error
    }
  }

  /** The card for a change that begins: one whose outcome was lost is carried out first, since its counter may be used up. */
  const settled = async (call: CardCall['Params'], correlationId: string, changeId?: string): Promise<Card> => {
    const card = activeCard(call)
    if (card.encryptedPinBlock === null || card.changeId === changeId) return card
    await carryOut(card, correlationId).catch((error: unknown) => {
      if (activeCard(call).encryptedPinBlock !== null) throw error
    })
    return activeCard(call)
  }

  const malformed = d1.refusal('FIELD_INVALID_FORMAT')
  const refuse = ({ status, body, challenge }: d1.Refusal, reply: FastifyReply) =>
    reply
      .headers(status === 401 ? { 'www-authenticate': challenge } : {})
      .code(status)
      .send(body)
  const app = Fastify({
    bodyLimit: 16 * 1024,
    requestTimeout: 10_000,
    return503OnClosing: false, // D1 knows no 503: what still comes on an open connection is answered.
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 1024 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false } },
    // D1's correlation id, or one of ours; what has not its form is refused below, and never repeated.
    genReqId: ({ headers }) => {
      const given = headers[d1.CORRELATION_ID_HEADER]
      return typeof given === 'string' && d1.CORRELATION_ID.test(given) ? given : randomUUID()
    },
    // What is no HTTP, came too slowly, or has a URL or headers that cannot be read: D1 knows no 408 or 431.
    clientErrorHandler: (_error, socket) => void socket.end(BAD_REQUEST + JSON.stringify(malformed.body)),
    frameworkErrors: (_, { id }, reply) => void refuse(malformed, reply.header(d1.CORRELATION_ID_HEADER, id)),
  })

  /** Every error becomes one that D1 knows, here and nowhere else; Fastify's 405, 413 and 415 are 400. */
  app.setErrorHandler((error: Error & { code?: string; requestId?: string; statusCode?: number }, request, reply) => {
    const { id: correlationId, method, routeOptions } = request
    const ofRequest = routeOptions.url === TOKEN_PATH ? oauthRefusal('invalid_request') : malformed
    let refusal = (error.statusCode ?? 500) < 500 ? ofRequest : d1.refusal('INTERNAL_ERROR')
    if (error instanceof PinbridgeError) refusal = d1.refusalOf(error.code, method)
    if (error instanceof d1.Refusal) refusal = error
    const { code: cause = error.name, requestId } = error
    log({ correlationId, method, route: routeOptions.url, status: refusal.status, ...refusal.body, cause, requestId })
    return refuse(refusal, reply)
  })
  app.setNotFoundHandler((_request, reply) => refuse(d1.refusal('NOT_FOUND'), reply))
  app.addContentTypeParser(FORM, { parseAs: 'string' }, async (_: unknown, body: string) => new URLSearchParams(body))
  app.addHook('onRequest', async ({ headers, id, routeOptions }, reply) => {
    reply.headers({ [d1.CORRELATION_ID_HEADER]: id, 'cache-control': 'no-store' })
    if (routeOptions.url !== TOKEN_PATH) await tokens.check(headers.authorization)
    if ((headers[d1.CORRELATION_ID_HEADER] ?? id) !== id) throw malformed
  })

  app.post(TOKEN_PATH, ({ headers, body }) => tokens.issue(headers.authorization, body))

  app.get<CardCall>(PIN_PATH, { schema: d1.cardSchema }, async ({ params, id: correlationId }) => {
    const { pan, pinBlock, format, keyId: key, keyVersion: version } = activeCard(params)
    if (pinBlock === null) throw d1.refusal('NOT_FOUND')
    const asked = { pinBlock, from: { key, format, version }, card: { pan }, recipient }
    return d1.encryptedPin((await pinbridge.getPin(asked, { correlationId })).encryptedPinBlock)
  })

  app.get<CardCall>(`${PIN_PATH}/changeCounter`, { schema: d1.cardSchema }, async ({ params, headers, id }) => {
    const card = await settled(params, id)
    const changeId = headers[d1.CHANGE_ID_HEADER] ?? d1.newChangeId()
    return d1.toldCounter(d1.digits(store.tell(card.id, changeId).changeCounter), changeId)
  })

  app.put<CardCall>(PIN_PATH, { schema: { ...d1.cardSchema, body: d1.setPinBody } }, async (request, reply) => {
    const { type, encryptedPinBlock } = request.body
    const requestHash = createHash('sha256').update(`${type} ${encryptedPinBlock}`).digest('hex')
    // ISO0 takes no counter, so D1 may name no PIN change: the JWE then does, which differs each time that D1 makes one.
    const changeId = request.headers[d1.CHANGE_ID_HEADER] ?? (type === 'ISO0' ? requestHash : undefined)
    if (changeId === undefined) throw malformed
    const card = await settled(request.params, request.id, changeId)
    const sent = store.send(card.id, { changeId, type, encryptedPinBlock, requestHash })
    if (sent) await carryOut(sent, request.id, card.encryptedPinBlock === null)
    return reply.code(204).send()
  })

  await app.listen({ host: '127.0.0.1', port })
  return { url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`, close: () => app.close() }
}
