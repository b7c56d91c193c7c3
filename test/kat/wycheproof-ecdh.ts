/** The ECDH vectors by the form of their public keys; test/hsm asks a token about them too. */
import vectors from '../vectors/wycheproof-ecdh.json' with { type: 'json' }

interface EcdhTest<P> {
  readonly tcId: number
  readonly comment: string
  readonly public: P
  /** The private key: hex beside a point, base64url beside a JWK. */
  readonly private: string
  /** Z in hex; empty where there is none. */
  readonly shared: string
  readonly result: string
}

/** The tests of both groups. */
export function ecdhTests(): {
  readonly numberOfTests: number
  readonly points: readonly EcdhTest<string>[]
  readonly jwks: readonly EcdhTest<{
    readonly kty: string
    readonly crv: string
    readonly x: string
    readonly y: string
  }>[]
} {
  const [points, jwks] = vectors.testGroups
  return {
    numberOfTests: vectors.numberOfTests,
    points: points!.tests as readonly EcdhTest<string>[],
    jwks: jwks!.tests as readonly EcdhTest<{ kty: string; crv: string; x: string; y: string }>[],
  }
}
