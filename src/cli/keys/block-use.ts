/**
 * What the header of a key block must say for a key of the catalogue, and what it says when such a key is exported.
 *
 * | purpose | key usage | mode of use |
 * |---|---|---|
 * | zone-pin, seccos-pin | P0 | in: D, out: E, both: B |
 * | prw | V0, or that of its profile's MAC: M6 (CMAC), M3 (ISO 9797-1 algorithm 3) | generate: G, verify: V, both: C |
 * | pin-mac | M6 or M3, by its profile | as prw |
 * | audit-mac, limit-hash | M6 | C; G |
 * | key-transport | K1, or K0 | import: D, export: E, both: B |
 * | credential-wrap | K0 | E |
 *
 * A key may come with a wider mode than it is to have here, N among them, and never with a narrower one.
 */
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { macUsesOf } from '../../hsm/mac-keys.ts'
import type { KeyBlockHeader } from '../../key-block/header.ts'
import type { PlannedKey } from './planned-key.ts'

/** What fits a key, each with what an export writes first. */
export interface BlockUse {
  readonly usages: readonly string[]
  readonly algorithm: 'T' | 'A'
  readonly modes: readonly string[]
  readonly exportabilities: readonly string[]
}

/** What the block of such a key may say; undefined for a purpose whose keys travel in no key block. */
export function blockUseOf(key: PlannedKey, config: Pick<Config, 'profiles'>): BlockUse | undefined {
  const usages = usagesOf(key, config)
  const modes = modesOf(key)
  if (usages === undefined || modes === undefined) return undefined
  return {
    usages,
    algorithm: key.algorithm.startsWith('TDEA') ? 'T' : 'A',
    modes,
    // A key that must not leave its next place must not be made exportable there.
    exportabilities: key.exportable ? ['E', 'S'] : ['N', 'E', 'S'],
  }
}

/** Whether a header says what it must. */
export function fitsUse(header: KeyBlockHeader, use: BlockUse): boolean {
  return (
    use.usages.includes(header.usage) &&
    header.algorithm === use.algorithm &&
    use.modes.includes(header.modeOfUse) &&
    use.exportabilities.includes(header.exportability)
  )
}

/** What a header must say, in a sentence. */
export function useInWords({ purpose }: Pick<KeyEntry, 'purpose'>, use: BlockUse): string {
  const { usages, algorithm, modes, exportabilities } = use
  const or = (values: readonly string[]): string => values.join(' or ')
  return `For this ${purpose} key it must say: key usage ${or(usages)}, algorithm ${algorithm}, mode of use ${or(modes)}, exportability ${or(exportabilities)}.`
}

function usagesOf(key: PlannedKey, { profiles }: Pick<Config, 'profiles'>): string[] | undefined {
  const { purpose } = key
  if (purpose === 'zone-pin' || purpose === 'seccos-pin') return ['P0']
  if (purpose === 'key-transport') return ['K1', 'K0']
  if (purpose === 'credential-wrap') return ['K0']
  if (purpose === 'audit-mac' || purpose === 'limit-hash') return ['M6']
  if (purpose !== 'prw' && purpose !== 'pin-mac') return undefined
  const entry = { ...key, kcv: '', origin: 'imported' } as const
  const form = new KeyCatalogue([entry], profilesOf({ profiles })).macFormOf(entry)
  const macUsage = form?.algorithm === 'ISO-9797-1-ALG-3' ? 'M3' : 'M6'
  return purpose === 'prw' ? ['V0', macUsage] : [macUsage]
}

/** Every mode that lets the key do what it is to do, the narrowest first. */
function modesOf(key: PlannedKey): string[] | undefined {
  const narrowest = narrowestMode(key)
  if (narrowest === undefined) return undefined
  const wider = 'GVC'.includes(narrowest) ? 'C' : 'B'
  return [...new Set([narrowest, wider, 'N'])]
}

function narrowestMode(key: PlannedKey): string | undefined {
  const { purpose, direction, use = [] } = key
  if (purpose === 'key-transport') return use.length === 2 ? 'B' : use[0] === 'import' ? 'D' : 'E'
  if (purpose === 'credential-wrap') return 'E'
  if (direction !== undefined) return { in: 'D', out: 'E', both: 'B' }[direction]
  const uses = macUsesOf(key)
  if (uses.length === 0) return undefined
  return uses.length === 2 ? 'C' : uses[0] === 'generate' ? 'G' : 'V'
}
