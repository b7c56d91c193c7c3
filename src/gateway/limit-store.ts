/**
 * The server that nodes share their limits in, Redis or Valkey: one connection, a deadline for every question, and no question
 * while it is gone.
 *
 * It counts as gone when it is silent for longer than `timeoutMs`, ends the connection, or answers with an error: it is out of
 * memory, a read-only replica, or does not take the password. A new connection is then tried until one can be written to.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient, ErrorReply } from '@redis/client'
import type { LimitStoreConfig } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { createSharedBudget } from './shared-budget.ts'

/** A connection to the store. */
export type LimitClient = ReturnType<typeof connectionTo>

/** The store, whether it is there or not. */
export interface LimitStore {
  /** What every key of ours begins with. */
  readonly prefix: string
  readonly whenGone: LimitStoreConfig['whenGone']
  readonly isUp: boolean
  /**
   * Asks it something.
   *
   * @throws ERR_HSM_UNAVAILABLE, the code for what is to be tried again, within `timeoutMs`; at once while it is gone.
   */
  readonly ask: <T>(question: (client: LimitClient) => Promise<T>) => Promise<T>
  /** Makes a budget; from here, so that who has no store does not load what it takes. */
  readonly createBudget: typeof createSharedBudget
  readonly close: () => void
}

const RETRY_MS = 500
/** An idle store is asked too, so that readiness does not wait for the first request that fails. */
const PROBE_EVERY_MS = 1_000
const RETRY_AFTER_S = 1
const CLOSED = 'closed'

/** Opens the store; it is up once a first connection can be written to. */
export function openLimitStore(config: LimitStoreConfig, log: Pick<Logger, 'info' | 'error'>): LimitStore {
  const { timeoutMs, prefix, whenGone } = config
  let current: LimitClient | undefined
  /** Ends the wait of keepOne for the connection there is. */
  let end: ((reason: string) => void) | undefined
  const closing = new AbortController()
  /** Why it is gone, as the log was told: once for each reason, however often it is tried again. */
  let told: string | undefined
  /** When a question was last answered. */
  let answeredMs = -Infinity

  const ask: LimitStore['ask'] = async (question) => {
    const client = current
    if (client === undefined) throw gone()
    const askedMs = performance.now()
    try {
      const answer = await within(timeoutMs, question(client))
      answeredMs = performance.now()
      return answer
    } catch (error) {
      // One late answer among others is this process's delay, or a long queue; silence is the server's.
      const isLate = error instanceof Late && answeredMs > askedMs
      if (!isLate && client === current) end?.(reasonOf(error))
      throw gone()
    }
  }
  const probe = (client: LimitClient): Promise<unknown> => client.set(`${prefix}probe`, '1', { PX: PROBE_EVERY_MS })

  /** Opens one connection and keeps it; why there is none, or none any more. */
  const keepOne = async (): Promise<string> => {
    let client: LimitClient | undefined
    try {
      client = connectionTo(config)
      const { promise: ended, resolve } = Promise.withResolvers<string>()
      end = resolve
      client.on('error', () => resolve('connection'))
      await within(timeoutMs, client.connect())
      await within(timeoutMs, expectNoEviction(client))
      await within(timeoutMs, probe(client))
      current = client
      told = undefined
      log.info({ event: 'limit-store' }, 'the limit store is up')
      return await ended
    } catch (error) {
      return reasonOf(error)
    } finally {
      current = undefined
      if (client?.isOpen) client.destroy()
    }
  }
  const keepOpen = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      const reason = await keepOne()
      if (reason === CLOSED) return
      if (reason !== told) log.error({ event: 'limit-store', reason }, 'the limit store is gone')
      told = reason
      await pause(RETRY_MS, undefined, { ref: false })
    }
  }
  void keepOpen()
  const timer = setInterval(() => void ask(probe).catch(() => {}), PROBE_EVERY_MS).unref()

  return {
    prefix,
    whenGone,
    get isUp() {
      return current !== undefined
    },
    ask,
    createBudget: createSharedBudget,
    close: () => {
      closing.abort()
      clearInterval(timer)
      end?.(CLOSED)
    },
  }
}

function connectionTo({ url, passwordFile, caFile, timeoutMs }: LimitStoreConfig) {
  // A user name in the URL would make the client look for the password there too.
  const address = new URL(url)
  const { username } = address
  address.username = ''
  return createClient({
    url: address.href,
    ...(username !== '' && { username }),
    RESP: 2,
    // Read anew for each connection, so that a password can be changed without a restart.
    ...(passwordFile !== undefined && { password: readFileSync(passwordFile, 'utf8').replace(/\r?\n$/, '') }),
    socket: {
      connectTimeout: timeoutMs,
      reconnectStrategy: false,
      ...(caFile !== undefined && { tls: true, ca: readFileSync(caFile) }),
    },
    disableOfflineQueue: true,
    disableClientInfo: true,
  })
}

class Late extends Error {}
class Evicting extends Error {}

/** A server that drops keys when its memory is full forgets who has guessed. */
async function expectNoEviction(client: LimitClient): Promise<void> {
  const memory = await client.info('memory')
  const valueOf = (name: string) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(memory)?.[1]
  if (valueOf('maxmemory') !== '0' && valueOf('maxmemory_policy') !== 'noeviction') throw new Evicting()
}

/** Why it is gone, in a word: of an error reply only its first, which is a name such as OOM or READONLY. */
function reasonOf(error: unknown): string {
  if (error instanceof Late) return 'timeout'
  if (error instanceof Evicting) return 'evicting'
  if (error instanceof ErrorReply) return /^[A-Z]{2,16}(?= )/.exec(error.message)?.[0] ?? 'refused'
  return 'connection'
}

function gone(): ServiceError {
  return new ServiceError('ERR_HSM_UNAVAILABLE', { reason: 'limit-store-gone' }, RETRY_AFTER_S)
}

/** What has arrived by then counts, although this process may not have looked at it yet: a turn of the loop reads it. */
function within<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => setImmediate(() => reject(new Late())), timeoutMs)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
