/**
 * One time for every cause of one code, of what a vault does itself: here nothing is in the way, and a branch on a byte of a
 * secret shows. What the token adds is compared in test/hsm/timing.test.ts.
 */
import { createPrivateKey, randomBytes, randomInt } from 'node:crypto'
import { expect, it } from 'vitest'
import { decodeHexBytes, encodeHexBytes } from '../../src/bytes.ts'
import { decodeOaep256 } from '../../src/hsm/oaep.ts'
import { openContent, sealContent } from '../../src/jwe/content.ts'
import { parsePan } from '../../src/pan.ts'
import { PIN_BLOCK_FORMATS } from '../../src/pin/pin-block.ts'
import { SecretScope } from '../../src/secret.ts'
import { SPOILT } from '../support/spoilt-pin-field.ts'
import { expectOneTime, type Kind } from '../support/timing.ts'
import oaep from '../vectors/wycheproof-oaep.json' with { type: 'json' }
import { RsaRecipient } from './jwe/software-recipient.ts'
import { oracleEncode, oraclePanField } from './pin/pin-block-oracle.ts'

const FULL = process.env['PINBRIDGE_FULL'] === '1'
const ROUNDS = { rounds: FULL ? 20_000 : 2000, mostRounds: FULL ? 80_000 : 8000 }
const TIMEOUT = { timeout: 300_000 }

it('OAEP is decoded in one time, whatever is wrong with it', TIMEOUT, async (context) => {
  const group = oaep.testGroups[0]!
  const rsa = new RsaRecipient(createPrivateKey({ key: group.privateKeyJwk, format: 'jwk' }))
  // The tests of one message, each with an encoded message of its own: tcId 4 is as it should be, and 12 to 26 are spoilt.
  const tests = group.tests.filter(({ tcId }) => tcId === 4 || (tcId >= 12 && tcId <= 26))
  const kinds = tests.map(({ tcId, comment, msg, ct }): Kind => {
    const em = rsa.rawDecrypt(Buffer.from(ct, 'hex'))
    const substitute = randomBytes(msg.length / 2)
    return {
      name: `${tcId} ${comment}`,
      run: () => {
        using secrets = new SecretScope()
        decodeOaep256(em, secrets, substitute.length, substitute)
      },
    }
  })
  expect(kinds).toHaveLength(16)
  await expectOneTime(context, 'OAEP', kinds, { boundUs: 0.25, ...ROUNDS })
})

it('content is refused in one time, wherever it is wrong', TIMEOUT, async (context) => {
  const cek = randomBytes(32)
  const iv = randomBytes(12)
  const aad = randomBytes(100).toString('base64url')
  const sealed = sealContent({ cek, iv, aad, payload: randomBytes(40) })
  const kind = (name: string, part: 'ciphertext' | 'tag', at: number): Kind => {
    const spoilt = { cek, iv, aad, ...sealed, [part]: Buffer.from(sealed[part]) }
    spoilt[part][at]! ^= 1
    return {
      name,
      run: () => {
        using secrets = new SecretScope()
        openContent(spoilt, secrets)
      },
    }
  }
  const kinds = [
    kind('first byte of the tag', 'tag', 0),
    kind('last byte of the tag', 'tag', 15),
    kind('first byte of the ciphertext', 'ciphertext', 0),
    kind('last byte of the ciphertext', 'ciphertext', 39),
  ]
  await expectOneTime(context, 'content', kinds, { boundUs: 2, ...ROUNDS })
})

// Once in many runs one kind's texts lie in memory where they take 4 ns longer each: a branch shows wherever they lie.
it('hex is read and written in one time, whatever its digits are', { ...TIMEOUT, retry: 2 }, async (context) => {
  const BLOCKS = 100
  const kinds = { digits: '0123456789', letters: 'abcdef', both: '0123456789abcdef' }
  const target = Buffer.alloc(8)
  await expectOneTime(
    context,
    `${BLOCKS} blocks in hex`,
    Object.entries(kinds).map(([name, alphabet]): Kind => {
      const text = () => Buffer.from(Array.from({ length: 16 }, () => alphabet[randomInt(alphabet.length)]).join(''))
      const texts = Array.from({ length: BLOCKS }, text)
      const written = Buffer.alloc(16)
      return {
        name,
        run: () => {
          for (const text of texts) {
            decodeHexBytes(text, target)
            encodeHexBytes(target, written, 'lower')
          }
        },
      }
    }),
    { boundUs: 0.25, ...ROUNDS },
  )
})

it.for(['ISO-0', 'ISO-3', 'ISO-4'] as const)(
  '%s is decoded in one time, whatever is wrong with it',
  TIMEOUT,
  async (name, context) => {
    const { decode } = PIN_BLOCK_FORMATS.get(name)!
    const panText = '4000001234567899'
    const pan = parsePan(panText)!
    const filler =
      { 'ISO-0': 'F', 'ISO-3': 'C', 'ISO-4': 'A' }[name].repeat(10) + randomBytes(8).toString('hex').toUpperCase()
    const xor = (a: string, b: string) =>
      Buffer.from(Buffer.from(a, 'hex').map((byte, i) => byte ^ Buffer.from(b, 'hex')[i]!))
    const panField = oraclePanField(name, panText)
    const digits = Buffer.alloc(12)
    const DECODES = 100
    const kinds = Object.entries({ nothing: (field: string) => field, ...SPOILT }).map(([cause, spoil]): Kind => {
      const blocks = Array.from({ length: DECODES }, () => {
        const pin = String(randomInt(10_000)).padStart(4, '0')
        const field = xor(oracleEncode(name, pin, panText, filler), panField)
          .toString('hex')
          .toUpperCase()
        return xor(spoil(field), panField)
      })
      for (const pinBlock of blocks) expect(decode({ pinBlock, pan }, digits)).toBe(cause === 'nothing' ? 4 : 0)
      return {
        name: cause,
        run: () => {
          for (const pinBlock of blocks) decode({ pinBlock, pan }, digits)
        },
      }
    })
    await expectOneTime(context, `${DECODES} blocks of ${name}`, kinds, { boundUs: 2, ...ROUNDS })
  },
)
