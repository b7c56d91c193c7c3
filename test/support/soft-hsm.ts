/** A SoftHSM token of a test file's own, opened through the port as a vault does, and by PKCS#11 where a test spoils it. */
import { readFileSync } from 'node:fs'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { loadConfig, profilesOf } from '../../src/config/config.ts'
import type { Config, KeyEntry } from '../../src/config/schema.ts'
import { HsmStartError } from '../../src/hsm/hsm.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { openToken, type Token } from '../../src/hsm/pkcs11/module.ts'
import { openHsm, type OpenHsm } from '../../src/hsm/pkcs11/open-hsm.ts'
import { makeSetUp, temporaryFolder } from './service.ts'

/** What of the configuration decides how the token is opened. */
export type Opened = Pick<Config, 'keys' | 'environment' | 'profiles'> & { sessions: number; tokenLabel: string }

/** A token of its own. */
export interface SoftHsm {
  readonly setUp: DevelopmentSetUp
  /** The development value of a symmetric key, hex. */
  readonly value: (id: string) => string
  /** The user PIN. */
  readonly pin: string
  /** Opens it as a vault does; `edit` may change the catalogue first. */
  readonly open: (edit?: (opened: Opened) => void) => Promise<OpenHsm & { key: (id: string) => KeyEntry }>
  /** Opens it, expects it to be refused, and gives the refusal. */
  readonly refusal: (edit?: (opened: Opened) => void) => Promise<HsmStartError>
  /** Works on it by PKCS#11, as someone who made it wrong. */
  readonly spoil: <T>(work: (token: Token) => T) => T
  readonly dispose: () => void
}

/** Makes a token with the development keys. One process opens one token at a time. */
export async function makeSoftHsm(): Promise<SoftHsm> {
  const folder = temporaryFolder()
  const setUp = await makeSetUp(folder.path)
  const config = loadConfig(setUp.config)
  const { module, pinFile, environment: moduleEnvironment } = config.hsm
  Object.assign(process.env, moduleEnvironment)
  const pin = readFileSync(pinFile, 'utf8').trimEnd()

  const open: SoftHsm['open'] = async (edit) => {
    const { keys, environment, hsm } = config
    const opened: Opened = structuredClone({
      keys,
      environment,
      profiles: profilesOf(config) as Config['profiles'],
      sessions: hsm.sessions,
      tokenLabel: hsm.tokenLabel,
    })
    edit?.(opened)
    const catalogue = new KeyCatalogue(opened.keys, opened.profiles)
    const address = { module, tokenLabel: opened.tokenLabel }
    const settings = {
      address,
      sessions: opened.sessions,
      environment: opened.environment,
      keys: opened.keys,
      catalogue,
    }
    const result = await openHsm(settings, pin)
    return { ...result, key: (id) => opened.keys.find((key) => key.id === id)! }
  }
  return {
    setUp,
    value: (id) => setUp.keys.find((key) => key.id === id)!.value!,
    pin,
    open,
    refusal: async (edit) => {
      try {
        const opened = await open(edit)
        opened.close()
      } catch (error) {
        if (error instanceof HsmStartError) return error
        throw error
      }
      throw new Error('the token was opened')
    },
    spoil: (work) => {
      const token = openToken({ module, tokenLabel: config.hsm.tokenLabel }, pin)
      try {
        return work(token)
      } finally {
        token.close()
      }
    },
    dispose: () => folder.dispose(),
  }
}
