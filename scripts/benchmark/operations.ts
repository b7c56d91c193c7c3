/** The operations as requests over HTTP: bodies made by node:crypto before the clock starts, and what their answers must be. */
import { strict as assert } from 'node:assert'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { tdeaCmac } from '../../test/d1/macs.ts'
import { openEc, sealTo, type NodeJwk } from '../../test/support/node-jwe.ts'
import type { OperationId } from './results.ts'
import { blockOf, csvOf, CSV_HEAD, makeRows, panOf, pinOf, type Rows } from './rows.ts'

/** An operation that is asked for over HTTP. */
export interface Operation {
  readonly path: string
  readonly rowsPerRequest: number
  /** Makes bodies that nobody has sent before, each for cards of its own. */
  readonly makeRequests: (count: number) => Requests
}

/** Requests of one operation. */
export interface Requests {
  readonly bodies: readonly string[]
  /** @throws unless the answer with status 200 to that body is right. */
  readonly assertAnswer: (index: number, answer: string) => void
}

/** `migrate` is a command and no request. */
export type HttpOperationId = Exclude<OperationId, 'migrate'>

/** The zones that PIN blocks come from, and go to. */
export const FROM = { key: 'zpk-in', format: 'ISO-0' }
export const TO = { key: 'zpk-out', format: 'ISO-0' }
const BATCH_ROWS = 10_000
const SEQUENCE_NUMBER = '01'
const COUNTER = '0003'

/**
 * The operations on the keys of a set-up.
 *
 * @param jwks - the public keys that JWEs are made for, as GET /v1/jwks gives them.
 */
export function createOperations(
  setUp: DevelopmentSetUp,
  jwks: readonly NodeJwk[],
): Readonly<Record<HttpOperationId, Operation>> {
  const valueOf = (id: string): string => setUp.keys.find((key) => key.id === id)!.value!
  const keys = { from: valueOf('zpk-in'), to: valueOf('zpk-out') }
  const prwKey = valueOf('prw')
  const recipient = setUp.recipients.find(({ kid }) => kid === 'd1-dev')!

  const setPin = (kid: string): Operation => {
    const key = jwks.find((jwk) => jwk.kid === kid)!
    return single('/v1/pin/set', {
      body: (rows, row) => {
        const payload = JSON.stringify({ pinBlock: blockOf(rows.clearBlocks, row) })
        return { type: 'ISO0', encryptedPinBlock: sealTo(payload, key).compact, card: cardOf(rows, row), to: TO }
      },
      check: ({ pinBlock }, rows, row) => assert.equal(pinBlock, blockOf(rows.blocksUnderTo, row)),
    })
  }

  /** One PIN a request. */
  function single(
    path: string,
    {
      body,
      check,
    }: { body: (rows: Rows, row: number) => object; check: (answer: any, rows: Rows, row: number) => void },
  ): Operation {
    return {
      path,
      rowsPerRequest: 1,
      makeRequests: (count) => {
        const rows = makeRows(count, keys)
        return {
          bodies: Array.from({ length: count }, (_, row) => JSON.stringify(body(rows, row))),
          assertAnswer: (row, answer) => check(JSON.parse(answer), rows, row),
        }
      },
    }
  }

  return {
    'pin-set-ecdh': setPin('jwe-ec'),
    'pin-set-rsa': setPin('jwe-rsa'),
    'pin-get': single('/v1/pin/get', {
      body: (rows, row) => ({
        pinBlock: blockOf(rows.blocksUnderFrom, row),
        from: FROM,
        card: cardOf(rows, row),
        recipient: recipient.kid,
      }),
      check: ({ encryptedPinBlock }, rows, row) => {
        const { payload } = openEc(encryptedPinBlock, recipient.privateJwk)
        assert.deepEqual(JSON.parse(payload.toString()), { pinBlock: blockOf(rows.clearBlocks, row) })
      },
    }),
    translate: single('/v1/pin-blocks/translate', {
      body: (rows, row) => ({
        pinBlock: blockOf(rows.blocksUnderFrom, row),
        from: FROM,
        to: TO,
        card: cardOf(rows, row),
      }),
      check: ({ pinBlock }, rows, row) => assert.equal(pinBlock, blockOf(rows.blocksUnderTo, row)),
    }),
    batch: {
      path: '/v1/pin-blocks/translate-batch',
      rowsPerRequest: BATCH_ROWS,
      makeRequests: (count) => {
        const rows = makeRows(count * BATCH_ROWS, keys)
        const csv = (blocks: Buffer, index: number): string =>
          CSV_HEAD + csvOf(rows, blocks, index * BATCH_ROWS, (index + 1) * BATCH_ROWS)
        return {
          bodies: Array.from({ length: count }, (_, index) =>
            JSON.stringify({ from: FROM, to: TO, rows: csv(rows.blocksUnderFrom, index) }),
          ),
          assertAnswer: (index, answer) => {
            const [head = '', ...lines] = (JSON.parse(answer).rows as string).trimEnd().split(/\r?\n/)
            const column = head.split(',').indexOf('pinBlock')
            assert.deepEqual(
              lines.map((line) => line.split(',')[column]),
              lines.map((_, row) => blockOf(rows.blocksUnderTo, index * BATCH_ROWS + row)),
            )
            assert.equal(lines.length, BATCH_ROWS)
          },
        }
      },
    },
    'prw-verify': single('/v1/prw/verify', {
      body: (rows, row) => ({
        key: 'prw',
        pinBlock: blockOf(rows.blocksUnderFrom, row),
        from: FROM,
        card: { ...cardOf(rows, row), panSequenceNumber: SEQUENCE_NUMBER },
        change: { counter: COUNTER },
        prw: prwOf(prwKey, rows, row),
      }),
      check: (answer) => assert.deepEqual(answer, { verified: true }),
    }),
  }
}

function cardOf(rows: Rows, row: number): { pan: string } {
  return { pan: panOf(rows, row) }
}

/** The value that the profile seccos-3des has for a PIN. */
function prwOf(key: string, rows: Rows, row: number): string {
  const pan = panOf(rows, row).padStart(20, '0')
  return tdeaCmac(key, `${pan}${SEQUENCE_NUMBER}04${pinOf(rows, row).padEnd(12, 'F')}${COUNTER}`).toUpperCase()
}
