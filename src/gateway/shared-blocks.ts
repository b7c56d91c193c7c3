/**
 * What nodes that share a store know of PIN blocks: which block one was made from, and with which two PANs it was seen.
 *
 * Keys are made inside the scripts, from what they find: so the store is one server, not a cluster.
 */
import type { LimitClient } from './limit-store.ts'

/** A block as it came, and the card it came with, if any; keyed hashes. */
export type SeenBlock = readonly [block: number, card: number | undefined]

/** What is known of a block once it was seen with a card. */
export interface KnownBlock {
  /** The block that it was made from, or itself. */
  readonly origin: number
  /** Whether the card is one of the first two that the origin was seen with. */
  readonly isAdmitted: boolean
}

/** Look-ups and notes; both are kept for `windowMs`. */
export interface SharedBlocks {
  /** Sees blocks, in their order. */
  readonly see: (client: LimitClient, blocks: readonly SeenBlock[]) => Promise<readonly KnownBlock[]>
  /** Notes from which origin each block was made; the first origin stays, and a block is not its own. */
  readonly note: (client: LimitClient, made: readonly (readonly [block: number, origin: number])[]) => Promise<void>
}

/** ARGV: prefix, window in ms, then block and card of each; a card that is empty is none. */
const SEE = `
local known = {}
for i = 3, #ARGV, 2 do
  local origin = redis.call('GET', ARGV[1] .. 'made:' .. ARGV[i]) or ARGV[i]
  local card = ARGV[i + 1]
  local key = ARGV[1] .. 'pans:' .. origin
  local pans = card == '' and card or redis.call('GET', key)
  local admitted = '1'
  if not pans then
    redis.call('SET', key, card, 'PX', ARGV[2])
  elseif pans ~= card then
    local first, second = string.match(pans, '^(%w+) (%w+)$')
    if not second then
      redis.call('SET', key, pans .. ' ' .. card, 'KEEPTTL')
    elseif first ~= card and second ~= card then
      admitted = '0'
    end
  end
  known[#known + 1] = admitted .. origin
end
return known`

/** ARGV: prefix, window in ms, then block and origin of each. */
const NOTE = `
for i = 3, #ARGV, 2 do
  redis.call('SET', ARGV[1] .. 'made:' .. ARGV[i], ARGV[i + 1], 'PX', ARGV[2], 'NX')
end`

/** Makes the record of the nodes whose keys begin with `prefix`. */
export function createSharedBlocks(prefix: string, windowMs: number): SharedBlocks {
  const common = [prefix, String(windowMs)]
  const textOf = (subject: number | undefined): string => subject?.toString(36) ?? ''
  return {
    see: async (client, blocks) => {
      const pairs = blocks.flatMap(([block, card]) => [textOf(block), textOf(card)])
      const known = (await client.eval(SEE, { keys: [], arguments: [...common, ...pairs] })) as string[]
      return known.map((text) => ({ origin: parseInt(text.slice(1), 36), isAdmitted: text.startsWith('1') }))
    },
    note: async (client, made) => {
      const pairs = made.filter(([block, origin]) => block !== origin).flat()
      if (pairs.length === 0) return
      await client.eval(NOTE, { keys: [], arguments: [...common, ...pairs.map(textOf)] })
    },
  }
}
