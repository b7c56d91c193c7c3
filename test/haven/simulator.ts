/**
 * IBM Digital Asset Haven as an application's server sees it, as far as a credential needs it: registration of an end user, the
 * signature of an action, and recovery. A real HTTP server, which refuses whatever its public pages do not allow.
 *
 * Its paths, bodies and error shape are those of the public pages and of @dfns/sdk. Assumed: which refusals are 400 and which 401,
 * their wording, and that a challenge is spent by success alone.
 */
import { randomBytes, randomUUID, type KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  BODIES,
  bodyOf,
  Refused,
  verifyAssertion,
  verifyRegistration,
  type NewCredentials,
} from './verify-credential.ts'

/** A credential that was registered. */
export interface RegisteredCredential {
  readonly kind: 'Key' | 'RecoveryKey'
  readonly publicKey: KeyObject
  readonly encryptedPrivateKey?: string
  isActive: boolean
}

/** The simulator while it listens. */
export interface Haven {
  readonly url: string
  /** By credId. */
  readonly credentials: ReadonlyMap<string, RegisteredCredential>
  /** Asks it, and gives what it answers. */
  readonly post: (path: string, body: unknown, token?: string) => Promise<{ status: number; body: any }>
  readonly close: () => Promise<void>
}

type Answer = (body: unknown, token: string | undefined) => object

/** Starts it. */
export async function startHaven(origin: string): Promise<Haven> {
  const credentials = new Map<string, RegisteredCredential>()
  /** Of registrations and recoveries, by the temporary token; of actions, by their identifier. */
  const challenges = new Map<string, string>()
  const newChallenge = (name: string): string => {
    // As the real ones are: base64url of hex digits.
    const challenge = Buffer.from(randomBytes(32).toString('hex')).toString('base64url')
    challenges.set(name, challenge)
    return challenge
  }
  const challengeOf = (name: string | undefined): string => {
    const challenge = name === undefined ? undefined : challenges.get(name)
    if (challenge === undefined) throw new Refused('Not Authorized.', 401)
    return challenge
  }
  const active = (credId: string, kind: RegisteredCredential['kind']): RegisteredCredential => {
    const credential = credentials.get(credId)
    if (credential?.kind !== kind || !credential.isActive) throw new Refused('no such credential', 401)
    return credential
  }
  const register = ({ firstFactorCredential, recoveryCredential }: NewCredentials, challenge: string): object => {
    const given = [firstFactorCredential, ...(recoveryCredential === undefined ? [] : [recoveryCredential])]
    const verified = given.map(({ credentialKind: kind, credentialInfo, ...rest }) => {
      const publicKey = verifyRegistration(credentialInfo, challenge, origin)
      const { encryptedPrivateKey } = rest as { encryptedPrivateKey?: string }
      return [
        credentialInfo.credId,
        { kind, publicKey, isActive: true, ...(encryptedPrivateKey && { encryptedPrivateKey }) },
      ] as const
    })
    const ids = verified.map(([id]) => id)
    if (new Set(ids).size < ids.length || ids.some((id) => credentials.has(id)))
      throw new Refused('credId is taken', 409)
    for (const [id, credential] of verified) credentials.set(id, credential)
    return {
      credential: { uuid: randomUUID(), kind: firstFactorCredential.credentialKind, name: 'Default Credential' },
      user: { id: `us-${randomUUID()}`, username: 'customer-1', orgId: `or-${randomUUID()}` },
    }
  }
  const begin = (): object => {
    const temporaryAuthenticationToken = randomUUID()
    return {
      temporaryAuthenticationToken,
      challenge: newChallenge(temporaryAuthenticationToken),
      supportedCredentialKinds: { firstFactor: ['Fido2', 'Key'], secondFactor: ['Fido2', 'Key'] },
    }
  }
  const routes: Readonly<Record<string, Answer>> = {
    '/auth/registration/delegated': begin,
    '/auth/registration/enduser': (body, token) => {
      const { wallets, ...given } = bodyOf(BODIES.registration, body)
      const registered = register(given, challengeOf(token))
      challenges.delete(token!)
      const made = wallets.map(({ network }) => ({ id: `wa-${randomUUID()}`, network, status: 'Active' }))
      return { ...registered, authentication: { token: randomUUID() }, wallets: made }
    },
    '/auth/action/init': () => {
      const challengeIdentifier = randomUUID()
      const key = [...credentials].filter(([, { kind, isActive }]) => kind === 'Key' && isActive)
      return {
        challengeIdentifier,
        challenge: newChallenge(challengeIdentifier),
        allowCredentials: { key: key.map(([id]) => ({ type: 'public-key', id })), webauthn: [] },
      }
    },
    '/auth/action': (body) => {
      const { challengeIdentifier, firstFactor } = bodyOf(BODIES.action, body)
      const { credentialAssertion } = firstFactor
      const { publicKey } = active(credentialAssertion.credId, 'Key')
      verifyAssertion(credentialAssertion, challengeOf(challengeIdentifier), origin, publicKey)
      challenges.delete(challengeIdentifier)
      return { userAction: randomUUID() }
    },
    '/auth/recover/user/delegated': begin,
    '/auth/recover/user': (body, token) => {
      const { recovery, newCredentials } = bodyOf(BODIES.recovery, body)
      const { credentialAssertion } = recovery
      const { publicKey } = active(credentialAssertion.credId, 'RecoveryKey')
      const signed = Buffer.from(JSON.stringify(newCredentials)).toString('base64url')
      verifyAssertion(credentialAssertion, signed, origin, publicKey)
      const before = [...credentials.values()]
      const registered = register(newCredentials, challengeOf(token))
      for (const credential of before) credential.isActive = false
      challenges.delete(token!)
      return registered
    },
  }
  const server = createServer((request, response) => {
    void answerOf(routes, request).then(({ status, body }) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url,
    credentials,
    post: async (path, body, token) => {
      const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
      const response = await fetch(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
      return { status: response.status, body: await response.json() }
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answerOf(
  routes: Readonly<Record<string, Answer>>,
  request: IncomingMessage,
): Promise<{ status: number; body: object }> {
  try {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const route = request.method === 'POST' ? routes[request.url ?? ''] : undefined
    if (route === undefined) throw new Refused('not found', 404)
    const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1]
    return { status: 200, body: route(JSON.parse(Buffer.concat(chunks).toString()), token) }
  } catch (error) {
    const status = error instanceof Refused ? error.status : 400
    const { message } = error as Error
    return { status, body: { error: { id: randomUUID(), status, message } } }
  }
}
