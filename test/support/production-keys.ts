/** Keys as a ceremony makes them for production, brought into a token that is there. */
import { randomBytes } from 'node:crypto'
import type { KeyEntry } from '../../src/config/schema.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken, type TokenAddress } from '../../src/hsm/pkcs11/module.ts'
import { isJweKey } from '../../src/hsm/key-pairs.ts'
import { computeCheck } from '../../src/hsm/self-test.ts'
import { publicKeyKcv, symmetricKcv } from '../../src/key-block/kcv.ts'
import { setOddParity } from '../../src/key-block/tdea-key.ts'
import { SecretScope } from '../../src/secret.ts'

const ZONE_KEY = { purpose: 'zone-pin', direction: 'both', algorithm: 'TDEA-128', formats: ['ISO-0'] } as const
const PLANNED = [
  { ...ZONE_KEY, formats: [...ZONE_KEY.formats], id: 'zone-a' },
  { ...ZONE_KEY, formats: [...ZONE_KEY.formats], id: 'zone-b' },
  { id: 'record', purpose: 'audit-mac', algorithm: 'AES-256' } as const,
]

/** A key's catalogue entry, and its value in hex. */
export interface ProductionKey {
  readonly entry: KeyEntry
  readonly value: string
}

/** Makes two zone keys for ISO-0, `zone-a` and `zone-b`, and `record`, which seals the audit record. */
export function makeProductionKeys(address: TokenAddress, pin: string): Promise<ProductionKey[]> {
  return bringIn(address, pin, PLANNED)
}

/**
 * Brings keys into a token as a configuration has them: symmetric ones with values of ours, pairs generated there.
 *
 * @param planned - whatever these entries say of KCV and known answer is replaced.
 */
export async function bringIn(
  address: TokenAddress,
  pin: string,
  planned: readonly Omit<KeyEntry, 'version' | 'state' | 'origin' | 'kcv'>[],
): Promise<ProductionKey[]> {
  const token = openToken(address, pin)
  using secrets = new SecretScope()
  try {
    const maker = await KeyMaker.open(token, 'production')
    const made: ProductionKey[] = []
    for (const plan of planned) {
      const entry: KeyEntry = { ...plan, version: 1, state: 'active', origin: 'imported', kcv: '' }
      if (isJweKey(entry)) {
        made.push({
          entry: { ...entry, origin: 'generated', kcv: publicKeyKcv({ ...(await maker.generateKeyPair(entry)) }) },
          value: '',
        })
        continue
      }
      const isAes = plan.algorithm.startsWith('AES')
      const value = randomBytes(isAes ? 32 : 16)
      if (!isAes) setOddParity(value)
      const kcv = symmetricKcv(isAes ? 'AES' : 'TDEA', value, secrets)
      const catalogue = new KeyCatalogue([entry], [])
      maker.importSecretKey(entry, catalogue.macFormOf(entry), value)
      const check = await computeCheck(await maker.find([entry], catalogue), entry, catalogue.macFormOf(entry))
      made.push({ entry: { ...entry, kcv, ...(check !== undefined && { check }) }, value: value.toString('hex') })
    }
    return made
  } finally {
    token.close()
  }
}
