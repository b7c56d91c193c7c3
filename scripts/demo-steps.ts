/** The steps of the demo: each does one thing as D1, the CMS or an ATM would, and says what it proved. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { join } from 'node:path'
import { d1Outbound } from '../test/d1/outbound.ts'
import { insertCard, makeD1Secrets, runAdapter } from '../test/d1/running-adapter.ts'
import { iso0Block, iso0Payload, openPin, seal, seccosPayload } from '../test/d1/simulator.ts'
import type { Service } from '../test/support/service.ts'
import { register } from './demo-registration.ts'

/** As the development set-up has it in the key that signs assertions. */
const ISSUER = 'pinbridge1'
const CARD_ID = 'card-0001'
/** Invented, as the PINs are. */
const PAN = '4000001234567899'
const PAN_SEQUENCE_NUMBER = '01'
const FIRST_PIN = '4917'
const NEW_PIN = '805316'
const COUNTER = '0003'
const TRANSACTION_ID = '21430919092023091909'
const ZONE = { key: 'zpk-out', format: 'ISO-0' }
const ATM_ZONE = { key: 'zpk-in', format: 'ISO-0' }
const RECIPIENT = 'd1-dev'

/** What the demo expected and did not get. */
export class Unexpected extends Error {}

/** What somebody can go on with by hand. */
export interface Leftover {
  /** The body of a pin/get. */
  readonly getPin: object
  /** The body of a pin-blocks/translate. */
  readonly translate: object
  /** The body of a prw/verify. */
  readonly verifyPrw: object
  /** The body of a pin/set, with a JWE that is as good the next time. */
  readonly setPin: object
}

/**
 * Plays every step against a running service.
 *
 * @param folder - where the adapter keeps its data base.
 * @param tell - is given the title of a step that went well, and the lines that say what it proved.
 * @throws Unexpected at the first step that does not end as it should.
 */
export async function playSteps(
  service: Service,
  folder: string,
  tell: (title: string, ...proof: string[]) => void,
): Promise<Leftover> {
  const { setUp, ready, call, manage } = service

  // 1
  await expectStatus(manage('/healthz'), 200, 'GET /healthz')
  const { keys } = (await expectStatus(call('GET', '/v1/keys'), 200, 'GET /v1/keys')).json
  const made = new Map(setUp.keys.map(({ id, kcv }) => [id, kcv]))
  expect(
    keys.length === made.size && keys.every((key: any) => made.get(key.id) === key.kcv),
    'the keys are not those made',
  )
  tell(
    'The service is up, with its keys in the HSM',
    `${ready.url} takes mutual TLS alone; one gateway (process ${ready.gateway}), ${ready.vaults.length} vaults in front of the HSM.`,
    'Keys, by what they are for, with their check values (KCV):',
    ...keys.map(
      (key: any) => `  ${key.id.padEnd(12)} ${key.purpose.padEnd(14)} ${key.algorithm.padEnd(9)} KCV ${key.kcv}`,
    ),
  )

  // 2
  const registered = await register(service, { issuerId: ISSUER, cardId: CARD_ID, pan: PAN })
  expect(registered?.pan === PAN, 'D1 did not take the consumer and the card')
  tell(
    'A consumer and a card registered with D1',
    `The HSM signed the assertion that the issuer ${ISSUER} is itself (ES256, key ${registered.kid}); D1 gave a token for it.`,
    'PAN and expiry date were sealed to D1 (a JWE: ECDH-ES on P-256, A256GCM), which opened them with its own key.',
  )

  const cms = setUp.clients.find(({ id }) => id === 'cms-adapter')!
  const secrets = makeD1Secrets()
  const database = join(folder, 'cards.db')
  const card = { issuerId: ISSUER, cardId: CARD_ID, pan: PAN, panSequenceNumber: PAN_SEQUENCE_NUMBER }
  insertCard(database, { ...card, state: 'ACTIVE', changeCounter: Number(COUNTER) - 1 })
  const adapter = await runAdapter({ url: ready.url, ca: setUp.ca, cert: cms.cert, key: cms.key }, database, secrets)
  const storedBlock = (): string => adapter.store.findCard(ISSUER, CARD_ID)?.pinBlock ?? ''
  try {
    // 3
    const outbound = d1Outbound(adapter.url, secrets.credentials)
    expect((await outbound.token()).split('.').length === 3, 'the access token is not a JWT')
    tell(
      'An access token for D1',
      'D1 showed the CMS adapter its client id and secret, and has a token for the calls that follow.',
    )

    const d1 = outbound.card(ISSUER, CARD_ID)
    const d1PrivateKey = setUp.recipients.find(({ kid }) => kid === RECIPIENT)!.privateJwk
    const jwks = (await expectStatus(call('GET', '/v1/jwks'), 200, 'GET /v1/jwks')).json
    const issuerKey = jwks.keys.find(({ kid }: { kid: string }) => kid === 'jwe-ec')
    expect(issuerKey?.crv === 'P-256', 'GET /v1/jwks does not give the key jwe-ec')
    const valueOf = (id: string): string => setUp.keys.find((key) => key.id === id)?.value ?? ''

    // 4
    const firstJwe = await seal(iso0Payload(FIRST_PIN, PAN), issuerKey)
    await expectStatus(d1.setPin('ISO0', firstJwe), 204, 'Set PIN as ISO0')
    const isStored = (pin: string): boolean =>
      tdea('decipher', valueOf(ZONE.key), storedBlock()) === iso0Block(pin, PAN)
    expect(isStored(FIRST_PIN), 'the stored PIN block does not hold the PIN that was set')
    tell(
      'Set PIN as ISO0',
      `D1 encrypted the PIN ${FIRST_PIN} for the issuer (a JWE: ECDH-ES on P-256, A256GCM) and sent it to the CMS.`,
      'The HSM opened the JWE with a private key that never leaves it; the CMS was given a PIN block and no PIN:',
      `  ${storedBlock()} under the zone key ${ZONE.key}. Deciphered here with the development key, it is right.`,
    )

    // 5
    const shown = async (): Promise<string> => {
      const { json } = await expectStatus(d1.getPin(), 200, 'Get PIN')
      return openPin(json.encryptedPinBlock, d1PrivateKey, PAN)
    }
    expect((await shown()) === FIRST_PIN, 'Get PIN does not show the PIN that was set')
    tell(
      'Get PIN',
      'The CMS had its PIN block sealed for D1; D1 opened the JWE with its own key and reads:',
      `  PIN ${FIRST_PIN}, the one that was set.`,
    )

    // 6
    const counter = (await expectStatus(d1.getChangeCounter(TRANSACTION_ID), 200, 'the change counter')).json
      .changeCounter
    expect(counter === COUNTER, `the change counter is not ${COUNTER}`)
    tell(
      'PIN change counter',
      `For the PIN change ${TRANSACTION_ID} the CMS told D1 the counter ${counter}. It goes into what D1 computes next.`,
    )

    // 7
    const sharedKeys = { seccosPin: valueOf('seccos-pin'), prw: valueOf('prw'), pinMac: valueOf('pin-mac') }
    const change = {
      pan: PAN,
      panSequenceNumber: PAN_SEQUENCE_NUMBER,
      pin: NEW_PIN,
      counter,
      transactionId: TRANSACTION_ID,
    }
    const payload = seccosPayload(change, sharedKeys)
    const seccosJwe = await seal(payload, issuerKey)
    await expectStatus(d1.setPin('3DES_SECCOS', seccosJwe, TRANSACTION_ID), 204, 'Set PIN as 3DES_SECCOS')
    expect(isStored(NEW_PIN), 'the stored PIN block does not hold the new PIN')
    tell(
      'Set PIN as 3DES_SECCOS',
      `D1 sent the new PIN ${NEW_PIN} as a SECCOS block with its PRW (a keyed value that stands for the PIN) and a MAC over both.`,
      'The MAC verified, then the PRW; only then was the PIN translated to the zone key:',
      `  ${storedBlock()} under ${ZONE.key}. The CMS moved its counter on.`,
    )

    // 8
    await expectStatus(d1.setPin('3DES_SECCOS', seccosJwe, TRANSACTION_ID), 204, 'the same Set PIN again')
    const nextCounter = (await expectStatus(d1.getChangeCounter(), 200, 'the next change counter')).json.changeCounter
    expect(Number(nextCounter) === Number(COUNTER) + 1, 'the counter was not raised once')
    tell(
      'The same Set PIN again',
      `D1 repeats a call whose answer it has not got: 204 again, and the next counter is ${nextCounter}, raised once.`,
    )

    // 9
    expect((await shown()) === NEW_PIN, 'Get PIN does not show the new PIN')
    tell('Get PIN again', `D1 opened the answer and reads PIN ${NEW_PIN}: the new one.`)

    // 10
    const prwInput = {
      card: { pan: PAN, panSequenceNumber: PAN_SEQUENCE_NUMBER },
      change: { counter },
      key: 'prw',
    }
    const generate = { ...prwInput, pinBlock: storedBlock(), from: ZONE }
    const { prw } = (await expectStatus(call('POST', '/v1/prw/generate', generate), 200, 'prw/generate')).json
    expect(prw === payload.prw, 'the PRW is not the one that D1 computed')
    tell(
      'PRW generated',
      `From the stored PIN block the HSM made the PRW ${prw}:`,
      '  the very value that D1 had computed from the PIN, with other code.',
    )

    // 11
    const atAtm = {
      ...prwInput,
      pinBlock: tdea('encipher', valueOf(ATM_ZONE.key), iso0Block(NEW_PIN, PAN)),
      from: ATM_ZONE,
    }
    const verify = async (body: object): Promise<boolean> =>
      (await expectStatus(call('POST', '/v1/prw/verify', body), 200, 'prw/verify')).json.verified
    const verifyPrw = { ...atAtm, prw }
    expect(await verify(verifyPrw), 'the right PIN does not verify against its PRW')
    tell(
      'PRW verified',
      `The PIN typed at an ATM, in a block under another zone key (${ATM_ZONE.key}): verified is true.`,
    )

    // 12
    const wrongPrw = `${prw.slice(0, -1)}${prw.endsWith('0') ? '1' : '0'}`
    expect(!(await verify({ ...atAtm, prw: wrongPrw })), 'a wrong PRW verifies')
    const wrongPin = tdea('encipher', valueOf(ATM_ZONE.key), iso0Block(FIRST_PIN, PAN))
    expect(!(await verify({ ...verifyPrw, pinBlock: wrongPin })), 'the old PIN verifies against the new PRW')
    tell(
      'A wrong PRW is refused',
      'One digit of the PRW changed, and then the old PIN with the new PRW: verified is false, twice.',
    )

    // 13
    const before = storedBlock()
    const tampered = flipLastCiphertextBit(firstJwe)
    await expectStatus(d1.setPin('ISO0', tampered), 400, 'Set PIN with a tampered JWE')
    expect(storedBlock() === before, 'a tampered JWE changed the stored PIN block')
    const set = { type: 'ISO0', card: prwInput.card, to: ZONE }
    const refused = call('POST', '/v1/pin/set', { ...set, encryptedPinBlock: tampered })
    const { code, title } = (await expectStatus(refused, 422, 'pin/set with a tampered JWE')).json
    expect(code === 'ERR_JWE_DECRYPTION_FAILED', 'a tampered JWE is refused with another code')
    tell(
      'A tampered JWE is refused',
      `One bit changed on the way: pinbridge answers 422 ${code} ("${title}"),`,
      'the CMS passes it to D1 as a 400, and the stored PIN is what it was.',
    )

    return {
      getPin: { pinBlock: storedBlock(), from: ZONE, card: { pan: PAN }, recipient: RECIPIENT },
      translate: { pinBlock: atAtm.pinBlock, from: ATM_ZONE, to: ZONE, card: { pan: PAN } },
      verifyPrw,
      setPin: { ...set, encryptedPinBlock: firstJwe },
    }
  } finally {
    await adapter.close()
  }
}

function expect(asExpected: boolean, sentence: string): asserts asExpected {
  if (!asExpected) throw new Unexpected(sentence)
}

async function expectStatus<T extends { status: number; json: any }>(
  answer: Promise<T>,
  status: number,
  what: string,
): Promise<T> {
  const got = await answer
  const code = got.json?.code === undefined ? '' : ` ${got.json.code}`
  if (got.status !== status) throw new Unexpected(`${what} was answered with ${got.status}${code} instead of ${status}`)
  return got
}

/** One PIN block under a development key, as another party with OpenSSL would do it. */
function tdea(way: 'encipher' | 'decipher', keyHex: string, blockHex: string): string {
  const key = Buffer.from(keyHex, 'hex')
  const cipher =
    way === 'encipher' ? createCipheriv('des-ede-ecb', key, null) : createDecipheriv('des-ede-ecb', key, null)
  cipher.setAutoPadding(false)
  return `${cipher.update(blockHex, 'hex', 'hex')}${cipher.final('hex')}`.toUpperCase()
}

/** Changes one bit of a compact JWE's ciphertext. */
function flipLastCiphertextBit(jwe: string): string {
  const parts = jwe.split('.')
  const ciphertext = Buffer.from(parts[3] ?? '', 'base64url')
  ciphertext[ciphertext.length - 1]! ^= 1
  return parts.with(3, ciphertext.toString('base64url')).join('.')
}
