/** The gateway's own connection to a test's Redis, with keys of its own and patience for a machine that is busy. */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { LimitStoreConfig } from '../../src/config/schema.ts'
import { openLimitStore, type LimitStore } from '../../src/gateway/limit-store.ts'
import type { TestRedis } from './redis.ts'

const UP_MS = 20_000

/** What the store said of itself. */
export interface StoreLog {
  readonly event?: unknown
  readonly reason?: unknown
}

/** A store that a test opened, and its log records. */
export interface TestStore extends LimitStore {
  readonly records: readonly StoreLog[]
}

/** Opens a store; it may not be up yet. */
export function openTestStore({ url }: Pick<TestRedis, 'url'>, over: Partial<LimitStoreConfig> = {}): TestStore {
  const records: StoreLog[] = []
  const write = (record: StoreLog | string) => {
    records.push(typeof record === 'string' ? {} : record)
  }
  const config = { url, timeoutMs: 5000, prefix: `${randomUUID()}:`, whenGone: 'refuse' as const, ...over }
  const store = openLimitStore(config, { info: write, error: write })
  return Object.defineProperty(store as TestStore, 'records', { value: records })
}

/** Waits until a condition holds. */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const began = performance.now()
  while (!(await isSo())) {
    if (performance.now() - began > UP_MS) throw new Error(`not so in time: ${what}`)
    await pause(20)
  }
}

/** Opens a store and waits until it is up. */
export async function openTestStoreUp(redis: TestRedis, over?: Partial<LimitStoreConfig>): Promise<TestStore> {
  const store = openTestStore(redis, over)
  await until(() => store.isUp, 'the store is up')
  return store
}
