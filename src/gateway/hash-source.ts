/** Where the limits' hashes get their key: from the HSM, where the catalogue has a limit-hash key, and else from chance. */
import type { Bridge } from '../bridge/contract.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { createSubjectHash, type SubjectHash } from './subject-hash.ts'

/** The hashes, once a vault could be asked for their key; rejects as a request to a vault does. */
export type HashSource = () => Promise<SubjectHash>

/**
 * Makes the source of one gateway.
 *
 * Under a limit-hash key all nodes hash a subject alike, and one node before and after a restart; without one, the key is this
 * process's own.
 */
export function createHashSource(bridge: Bridge, keys: GatewayConfig['keys']): HashSource {
  const isInHsm = keys.some(({ purpose, state }) => purpose === 'limit-hash' && state === 'active')
  let hash = isInHsm ? undefined : Promise.resolve(createSubjectHash())
  const derive = async (): Promise<SubjectHash> => {
    const { packed } = await bridge.call('deriveHashKey', {})
    const made = createSubjectHash(packed)
    packed.fill(0)
    return made
  }
  return () => {
    hash ??= derive().catch((error: unknown) => {
      hash = undefined
      throw error
    })
    return hash
  }
}
