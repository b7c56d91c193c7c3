/** The schemas that more than one route answers with, and what a route says about itself in the OpenAPI document. */
import { Type, type TProperties, type TSchema } from 'typebox'
import { Mac, PinBlock, Prw, RandomNumber } from '../bridge/contract.ts'
import { ERROR_TITLES, type ErrorCode } from '../errors.ts'
import { PROBLEM_TYPE, STATUS } from './problem.ts'

const strict = { additionalProperties: false } as const

/** An error answer. */
export const ProblemSchema = Type.Object(
  {
    type: Type.String({
      pattern: '^urn:pinbridge:problem:[a-z-]+$',
      description: 'URI of the kind of problem: the code',
    }),
    title: Type.String({ description: 'The sentence of the code: always the same, and never of the request' }),
    status: Type.Integer({ description: 'The HTTP status' }),
    code: Type.Enum(Object.keys(ERROR_TITLES), {
      type: 'string',
      description: 'What went wrong, for programs; the set is closed within a version of the contract',
    }),
    requestId: Type.String({ format: 'uuid', description: 'Names the request in the log of the service' }),
  },
  { ...strict, description: 'Problem details (RFC 9457); every text is constant' },
)

/** A key's check value. */
export const Kcv = Type.String({ pattern: '^(?:[0-9A-Fa-f]{2}){3,5}$', description: 'Key check value, hex' })

/** Which key did it. */
export const KeyRefSchema = Type.Object(
  {
    id: Type.String({ description: 'Id of the key' }),
    version: Type.Integer({
      description: 'Its version; to be kept with what was made, and named when that comes back',
    }),
    kcv: Kcv,
  },
  { ...strict, description: 'Which key did it' },
)

/** The id of a PRW or MAC profile. */
export const ProfileId = Type.String({ description: 'Id of the PRW or MAC profile' })

/** What verifying a PRW will need again, beside the PRW. */
export const prwMembers = {
  profile: ProfileId,
  key: KeyRefSchema,
  randomNumber: Type.Optional(RandomNumber),
  counter: Type.Optional(Type.String({ description: 'The change counter that went into the PRW' })),
} satisfies TProperties

/** A PRW made by pin/set. */
export const IssuedPrwSchema = Type.Object(
  { value: Prw, ...prwMembers },
  { ...strict, description: "The issuer's own PRW, if it was asked for" },
)

/** A MAC made by pin/set. */
export const IssuedMacSchema = Type.Object(
  { value: Mac, profile: ProfileId, key: KeyRefSchema },
  { ...strict, description: "The issuer's own MAC over the outgoing PIN block, if it was asked for" },
)

/** The result of a verification: false is an answer, not an error. */
export const Verified = Type.Object(
  { verified: Type.Boolean({ description: 'Whether it matches; false is an answer, not an error' }) },
  strict,
)

/** A PIN block that goes out. */
export const IssuedPinBlock = {
  pinBlock: PinBlock,
  format: Type.String({ description: 'Format of the PIN block that goes out' }),
  key: KeyRefSchema,
} satisfies TProperties

const EIGHT_BYTES = ['ISO-0', 'ISO-1', 'ISO-3', 'SECCOS'] as const

/** A rule beside `pinBlock` and `from`: 16 bytes in ISO format 4, 8 in every other, so that one block is never read as two. */
export const blockFitsFormat = [
  blockRule({ enum: EIGHT_BYTES }, { maxLength: 16 }),
  blockRule({ enum: ['ISO-4'] }, { minLength: 32 }),
]

function blockRule(format: object, pinBlock: object) {
  return {
    type: 'object',
    properties: {
      from: { type: 'object', properties: { format: { type: 'string', ...format } } },
      pinBlock: { type: 'string', ...pinBlock },
    },
  }
}

/** What any request can be answered with, whatever its route does. */
const ANY = [
  'ERR_REQUEST_INVALID',
  'ERR_CLIENT_UNAUTHENTICATED',
  'ERR_KEY_USE_FORBIDDEN',
  // By a service that is older than the caller.
  'ERR_NOT_FOUND',
  'ERR_METHOD_NOT_ALLOWED',
  'ERR_REQUEST_TIMEOUT',
  'ERR_HEADERS_TOO_LARGE',
  'ERR_INTERNAL',
] as const satisfies readonly ErrorCode[]
/** And that of a route that reads a body and asks a vault. */
const WITH_BODY = [
  'ERR_REQUEST_TOO_LARGE',
  'ERR_UNSUPPORTED_MEDIA_TYPE',
  'ERR_HSM_BUSY',
  'ERR_HSM_UNAVAILABLE',
] as const satisfies readonly ErrorCode[]

/** A route's summary in the OpenAPI document; what else is said of it stands in document/, under its operationId. */
export interface RouteText {
  readonly operationId: string
  readonly tags: string[]
  readonly summary: string
}

/** The response schemas of a POST: its answer, and a problem for every status that it can end with; `own` are codes of this route. */
export function postResponses<T extends TSchema>(answer: T, own: readonly ErrorCode[] = []) {
  return { ...problems([...ANY, ...WITH_BODY, ...own]), 200: answer }
}

/** The response schemas of a GET; `own` are codes of this route. */
export function getResponses<T extends object>(answer: T, own: readonly ErrorCode[] = []) {
  return { ...problems([...ANY, ...own]), 200: answer }
}

function problems(codes: readonly ErrorCode[]) {
  const statuses = new Set(codes.map((code) => STATUS[code]))
  return Object.fromEntries(
    [...statuses].map((status) => [status, problemResponse(codes.filter((code) => STATUS[code] === status))]),
  )
}

function problemResponse(codes: readonly ErrorCode[]) {
  const examples = Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]))
  return { description: codes.join(', '), content: { [PROBLEM_TYPE]: { schema: ProblemSchema, examples } } }
}
