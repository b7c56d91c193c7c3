/**
 * Credentials of IBM Digital Asset Haven, byte for byte: against the worked example of the public pages, and against the publisher's
 * own signer.
 *
 * Source of the example: Dfns, "API objects", https://github.com/dfns/dfns-api-docs (advanced-topics/authentication/api-objects.md),
 * quoted for its values; the repository names no licence.
 */
import { createHash, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto'
import { AsymmetricKeySigner } from '@dfns/sdk-keysigner'
import fc from 'fast-check'
import forge from 'node-forge'
import { describe, expect, it } from 'vitest'
import {
  assertionClientData,
  assertionOf,
  fingerprintOf,
  registrationClientData,
  registrationOf,
} from '../../src/cli/credential/client-data.ts'
import { derSignature } from '../../src/cli/credential/der-signature.ts'
import type { PublicKey } from '../../src/hsm/hsm.ts'
import { verifiesSignature } from '../../src/hsm/self-test.ts'
import { jwkThumbprint } from '../../src/key-block/kcv.ts'

const EXAMPLE = {
  challenge: 'Y2gtNzloaHQtbXJlb2stOGFwOHFtMmVpZWZ0amxhZw',
  origin: 'https://app.dfns.ninja',
  clientData:
    'eyJjaGFsbGVuZ2UiOiJZMmd0Tnpsb2FIUXRiWEpsYjJzdE9HRndPSEZ0TW1WcFpXWjBhbXhoWnciLCJjcm9zc09yaWdpbiI6ZmFsc2UsIm9yaWdpbiI6Imh0dHBzOi8vYXBwLmRmbnMubmluamEiLCJ0eXBlIjoia2V5LmNyZWF0ZSJ9',
  // Newer pages, of the same challenge: challenge and type alone.
  shortClientData:
    'eyJjaGFsbGVuZ2UiOiJZMmd0Tnpsb2FIUXRiWEpsYjJzdE9HRndPSEZ0TW1WcFpXWjBhbXhoWnciLCJ0eXBlIjoia2V5LmNyZWF0ZSJ9',
  clientDataHash: 'db3828fcdf1782726a7c0c3977679be5fa5a69efa87b295a31b3579a0149edf3',
  publicKey:
    '-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9cG2mE4DWHbwwlLRSKBLZ9m6+QsC\neOqWJh1x5VvRHZMaPLQlRrhhgbHm8una4h8S+L5o8sV8Hvujbl3MrATj3Q==\n-----END PUBLIC KEY-----\n',
  signature:
    '30460221008e0109848c6fc83004d0e6c7fdac71dae8524fc5a29081d012f865416986ce29022100f47e1bee6c5175c4488b143c936c68fac1ae7e7931e76c677d46331ed149d17d',
}
const R_AND_S = /^30460221(00[0-9a-f]{64})022100([0-9a-f]{64})$/.exec(EXAMPLE.signature)!

const jwkOf = (key: KeyObject) => key.export({ format: 'jwk' }) as unknown as PublicKey
const examplePublicKey = jwkOf(createPublicKey(EXAMPLE.publicKey))
/** Signs as an HSM does. */
const signerOf = (key: KeyObject) => (message: Uint8Array) =>
  Promise.resolve(
    sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', message, { key, dsaEncoding: 'ieee-p1363' }),
  )

describe('the example of the public pages', () => {
  it('has the client data that it says, and those of the newer pages without an origin', () => {
    const { challenge, origin, clientData, clientDataHash, shortClientData } = EXAMPLE
    const made = registrationClientData({ challenge, origin })
    expect(made.toString('base64url')).toBe(clientData)
    expect(createHash('sha256').update(made).digest('hex')).toBe(clientDataHash)
    expect(registrationClientData({ challenge, origin: undefined }).toString('base64url')).toBe(shortClientData)
  })

  it('has the attestation data that it says, signature and all', async () => {
    const clientData = Buffer.from(EXAMPLE.clientData, 'base64url')
    const { publicKey, signature, clientDataHash } = EXAMPLE
    expect(fingerprintOf(clientData, examplePublicKey).toString()).toBe(
      `{"clientDataHash":"${clientDataHash}","publicKey":${JSON.stringify(publicKey)}}`,
    )
    const signed: string[] = []
    const made = await registrationOf('RecoveryKey', 'abc', clientData, examplePublicKey, (message) => {
      signed.push(Buffer.from(message).toString())
      return Promise.resolve(Buffer.from(R_AND_S[1]!.slice(2) + R_AND_S[2]!, 'hex'))
    })
    expect(signed).toEqual([`{"clientDataHash":"${clientDataHash}","publicKey":${JSON.stringify(publicKey)}}`])
    expect(made).toEqual({
      credentialKind: 'RecoveryKey',
      credentialInfo: {
        credId: 'abc',
        clientData: EXAMPLE.clientData,
        attestationData: Buffer.from(`{"publicKey":${JSON.stringify(publicKey)},"signature":"${signature}"}`).toString(
          'base64url',
        ),
      },
    })
  })
})

describe("the publisher's own signer, @dfns/sdk-keysigner", () => {
  it.for([
    ['EC-P256', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['Ed25519', generateKeyPairSync('ed25519')],
  ] as const)('makes the same assertions of %s', async ([, { publicKey, privateKey }]) => {
    const { challenge } = EXAMPLE
    const theirs = await new AsymmetricKeySigner({
      credId: 'cr-1',
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    }).sign({
      challenge,
      challengeIdentifier: '',
      allowCredentials: { key: [{ type: 'public-key', id: 'cr-1' }], webauthn: [] },
      supportedCredentialKinds: [],
      externalAuthenticationUrl: '',
      userVerification: 'required',
    })
    const clientData = assertionClientData({ challenge, origin: undefined })
    const ours = await assertionOf('Key', 'cr-1', clientData, jwkOf(publicKey), signerOf(privateKey))
    // ECDSA takes a random number each time.
    const isRandom = publicKey.asymmetricKeyType === 'ec'
    const without = ({ credentialAssertion: { signature: _, ...others } }: typeof ours) => others
    if (isRandom) expect([ours.kind, without(ours)]).toEqual([theirs.kind, without(theirs)])
    else expect(ours).toEqual(theirs)
    for (const { credentialAssertion } of [ours, theirs]) {
      const signature = Buffer.from(credentialAssertion.signature, 'base64url')
      expect(verify(isRandom ? 'sha256' : null, clientData, publicKey, signature)).toBe(true)
    }
    expect(Object.keys(ours.credentialAssertion)).toEqual(Object.keys(theirs.credentialAssertion))
  })

  it('has the origin behind them where one is given, as its earlier versions had', () => {
    const { challenge, origin } = EXAMPLE
    expect(assertionClientData({ challenge, origin }).toString()).toBe(
      `{"type":"key.get","challenge":"${challenge}","origin":"${origin}","crossOrigin":false}`,
    )
  })
})

describe('the DER of a signature', () => {
  it('is what a strict reader takes, whatever r and s are', () => {
    const half = fc.oneof(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      // With leading zeros, and with a first bit that would be a sign.
      fc
        .tuple(fc.integer({ min: 0, max: 32 }), fc.uint8Array({ minLength: 32, maxLength: 32 }))
        .map(([zeros, bytes]) => Uint8Array.from(bytes).fill(0, 0, zeros)),
    )
    fc.assert(
      fc.property(half, half, (r, s) => {
        const der = derSignature(examplePublicKey, Buffer.concat([r, s]))
        const { value } = forge.asn1.fromDer(forge.util.createBuffer(der.toString('binary')))
        const read = (value as forge.asn1.Asn1[]).map((integer) => Buffer.from(integer.value as string, 'binary'))
        expect(read.length).toBe(2)
        read.forEach((bytes, i) => {
          expect(BigInt(`0x${bytes.toString('hex')}`)).toBe(BigInt(`0x${Buffer.from([r, s][i]!).toString('hex')}`))
          // Positive, and in as few bytes as that takes (X.690 section 8.3.2).
          expect(bytes[0]! < 0x80).toBe(true)
          expect(bytes.length === 1 || bytes[0] !== 0 || bytes[1]! >= 0x80).toBe(true)
        })
      }),
      { numRuns: 500 },
    )
  })

  it('is not put around a signature that has no structure', () => {
    const signature = Buffer.alloc(64, 0x80)
    expect(derSignature({ kty: 'OKP', crv: 'Ed25519', x: '' }, signature)).toEqual(signature)
  })
})

describe('RFC 8037 appendix A', () => {
  const publicKey = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' } as const

  it('A.3 has that thumbprint', () => {
    expect(jwkThumbprint(publicKey)).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
  })

  it('A.5 has a signature that verifies, and no other does', () => {
    const message = Buffer.from('eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc')
    const signature = Buffer.from(
      'hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg',
      'base64url',
    )
    expect(verifiesSignature(publicKey, message, signature)).toBe(true)
    signature[5]! ^= 1
    expect(verifiesSignature(publicKey, message, signature)).toBe(false)
  })
})
