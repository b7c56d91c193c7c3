/**
 * The bridge contract: the typed operations that a gateway may ask of a vault, and the one file both sides import.
 *
 * Only protected values cross it: JWEs, PIN blocks under a key, PRWs, MACs, and the PAN that a block is bound to.
 * A vault checks every request against these schemas and applies the rules of its own configuration to it.
 */
import { Type, type Static, type TSchema } from 'typebox'
import type { ErrorCode, ErrorDetail } from '../errors.ts'
import type { CallTrace } from './call-trace.ts'
import { DataPayload } from './registration.ts'

/** The most characters of a compact JWE, D1's own limit. */
export const MAX_JWE_CHARACTERS = 8192

/** The most PIN blocks that one translatePinBlocks message carries. */
export const MAX_BATCH_ITEMS = 10_000

const strict = { additionalProperties: false } as const

/** The id of a key of the catalogue, as a caller names it. */
export const KeyId = Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$', description: 'Id of a key of the catalogue' })

/** One enciphered PIN block: 8 bytes, or 16 for ISO format 4. */
export const PinBlock = Type.String({
  pattern: '^(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})$',
  description: 'PIN block under the named key, hex',
})

/** A PAN and what else stands on the card. */
export const Card = Type.Object(
  {
    pan: Type.String({ pattern: '^[1-9][0-9]{11,18}$', description: 'Primary account number, 12 to 19 digits' }),
    panSequenceNumber: Type.Optional(Type.String({ pattern: '^[0-9]{2}$', description: 'PAN sequence number' })),
    expiry: Type.Optional(Type.String({ pattern: '^[0-9]{2}(?:0[1-9]|1[0-2])$', description: 'Expiry date, YYMM' })),
  },
  {
    ...strict,
    description: 'A PAN and what else stands on the card; which of it a PRW or MAC needs says the profile of its key',
  },
)
export type Card = Static<typeof Card>

/** The PIN change that a PRW or MAC is bound to. */
export const Change = Type.Object(
  {
    counter: Type.String({ pattern: '^[0-9]{4}$', description: 'PIN change counter' }),
    transactionId: Type.Optional(
      Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$', description: 'The id that ties the counter to the PIN change' }),
    ),
  },
  { ...strict, description: 'The PIN change that a PRW or MAC is bound to' },
)
export type Change = Static<typeof Change>

/** The names of the PIN block formats. */
export const ZoneFormat = Type.Enum(['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'], {
  type: 'string',
  description: 'PIN block format: of ISO 9564-1, or the SECCOS block; 16 bytes in ISO-4, 8 in every other',
})

/** The version of a key; a caller takes it from the answer that named the key. */
export const KeyVersion = Type.Integer({
  minimum: 1,
  maximum: 9999,
  description:
    'Version of the key, as an answer named it. Without it, the active one. Blocks come in under any that is not retired, and go out under the active one',
})

/** A PIN block's key and format: what protects it, and how it is laid out. */
export const Zone = Type.Object(
  { key: KeyId, format: ZoneFormat, version: Type.Optional(KeyVersion) },
  { ...strict, description: 'What protects a PIN block, and how it is laid out' },
)
export type Zone = Static<typeof Zone>

/** The compact JWE of a pin/set, or of a jwe/open. */
export const Jwe = Type.String({ minLength: 1, maxLength: MAX_JWE_CHARACTERS, description: 'JWE, compact form' })

/** A PRW of 8 to 16 bytes. */
export const Prw = Type.String({ pattern: '^(?:[0-9A-Fa-f]{2}){8,16}$', description: 'PIN reference value, hex' })

/** A MAC of 4 to 16 bytes. */
export const Mac = Type.String({ pattern: '^(?:[0-9A-Fa-f]{2}){4,16}$', description: 'MAC, hex' })

/** The random number that some PRW profiles take in. */
export const RandomNumber = Type.String({
  pattern: '^(?:[0-9A-Fa-f]{2}){4,16}$',
  description: 'The random number that was returned with the PRW, hex',
})

const prwInput = {
  pinBlock: PinBlock,
  from: Zone,
  card: Card,
  change: Type.Optional(Change),
  key: KeyId,
}
const macInput = {
  key: KeyId,
  pinBlock: PinBlock,
  prw: Type.Optional(Prw),
  card: Type.Optional(Card),
  change: Type.Optional(Change),
}

/** What a stored PIN's PRW may need beside its PAN and PIN. */
const PrwRow = Type.Object(
  {
    panSequenceNumber: Card.properties.panSequenceNumber,
    expiry: Card.properties.expiry,
    counter: Type.Optional(Change.properties.counter),
  },
  strict,
)

/** The keys that make the issuer's own PRW and MAC in a pin/set. */
export const Issue = Type.Object(
  { prw: Type.Optional(KeyId), mac: Type.Optional(KeyId) },
  { ...strict, description: "The keys that make the issuer's own PRW, and its MAC over the outgoing PIN block" },
)

/** The most seconds that an assertion may be valid, D1's own limit. */
export const MAX_ASSERTION_S = 900

/** The kid of a recipient, as a caller names it. */
export const RecipientKid = Type.String({ minLength: 1, maxLength: 256, description: 'kid of a configured recipient' })

/** The request of each operation, as the vault checks it. */
export const REQUESTS = {
  openSetPin: Type.Object(
    {
      type: Type.String({
        minLength: 1,
        maxLength: 32,
        description:
          "What D1 calls the JWE's payload, as its PIN request says: ISO0 or 3DES_SECCOS, unless the D1 profile names them otherwise",
      }),
      encryptedPinBlock: Jwe,
      card: Card,
      change: Type.Optional(Change),
      to: Type.Optional(Zone),
      issue: Type.Optional(Issue),
      // The JWE names its own key, which the gateway does not read: so it says which keys this client may open.
      jweKeys: Type.Array(KeyId, { maxItems: 256 }),
    },
    strict,
  ),
  sealGetPin: Type.Object({ pinBlock: PinBlock, from: Zone, card: Card, recipient: RecipientKid }, strict),
  // The PANs and the blocks themselves are packed: see PackedBlocks.
  translatePinBlocks: Type.Object(
    {
      from: Zone,
      to: Zone,
      items: Type.Integer({ minimum: 1, maximum: MAX_BATCH_ITEMS }),
      // Decipher, decode and make the PRWs that are asked for; no block comes back.
      checkOnly: Type.Optional(Type.Boolean()),
      prw: Type.Optional(
        Type.Object({ key: KeyId, cards: Type.Array(PrwRow, { minItems: 1, maxItems: MAX_BATCH_ITEMS }) }, strict),
      ),
    },
    strict,
  ),
  generatePrw: Type.Object(prwInput, strict),
  verifyPrw: Type.Object({ ...prwInput, prw: Prw, randomNumber: Type.Optional(RandomNumber) }, strict),
  generateMac: Type.Object(macInput, strict),
  verifyMac: Type.Object({ ...macInput, mac: Mac }, strict),
  // Issuer, subject, audience and kid are of the key's entry: whoever asks chooses none of them.
  makeD1Assertion: Type.Object(
    {
      key: KeyId,
      lifetimeS: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: MAX_ASSERTION_S,
          description: 'Seconds that the assertion is valid; 300 unless told',
        }),
      ),
    },
    strict,
  ),
  sealData: Type.Object({ recipient: RecipientKid, payload: DataPayload }, strict),
  // The JWE names its own key, as in openSetPin.
  openData: Type.Object({ jwe: Jwe, openKeys: Type.Array(KeyId, { maxItems: 256 }) }, strict),
  // The service's own: no route asks for one.
  sealAudit: Type.Object({ key: KeyId, digest: Type.String({ pattern: '^[0-9A-F]{64}$' }) }, strict),
  deriveHashKey: Type.Object({}, strict),
} satisfies Record<string, TSchema>

/** The name of an operation. */
export type Operation = keyof typeof REQUESTS

/**
 * PIN blocks and their PANs as bytes: what JSON would make ten times as dear goes behind it.
 *
 * Layout of a request, n items: n PANs of 10 bytes, packed BCD (pan.ts), then n PIN blocks of 8 or 16 bytes. Of an
 * answer: n PIN blocks; the place of a rejected one holds zeros.
 */
export interface PackedBlocks {
  readonly packed: Buffer
}

/** The operations whose messages carry packed blocks. */
type PackedOperation = 'translatePinBlocks'

/** The request of operation `O`. */
export type RequestOf<O extends Operation> = Static<(typeof REQUESTS)[O]> &
  (O extends PackedOperation ? PackedBlocks : unknown)

/** Which key did it: its id, version and KCV. */
export interface KeyRef {
  readonly id: string
  readonly version: number
  readonly kcv: string
}

/** A PRW as it leaves a vault, with what verifying it will need again. */
export interface IssuedPrw {
  readonly value: string
  readonly profile: string
  readonly key: KeyRef
  readonly randomNumber?: string
  readonly counter?: string
}

/** A MAC as it leaves a vault. */
export interface IssuedMac {
  readonly value: string
  readonly profile: string
  readonly key: KeyRef
}

/** The PRW of one row of a batch. */
export type RowPrw = Pick<IssuedPrw, 'value' | 'randomNumber'>

/**
 * The answer of each operation. `usedKeys` are for the audit record: the keys that it used and does not name otherwise, in the
 * version that was used; of a verification that failed, every version that was tried.
 */
export interface Answers {
  openSetPin: {
    pinBlock?: string
    format?: string
    key?: KeyRef
    prw?: IssuedPrw
    mac?: IssuedMac
    verified?: { prw: boolean; mac: boolean }
    usedKeys?: KeyRef[]
  }
  sealGetPin: { encryptedPinBlock: string; usedKeys?: KeyRef[] }
  translatePinBlocks: PackedBlocks & {
    format: string
    key: KeyRef
    /** The places of the blocks that are invalid, for whatever cause. */
    rejected: number[]
    /** One a row, if asked for; null where the block is invalid, or the row lacks what the profile needs. */
    prws?: (RowPrw | null)[]
    usedKeys?: KeyRef[]
  }
  generatePrw: {
    prw: string
    profile: string
    key: KeyRef
    randomNumber?: string
    counter?: string
    usedKeys?: KeyRef[]
  }
  verifyPrw: { verified: boolean; usedKeys?: KeyRef[] }
  generateMac: { mac: string; profile: string; key: KeyRef }
  verifyMac: { verified: boolean; usedKeys?: KeyRef[] }
  /** An assertion in compact form, and when it expires in s since 1970 by the vault's clock. */
  makeD1Assertion: { assertion: string; expiresAt: number; key: KeyRef }
  sealData: { jwe: string }
  /** The payload: UTF-8 JSON, one object that the vault has read strictly; bytes, so that it is no string on its way. */
  openData: PackedBlocks & { key: KeyRef }
  /** The seal of a digest, upper-case hex, and the vault's time in ms since 1970 that went into it. */
  sealAudit: { mac: string; sealedAtMs: number; key: KeyRef }
  /** 32 bytes that are the same wherever the limit-hash key is: a working key of the gateway, from which that key does not follow. */
  deriveHashKey: PackedBlocks & { key: KeyRef }
}

/** The answer of operation `O`. */
export type AnswerOf<O extends Operation> = Answers[O]

/** A public key that D1 encrypts to, as GET /v1/jwks gives it. */
export interface PublicJwk {
  readonly kty: 'EC' | 'RSA'
  readonly kid: string
  readonly use: 'enc'
  readonly alg: string
  readonly crv?: string
  readonly x?: string
  readonly y?: string
  readonly n?: string
  readonly e?: string
}

/** The first message of a vault: who it is, that the supervisor sent it, and the public keys its token holds. */
export interface Hello {
  readonly vault: number
  readonly secret: string
  readonly publicKeys: readonly PublicJwk[]
}

/** A request as it crosses the socket, beside its packed blocks. */
export interface RequestMessage<O extends Operation = Operation> {
  readonly id: number
  readonly operation: O
  readonly body: Omit<RequestOf<O>, 'packed'>
  /** Whether the reply is to say how long it took. */
  readonly trace?: true
}

/** The reply to the request of the same id: an answer without its packed blocks, or a code of the closed set. */
export type ReplyMessage = { readonly id: number; readonly trace?: VaultTimings } & (
  { readonly answer: object } | { readonly code: ErrorCode; readonly detail?: ErrorDetail | undefined }
)

/** The calls of the HSM port, by the names that a vault counts them under. */
export const HSM_CALLS = [
  'openContent',
  'decipherBlocks',
  'encipherBlocks',
  'generateMac',
  'verifyMac',
  'sign',
  'fillRandom',
] as const
export type HsmCall = (typeof HSM_CALLS)[number]

/** Upper bounds in seconds of the classes that durations of HSM calls are counted in; one more class is above them all. */
export const HSM_CALL_BOUNDS_S = [
  0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5,
] as const

const tally = Type.Integer({ minimum: 0 })

/** What a vault says of itself every second, without being asked; nothing of a request. */
export const StatusReport = Type.Object(
  {
    /**
     * Its sessions, and how many of them were in use and how many calls waited for one, at most at one time since the last
     * report: on a token that answers within microseconds a look now and then would find none.
     */
    sessions: Type.Object({ total: tally, inUse: tally, waiting: tally }, strict),
    /** Since every key gave its known answer. */
    selfTestAgeMs: Type.Number({ minimum: 0 }),
    /** The HSM calls that ended since the last report: how many in each class of duration, and how long they took in all. */
    calls: Type.Array(
      Type.Object(
        {
          call: Type.Enum([...HSM_CALLS], { type: 'string' }),
          outcome: Type.Enum(['ok', 'error'], { type: 'string' }),
          counts: Type.Array(tally, {
            minItems: HSM_CALL_BOUNDS_S.length + 1,
            maxItems: HSM_CALL_BOUNDS_S.length + 1,
          }),
          seconds: Type.Number({ minimum: 0 }),
        },
        strict,
      ),
      { maxItems: 2 * HSM_CALLS.length },
    ),
  },
  strict,
)
export type StatusReport = Static<typeof StatusReport>

/** The most HSM calls that a vault lists of one message; a batch with PRWs makes some for each row. */
export const MOST_TRACED_CALLS = 64

const moment = Type.Number({ minimum: 0 })

/** How long a vault took for a message that is traced, on the machine's monotonic clock in ms; nothing of the request. */
export const VaultTimings = Type.Object(
  {
    startedMs: moment,
    endedMs: moment,
    hsmCalls: Type.Array(
      Type.Object(
        {
          call: Type.Enum([...HSM_CALLS], { type: 'string' }),
          /** The key of the catalogue that was used; random bytes take none. */
          key: Type.Optional(KeyId),
          version: Type.Optional(KeyVersion),
          /** When it was asked for, when a session was free for it, and when it ended. */
          calledMs: moment,
          startedMs: moment,
          endedMs: moment,
          outcome: Type.Enum(['ok', 'error'], { type: 'string' }),
        },
        strict,
      ),
      { maxItems: MOST_TRACED_CALLS },
    ),
    /** How many calls are not listed. */
    hsmCallsMissing: tally,
  },
  strict,
)
export type VaultTimings = Static<typeof VaultTimings>

/** A report as it crosses the socket; it has no id, since nobody asked for it. */
export interface StatusMessage {
  readonly status: StatusReport
}

/** What a route needs of the other side: the answer, or a ServiceError. */
export interface Bridge {
  /**
   * @param onGiven - told of each vault that it, or a part of it, is given to.
   * @param trace - where it is noted what became of the call, if it is traced.
   */
  call<O extends Operation>(
    operation: O,
    body: RequestOf<O>,
    onGiven?: OnGiven,
    trace?: CallTrace,
  ): Promise<AnswerOf<O>>
}

/** Learns which vault works on a call. */
export type OnGiven = (vault: { readonly token: string; readonly vault: number }) => void
