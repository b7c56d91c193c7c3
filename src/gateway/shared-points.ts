/**
 * The guesses that nodes share, as points of several budgets at a time: taken before anything is told, given back where nothing
 * was, so that no node can tell on another's point.
 */
import type { GatewayConfig } from '../config/schema.ts'
import type { LimitClient, LimitStore } from './limit-store.ts'
import type { SharedBudget, TakenPoint } from './shared-budget.ts'

type BudgetName = 'client' | 'card' | 'block' | 'set'

/** Whose point it is. */
export type Subject = readonly [budget: BudgetName, subject: number]

/** Points that were asked for together. */
export type Taken = readonly { readonly subject: Subject; readonly point: TakenPoint }[]

/** What is spent of some budgets, as far as one connection knows and as its user goes on counting. */
export interface SpentPoints {
  readonly isUsedUp: (subject: Subject) => boolean
  readonly add: (subject: Subject) => void
  readonly useUp: (subject: Subject) => void
}

/** The points of all budgets. */
export interface SharedPoints {
  readonly take: (redis: LimitClient, subjects: readonly Subject[]) => Promise<Taken>
  /**
   * Gives back what was granted, by whatever connection there is then. Nobody waits for it: a point that stays spent harms nobody
   * but who was right, until its window ends.
   */
  readonly giveBack: (taken: Taken) => void
  readonly spentOf: (redis: LimitClient, subjects: readonly Subject[]) => Promise<SpentPoints>
  /** How long there is no point; undefined if there is one. */
  readonly usedUpMs: (redis: LimitClient, subject: Subject) => Promise<number | undefined>
}

/** Makes the points of the nodes that share a store. */
export function createSharedPoints(guesses: GatewayConfig['limits']['guesses'], store: LimitStore): SharedPoints {
  const budgetsOf = perConnection((redis: LimitClient): Record<BudgetName, SharedBudget> => {
    const budget = (name: BudgetName, points: number) =>
      store.createBudget(redis, `${store.prefix}${name}`, points, guesses.windowMs)
    return {
      client: budget('client', guesses.perClient),
      card: budget('card', guesses.perCard),
      block: budget('block', guesses.perPinBlock),
      set: budget('set', guesses.perCardMade),
    }
  })

  return {
    take: (redis, subjects) => {
      const budgets = budgetsOf(redis)
      const takeOne = async (subject: Subject) => ({ subject, point: await budgets[subject[0]].take(subject[1]) })
      return Promise.all(subjects.map(takeOne))
    },

    giveBack: (taken) => {
      const granted = taken.filter(({ point }) => point.isGranted)
      if (granted.length === 0) return
      const question = (redis: LimitClient) => {
        const budgets = budgetsOf(redis)
        return Promise.all(granted.map(({ subject: [name, subject], point }) => budgets[name].giveBack(subject, point)))
      }
      store.ask(question).catch(() => {})
    },

    spentOf: async (redis, subjects) => {
      const budgets = budgetsOf(redis)
      const keyOf = ([name, subject]: Subject) => budgets[name].keyOf(subject)
      const keys = [...new Set(subjects.map(keyOf))]
      const counts = await redis.mGet(keys)
      const spent = new Map(keys.map((key, i) => [key, Number(counts[i] ?? 0)]))
      const countOf = (subject: Subject) => spent.get(keyOf(subject)) ?? 0
      return {
        isUsedUp: (subject) => countOf(subject) >= budgets[subject[0]].points,
        add: (subject) => void spent.set(keyOf(subject), countOf(subject) + 1),
        useUp: (subject) => void spent.set(keyOf(subject), Infinity),
      }
    },

    usedUpMs: (redis, [name, subject]) => budgetsOf(redis)[name].usedUpMs(subject),
  }
}

/** Makes what belongs to a connection once for each. */
function perConnection<K extends object, V extends object>(make: (key: K) => V): (key: K) => V {
  const made = new WeakMap<K, V>()
  return (key) => {
    const known = made.get(key) ?? make(key)
    made.set(key, known)
    return known
  }
}
