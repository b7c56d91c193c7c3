/** Further versions of keys that a set-up has, made in its token beside the running ones. */
import { randomBytes } from 'node:crypto'
import { loadConfig } from '../../src/config/config.ts'
import type { KeyEntry } from '../../src/config/schema.ts'
import { isKeyPair } from '../../src/hsm/key-pairs.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken } from '../../src/hsm/pkcs11/module.ts'
import { computeCheck } from '../../src/hsm/self-test.ts'
import { publicKeyKcv, symmetricKcv } from '../../src/key-block/kcv.ts'
import { setOddParity } from '../../src/key-block/tdea-key.ts'
import { SHIPPED_PROFILES } from '../../src/pin-change/shipped-profiles.ts'
import { readPin } from '../../src/pin-file.ts'
import { SecretScope } from '../../src/secret.ts'

/** A version's catalogue entry, and its value in hex if it is symmetric. */
export interface KeyVersion {
  readonly entry: KeyEntry
  readonly value: string
}

/** Makes the next version of each of these keys in the first token of a configuration; the file does not name them yet. */
export async function makeNextVersions(configPath: string, ids: readonly string[]): Promise<Map<string, KeyVersion>> {
  const { hsm, keys, environment } = loadConfig(configPath)
  const address = hsm.tokens[0]!
  Object.assign(process.env, address.environment)
  const token = openToken(address, readPin(address.pinFile).pin)
  using secrets = new SecretScope()
  try {
    const maker = await KeyMaker.open(token, environment)
    const made = new Map<string, KeyVersion>()
    for (const id of ids) {
      const { kid, check: _check, ...present } = keys.find((key) => key.id === id)!
      const version = present.version + 1
      const planned: KeyEntry = {
        ...present,
        ...(kid !== undefined && { kid: `${kid}-${version}` }),
        ...{ version, state: 'pending', kcv: '' },
      }
      const form = new KeyCatalogue([planned], SHIPPED_PROFILES).macFormOf(planned)
      if (isKeyPair(planned)) {
        const kcv = publicKeyKcv(await maker.generateKeyPair(planned))
        made.set(id, { entry: { ...planned, kcv }, value: '' })
        continue
      }
      const isAes = planned.algorithm.startsWith('AES')
      const value = randomBytes(Number(/\d+$/.exec(planned.algorithm)![0]) / 8)
      if (!isAes) setOddParity(value)
      maker.importSecretKey(planned, form, value)
      const entry = { ...planned, kcv: symmetricKcv(isAes ? 'AES' : 'TDEA', value, secrets) }
      const catalogue = new KeyCatalogue([entry], SHIPPED_PROFILES)
      const check = await computeCheck(await maker.find([entry], catalogue), entry, form)
      made.set(id, { entry: { ...entry, ...(check !== undefined && { check }) }, value: value.toString('hex') })
    }
    return made
  } finally {
    token.close()
  }
}
