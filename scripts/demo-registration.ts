/** What the demo plays before any PIN call: the issuer registers a consumer and a card with D1, each secret made by the HSM. */
import { startD1Inbound } from '../test/d1/inbound.ts'
import { pinbridge, type Service } from '../test/support/service.ts'

const CONSUMER = 'consumer-0001'
/** MMYY, as D1 has it. */
const EXPIRY = '0931'

/** A card as D1 is to know it. */
export interface RegisteredCard {
  readonly issuerId: string
  readonly cardId: string
  readonly pan: string
}

/**
 * Registers a consumer with one card, as an issuer's adapter does.
 *
 * @returns what D1 has read of the card, and the kid of the assertion's key; undefined if it did not take it.
 */
export async function register(
  { setUp, call }: Service,
  { issuerId, cardId, pan }: RegisteredCard,
): Promise<{ readonly kid: string; readonly pan: string | undefined } | undefined> {
  const published = await pinbridge(['keys', 'public', 'assertion', '--config', setUp.config])
  const assertionKey = JSON.parse(published.stdout)
  const recipient = setUp.recipients.find(({ kid }) => kid === 'd1-data-dev')!
  const d1 = await startD1Inbound({ issuerId, assertionKeys: [assertionKey], dataKey: recipient.privateJwk })
  try {
    const { assertion } = (await call('POST', '/v1/d1/assertion', { key: 'assertion' })).json
    const grant = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion })
    const token: any = await (await fetch(`${d1.url}/oauth2/token`, { method: 'POST', body: grant })).json()
    const payload = { pan, exp: EXPIRY }
    const sealed = await call('POST', '/v1/jwe/seal', { recipient: recipient.kid, payload })
    const put = async (path: string, body: object): Promise<boolean> => {
      const answer = await fetch(`${d1.url}/issuers/${issuerId}/consumers/${path}`, {
        method: 'PUT',
        headers: { authorization: `Bearer ${token.access_token}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      return answer.status === 204
    }
    const cards = [{ cardId, encryptedData: sealed.json.jwe }]
    if (!(await put(CONSUMER, {})) || !(await put(`${CONSUMER}/cards`, { cards }))) return undefined
    return { kid: assertionKey.kid, pan: d1.consumers.get(CONSUMER)?.cards.get(cardId)?.pan }
  } finally {
    await d1.close()
  }
}
