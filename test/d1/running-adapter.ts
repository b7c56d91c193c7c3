/** The reference adapter with what a bank gives it: a client of pinbridge, a data base with cards, and D1's credentials. */
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { createClient, type PinbridgeClient } from '../../src/client/client.ts'
import { openCardStore, type Card, type CardStore } from './adapter/card-store.ts'
import { startCmsAdapter } from './cms-adapter.ts'

/** Where pinbridge is, and who calls it; PEM files. */
export interface PinbridgeAccess {
  readonly url: string
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** What D1 and the bank share. */
export interface D1Secrets {
  /** `clientId:clientSecret` */
  readonly credentials: string
  readonly tokenKey: Buffer
}

/** A running adapter. */
export interface RunningAdapter {
  readonly url: string
  readonly store: CardStore
  /** What it logged. */
  readonly log: any[]
  readonly close: () => Promise<void>
}

/** Makes the secrets of one D1. */
export function makeD1Secrets(): D1Secrets {
  return { credentials: `d1:${randomBytes(32).toString('base64url')}`, tokenKey: randomBytes(32) }
}

/** Puts a card into the data base, as the bank's own processes do. */
export function insertCard(
  file: string,
  card: Pick<Card, 'pan' | 'panSequenceNumber' | 'state' | 'changeCounter'> & { issuerId: string; cardId: string },
): void {
  openCardStore(file).close()
  const db = new DatabaseSync(file)
  const names = Object.keys(card)
  db.prepare(`INSERT INTO card (${names.join()}) VALUES (${names.map((name) => `:${name}`).join()})`).run({ ...card })
  db.close()
}

/**
 * Starts the adapter with the keys of a development set-up.
 *
 * @param through - what stands between the adapter and pinbridge, in a test.
 */
export async function runAdapter(
  access: PinbridgeAccess,
  file: string,
  { credentials, tokenKey }: D1Secrets,
  through: (client: PinbridgeClient) => Pick<PinbridgeClient, 'getPin' | 'setPin'> = (client) => client,
): Promise<RunningAdapter> {
  const [ca, cert, key] = [access.ca, access.cert, access.key].map((path) => readFileSync(path, 'utf8'))
  const client = createClient({ url: access.url, ca: ca!, cert: cert!, key: key! })
  const store = openCardStore(file)
  const log: any[] = []
  const adapter = await startCmsAdapter({
    pinbridge: through(client),
    store,
    zone: { key: 'zpk-out', format: 'ISO-0' },
    prwKey: 'prw',
    recipient: 'd1-dev',
    credentialsSha256: createHash('sha256').update(credentials).digest(),
    tokenKey,
    log: (record) => log.push(record),
  })
  return {
    url: adapter.url,
    store,
    log,
    close: async () => {
      await adapter.close()
      await client.close()
      store.close()
    },
  }
}
