import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { P256_KEY, Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

type Case = [problem: string, change: (config: Draft) => void]

describe('a D1 profile', () => {
  it.each<Case>([
    ['profiles[1].id: is the id of d1.profiles[0] too', ({ d1 }) => d1.profiles.push({ ...d1.profiles[0] })],
    [
      'profiles[0].types.3DES_SECCOS: is the wire name of ISO0 too',
      ({ d1 }) => (d1.profiles[0].types.ISO0 = '3DES_SECCOS'),
    ],
    [
      'profiles[0].members.prw: is the name of pinBlock too',
      ({ d1 }) => (d1.profiles[0].members = { prw: 'pinBlock' }),
    ],
    [
      'profiles[0].members.transactionId: is the name of counter too',
      ({ d1 }) => (d1.profiles[0].members = { counter: 'x', transactionId: 'x' }),
    ],
    ['profiles[0].innerKey: names no key', ({ d1 }) => (d1.profiles[0].innerKey = 'CANARY')],
    ['profiles[0].innerKey: names a key of which no version is active', ({ keys }) => (keys[1].state = 'retiring')],
    ['profiles[0].innerKey: must name a zone-pin key', ({ d1 }) => (d1.profiles[0].innerKey = 'seccos-pin')],
    ['profiles[0].innerKey: names a key that does not list ISO-0', ({ keys }) => keys[1].formats.shift()],
    [
      'profiles[0].innerKey: names a key whose direction is out, and PIN blocks come in under it',
      ({ keys }) => (keys[1].direction = 'out'),
    ],
    [
      'profiles[0].innerKey: names a key whose direction is in, and PIN blocks go out to a recipient under it',
      ({ keys }) => (keys[1].direction = 'in'),
    ],
    ['profiles[0].seccos: is missing; 3DES_SECCOS needs it', ({ d1 }) => delete d1.profiles[0].seccos],
    [
      'profiles[0].seccos: belongs to a profile that takes 3DES_SECCOS',
      ({ d1 }) => delete d1.profiles[0].types['3DES_SECCOS'],
    ],
    ['profiles[0].seccos.pinKey: names no key', ({ d1 }) => (d1.profiles[0].seccos.pinKey = 'CANARY')],
    ['profiles[0].seccos.pinKey: must name a seccos-pin key', ({ d1 }) => (d1.profiles[0].seccos.pinKey = 'zpk')],
    ['profiles[0].seccos.pinKey: names a key of which no version is active', ({ keys }) => (keys[3].state = 'pending')],
    [
      'profiles[0].seccos.pinKey: names a key whose direction is out, and PIN blocks come in under it',
      ({ keys }) => (keys[3].direction = 'out'),
    ],
    ['profiles[0].seccos.prwKey: names no key', ({ d1 }) => (d1.profiles[0].seccos.prwKey = 'CANARY')],
    ['profiles[0].seccos.prwKey: must name a prw key', ({ d1 }) => (d1.profiles[0].seccos.prwKey = 'pin-mac')],
    ['profiles[0].seccos.prwKey: names a key that may not verify', ({ keys }) => (keys[4].use = ['generate'])],
    [
      'profiles[0].seccos.prwKey: names a key whose profile takes a random number, and D1 sends none',
      ({ d1, keys }) => {
        keys[6].use = ['verify']
        d1.profiles[0].seccos.prwKey = 'prw-aes'
      },
    ],
    ['profiles[0].seccos.macKey: must name a pin-mac key', ({ d1 }) => (d1.profiles[0].seccos.macKey = 'prw')],
    ['profiles[0].seccos.macKey: names a key that may not verify', ({ keys }) => (keys[5].use = ['generate'])],
    [
      'profiles[0].seccos.macKey: names a key whose profile is not for PIN blocks of 8 bytes',
      ({ keys }) =>
        Object.assign(keys[5], {
          profile: 'dk-aes',
          algorithm: 'AES-128',
          kcv: 'A1B2C3D4E5',
          check: '00112233445566778899AABBCCDDEEFF',
        }),
    ],
  ])('d1.%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([`d1.${problem}`])
  })

  it('needs an inner key of the directions that it is used for, and no more', () => {
    const incoming = validConfig()
    incoming.keys[1].direction = 'in'
    incoming.d1.recipients = []
    incoming.clients = []
    expect(site.problemsOf(incoming)).toEqual([])
    const outgoing = validConfig()
    outgoing.keys[1].direction = 'out'
    outgoing.keys.shift()
    expect(site.problemsOf(outgoing)).toEqual([])
  })

  it('may take one type only, and no inner key', () => {
    expect(site.problemsAfter(({ d1 }) => (d1.profiles[0] = { id: 'd1', types: { ISO0: 'x' } }))).toEqual([])
  })
})

/** A public RSA key as a JWK. */
function rsaKey(modulusLength: number, publicExponent = 65_537): Draft {
  const { kty, n, e } = generateKeyPairSync('rsa', { modulusLength, publicExponent }).publicKey.export({
    format: 'jwk',
  })
  return { kty, n, e }
}

const RSA_KEY = rsaKey(2048)

/** Makes the recipient one of RSA. */
const rsa =
  (members: object) =>
  ({ d1 }: Draft): void =>
    void Object.assign(d1.recipients[0], { publicKey: { ...RSA_KEY, ...members }, alg: 'RSA-OAEP-256' })

/** Changes the recipient's EC key. */
const ec =
  (members: object) =>
  ({ d1 }: Draft): void =>
    void (d1.recipients[0].publicKey = { ...P256_KEY, ...members })

const even = Buffer.from(RSA_KEY.n, 'base64url')
even[255]! &= 0xfe

describe('a recipient', () => {
  it('may have a key of P-256 or RSA', () => {
    expect(site.problemsAfter(rsa({}))).toEqual([])
    expect(site.problemsAfter(ec({}))).toEqual([])
  })

  it.each<Case>([
    ['[1].kid: is the kid of d1.recipients[0] too', ({ d1 }) => d1.recipients.push({ ...d1.recipients[0] })],
    ['[0].profile: names no profile of d1.profiles', ({ d1 }) => (d1.recipients[0].profile = 'CANARY')],
    ['[0].alg: must be ECDH-ES for a key of type EC', ({ d1 }) => (d1.recipients[0].alg = 'RSA-OAEP-256')],
    ['[0].alg: must be RSA-OAEP-256 for a key of type RSA', ({ d1 }) => (d1.recipients[0].publicKey = RSA_KEY)],
    [
      '[0].publicKey.crv: is missing; a key of type EC needs it',
      ({ d1 }) => (d1.recipients[0].publicKey = { kty: 'EC', x: P256_KEY.x, y: P256_KEY.y }),
    ],
    [
      '[0].publicKey.x: is missing; a key of type EC needs it',
      ({ d1 }) => (d1.recipients[0].publicKey = { kty: 'EC', crv: 'P-256', y: P256_KEY.y }),
    ],
    ['[0].publicKey.n: does not belong to a key of type EC', ec({ n: RSA_KEY.n })],
    ['[0].publicKey.d: is not a known member', ec({ d: 'CANARY' })],
    ['[0].publicKey: must have x and y of 32 bytes in base64url', ec({ x: P256_KEY.x.slice(2) })],
    ['[0].publicKey: must have x and y of 32 bytes in base64url', ec({ y: `${P256_KEY.y}=` })],
    ['[0].publicKey: is not a point of P-256', ec({ y: P256_KEY.x })],
    ['[0].publicKey: is not a point of P-256', ec({ x: Buffer.alloc(32, 0xff).toString('base64url') })],
    [
      '[0].publicKey.e: is missing; a key of type RSA needs it',
      ({ d1 }) => Object.assign(d1.recipients[0], { publicKey: { kty: 'RSA', n: RSA_KEY.n }, alg: 'RSA-OAEP-256' }),
    ],
    ['[0].publicKey.crv: does not belong to a key of type RSA', rsa({ crv: 'P-256' })],
    ['[0].publicKey: must have at least 2048 bits', rsa(rsaKey(1024))],
    ['[0].publicKey: must have an odd exponent of at least 65537', rsa({ e: 'AQ' })],
    ['[0].publicKey: must have an odd exponent of at least 65537', rsa({ e: 'Aw' })],
    ['[0].publicKey: must have an odd exponent of at least 65537', rsa({ e: 'AQAC' })],
    ['[0].publicKey: must have n and e in base64url without leading zero bytes', rsa({ e: 'AAEAAQ' })],
    ['[0].publicKey: must have n and e in base64url without leading zero bytes', rsa({ n: '' })],
    ['[0].publicKey: must have n and e in base64url without leading zero bytes', rsa({ n: `${RSA_KEY.n}+` })],
    ['[0].publicKey: is not an RSA public key', rsa({ n: even.toString('base64url') })],
  ])('d1.recipients%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([`d1.recipients${problem}`])
  })

  it('of development is refused in production', () => {
    const config = { ...validConfig(), environment: 'production', acceptDefaultProfiles: true }
    config.d1.recipients[0].development = true
    expect(site.problemsOf(config)).toEqual(['d1.recipients[0].development: is refused in production'])
    expect(site.problemsOf({ ...config, environment: 'development' })).toEqual([])
  })
})
