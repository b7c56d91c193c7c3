/**
 * A shared secret that begins with a zero byte, the one case in 256 that an implementation which drops leading zeros gets
 * wrong.
 *
 * Self-made: the recipient is Bob of RFC 7518 Appendix C, the ephemeral private key the smallest number that gives such
 * a Z. The JWE is jose's, and Z agrees with affine arithmetic on big integers, done apart from OpenSSL.
 */
import { expect, it } from 'vitest'
import { padSharedSecret } from '../../src/jwe/concat-kdf.ts'
import { parseEphemeralKey } from '../../src/jwe/ephemeral-key.ts'
import { SecretScope } from '../../src/secret.ts'
import { EcRecipient } from '../unit/jwe/software-recipient.ts'

const BOB_PRIVATE = 'VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw'
const EPHEMERAL_PRIVATE = 354
const Z = '00fe1ad3428d4a5ff2dd59b785450e8b956158403a729480d1710cf90562a861'
const JWE =
  'eyJhbGciOiJFQ0RILUVTIiwiZW5jIjoiQTI1NkdDTSIsImtpZCI6ImJvYiIsImVwayI6eyJ4IjoiWHA1VExheEJtN2xnRG5pMGtRLVJteWFzeFo2OTlsWThWUEY4bW45YnpqNCIsImNydiI6IlAtMjU2Iiwia3R5IjoiRUMiLCJ5IjoiQ0hCbGVNSWRYNzREQTZsMGdJQmZkdFdzdWJfdllpNURZYW01a1NnaElaNCJ9fQ..BMOaJKENdLSFMxog.rZJ936ZjhhuFJu0lALQEYBKsXGdtis4WM8Qa2CXKEw.rtEF6j-azi_i78aAn2q4pw'

const bob = new EcRecipient(Buffer.from(BOB_PRIVATE, 'base64url'))

it('opens the JWE that jose sealed with a Z that begins with zero', () => {
  const header = JSON.parse(Buffer.from(JWE.split('.')[0]!, 'base64url').toString()) as { epk: unknown }
  const epk = parseEphemeralKey(header.epk)
  const scalar = Buffer.alloc(32)
  scalar.writeUInt32BE(EPHEMERAL_PRIVATE, 28)
  expect(new EcRecipient(scalar).publicKey).toEqual(epk)
  expect(bob.deriveZ(epk).toString('hex')).toBe(Z)

  using secrets = new SecretScope()
  expect(bob.open(JWE, secrets).toString()).toBe('{"pinBlock":"0412345678901234"}')
})

it('restores the zero byte for a party that dropped it', () => {
  using secrets = new SecretScope()
  expect(padSharedSecret(Buffer.from(Z.slice(2), 'hex'), secrets).toString('hex')).toBe(Z)
})
