/**
 * One time for every cause of one code: a vault answers thousands of refusals of each kind, mixed at random in one run, and the
 * times of no kind can be told from those of another. What of it is a vault's own work, without the token, is compared a hundred
 * times closer in test/unit/vault-timing.test.ts.
 *
 * The bounds are what an attacker would have to see from outside, through the gateway: there the times of one and the same
 * request are apart by hundreds of microseconds (test/e2e/timing.test.ts), and every sample costs a request that is counted.
 */
import { createCipheriv, randomBytes, randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig, profilesOf, vaultConfig } from '../../src/config/config.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { createContext } from '../../src/vault/context.ts'
import { createAnswerer, type Answerer } from '../../src/vault/serve.ts'
import { makeHsm, type TestHsm } from '../support/hsm.ts'
import { flipBit, jwkOf, newEphemeral, rsaRaw, sealEc, sealRsa, withPart, type NodeJwk } from '../support/node-jwe.ts'
import { SPOILT } from '../support/spoilt-pin-field.ts'
import { expectOneTime, type Kind } from '../support/timing.ts'
import { oracleEncode, oraclePanField, oraclePanField4 } from '../unit/pin/pin-block-oracle.ts'

const FULL = process.env['PINBRIDGE_FULL'] === '1'
/** Deciphering and decoding a block takes some tens of microseconds, and nothing of it waits. */
const BLOCK_LIMITS = { boundUs: 5, rounds: FULL ? 20_000 : 2000, mostRounds: FULL ? 40_000 : 8000 }
/** An operation with a private key takes a thousand; what a leak would leave out behind it, some twenty. */
const JWE_LIMITS = { boundUs: 10, rounds: FULL ? 4000 : 500, mostRounds: FULL ? 16_000 : 2000 }
/** Inputs of a kind: one input that happens to be slow is not to stand for its kind. */
const INPUTS = 64

let token: TestHsm
let open: Awaited<ReturnType<TestHsm['open']>>
let answer: Answerer

beforeAll(async () => {
  token = await makeHsm()
  open = await token.open()
  const config = loadConfig(token.setUp.config)
  const catalogue = new KeyCatalogue(open.keys, profilesOf(config))
  catalogue.learnPublicKeys(open.publicKeys)
  const context = createContext(vaultConfig(config, config.hsm.tokens[0]!), open.hsm, catalogue)
  answer = createAnswerer(context)
})
afterAll(async () => {
  open.close()
  await token.dispose()
})

type Body = Readonly<Record<string, unknown>>

/** A kind whose inputs are gone through in turn, each of which was seen to be refused with `code`. */
async function kindOf(name: string, operation: string, code: string, make: () => Body): Promise<Kind> {
  const messages = Array.from({ length: INPUTS }, (_, id) => ({ id, operation, body: make() }))
  const none = Buffer.alloc(0)
  for (const message of messages)
    expect([name, await answer(message, none)]).toMatchObject([name, { message: { code } }])
  let next = 0
  return { name, run: () => answer(messages[next++ % INPUTS]!, none) }
}

const PAN = '4000001234567899'
const DIGITS = (length: number) => Array.from({ length }, () => randomInt(10)).join('')
const pan = () => `4${DIGITS(15)}`

describe('ERR_JWE_DECRYPTION_FAILED takes one time', () => {
  const CODE = 'ERR_JWE_DECRYPTION_FAILED'
  const payload = () => JSON.stringify({ pinBlock: oracleEncode('ISO-0', DIGITS(4), PAN, 'F'.repeat(10)) })
  const body = (encryptedPinBlock: string): Body => ({
    type: 'ISO0',
    encryptedPinBlock,
    jweKeys: ['jwe-ec', 'jwe-rsa'],
    card: { pan: PAN },
    to: { key: 'zpk-out', format: 'ISO-0' },
  })
  const kinds = (causes: Readonly<Record<string, () => string>>) =>
    Promise.all(Object.entries(causes).map(([name, make]) => kindOf(name, 'openSetPin', CODE, () => body(make()))))
  const jwk = (kid: string): NodeJwk => ({ kid, ...open.publicKeys.get(open.key(kid)) })

  it('of ECDH-ES', { timeout: 300_000 }, async (context) => {
    const to = jwk('jwe-ec')
    const good = () => sealEc(payload(), to).compact
    const otherEpk = (compact: string) =>
      withPart(compact, 0, (header) => {
        const members = JSON.parse(Buffer.from(header, 'base64url').toString()) as object
        return Buffer.from(JSON.stringify({ ...members, epk: jwkOf(newEphemeral()) })).toString('base64url')
      })
    const causes = {
      'a bit of the tag': () => flipBit(good(), 4, randomInt(16)),
      'a bit of the ciphertext': () => flipBit(good(), 3, randomInt(16)),
      'another epk on the curve': () => otherEpk(good()),
      'made for another key': () => sealEc(payload(), { ...jwkOf(newEphemeral()), kid: 'jwe-ec' }).compact,
    }
    await expectOneTime(context, 'ECDH-ES', await kinds(causes), JWE_LIMITS)
  })

  it('of RSA-OAEP-256', { timeout: 300_000 }, async (context) => {
    const to = jwk('jwe-rsa')
    const seal = (options: Parameters<typeof sealRsa>[2] = {}) => sealRsa(payload(), to, options).compact
    /** An encoded message that no sender makes: below the modulus, with this first byte. */
    const message = (first: number) => rsaRaw(Buffer.concat([Buffer.of(first), randomBytes(255)]), to)
    const causes = {
      'a bit of the tag': () => flipBit(seal(), 4, randomInt(16)),
      'the first byte of the encoded message is not zero': () => seal({ encryptedKey: message(1) }),
      'the first byte is zero and the rest is random': () => seal({ encryptedKey: message(0) }),
      'a CEK of 16 bytes': () => seal({ cek: randomBytes(16) }),
    }
    await expectOneTime(context, 'RSA-OAEP-256', await kinds(causes), JWE_LIMITS)
  })
})

describe('ERR_PIN_BLOCK_INVALID takes one time', () => {
  const CONTROL = { 'ISO-0': 0, 'ISO-3': 3, 'ISO-4': 4 } as const
  const FILLER = { 'ISO-0': 'F', 'ISO-3': 'C', 'ISO-4': 'A' } as const
  const KEYS = { 'ISO-0': 'zpk-in', 'ISO-3': 'zpk-in', 'ISO-4': 'zpk-aes' } as const

  const xor = (a: string, b: string) =>
    Buffer.from(Buffer.from(a, 'hex').map((byte, i) => byte ^ Buffer.from(b, 'hex')[i]!)).toString('hex')

  function encipher(key: string, blockHex: string): string {
    const cipher = createCipheriv(
      key === 'zpk-aes' ? 'aes-256-ecb' : 'des-ede-ecb',
      Buffer.from(token.value(key), 'hex'),
      null,
    )
    cipher.setAutoPadding(false)
    return Buffer.concat([cipher.update(blockHex, 'hex'), cipher.final()]).toString('hex')
  }

  /** A block under the format's key; its PIN field is `spoil`'s, its PAN `pan`. */
  function blockOf(format: keyof typeof KEYS, pan: string, spoil: (field: string) => string): string {
    const key = KEYS[format]
    const filler = FILLER[format].repeat(10) + randomBytes(8).toString('hex').toUpperCase()
    // What is spoilt is the PIN field; the PAN is added to it afterwards.
    const field = spoil(`${CONTROL[format]}4${DIGITS(4)}${filler}`).slice(0, format === 'ISO-4' ? 32 : 16)
    if (format === 'ISO-4') return encipher(key, xor(encipher(key, field), oraclePanField4(pan)))
    return encipher(key, xor(field, oraclePanField(format, pan)))
  }

  /** A PAN whose field spoils the filler of a block made for another: every digit of it is 8 or 9 where the other has 0. */
  const farFrom = '4999999999999990'
  const near = '4000000000000000'

  it.for(['ISO-0', 'ISO-3', 'ISO-4'] as const)('of %s', { timeout: 300_000 }, async (format, context) => {
    const from = { key: KEYS[format], format }
    const body = (pan: string, pinBlock: string): Body => ({ pinBlock, from, card: { pan }, recipient: 'd1-dev' })
    const kind = (name: string, make: () => Body) => kindOf(name, 'sealGetPin', 'ERR_PIN_BLOCK_INVALID', make)
    const kinds = await Promise.all([
      ...Object.entries(SPOILT).map(([name, spoil]) =>
        kind(name, () => {
          const card = pan()
          return body(card, blockOf(format, card, spoil))
        }),
      ),
      kind('another PAN', () =>
        body(
          farFrom,
          blockOf(format, near, (field) => field),
        ),
      ),
      kind('random bytes', () =>
        body(
          pan(),
          randomBytes(format === 'ISO-4' ? 16 : 8)
            .toString('hex')
            .toUpperCase(),
        ),
      ),
    ])
    await expectOneTime(context, format, kinds, BLOCK_LIMITS)
  })
})
