import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gatewayConfig, loadConfig } from '../../../src/config/config.ts'
import { stringify } from 'yaml'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const jwkOf = (pair: { publicKey: ReturnType<typeof createPublicKey> }, more: object = {}) => ({
  ...pair.publicKey.export({ format: 'jwk' }),
  ...more,
})
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const ed25519 = generateKeyPairSync('ed25519')
const rsa2048 = generateKeyPairSync('rsa', { modulusLength: 2048 })
const rsa1024 = generateKeyPairSync('rsa', { modulusLength: 1024 })

/** A configuration with tokens, whose keys stand in a file. */
const withBearer = (over: Draft = {}): Draft => {
  const config = validConfig()
  config.authentication = {
    bearer: { issuer: 'https://issuer.test', audience: 'pinbridge', jwks: 'jwks.json', required: false, ...over },
  }
  return config
}
const problemsOf = (keys: unknown, mode?: number) => {
  site.write('jwks.json', typeof keys === 'string' ? keys : JSON.stringify({ keys }), mode)
  return site.problemsOf(withBearer())
}
const at = (sentence: string) => [`authentication.bearer.jwks: ${sentence}`]

describe('the keys that tokens are verified with', () => {
  it('reach the gateway with their public members only, without those that no algorithm of ours takes', () => {
    const keys = [
      jwkOf(p256, { kid: 'es', use: 'sig', alg: 'ES256', x5c: ['CANARY'], key_ops: ['verify'] }),
      jwkOf(rsa2048, { kid: 'rs' }),
      jwkOf(ed25519, { kid: 'ed', alg: 'EdDSA' }),
      jwkOf(p384, { kid: 'p384' }),
      jwkOf(p256, { kid: 'enc', use: 'enc' }),
      jwkOf(rsa1024, { kid: 'oaep', alg: 'RSA-OAEP-256' }),
      { kty: 'new', kid: 'new' },
    ]
    expect(problemsOf(keys)).toEqual([])
    site.write('pinbridge.yaml', stringify(withBearer()))
    const { bearer } = gatewayConfig(loadConfig(site.file)).authentication
    expect(bearer).toEqual({
      issuer: 'https://issuer.test',
      audience: 'pinbridge',
      clockSkewS: 30,
      required: false,
      keys: [
        jwkOf(p256, { kid: 'es', use: 'sig', alg: 'ES256' }),
        jwkOf(rsa2048, { kid: 'rs' }),
        jwkOf(ed25519, { kid: 'ed', alg: 'EdDSA' }),
      ],
    })
  })

  it.each<[string, unknown]>([
    ['is not a JWK Set', '{'],
    ['is not a JWK Set', '[]'],
    ['is not a JWK Set', '{"keys":{}}'],
    ['is not a JWK Set', [1]],
    ['holds no key for ES256, PS256, RS256 or EdDSA', []],
    ['holds no key for ES256, PS256, RS256 or EdDSA', [jwkOf(p384)]],
    ['holds a private or symmetric key', [p256.privateKey.export({ format: 'jwk' })]],
    ['holds a private or symmetric key', [jwkOf(p256), rsa2048.privateKey.export({ format: 'jwk' })]],
    ['holds a private or symmetric key', [jwkOf(p256), { kty: 'oct', k: 'AAAA' }]],
    ['holds an RSA key of less than 2048 bits', [jwkOf(rsa1024)]],
    ['holds a key that cannot be read', [{ kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' }]],
    ['holds a kid that is no text', [jwkOf(p256, { kid: 1 })]],
    ['has the same kid twice', [jwkOf(p256, { kid: 'a' }), jwkOf(ed25519, { kid: 'a' })]],
  ])('%s', (sentence, keys) => {
    expect(problemsOf(keys)).toEqual(at(sentence))
  })

  it('must be there, and be written by their owner alone', () => {
    expect(problemsOf([jwkOf(p256)], 0o664)).toEqual(
      at('must not be writable by group or others, and its mode is 0664'),
    )
    expect(site.problemsOf(withBearer({ jwks: 'nowhere.json' }))).toEqual(at('does not exist'))
  })
})

describe('authentication', () => {
  beforeAll(() => {
    site.write('jwks.json', JSON.stringify({ keys: [jwkOf(p256)] }))
  })

  it.each<[string, Draft]>([
    ['clockSkewS: must be at most 300', { clockSkewS: 301 }],
    ['clockSkewS: must be at least 0', { clockSkewS: -1 }],
    ['issuer: is empty', { issuer: '' }],
    ['algorithms: is not a known member', { algorithms: ['HS256'] }],
  ])('bearer.%s', (problem, over) => {
    expect(site.problemsOf(withBearer(over))).toEqual([`authentication.bearer.${problem}`])
  })

  it('must say whether tokens are required', () => {
    const config = withBearer()
    delete config.authentication.bearer.required
    expect(site.problemsOf(config)).toEqual(['authentication.bearer.required: is missing'])
  })

  it('needs a subject of every client where it is required', () => {
    const config = withBearer({ required: true })
    expect(site.problemsOf(config)).toEqual([
      'clients[0].subject: is missing, and authentication.bearer.required needs it',
    ])
    config.clients[0].subject = 'cms'
    expect(site.problemsOf(config)).toEqual([])
  })

  it('knows one client by one subject', () => {
    const config = validConfig()
    config.clients[0].subject = 'cms'
    config.clients.push({ id: 'other', dnsName: 'other.example', subject: 'cms' })
    expect(site.problemsOf(config)).toEqual(['clients[1].subject: is the subject of clients[0] too'])
  })
})
