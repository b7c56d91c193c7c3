/**
 * Thales D1's outbound side, as an issuer's CMS sees it: takes a token, makes the three PIN calls, and holds every answer against the
 * contract that D1 publishes. It knows the adapter's assumptions as a stranger would: by README, not by its code.
 */
import { randomUUID } from 'node:crypto'
import { request, type IncomingHttpHeaders } from 'node:http'
import { text as readText } from 'node:stream/consumers'

/** What a CMS answered; its shape has been checked. */
export interface CmsAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly json: any
}

/** A request as it goes over the wire: nothing of the path or the headers is mended. */
export interface RawCall {
  readonly method: string
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: string | undefined
}

/** D1's three PIN calls for one card. */
export interface CardCalls {
  readonly getPin: () => Promise<CmsAnswer>
  /** @param transactionId - names the PIN change; always for Seccos. */
  readonly setPin: (type: string, encryptedPinBlock: string, transactionId?: string) => Promise<CmsAnswer>
  readonly getChangeCounter: (transactionId?: string) => Promise<CmsAnswer>
}

/** D1, configured for one issuer. */
export interface D1Outbound {
  /** Asks for a token, as RFC 6749 has it, and keeps it until it expires. */
  readonly token: () => Promise<string>
  readonly card: (issuerId: string, cardId: string) => CardCalls
  /** A call of any kind, with the token unless it brings an Authorization header of its own. */
  readonly send: (call: RawCall) => Promise<CmsAnswer>
}

/** An answer that D1's contract does not have. */
export class ContractBreach extends Error {}

const STATUSES = [200, 204, 400, 401, 403, 404, 500]
const JWE_CHARACTERS = 8192

/**
 * Makes D1's side.
 *
 * @param credentials - `clientId:clientSecret`
 */
export function d1Outbound(cms: string, credentials: string): D1Outbound {
  let held: { readonly token: string; readonly untilMs: number } | undefined

  const token = async (): Promise<string> => {
    if (held && held.untilMs > Date.now()) return held.token
    const answer = await exchange(cms, {
      method: 'POST',
      path: '/oauth2/token',
      headers: {
        authorization: `Basic ${Buffer.from(credentials).toString('base64')}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: 'grant_type=client_credentials',
    })
    const { access_token, token_type, expires_in } = answer.json ?? {}
    demand(answer.status === 200, 'a token is answered with 200')
    demand(token_type === 'Bearer' && typeof access_token === 'string', 'a token is a Bearer token')
    demand(Number.isInteger(expires_in) && expires_in > 0 && expires_in <= 900, 'a token is short-lived')
    held = { token: access_token, untilMs: Date.now() + expires_in * 500 }
    return access_token
  }

  const send = async ({ headers = {}, ...call }: RawCall): Promise<CmsAnswer> => {
    const own = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization')
    const authorization = own ? {} : { authorization: `Bearer ${await token()}` }
    const correlationId = headers['x-correlation-id'] ?? `d1.${randomUUID()}`
    const answer = await exchange(cms, {
      ...call,
      headers: { 'x-correlation-id': correlationId, ...authorization, ...headers },
    })
    checkAnswer(call, answer)
    if (/^[a-zA-Z0-9_\-. ]{1,64}$/.test(correlationId)) {
      demand(answer.headers['x-correlation-id'] === correlationId, 'the correlation id comes back')
    }
    return answer
  }

  return {
    token,
    send,
    card: (issuerId, cardId) => {
      const path = `/cms/api/v1/issuers/${issuerId}/cards/${cardId}/pin`
      const named = (transactionId?: string) =>
        transactionId === undefined ? {} : { 'x-transaction-id': transactionId }
      return {
        getPin: () => send({ method: 'GET', path }),
        getChangeCounter: (transactionId) =>
          send({ method: 'GET', path: `${path}/changeCounter`, headers: named(transactionId) }),
        setPin: (type, encryptedPinBlock, transactionId) =>
          send({
            method: 'PUT',
            path,
            headers: { 'content-type': 'application/json', ...named(transactionId) },
            body: JSON.stringify({ type, encryptedPinBlock }),
          }),
      }
    },
  }
}

/** Sends a request as it stands and reads the answer. */
export async function exchange(cms: string, { method, path, headers, body }: RawCall): Promise<CmsAnswer> {
  const { hostname, port } = new URL(cms)
  const answer = await new Promise<{ status: number; headers: IncomingHttpHeaders; text: string }>(
    (resolve, reject) => {
      const sent = request({ hostname, port, method, path, headers, agent: false }, (response) => {
        const { statusCode = 0, headers: received } = response
        readText(response).then((text) => resolve({ status: statusCode, headers: received, text }), reject)
      })
      sent.once('error', reject)
      sent.end(body)
    },
  )
  const { text, ...rest } = answer
  const isJson = /^application\/json(?:;|$)/.test(String(rest.headers['content-type']))
  demand(isJson === (text !== ''), 'a body is JSON, and JSON is a body')
  return { ...rest, json: text === '' ? undefined : JSON.parse(text) }
}

/** Holds an answer of the PIN calls against the contract. */
function checkAnswer({ method, path }: RawCall, { status, headers, json }: CmsAnswer): void {
  demand(STATUSES.includes(status), `D1 knows no ${status}`)
  if (status === 401) demand(/^Bearer\b/.test(String(headers['www-authenticate'])), 'a 401 says what is wanted')
  if (status === 204)
    return demand(json === undefined && method === 'PUT', 'a 204 has no body, and answers Set PIN alone')
  if (status >= 400) {
    const members = Object.keys(json ?? {}).sort()
    demand(members.join() === 'error,errorCode', `an error has errorCode and error, and not ${members.join()}`)
    demand(typeof json.error === 'string' && /^[A-Z_]{1,64}$/.test(json.errorCode), 'an error is two texts')
    return
  }
  demand(method === 'GET', 'a 200 answers GET alone')
  if (path.split('?')[0]!.endsWith('/changeCounter')) {
    demand(/^[0-9]{4}$/.test(json.changeCounter), 'a change counter has four digits')
    demand(/^[0-9]{1,20}$/.test(json.transactionId), 'a change counter comes with the id of its PIN change')
    return
  }
  const { encryptedPinBlock } = json
  demand(typeof encryptedPinBlock === 'string' && encryptedPinBlock.length <= JWE_CHARACTERS, 'a PIN is a JWE')
  // Direct key agreement: the second part, the encrypted key, is empty.
  demand(/^[\w-]+\.\.[\w-]{16}\.[\w-]+\.[\w-]{22}$/.test(encryptedPinBlock), 'a JWE is compact')
  const header = JSON.parse(Buffer.from(encryptedPinBlock.split('.')[0], 'base64url').toString())
  demand(
    header.alg === 'ECDH-ES' && header.enc === 'A256GCM' && header.epk?.crv === 'P-256',
    "a JWE is of D1's profile",
  )
  demand(typeof header.kid === 'string', 'a JWE names its key')
}

function demand(isSo: boolean, sentence: string): void {
  if (!isSo) throw new ContractBreach(sentence)
}
