/** What the keys and recipients of D1 registration must and must not be. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { servesRequests } from '../../../src/config/schema.ts'
import { P256_KEY, Site, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const PAIR = { version: 1, state: 'active', algorithm: 'EC-P256', kcv: 'A1B2C3D4E5', origin: 'generated' }
const ASSERTION = { ...PAIR, id: 'assertion', purpose: 'assertion-sign', issuerId: 'issuer-_01' }
const OPEN = { ...PAIR, id: 'jwe-open', purpose: 'jwe-open', alg: 'ECDH-ES', enc: 'A256GCM' }
const RECIPIENT = { kid: 'd1-data', publicKey: P256_KEY, alg: 'ECDH-ES', enc: 'A256GCM', use: 'data' }

/** The problems once these stand behind the valid ones; a key is keys[i] or keys[i + 1]. */
function problems(
  change: (added: { assertion: Draft; open: Draft; recipient: Draft }, draft: Draft) => void,
): string[] {
  let i = 0
  const found = site.problemsAfter((draft) => {
    const added = structuredClone({ assertion: ASSERTION, open: OPEN, recipient: RECIPIENT }) as any
    i = draft.keys.length
    draft.keys.push(added.assertion, added.open)
    draft.d1.recipients.push(added.recipient)
    change(added, draft)
  })
  return found.map((each: string) => each.replace(`keys[${i}]`, 'assertion').replace(`keys[${i + 1}]`, 'open'))
}

describe('the keys of D1 registration', () => {
  it('are right as they are, and serve requests', () => {
    expect(problems(() => undefined)).toEqual([])
    expect([ASSERTION, OPEN].map((key) => servesRequests(key as never))).toEqual([true, true])
    const told = problems(({ assertion, open }) => {
      Object.assign(assertion, { audience: 'd1', kid: 'a' })
      open.kid = 'b'
    })
    expect(told).toEqual([])
    expect(problems(({ open }) => Object.assign(open, { algorithm: 'RSA-3072', alg: 'RSA-OAEP-256' }))).toEqual([])
  })

  it.each<[string, (added: { assertion: Draft; open: Draft; recipient: Draft }, draft: Draft) => void]>([
    ['assertion.issuerId: is missing; an assertion-sign key needs it', ({ assertion }) => delete assertion.issuerId],
    ...['issuer001', 'issuer00001', 'issuer 001', 'issuerä001'].map(
      (issuerId) =>
        [
          'assertion.issuerId: must be 10 letters, digits, underscores or hyphens, as D1 gave it',
          ({ assertion }: { assertion: Draft }) => (assertion.issuerId = issuerId),
        ] as [string, (added: { assertion: Draft }) => void],
    ),
    [
      'assertion.algorithm: must be one of EC-P256 for an assertion-sign key',
      ({ assertion }) => (assertion.algorithm = 'RSA-2048'),
    ],
    ['assertion.alg: does not belong to an assertion-sign key', ({ assertion }) => (assertion.alg = 'ECDH-ES')],
    ['open.alg: is missing; a jwe-open key needs it', ({ open }) => delete open.alg],
    ['open.enc: is missing; a jwe-open key needs it', ({ open }) => delete open.enc],
    ['open.alg: must be ECDH-ES for a key of EC-P256', ({ open }) => (open.alg = 'RSA-OAEP-256')],
    ['open.d1Profile: does not belong to a jwe-open key', ({ open }) => (open.d1Profile = 'd1')],
    ['open.issuerId: does not belong to a jwe-open key', ({ open }) => (open.issuerId = 'issuer0001')],
    ['open.audience: does not belong to a jwe-open key', ({ open }) => (open.audience = 'd1')],
    [
      'open.algorithm: must be one of EC-P256, RSA-2048, RSA-3072, RSA-4096 for a jwe-open key',
      ({ open }) => (open.algorithm = 'AES-256'),
    ],
    // What D1 encrypts to must be one key, whatever it is for.
    ['open.kid: is the kid of keys[0] too', ({ open }, { keys }) => (open.kid = keys[0].kid)],
    ['keys[0].issuerId: does not belong to a jwe-decrypt key', (_added, { keys }) => (keys[0].issuerId = 'issuer0001')],
  ])('%s', (problem, change) => {
    expect(problems(change)).toEqual([problem])
  })
})

describe('a recipient', () => {
  it.each<[string, (added: { recipient: Draft }, draft: Draft) => void]>([
    ['d1.recipients[1].profile: does not belong to a recipient of data', ({ recipient }) => (recipient.profile = 'd1')],
    ['d1.recipients[1].profile: is missing; a recipient of PINs needs it', ({ recipient }) => delete recipient.use],
    [
      'd1.recipients[1].use: must be one of pin, data',
      ({ recipient }) => Object.assign(recipient, { use: 'both', profile: 'd1' }),
    ],
    ['d1.recipients[1].kid: is the kid of d1.recipients[0] too', ({ recipient }) => (recipient.kid = 'd1-dev')],
  ])('%s', (problem, change) => {
    expect(problems(change as never)).toEqual([problem])
  })
})
