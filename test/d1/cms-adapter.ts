/**
 * A card issuer's CMS as Thales D1 calls it: D1's three PIN calls on one side, pinbridge over mTLS on the other, and the
 * cards in memory. It never holds a PIN: only PIN blocks under the issuer's zone key, and JWEs that it cannot open.
 *
 * On Fastify, because the routes then read as D1 prints them and a schema refuses what has not their form; node:http would
 * need both written by hand. Plain HTTP and no bearer token: it listens on loopback, for demo and tests.
 */
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyReply } from 'fastify'
import { Agent, request } from 'undici'
import { TRANSACTION_ID_HEADER } from './simulator.ts'

/** A card as the CMS stores it. */
export interface Card {
  readonly pan: string
  readonly panSequenceNumber: string
  /** The PIN change counter that D1 is given next. */
  changeCounter: number
  /** The PIN change under way: D1 has been given the counter for it. */
  transactionId?: string
  pinBlockUnderZpk?: string
}

/** What the adapter works with. */
export interface CmsAdapterOptions {
  readonly pinbridge: { readonly url: string; readonly ca: string; readonly cert: string; readonly key: string }
  /** The zone key that the CMS keeps PIN blocks under. */
  readonly zone: { readonly key: string; readonly format: string }
  /** The kid that D1 has PINs sealed for. */
  readonly recipient: string
  /** The cards by `issuerId/cardId`. */
  readonly cards: ReadonlyMap<string, Card>
}

/** A running adapter. */
export interface CmsAdapter {
  readonly url: string
  readonly close: () => Promise<void>
}

/** What D1 is answered instead of 200 or 204: a status that D1 knows, and the code of whoever refused. */
class Refusal extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string) {
    super(code)
    this.status = status
    this.code = code
  }
}

const strict = { additionalProperties: false } as const
const params = {
  type: 'object',
  properties: {
    issuerId: { type: 'string', minLength: 10, maxLength: 10 },
    cardId: { type: 'string', pattern: '^[A-Za-z0-9_-]{1,48}$' },
  },
} as const
const headers = {
  type: 'object',
  properties: { [TRANSACTION_ID_HEADER]: { type: 'string', pattern: '^[0-9]{1,20}$' } },
} as const
const setPinBody = {
  type: 'object',
  required: ['type', 'encryptedPinBlock'],
  properties: {
    type: { type: 'string', enum: ['ISO0', '3DES_SECCOS'] },
    encryptedPinBlock: { type: 'string', minLength: 1, maxLength: 8192 },
  },
  ...strict,
} as const

interface CardRoute {
  Params: { issuerId: string; cardId: string }
  Headers: { [TRANSACTION_ID_HEADER]?: string }
}
interface SetPinRoute extends CardRoute {
  Body: { type: 'ISO0' | '3DES_SECCOS'; encryptedPinBlock: string }
}

/** Starts the adapter on a free port of the loopback interface. */
export async function startCmsAdapter({ pinbridge, zone, recipient, cards }: CmsAdapterOptions): Promise<CmsAdapter> {
  const [ca, cert, key] = [pinbridge.ca, pinbridge.cert, pinbridge.key].map((path) => readFileSync(path))
  const agent = new Agent({ connect: { ca, cert, key } })

  const ask = async (path: string, body: object): Promise<any> => {
    const answer = await request(`${pinbridge.url}${path}`, {
      dispatcher: agent,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const json: any = await answer.body.json()
    if (answer.statusCode === 200) return json
    // D1 knows no 422. What is wrong with the request is D1's to mend, all else is ours.
    throw new Refusal([400, 422].includes(answer.statusCode) ? 400 : 500, json.code)
  }

  const findCard = ({ issuerId, cardId }: CardRoute['Params']): Card => {
    const card = cards.get(`${issuerId}/${cardId}`)
    if (card === undefined) throw new Refusal(404, 'UNKNOWN_CARD')
    return card
  }

  const app = Fastify({ bodyLimit: 16 * 1024, ajv: { customOptions: { coerceTypes: false, removeAdditional: false } } })
  app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply: FastifyReply) => {
    if (error instanceof Refusal) return reply.code(error.status).send({ code: error.code })
    const ofRequest = error.statusCode !== undefined && error.statusCode < 500
    return reply.code(ofRequest ? 400 : 500).send({ code: ofRequest ? 'BAD_REQUEST' : 'INTERNAL' })
  })

  const pinPath = '/cms/api/v1/issuers/:issuerId/cards/:cardId/pin'

  app.get<CardRoute>(pinPath, { schema: { params } }, async ({ params }) => {
    const { pan, pinBlockUnderZpk } = findCard(params)
    if (pinBlockUnderZpk === undefined) throw new Refusal(404, 'NO_PIN')
    return ask('/v1/pin/get', { pinBlock: pinBlockUnderZpk, from: zone, card: { pan }, recipient })
  })

  app.put<SetPinRoute>(pinPath, { schema: { params, headers, body: setPinBody } }, async (request, reply) => {
    const { type, encryptedPinBlock } = request.body
    const card = findCard(request.params)
    const { pan, panSequenceNumber } = card
    const set = { type, encryptedPinBlock, card: { pan, panSequenceNumber }, to: zone }
    if (type === 'ISO0') {
      card.pinBlockUnderZpk = (await ask('/v1/pin/set', set)).pinBlock
      return reply.code(204).send()
    }
    const transactionId = request.headers[TRANSACTION_ID_HEADER]
    if (transactionId === undefined || transactionId !== card.transactionId)
      throw new Refusal(400, 'UNKNOWN_TRANSACTION')
    const change = { counter: counterText(card), transactionId }
    const { pinBlock, verified } = await ask('/v1/pin/set', { ...set, change })
    // pinbridge releases nothing otherwise; a CMS says all the same what it relies on.
    if (verified?.prw !== true || verified.mac !== true) throw new Refusal(500, 'NOT_VERIFIED')
    card.pinBlockUnderZpk = pinBlock
    card.changeCounter += 1
    delete card.transactionId
    return reply.code(204).send()
  })

  app.get<CardRoute>(`${pinPath}/changeCounter`, { schema: { params, headers } }, async (request) => {
    const card = findCard(request.params)
    const transactionId = request.headers[TRANSACTION_ID_HEADER]
    if (transactionId === undefined) throw new Refusal(400, 'UNKNOWN_TRANSACTION')
    card.transactionId = transactionId
    return { changeCounter: counterText(card) }
  })

  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      await app.close()
      await agent.destroy()
    },
  }
}

function counterText({ changeCounter }: Card): string {
  return String(changeCounter).padStart(4, '0')
}
