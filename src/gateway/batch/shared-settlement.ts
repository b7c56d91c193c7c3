/** Settles a batch of translations where nodes share a store: its points are taken from the store before anything of it is told. */
import type { ItemVerdict, SettledBatch, TranslatedBatch } from '../guess-limits.ts'
import { subjectOf } from '../guess-subjects.ts'
import type { LimitClient, LimitStore } from '../limit-store.ts'
import type { SharedBlocks } from '../shared-blocks.ts'
import type { SharedPoints, Subject } from '../shared-points.ts'
import type { SubjectHash } from '../subject-hash.ts'

/** So many items are settled at a time: others' questions wait for a few milliseconds at most. */
const CHUNK_ITEMS = 500

/** What settling needs. */
export interface SettlementDeps {
  readonly hash: SubjectHash
  readonly store: LimitStore
  readonly points: SharedPoints
  readonly blocks: SharedBlocks
  /** Of more rejected items than this nothing is told. */
  readonly batchRejects: number
}

/** Settles a batch, as GuessLimits says it. */
export async function settleSharedBatch(deps: SettlementDeps, batch: TranslatedBatch): Promise<SettledBatch> {
  const { hash, store, batchRejects } = deps
  const items = itemsOf(hash, batch)
  const verdicts: ItemVerdict[] = []
  let told = 0
  for (let start = 0; start < items.length && told <= batchRejects; start += CHUNK_ITEMS) {
    const chunk = items.slice(start, start + CHUNK_ITEMS)
    const mayTell = batchRejects + 1 - told
    const settled = await store.ask((redis) => settleItems(deps, redis, chunk, mayTell))
    for (const verdict of settled) if (verdict === 'rejected') told++
    verdicts.push(...settled)
  }
  return { verdicts, isAborted: told > batchRejects }
}

/** One item of a batch, by keyed hashes. */
interface BatchItem {
  readonly client: number
  readonly card: number
  readonly block: number
  /** The block that was made from it. */
  readonly made: number
  readonly isRejected: boolean
}

function itemsOf(hash: SubjectHash, { client, pans, from, to, rejected }: TranslatedBatch): BatchItem[] {
  const clientHash = hash.client(client)
  const cards = hash.cards(pans)
  const blocks = hash.blocks(from.key, from.blocks, from.blocks.length / cards.length)
  const made = hash.blocks(to.key, to.blocks, to.blocks.length / cards.length)
  const isRejected = new Set(rejected)
  return Array.from(cards, (card, i) => ({
    client: clientHash,
    card,
    block: subjectOf(blocks[i]!, card, from.format),
    made: subjectOf(made[i]!, card, to.format),
    isRejected: isRejected.has(i),
  }))
}

/** Settles some items: tells of at most `mayTell` that are rejected, and of none whose budgets are used up. */
async function settleItems(
  { points, blocks }: SettlementDeps,
  redis: LimitClient,
  items: readonly BatchItem[],
  mayTell: number,
): Promise<ItemVerdict[]> {
  const known = await blocks.see(
    redis,
    items.map(({ block, card }) => [block, card]),
  )
  const subjects = items.map(({ client, card }, i): Subject[] => [
    ['client', client],
    ['card', card],
    ['block', known[i]!.origin],
  ])
  const paid = items.flatMap(({ isRejected }, i) => (isRejected && known[i]!.isAdmitted ? [i] : [])).slice(0, mayTell)
  // One connection answers in order, so that what is spent is what it was before any of these points was taken.
  const [spent, takes] = await Promise.all([
    points.spentOf(redis, subjects.flat()),
    Promise.all(paid.map(async (i) => [i, await points.take(redis, subjects[i]!)] as const)),
  ])
  const takenBy = new Map(takes)

  const verdicts: ItemVerdict[] = []
  const made: [block: number, origin: number][] = []
  let told = 0
  for (let i = 0; i < items.length && told < mayTell; i++) {
    const own = subjects[i]!
    const taken = takenBy.get(i) ?? []
    const isUsedUp = own.some(spent.isUsedUp)
    if (!isUsedUp && !known[i]!.isAdmitted) verdicts.push('pan-variation')
    else if (!isUsedUp && !items[i]!.isRejected) {
      made.push([items[i]!.made, known[i]!.origin])
      verdicts.push('translated')
    } else if (!isUsedUp && taken.length > 0 && taken.every(({ point }) => point.isGranted)) {
      own.forEach(spent.add)
      verdicts.push('rejected')
      told++
    } else {
      for (const { subject, point } of taken) if (!point.isGranted) spent.useUp(subject)
      points.giveBack(taken)
      verdicts.push('limited')
    }
  }
  await blocks.note(redis, made)
  return verdicts
}
