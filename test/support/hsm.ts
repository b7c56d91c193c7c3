/** A token of a test file's own, opened through the port as a vault does, and by PKCS#11 where a test spoils it. */
import { join } from 'node:path'
import { inject, type TestContext } from 'vitest'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { loadConfig, profilesOf } from '../../src/config/config.ts'
import type { Config, KeyEntry } from '../../src/config/schema.ts'
import { HsmStartError } from '../../src/hsm/hsm.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { openToken, type Token } from '../../src/hsm/pkcs11/module.ts'
import { openHsm, type OpenHsm } from '../../src/hsm/pkcs11/open-hsm.ts'
import { initOptions, pinbridge, temporaryFolder } from './service.ts'
import { skipOn } from './skip-on.ts'
import { makeTestToken, type TokenKind } from './tokens.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The token that the project runs its files on. */
    token: TokenKind
  }
}

/** What of the configuration decides how the token is opened. */
export type Opened = Pick<Config, 'keys' | 'environment' | 'profiles'> & { sessions: number; tokenLabel: string }

/** A token of its own. */
export interface TestHsm {
  readonly kind: TokenKind
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
  /** Skips the test, by the name of the token and its reason, if the token cannot hold one of these development keys. */
  readonly needs: (context: TestContext, ...ids: string[]) => void
  /** Skips the test by the name of the token and this reason. */
  readonly skip: (context: TestContext, reason: string) => never
  readonly dispose: () => Promise<void>
}

/** Makes a token of the project's kind with the development keys that it can hold. One process opens one token at a time. */
export async function makeHsm(): Promise<TestHsm> {
  const kind = inject('token')
  const testToken = await makeTestToken(kind)
  const folder = temporaryFolder()
  const dir = join(folder.path, 'dev')
  const made = await pinbridge(['init', '--dev', '--dir', dir, '--json', ...initOptions(testToken.members)])
  if (made.code !== 0) throw new Error(`init failed on ${kind}: ${made.stderr}`)
  const setUp = JSON.parse(made.stdout) as DevelopmentSetUp
  const config = loadConfig(setUp.config)
  const address = config.hsm.tokens[0]!
  Object.assign(process.env, address.environment)
  const { pin } = testToken

  const open: TestHsm['open'] = async (edit) => {
    const { keys, environment } = config
    const opened: Opened = structuredClone({
      keys,
      environment,
      profiles: profilesOf(config) as Config['profiles'],
      sessions: address.sessions,
      tokenLabel: address.tokenLabel,
    })
    edit?.(opened)
    const catalogue = new KeyCatalogue(opened.keys, opened.profiles)
    const settings = {
      address: { ...address, tokenLabel: opened.tokenLabel },
      sessions: opened.sessions,
      environment: opened.environment,
      keys: opened.keys,
      catalogue,
    }
    const result = await openHsm(settings, pin)
    return { ...result, key: (id) => opened.keys.find((key) => key.id === id)! }
  }
  const skip: TestHsm['skip'] = (context, reason) => skipOn(kind, context, reason)
  return {
    kind,
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
      const opened = openToken(address, pin)
      let result: ReturnType<typeof work>
      try {
        result = work(opened)
      } catch (error) {
        opened.close()
        throw error
      }
      if (result instanceof Promise) return result.finally(() => opened.close()) as typeof result
      opened.close()
      return result
    },
    needs: (context, ...ids) => {
      for (const id of ids) {
        if (setUp.keys.some((key) => key.id === id)) continue
        skip(context, made.stderr.split('\n').find((line) => line.includes(`key ${id} `)) ?? `no key ${id}`)
      }
    },
    skip,
    dispose: async () => {
      await testToken.dispose()
      folder.dispose()
    },
  }
}
