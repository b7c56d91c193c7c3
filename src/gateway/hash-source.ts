/** Where the limits' hashes get their key: from the HSM, where the catalogue has a limit-hash key, and else from chance. */
import type { Bridge } from '../bridge/contract.ts'
import type { LiveKeys } from './live-keys.ts'
import { createSubjectHash, type SubjectHash } from './subject-hash.ts'

/** The hashes, once a vault could be asked for their key; rejects as a request to a vault does. */
export type HashSource = () => Promise<SubjectHash>

/**
 * Makes the source of one gateway.
 *
 * Under a limit-hash key all nodes hash a subject alike, and one node before and after a restart; without one, the key is this
 * process's own. Whichever it is when it is first needed stays as long as the process: under another key everything that was
 * counted would be forgotten.
 */
export function createHashSource(bridge: Bridge, keys: LiveKeys): HashSource {
  let hash: Promise<SubjectHash> | undefined
  const isInHsm = () => keys.now.keys.some(({ purpose, state }) => purpose === 'limit-hash' && state === 'active')
  const derive = async (): Promise<SubjectHash> => {
    const { packed } = await bridge.call('deriveHashKey', {})
    const made = createSubjectHash(packed)
    packed.fill(0)
    return made
  }
  return () => {
    if (hash === undefined && !isInHsm()) hash = Promise.resolve(createSubjectHash())
    hash ??= derive().catch((error: unknown) => {
      hash = undefined
      throw error
    })
    return hash
  }
}
