/**
 * One time for every cause of one code, seen from outside: over mTLS, through the gateway, from a client next door. What a vault
 * takes is compared far closer in test/hsm/timing.test.ts; here the gateway's part is added, and all that a caller can measure.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { flipBit, jwkOf, newEphemeral, rsaRaw, sealEc, sealRsa } from '../support/node-jwe.ts'
import { expectOneTime, type Kind } from '../support/timing.ts'
import { clearBlock, iso0, newPan, newPin, openIssuer, TO, type Issuer } from './routes/issuer.ts'

const FULL = process.env['PINBRIDGE_FULL'] === '1'
const LIMITS = { boundUs: FULL ? 50 : 200, rounds: FULL ? 3000 : 300, mostRounds: FULL ? 12_000 : 600 }
const INPUTS = 32
const ENOUGH = 1_000_000

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer((config) => {
    Object.assign(config.limits.guesses, { perClient: ENOUGH, perCard: ENOUGH, perPinBlock: ENOUGH })
  })
})
afterAll(() => issuer.close())

/** A kind whose requests are gone through in turn, each of which was seen to be refused with `code`. */
async function kindOf(name: string, path: string, code: string, make: () => object): Promise<Kind> {
  const bodies = Array.from({ length: INPUTS }, make)
  for (const body of bodies) expect([name, (await issuer.post(path, body)).json.code]).toEqual([name, code])
  let next = 0
  return { name, run: () => issuer.post(path, bodies[next++ % INPUTS]) }
}

const PAN = '4000001234567899'
const card = { pan: PAN }

it('ERR_JWE_DECRYPTION_FAILED takes one time, of each algorithm', { timeout: 600_000 }, async (context) => {
  const payload = () => iso0(newPin(), PAN)
  const kind = (name: string, make: () => string) =>
    kindOf(name, '/v1/pin/set', 'ERR_JWE_DECRYPTION_FAILED', () => ({
      type: 'ISO0',
      encryptedPinBlock: make(),
      card,
      to: TO,
    }))
  const ec = issuer.jwk('jwe-ec')
  await expectOneTime(
    context,
    'ECDH-ES over HTTP',
    [
      await kind('a bit of the tag', () => flipBit(sealEc(payload(), ec).compact, 4, randomInt(16))),
      await kind('made for another key', () => sealEc(payload(), { ...jwkOf(newEphemeral()), kid: 'jwe-ec' }).compact),
    ],
    LIMITS,
  )
  const rsa = issuer.jwk('jwe-rsa')
  const message = (first: number) => rsaRaw(Buffer.concat([Buffer.of(first), randomBytes(255)]), rsa)
  await expectOneTime(
    context,
    'RSA-OAEP-256 over HTTP',
    [
      await kind('a bit of the tag', () => flipBit(sealRsa(payload(), rsa).compact, 4, randomInt(16))),
      await kind(
        'the first byte of the message is not zero',
        () => sealRsa(payload(), rsa, { encryptedKey: message(1) }).compact,
      ),
      await kind('the first byte is zero', () => sealRsa(payload(), rsa, { encryptedKey: message(0) }).compact),
    ],
    LIMITS,
  )
})

it('ERR_PIN_BLOCK_INVALID takes one time', { timeout: 600_000 }, async (context) => {
  const kind = (name: string, spoil: (clear: string) => string, boundTo?: string) =>
    kindOf(name, '/v1/pin-blocks/translate', 'ERR_PIN_BLOCK_INVALID', () => {
      const pan = boundTo === undefined ? newPan() : '4999999999999990'
      const pinBlock = issuer.encipher('zpk-in', spoil(clearBlock('ISO-0', newPin(), boundTo ?? pan)))
      return { pinBlock, from: { key: 'zpk-in', format: 'ISO-0' }, to: TO, card: { pan } }
    })
  const nibble = (at: number, value: (old: number) => number) => (clear: string) =>
    clear.slice(0, at) + value(Number.parseInt(clear[at]!, 16)).toString(16).toUpperCase() + clear.slice(at + 1)
  await expectOneTime(
    context,
    'ISO-0 over HTTP',
    [
      await kind(
        'control',
        nibble(0, () => 9),
      ),
      await kind(
        'length',
        nibble(1, () => 13),
      ),
      await kind(
        'digit',
        nibble(2, () => 11),
      ),
      await kind(
        'filler',
        nibble(15, (old) => old ^ 8),
      ),
      await kind('another PAN', (clear) => clear, '4000000000000000'),
    ],
    LIMITS,
  )
})
