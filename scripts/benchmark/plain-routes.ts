/** What each route takes and does, over whoever holds the keys: an HSM, or a library that is given their values. */
import { Type, type Static, type TSchema } from 'typebox'
import { openJwe, sealEcdhEs, type Content, type Recipient } from './plain-jwe.ts'
import { decodeIso0, encodeIso0, prwMessage, Refusal } from './plain-pin-block.ts'

/** Who holds the keys and works with them. */
export interface KeyHolder {
  /** Deciphers one block of 8 bytes by TDEA. */
  decipher(key: string, block: Buffer): Buffer
  /** Enciphers one block of 8 bytes by TDEA. */
  encipher(key: string, block: Buffer): Buffer
  /** Verifies a TDEA-CMAC. */
  verifyCmac(key: string, message: Buffer, mac: Buffer): boolean
  /** Z of ECDH with a point of P-256, 32 bytes. */
  sharedSecret(kid: string, point: Buffer): Buffer
  /** Unwraps a CEK by RSA-OAEP-256. */
  unwrapCek(kid: string, encryptedKey: Buffer): Buffer
  /** Deciphers A256GCM; throws if the tag is wrong. */
  openContent(content: Content): Buffer
}

/** What is known of a key: how answers name it, and with which alg JWEs are made for it. */
export interface KnownKey {
  readonly id: string
  readonly version: number
  readonly kcv: string
  readonly alg?: string | undefined
}

/** A route: the schema of its body, and what answers it. */
export interface Route {
  readonly body: TSchema
  readonly answer: (body: any) => Readonly<Record<string, any>>
}

const strict = { additionalProperties: false }
const PinBlock = Type.String({ pattern: '^[0-9A-Fa-f]{16}$' })
const Zone = Type.Object({ key: Type.String(), format: Type.Literal('ISO-0') }, strict)
const Pan = Type.String({ pattern: '^[1-9][0-9]{11,18}$' })
const Card = Type.Object({ pan: Pan }, strict)
const SetPin = Type.Object(
  { type: Type.Literal('ISO0'), encryptedPinBlock: Type.String({ maxLength: 8192 }), card: Card, to: Zone },
  strict,
)
const GetPin = Type.Object({ pinBlock: PinBlock, from: Zone, card: Card, recipient: Type.String() }, strict)
const Translate = Type.Object({ pinBlock: PinBlock, from: Zone, to: Zone, card: Card }, strict)
const TranslateBatch = Type.Object({ from: Zone, to: Zone, rows: Type.String() }, strict)
const PrwCard = Type.Object({ pan: Pan, panSequenceNumber: Type.String({ pattern: '^[0-9]{2}$' }) }, strict)
const Change = Type.Object({ counter: Type.String({ pattern: '^[0-9]{4}$' }) }, strict)
const VerifyPrw = Type.Object(
  { pinBlock: PinBlock, from: Zone, card: PrwCard, change: Change, key: Type.String(), prw: PinBlock },
  strict,
)

const fromHex = (text: string): Buffer => Buffer.from(text, 'hex')
const toHex = (bytes: Buffer): string => bytes.toString('hex').toUpperCase()

/** Makes the routes, by path: requests and answers are those of pinbridge, for ISO format 0 and the profile seccos-3des. */
export function createRoutes(
  holder: KeyHolder,
  keys: readonly KnownKey[],
  recipients: readonly Recipient[],
): Readonly<Record<string, Route>> {
  const algs = new Map(keys.map(({ id, alg }) => [id, alg]))
  const keyRefs = new Map(keys.map(({ id, version, kcv }) => [id, { id, version, kcv }]))
  const outgoing = ({ key, format }: Static<typeof Zone>) => ({ format, key: keyRefs.get(key) })

  const readPin = (zone: Static<typeof Zone>, pinBlock: string, pan: string): string =>
    decodeIso0(holder.decipher(zone.key, fromHex(pinBlock)), pan)
  const writePin = (zone: Static<typeof Zone>, pin: string, pan: string): string =>
    toHex(holder.encipher(zone.key, encodeIso0(pin, pan)))

  /** CSV with the columns id, pan and pinBlock, in this order. */
  const translateRows = ({ from, to, rows }: Static<typeof TranslateBatch>): string => {
    const answer = ['id,pinBlock,code']
    for (const row of rows.trimEnd().split(/\r?\n/)) {
      const [id, pan = '', pinBlock = ''] = row.split(',')
      if (id === 'id') continue
      try {
        answer.push(`${id},${writePin(to, readPin(from, pinBlock, pan), pan)},`)
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        answer.push(`${id},,${error.code}`)
      }
    }
    return `${answer.join('\n')}\n`
  }

  return {
    '/v1/pin/set': route(SetPin, ({ encryptedPinBlock, card: { pan }, to }) => {
      const { pinBlock } = JSON.parse(openJwe(holder, algs, encryptedPinBlock).toString())
      return { pinBlock: writePin(to, decodeIso0(fromHex(pinBlock), pan), pan), ...outgoing(to) }
    }),
    '/v1/pin/get': route(GetPin, ({ pinBlock, from, card: { pan }, recipient: kid }) => {
      const recipient = recipients.find((each) => each.kid === kid)
      if (recipient === undefined) throw new Refusal(403, 'ERR_KEY_USE_FORBIDDEN')
      const clearBlock = encodeIso0(readPin(from, pinBlock, pan), pan)
      return { encryptedPinBlock: sealEcdhEs(recipient, JSON.stringify({ pinBlock: toHex(clearBlock) })) }
    }),
    '/v1/pin-blocks/translate': route(Translate, ({ pinBlock, from, to, card: { pan } }) => ({
      pinBlock: writePin(to, readPin(from, pinBlock, pan), pan),
      ...outgoing(to),
    })),
    '/v1/pin-blocks/translate-batch': route(TranslateBatch, (body) => ({
      ...outgoing(body.to),
      rows: translateRows(body),
    })),
    '/v1/prw/verify': route(VerifyPrw, ({ pinBlock, from, card, change, key, prw }) => {
      const pin = readPin(from, pinBlock, card.pan)
      return { verified: holder.verifyCmac(key, prwMessage(pin, { ...card, ...change }), fromHex(prw)) }
    }),
  }
}

function route<T extends TSchema>(body: T, answer: (body: Static<T>) => ReturnType<Route['answer']>): Route {
  return { body, answer }
}
