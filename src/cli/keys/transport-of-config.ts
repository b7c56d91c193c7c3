/** The key-transport key that a command names, and whether it may do what it is asked for. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_NOPERM, EX_USAGE } from '../../exit-codes.ts'
import type { VersionId } from '../../key-block/header.ts'
import { CommandError } from '../command-error.ts'
import { fullName, keyNamed } from './named-key.ts'

/** The transport key that a block goes under; @throws CommandError if it may not be used so. */
export function transportKey(config: Config, name: string | undefined, use: 'import' | 'export'): KeyEntry {
  if (name === undefined) {
    throw new CommandError(EX_USAGE, '--transport is needed: the key-transport key that the block is under')
  }
  const key = keyNamed(config, name)
  const forbidden = (why: string): CommandError => new CommandError(EX_NOPERM, `key ${fullName(key)} ${why}`)
  if (key.purpose !== 'key-transport') throw forbidden(`is a ${key.purpose} key: keys travel under a key-transport key`)
  if (!key.use?.includes(use)) throw forbidden(`is not for ${use}: its "use" says ${key.use?.join(', ') ?? 'nothing'}`)
  const isUsable = key.state === 'active' || (use === 'import' && key.state === 'retiring')
  if (!isUsable) throw forbidden(`is ${key.state}, and so is not used for ${use}`)
  return key
}

/** Makes sure that a transport key reads blocks of this version: whether it does is no secret. */
export function expectReads({ id, algorithm, legacyBlocks }: KeyEntry, versionId: VersionId): void {
  const isAes = algorithm.startsWith('AES')
  if (isAes !== (versionId === 'D')) {
    const versions = isAes ? 'version D' : 'versions A, B and C'
    throw new CommandError(EX_NOPERM, `key ${id} is of ${algorithm}: under it are key blocks of ${versions} only`)
  }
  if (legacyBlocks || versionId === 'B' || versionId === 'D') return
  throw new CommandError(
    EX_NOPERM,
    `key ${id} reads no key blocks of version ${versionId}: it was not imported with --legacy-blocks`,
  )
}

const STRENGTHS: readonly KeyEntry['algorithm'][] = ['TDEA-128', 'TDEA-192', 'AES-128', 'AES-192', 'AES-256']

/** Makes sure that a key does not travel under one that is weaker than it. */
export function expectNotWeaker(transport: KeyEntry, key: Pick<KeyEntry, 'id' | 'algorithm'>): void {
  if (STRENGTHS.indexOf(transport.algorithm) >= STRENGTHS.indexOf(key.algorithm)) return
  throw new CommandError(
    EX_NOPERM,
    `key ${key.id} is of ${key.algorithm} and must not travel under ${transport.id}, which is weaker (${transport.algorithm})`,
  )
}
