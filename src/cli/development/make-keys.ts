/** Makes the development keys in a token; symmetric ones are imported, because a simulator has to know their values. */
import { randomFillSync } from 'node:crypto'
import type { KeyEntry } from '../../config/schema.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { openToken, type TokenAddress } from '../../hsm/pkcs11/module.ts'
import { generateKeyPair, importSecretKey } from '../../hsm/pkcs11/make-keys.ts'
import { findKeys } from '../../hsm/pkcs11/open-hsm.ts'
import { Pkcs11Hsm } from '../../hsm/pkcs11/pkcs11-hsm.ts'
import { SessionPool } from '../../hsm/pkcs11/session-pool.ts'
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

/** Makes every key of the plan and computes its KCV and its known answer. */
export async function makeKeys(address: TokenAddress, pin: string): Promise<DevelopmentKey[]> {
  const token = openToken(address, pin)
  try {
    const profiles = new KeyCatalogue([], SHIPPED_PROFILES)
    const made = DEVELOPMENT_KEYS.map((planned): DevelopmentKey => {
      const entry: KeyEntry = { ...planned, version: 1, state: 'active', kcv: '', origin: 'imported' }
      if (entry.purpose === 'jwe-decrypt') {
        return {
          entry: { ...entry, origin: 'generated', kcv: publicKeyKcv(generateKeyPair(token, entry, 'development')) },
        }
      }
      using secrets = new SecretScope()
      const value = randomKey(entry, secrets)
      const kcv = symmetricKcv(entry.algorithm.startsWith('AES') ? 'AES' : 'TDEA', value, secrets)
      importSecretKey(token, entry, profiles.profileOf(entry), value, 'development')
      // A string, because a simulator is given it: development values protect nothing.
      return { entry: { ...entry, kcv }, value: value.toString('hex').toUpperCase() }
    })
    const keys = made.map(({ entry }) => entry)
    const catalogue = new KeyCatalogue(keys, SHIPPED_PROFILES)
    const { objects } = findKeys(token, { keys, environment: 'development', catalogue })
    const hsm = new Pkcs11Hsm(token.lib, new SessionPool(token, 1), objects)
    const checked: DevelopmentKey[] = []
    for (const { entry, ...value } of made) {
      const check = await computeCheck(hsm, entry, catalogue.profileOf(entry))
      checked.push({ entry: { ...entry, ...(check !== undefined && { check }) }, ...value })
    }
    return checked
  } finally {
    token.close()
  }
}

function randomKey(entry: KeyEntry, secrets: SecretScope): Buffer {
  const value = secrets.take(Number(/\d+$/.exec(entry.algorithm)?.[0]) / 8)
  do {
    randomFillSync(value)
    if (entry.algorithm.startsWith('TDEA')) setOddParity(value)
  } while (entry.algorithm.startsWith('TDEA') && isWeakTdeaKey(value))
  return value
}
