/** What the document says of each operation beyond its schemas, by operationId: enough to write a client from. */
import { getJwks, getKeys, makeD1Assertion, openJwe, sealJwe } from './d1-examples.ts'
import type { Examples } from './example.ts'
import { getPin, setPin, translatePinBlock, translatePinBlockBatch } from './pin-examples.ts'
import { generateMac, generatePrw, verifyMac, verifyPrw } from './prw-mac-examples.ts'

/** The texts and examples of one operation; the texts are CommonMark. */
export interface OperationText {
  readonly does: string
  /** What a client must have been granted. */
  readonly grant: string
  /** What comes of the same request sent twice, and when that is safe. */
  readonly again: string
  readonly examples: Examples
}

const NOTHING_KEPT = 'Nothing is kept, so the same request may be sent again at any time.'
const GUESSES = 'What is wrong costs a guess: of the client, the card and the PIN block.'
const FILLER =
  'The PIN block of ISO formats 1, 3 and 4 differs each time, because its filler is random; the PIN in it is the same.'

export const OPERATIONS: Readonly<Record<string, OperationText>> = {
  setPin: {
    does:
      'Opens the JWE that D1 sent with its PIN request, and gives what is in it in the forms that the issuer keeps: the PIN block under a zone key (`to`), ' +
      "and the issuer's own PRW and MAC (`issue`). At least one of `to` and `issue.prw` is there; `issue.mac` needs `to`, because the MAC is over the outgoing PIN block. " +
      'For `3DES_SECCOS` the MAC and then the PRW in the JWE are verified first, with `change`, whose transaction id is then required; if one does not match, nothing is released.',
    grant: '`pin/set`, with the JWE key, the key and format of `to` and the keys of `issue`.',
    again:
      'The same request may be sent again when its answer was lost: it is carried out and answered again. Where the D1 profile counts each change counter once, ' +
      'another request with the counter of this card is 409, and the same request while the first is under way 503. ' +
      `A random filler, and the random number of a PRW, differ each time. ${GUESSES}`,
    examples: setPin,
  },
  getPin: {
    does: "Translates a stored PIN block to ISO format 0 and seals it to a recipient as a JWE, for the answer to D1's PIN request.",
    grant: '`pin/get`, with the key and format of `from` and the recipient: the grant that reads PINs.',
    again: `${NOTHING_KEPT} The JWE differs each time. ${GUESSES}`,
    examples: getPin,
  },
  translatePinBlock: {
    does:
      'Deciphers a PIN block under one zone key and enciphers its PIN under another, in the same format or in one that PCI PIN requirement 3-3 permits. The PAN stays as it is. ' +
      'Keep the version of the key in the answer beside the PIN block, and name it in `from` when the block comes back.',
    grant:
      '`pin-blocks/translate`, with the keys and formats of `from` and `to`; where one of them is SECCOS, `pin-blocks/translate-seccos` instead.',
    again: `${NOTHING_KEPT} ${FILLER} ${GUESSES}`,
    examples: translatePinBlock,
  },
  translatePinBlockBatch: {
    does:
      'Translates up to 10 000 PIN blocks of one pair of keys. Each item answers for itself, in the order of the request: with a PIN block, or with a code. ' +
      'A request that is malformed anywhere is refused as a whole, and so is a batch in which more blocks are wrong than `limits.batchRejects` of the service (422). A client has at most eight batches under way.',
    grant:
      '`pin-blocks/translate-batch`, with the keys and formats of `from` and `to`; where one of them is SECCOS, `pin-blocks/translate-seccos` besides.',
    again: `${NOTHING_KEPT} ${FILLER} Items that were answered with \`ERR_RATE_LIMITED\` may be sent again alone, once the client has guesses again.`,
    examples: translatePinBlockBatch,
  },
  generatePrw: {
    does:
      "Makes the PIN reference value of a PIN block's PIN, by the profile of the key. What the profile needs beside PAN and PIN must be in the request: `panSequenceNumber`, `expiry`, `change`. " +
      'A profile with a random number takes it from the HSM and returns it: keep it beside the PRW.',
    grant: '`prw/generate`, with `key` and the key and format of `from`.',
    again: `${NOTHING_KEPT} A PRW with a random number differs each time. ${GUESSES}`,
    examples: generatePrw,
  },
  verifyPrw: {
    does:
      "Makes the PRW of a PIN block's PIN and compares it with the one that is given. `verified: false` is an answer with status 200. " +
      'The PRW is tried under every version of the key that is not retired.',
    grant: '`prw/verify`, with `key` and the key and format of `from`.',
    again: `${NOTHING_KEPT} But each \`false\`, and each PIN block that is not valid, costs a guess, sent again or not.`,
    examples: verifyPrw,
  },
  generateMac: {
    does: 'Makes the MAC over an enciphered PIN block as it is given, by the profile of the key. The block is not deciphered. What the profile needs beside it must be in the request: `prw`, `card`, `change`.',
    grant: '`mac/generate`, with `key`.',
    again: `${NOTHING_KEPT} The answer is the same.`,
    examples: generateMac,
  },
  verifyMac: {
    does: 'Checks the MAC over an enciphered PIN block. `verified: false` is an answer with status 200. The MAC is tried under every version of the key that is not retired.',
    grant: '`mac/verify`, with `key`.',
    again: `${NOTHING_KEPT} But each \`false\` costs a guess, sent again or not.`,
    examples: verifyMac,
  },
  makeD1Assertion: {
    does:
      'Signs the JWT that D1 gives an access token for (RFC 7523, ES256). Issuer, subject and audience are those of the key in the configuration of the service; the caller chooses none of them. ' +
      'The assertion is a credential: send it to D1 and keep it nowhere.',
    grant: '`d1/assertion`, with `key`.',
    again: `${NOTHING_KEPT} Each assertion is a new one.`,
    examples: makeD1Assertion,
  },
  sealJwe: {
    does: 'Seals the credentials of a card, or the personal information of a consumer, to a data recipient of D1 as a JWE. The members are those of the schemas and no others; a PIN block is never sealed here.',
    grant: '`jwe/seal`, with the recipient.',
    again: `${NOTHING_KEPT} The JWE differs each time.`,
    examples: sealJwe,
  },
  openJwe: {
    does: 'Opens what D1 encrypted to a `jwe-open` key, which the JWE names. A payload with a PIN block in it is refused: that is what pin/set is for.',
    grant: '`jwe/open`, with the key that the JWE names.',
    again: `${NOTHING_KEPT} The answer is the same.`,
    examples: openJwe,
  },
  getJwks: {
    does:
      'The public keys that D1 encrypts PINs to, with current ones first and those being retired behind them. Publish them to D1; take the first that fits. ' +
      'It is 503 until the service knows which keys its HSM holds.',
    grant: '`jwks`.',
    again: 'May be asked at any time.',
    examples: getJwks,
  },
  getKeys: {
    does: 'Every version of every key: what it is for, its check value and its state. Never a value of a key.',
    grant: '`keys`.',
    again: 'May be asked at any time.',
    examples: getKeys,
  },
}
