/** From start to ready, with as many keys as an issuer has after some years. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { KeyEntry } from '../../src/config/schema.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken } from '../../src/hsm/pkcs11/module.ts'
import { computeCheck } from '../../src/hsm/self-test.ts'
import { editConfig, makeSetUp } from '../../test/support/service.ts'
import type { StartResult } from './results.ts'
import { startPinbridge } from './service.ts'

const KEYS = 50

/** Makes a set-up of its own, fills its token with zone keys, and starts the service on it a few times. */
export async function measureStart(folder: string, starts: number): Promise<StartResult> {
  const own = join(folder, 'start')
  mkdirSync(own)
  const { config } = await makeSetUp(own)
  const { hsm, keys } = parse(readFileSync(config, 'utf8'))
  process.env['SOFTHSM2_CONF'] = hsm.environment.SOFTHSM2_CONF
  const added = await generateZoneKeys(hsm, readFileSync(hsm.pinFile, 'utf8').trimEnd(), KEYS - keys.length)
  editConfig(config, (edited) => edited.keys.push(...added))

  const readyMs: number[] = []
  for (let i = 0; i < starts; i++) {
    const startedAtMs = performance.now()
    const service = await startPinbridge(config, join(own, 'log'))
    readyMs.push(performance.now() - startedAtMs)
    await service.stop()
  }
  return { keys: KEYS, readyMs }
}

/** In this process, because the command would open the token once for each. */
async function generateZoneKeys(
  address: { module: string; tokenLabel: string },
  pin: string,
  count: number,
): Promise<KeyEntry[]> {
  const token = openToken(address, pin)
  try {
    const maker = await KeyMaker.open(token, 'development')
    const entries: KeyEntry[] = []
    for (let i = 1; i <= count; i++) {
      const unmade: KeyEntry = {
        id: `zpk-${i}`,
        version: 1,
        state: 'active',
        purpose: 'zone-pin',
        direction: 'out',
        algorithm: 'AES-256',
        formats: ['ISO-4'],
        kcv: '',
        origin: 'generated',
      }
      const entry = { ...unmade, ...(await maker.generateSecretKey(unmade, undefined)) }
      const check = await computeCheck(await maker.find([entry], new KeyCatalogue([entry], [])), entry, undefined)
      entries.push({ ...entry, ...(check !== undefined && { check }) })
    }
    return entries
  } finally {
    token.close()
  }
}
