/** A vault that is connected, and what it has before it. */
import type { Bundle, Lane } from './bundle.ts'
import type { MessageTrace } from './call-trace.ts'
import type { Channel } from './channel.ts'
import type { PublicJwk, StatusReport } from './contract.ts'
import type { VaultPace } from './vault-pace.ts'

/** A message under way at a vault. */
export interface Flight {
  readonly bundle: Bundle
  readonly givenMs: number
  readonly deadline: NodeJS.Timeout
  /** If one of its calls is traced. */
  readonly trace: MessageTrace | undefined
}

/** As the pool knows it. */
export interface Vault {
  readonly id: number
  readonly token: string
  readonly channel: Channel
  readonly publicKeys: readonly PublicJwk[]
  readonly inFlight: Map<number, Flight>
  readonly pace: VaultPace
  draining: boolean
  /** The number of the last message that it was given. */
  givenLast: number
  /** When every key last gave its known answer, as far as is known; a vault says hello after its self-test. */
  selfTestPassedMs: number
  sessions: StatusReport['sessions'] | undefined
}

/**
 * What a vault has before it: a message of ten thousand blocks is more than one of a single block, and whatever is held by a
 * vault that has fallen silent is more the longer that lasts, because it may hang.
 */
export function loadOf({ inFlight, pace }: Vault, nowMs: number): number {
  let items = 0
  for (const { bundle } of inFlight.values()) items += bundle.items
  return items * pace.delay(nowMs)
}

/** How many messages of a lane it holds. */
export function messagesOf({ inFlight }: Vault, { name }: Lane): number {
  let messages = 0
  for (const { bundle } of inFlight.values()) if (bundle.lane?.name === name) messages++
  return messages
}
