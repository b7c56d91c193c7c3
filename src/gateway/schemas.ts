/** The schemas that more than one route answers with, and what a route says about itself in the OpenAPI document. */
import { Type, type TProperties, type TSchema } from 'typebox'
import { Mac, PinBlock, Prw, RandomNumber } from '../bridge/contract.ts'
import { ERROR_TITLES, type ErrorCode } from '../errors.ts'
import { PROBLEM_TYPE, STATUS } from './problem.ts'

const strict = { additionalProperties: false } as const

/** An error answer. */
export const ProblemSchema = Type.Object(
  {
    type: Type.String({ pattern: '^urn:pinbridge:problem:[a-z-]+$' }),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.Enum(Object.keys(ERROR_TITLES), { type: 'string' }),
    requestId: Type.String({ format: 'uuid' }),
  },
  { ...strict, description: 'Problem details (RFC 9457); every text is constant' },
)

/** A key's check value. */
export const Kcv = Type.String({ pattern: '^(?:[0-9A-Fa-f]{2}){3,5}$', description: 'Key check value, hex' })

/** Which key did it. */
export const KeyRefSchema = Type.Object({ id: Type.String(), version: Type.Integer(), kcv: Kcv }, strict)

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
export const IssuedPrwSchema = Type.Object({ value: Prw, ...prwMembers }, strict)

/** A MAC made by pin/set. */
export const IssuedMacSchema = Type.Object({ value: Mac, profile: ProfileId, key: KeyRefSchema }, strict)

/** The result of a verification: false is an answer, not an error. */
export const Verified = Type.Object({ verified: Type.Boolean() }, strict)

/** A PIN block that goes out. */
export const IssuedPinBlock = { pinBlock: PinBlock, format: Type.String(), key: KeyRefSchema } satisfies TProperties

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

/** The error statuses that any request can meet. */
const ANY = [400, 401, 403, 405, 408, 431, 500] as const
/** And those of a route that reads a body and asks a vault. */
const WITH_BODY = [413, 415, 422, 429, 503] as const

/** A route's summary in the OpenAPI document. */
export interface RouteText {
  readonly operationId: string
  readonly tags: string[]
  readonly summary: string
}

/** The response schemas of a POST: its answer, and a problem for every status it can end with; `own` ones are of no other route. */
export function postResponses<T extends TSchema>(answer: T, own: readonly number[] = []) {
  return { ...problems([...ANY, ...own, ...WITH_BODY]), 200: answer }
}

/** The response schemas of a GET. */
export function getResponses<T extends object>(answer: T) {
  return { ...problems([...ANY, 503]), 200: answer }
}

function problems(statuses: readonly number[]) {
  return Object.fromEntries(statuses.map((status) => [status, problemResponse(status)]))
}

function problemResponse(status: number) {
  const codes = (Object.keys(STATUS) as ErrorCode[]).filter((code) => STATUS[code] === status)
  const headers = status === 429 || status === 503 ? { 'retry-after': { type: 'integer', description: 'Seconds' } } : {}
  return {
    description: codes.join(', '),
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
    content: { [PROBLEM_TYPE]: { schema: ProblemSchema } },
  }
}
