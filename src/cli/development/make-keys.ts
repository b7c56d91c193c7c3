/** Makes the development keys in a token; symmetric ones are imported, because a simulator has to know their values. */
import { randomFillSync } from 'node:crypto'
import type { KeyEntry } from '../../config/schema.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { HsmStartError } from '../../hsm/hsm.ts'
import { isKeyPair } from '../../hsm/key-pairs.ts'
import { countObjects, destroyObjects, isBeyondToken } from '../../hsm/pkcs11/key-objects.ts'
import { KeyMaker } from '../../hsm/pkcs11/make-keys.ts'
import { openToken, type Token, type TokenAddress } from '../../hsm/pkcs11/module.ts'
import { nameOf } from '../../hsm/pkcs11/return-values.ts'
import type { MacForm } from '../../hsm/mac-keys.ts'
import { computeCheck } from '../../hsm/self-test.ts'
import { publicKeyKcv, symmetricKcv } from '../../key-block/kcv.ts'
import { isWeakTdeaKey, setOddParity } from '../../key-block/tdea-key.ts'
import { SHIPPED_PROFILES } from '../../pin-change/shipped-profiles.ts'
import { SecretScope } from '../../secret.ts'
import { DEVELOPMENT_KEYS } from './key-plan.ts'

/** A made key: its catalogue entry, and its value in hex if it is symmetric. */
export interface DevelopmentKey {
  readonly entry: KeyEntry
  readonly value?: string
}

/** The keys that were made, and the ones that the token cannot hold. */
export interface MadeKeys {
  readonly keys: readonly DevelopmentKey[]
  readonly leftOut: readonly LeftOutKey[]
}

/** A key that the token cannot hold, and why, in its own words. */
export interface LeftOutKey {
  readonly id: string
  readonly reason: string
}

/**
 * Makes every key of the plan that the token can hold, and computes its KCV and its known answer.
 *
 * @throws HsmStartError; nothing of what was made stays in the token then, and nothing else in it is touched.
 */
export async function makeKeys(address: TokenAddress, pin: string): Promise<MadeKeys> {
  const token = openToken(address, pin)
  const made: DevelopmentKey[] = []
  const leftOut: LeftOutKey[] = []
  try {
    const planned = DEVELOPMENT_KEYS.map((key): KeyEntry => {
      const origin = isKeyPair(key) ? 'generated' : 'imported'
      return { ...key, version: 1, state: 'active', kcv: '', origin }
    })
    const there = planned.filter((key) => countObjects(token, key) > 0)
    if (there.length > 0) {
      const problem = (key: KeyEntry) =>
        `key ${key.id}: the token holds one of this id already, and it is left as it is`
      throw new HsmStartError('keys-unusable', there.map(problem))
    }
    const maker = await KeyMaker.open(token, 'development')
    for (const entry of planned) {
      const result = await makeKey(token, maker, entry)
      if ('entry' in result) made.push(result)
      else leftOut.push(result)
    }
    if (made.length === 0)
      throw new HsmStartError(
        'keys-unusable',
        leftOut.map(({ id, reason }) => `key ${id}: ${reason}`),
      )
    return { keys: made, leftOut }
  } catch (error) {
    for (const { entry } of made) destroyObjects(token, entry)
    throw error
  } finally {
    token.close()
  }
}

/** Makes one key; what the token took of one that cannot serve is removed again. */
async function makeKey(token: Token, maker: KeyMaker, planned: KeyEntry): Promise<DevelopmentKey | LeftOutKey> {
  const form = new KeyCatalogue([planned], SHIPPED_PROFILES).macFormOf(planned)
  const reason = maker.whyUnavailable(planned, form)
  if (reason !== undefined) return { id: planned.id, reason }
  try {
    const { entry, value } = await storeKey(maker, planned, form)
    const catalogue = new KeyCatalogue([entry], SHIPPED_PROFILES)
    const check = await computeCheck(await maker.find([entry], catalogue), entry, form)
    return { entry: { ...entry, ...(check !== undefined && { check }) }, ...(value !== undefined && { value }) }
  } catch (error) {
    destroyObjects(token, planned)
    if (!isBeyondToken(error)) throw error
    return { id: planned.id, reason: nameOf(error) }
  }
}

async function storeKey(maker: KeyMaker, entry: KeyEntry, form: MacForm | undefined): Promise<DevelopmentKey> {
  if (isKeyPair(entry)) {
    return { entry: { ...entry, kcv: publicKeyKcv(await maker.generateKeyPair(entry)) } }
  }
  using secrets = new SecretScope()
  const value = randomKey(entry, secrets)
  const kcv = symmetricKcv(entry.algorithm.startsWith('AES') ? 'AES' : 'TDEA', value, secrets)
  maker.importSecretKey(entry, form, value)
  // A string, because a simulator is given it: development values protect nothing.
  return { entry: { ...entry, kcv }, value: value.toString('hex').toUpperCase() }
}

function randomKey(entry: KeyEntry, secrets: SecretScope): Buffer {
  const value = secrets.take(Number(/\d+$/.exec(entry.algorithm)?.[0]) / 8)
  do {
    randomFillSync(value)
    if (entry.algorithm.startsWith('TDEA')) setOddParity(value)
  } while (entry.algorithm.startsWith('TDEA') && isWeakTdeaKey(value))
  return value
}
