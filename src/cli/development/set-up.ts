/** A whole development set-up in one folder: token, keys, certificates, recipients and configuration. */
import { generateKeyPairSync } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { stringify } from 'yaml'
import { GRANTABLE_OPERATIONS, type Config } from '../../config/schema.ts'
import { makeDevelopmentCertificates } from './certificates.ts'
import { readExistingToken, rememberingRefusal } from './existing-token.ts'
import { makeKeys, type DevelopmentKey, type LeftOutKey } from './make-keys.ts'
import { makeToken, type DevelopmentToken } from './make-token.ts'

const API_PORT = 8443
const MANAGEMENT_PORT = 9443
const CLIENTS = ['cms-adapter', 'auditor'] as const
const RECIPIENT = 'd1-dev'
const DATA_RECIPIENT = 'd1-data-dev'
const AUDIT_DIRECTORY = 'audit'

/** What `init --dev --json` prints. */
export interface DevelopmentSetUp {
  readonly config: string
  readonly url: string
  readonly management: string
  readonly ca: string
  readonly clients: readonly { readonly id: string; readonly cert: string; readonly key: string }[]
  readonly recipients: readonly { readonly kid: string; readonly privateJwk: object }[]
  readonly keys: readonly {
    readonly id: string
    readonly purpose: string
    readonly algorithm: string
    readonly kcv: string
    readonly value?: string
  }[]
}

/** Where the keys are made: in a new SoftHSM token, or in one that is there. */
export type TokenSource = { readonly softHsmModule: string } | DevelopmentToken

/** The folder is in use: nothing was written. */
export class FolderInUseError extends Error {}

/**
 * Makes the set-up.
 *
 * @param folder - absent or empty; becomes 0700, every file in it that is not public 0600.
 * @param leaveOut - is told of each key that the token cannot hold.
 * @throws FolderInUseError, PinFileError, HsmStartError
 */
export async function makeDevelopmentSetUp(
  folder: string,
  source: TokenSource,
  leaveOut: (key: LeftOutKey) => void,
): Promise<DevelopmentSetUp> {
  const directory = resolve(folder)
  if (existsSync(directory) && (!statSync(directory).isDirectory() || readdirSync(directory).length > 0)) {
    throw new FolderInUseError()
  }
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  chmodSync(directory, 0o700)
  try {
    return await fill(directory, source, leaveOut)
  } catch (error) {
    // Half a set-up is of no use, and would be in the way of the next try.
    for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true })
    throw error
  }
}

async function fill(
  directory: string,
  source: TokenSource,
  leaveOut: (key: LeftOutKey) => void,
): Promise<DevelopmentSetUp> {
  const { token, pin } =
    'softHsmModule' in source ? makeToken(directory, source.softHsmModule) : readExistingToken(source)
  const [{ keys, leftOut }, certificates] = await Promise.all([
    rememberingRefusal(token, () => makeKeys(token, pin)),
    makeDevelopmentCertificates({
      hosts: ['localhost', '127.0.0.1', '::1'],
      clients: CLIENTS.map((id) => ({ id, dnsNames: [dnsNameOf(id)] })),
    }),
  ])
  leftOut.forEach(leaveOut)
  const write = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text, { mode: 0o600, flag: 'wx' })
    return path
  }
  const ca = write('ca.pem', certificates.ca)
  write('server.pem', certificates.server.certificate)
  write('server-key.pem', certificates.server.privateKey)
  const clients = certificates.clients.map(({ id, certificate, privateKey }) => ({
    id,
    cert: write(`${id}.pem`, certificate),
    key: write(`${id}-key.pem`, privateKey),
  }))
  const recipients = [RECIPIENT, DATA_RECIPIENT].map((kid) => ({
    kid,
    ...generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  }))
  const [recipient, dataRecipient] = recipients.map(({ publicKey }) => publicKey.export({ format: 'jwk' }))
  mkdirSync(join(directory, AUDIT_DIRECTORY), { mode: 0o700 })
  const config = write('pinbridge.yaml', configText(token, keys, recipient!, dataRecipient!))
  return {
    config,
    url: `https://127.0.0.1:${API_PORT}`,
    management: `http://127.0.0.1:${MANAGEMENT_PORT}`,
    ca,
    clients,
    recipients: recipients.map(({ kid, privateKey }) => ({
      kid,
      privateJwk: { ...privateKey.export({ format: 'jwk' }), kid },
    })),
    keys: keys.map(({ entry: { id, purpose, algorithm, kcv }, value }) => ({
      id,
      purpose,
      algorithm,
      kcv,
      ...(value !== undefined && { value }),
    })),
  }
}

/** The service's own keys are for nobody to name. */
function servesCallers({ purpose }: { readonly purpose: string }): boolean {
  return purpose !== 'audit-mac' && purpose !== 'limit-hash'
}

function dnsNameOf(client: string): string {
  return `${client}.pinbridge.test`
}

function configText(
  token: DevelopmentToken,
  keys: readonly DevelopmentKey[],
  recipient: object,
  dataRecipient: object,
): string {
  const has = (id: string): boolean => keys.some(({ entry }) => entry.id === id)
  // A profile may name only keys that are there.
  const seccos = has('seccos-pin') && has('prw') && has('pin-mac')
  const isRecorded = has('audit-mac')
  const config = {
    environment: 'development',
    hsm: { ...token },
    keys: keys.map(({ entry }) => entry),
    d1: {
      profiles: [
        {
          id: 'd1',
          types: { ISO0: 'ISO0', ...(seccos && { '3DES_SECCOS': '3DES_SECCOS' }) },
          ...(seccos && { seccos: { pinKey: 'seccos-pin', prwKey: 'prw', macKey: 'pin-mac' } }),
        },
      ],
      recipients: [
        { kid: RECIPIENT, publicKey: recipient, alg: 'ECDH-ES', enc: 'A256GCM', profile: 'd1', development: true },
        {
          kid: DATA_RECIPIENT,
          publicKey: dataRecipient,
          alg: 'ECDH-ES',
          enc: 'A256GCM',
          use: 'data',
          development: true,
        },
      ],
    },
    clients: [
      {
        id: 'cms-adapter',
        dnsName: dnsNameOf('cms-adapter'),
        grants: [
          {
            operations: [...GRANTABLE_OPERATIONS],
            keys: keys
              .map(({ entry }) => entry)
              .filter(servesCallers)
              .map(({ id }) => id),
            formats: ['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'],
            recipients: [RECIPIENT, DATA_RECIPIENT],
          },
        ],
      },
      { id: 'auditor', dnsName: dnsNameOf('auditor'), grants: [{ operations: ['jwks', 'keys'] }] },
    ],
    listeners: {
      api: {
        host: '127.0.0.1',
        port: API_PORT,
        certificate: 'server.pem',
        privateKey: 'server-key.pem',
        clientCa: 'ca.pem',
      },
      management: { host: '127.0.0.1', port: MANAGEMENT_PORT },
    },
    ...(isRecorded && { audit: { directory: AUDIT_DIRECTORY, key: 'audit-mac' } }),
    limits: {
      guesses: { perClient: 1_000_000, perCard: 100_000, perPinBlock: 100_000, perCardMade: 100_000 },
      batchRejects: 10_000,
    },
  } satisfies Partial<Record<keyof Config, unknown>>
  const warning = [
    '# DEVELOPMENT ONLY. The values of these keys were printed when they were made, and the guessing limits are so high',
    '# that they protect nothing: 1 000 000 tries an hour for a client and 100 000 for a card. Never give it a real PIN.',
  ]
  return `${warning.join('\n')}\n${stringify(config, { lineWidth: 120, aliasDuplicateObjects: false })}`
}
