/** A new SoftHSM token in a folder of its own, initialised through PKCS#11. */
import { randomInt } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { initToken } from '../../hsm/pkcs11/init-token.ts'

/** Where distributions put the module. */
const MODULE_PATHS = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
]

/** What the configuration says of the token. */
export interface DevelopmentToken {
  readonly module: string
  readonly tokenLabel: string
  readonly pinFile: string
  readonly environment: Record<string, string>
  readonly libraryParameters?: string
  readonly socket?: 'none' | 'unix' | 'inet'
}

/** Finds SoftHSM where distributions put it; undefined if it is not installed. */
export function findSoftHsm(): string | undefined {
  return MODULE_PATHS.find((path) => existsSync(path))
}

/** Digits, as many tokens take no other PIN. */
function randomPin(): string {
  return Array.from({ length: 12 }, () => randomInt(10)).join('')
}

/** Makes folder, configuration, PIN file (0600) and token; nobody keeps the security officer's PIN. */
export function makeToken(folder: string, module: string): { token: DevelopmentToken; pin: string } {
  const tokens = join(folder, 'token')
  mkdirSync(tokens, { mode: 0o700 })
  const softHsmConfig = join(folder, 'softhsm2.conf')
  writeFileSync(softHsmConfig, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`, {
    mode: 0o600,
  })
  process.env['SOFTHSM2_CONF'] = softHsmConfig

  const pin = randomPin()
  const pinFile = join(folder, 'hsm-pin')
  writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 })
  const tokenLabel = 'pinbridge-dev'
  initToken(module, { label: tokenLabel, pin, securityOfficerPin: randomPin() })
  return { token: { module, tokenLabel, pinFile, environment: { SOFTHSM2_CONF: softHsmConfig } }, pin }
}
