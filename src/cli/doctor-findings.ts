/** What `doctor` finds out: each line is one thing that is right, worth knowing, or wrong. */
import { readFileSync } from 'node:fs'
import { profilesOf } from '../config/config.ts'
import type { Config, KeyEntry } from '../config/schema.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { KeyCatalogue } from '../hsm/key-catalogue.ts'
import { openHsm, type OpenHsm } from '../hsm/pkcs11/open-hsm.ts'
import { SHIPPED_PROFILES } from '../pin-change/shipped-profiles.ts'

/** One line of the table. */
export interface Finding {
  readonly subject: string
  readonly verdict: 'ok' | 'note' | 'wrong'
  readonly text: string
}

/** Opens the token as a vault would, once, and says what came of it; the login is tried once and never again. */
export async function examine(config: Config): Promise<Finding[]> {
  const catalogue = new KeyCatalogue(config.keys, profilesOf(config))
  const { module, tokenLabel, pinFile, environment, sessions } = config.hsm
  Object.assign(process.env, environment)
  const findings: Finding[] = [
    { subject: 'configuration', verdict: 'ok', text: `${config.keys.length} keys, ${config.clients.length} clients` },
  ]
  if (config.environment === 'development') {
    findings.push({ subject: 'environment', verdict: 'note', text: 'development: never give it a real PIN' })
  }
  try {
    const pin = readFileSync(pinFile, 'utf8').trimEnd()
    const settings = {
      address: { module, tokenLabel },
      sessions,
      environment: config.environment,
      keys: config.keys,
      catalogue,
    }
    const open = await openHsm(settings, pin)
    try {
      findings.push(...tokenFindings(open), ...keyFindings(open, config.keys), ...profileFindings(config, catalogue))
    } finally {
      open.close()
    }
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    findings.push(...error.problems.map((text): Finding => ({ subject: subjectOf(error), verdict: 'wrong', text })))
  }
  return findings
}

function tokenFindings({ hsm, token }: OpenHsm): Finding[] {
  const info = token.slot.getToken()
  const { oaep256, rsa, cipher } = hsm.strategies
  const oaep = oaep256 === 'native' ? 'by the token' : 'raw RSA by the token, decoded in constant time here'
  return [
    { subject: 'module', verdict: 'ok', text: token.slot.module.libraryDescription.trim() },
    {
      subject: 'token',
      verdict: 'ok',
      text: `${info.label.trim()} (${info.manufacturerID.trim()} ${info.model.trim()}), logged in`,
    },
    { subject: 'RSA-OAEP-256', verdict: 'ok', text: oaep },
    { subject: 'ECDH-ES', verdict: 'ok', text: 'Z by the token, Concat KDF in the vault' },
    { subject: 'calls', verdict: 'ok', text: `RSA ${rsa}, block ciphers and MACs ${cipher}` },
  ]
}

function keyFindings({ keys }: OpenHsm, configured: readonly KeyEntry[]): Finding[] {
  return configured.map((key): Finding => {
    const { id, version, purpose, algorithm, state, kcv } = key
    const text = `${purpose}, ${algorithm}, KCV ${kcv.toUpperCase()}, ${state}`
    const subject = `key ${id} v${version}`
    return keys.includes(key)
      ? { subject, verdict: 'ok', text: `${text}: found once, attributes and known answer right` }
      : { subject, verdict: 'note', text: `${text}: not in use, not looked for` }
  })
}

function profileFindings(config: Config, catalogue: KeyCatalogue): Finding[] {
  const used = new Set(config.keys.map((key) => catalogue.profileOf(key)).filter((profile) => profile !== undefined))
  return [...used].map((profile): Finding => {
    const subject = `profile ${profile.kind} ${profile.id}`
    return SHIPPED_PROFILES.includes(profile)
      ? { subject, verdict: 'note', text: 'our default layout, not the licensed DK or D1 one' }
      : { subject, verdict: 'ok', text: `${profile.knownAnswers.length} known answers right` }
  })
}

function subjectOf({ reason }: HsmStartError): string {
  if (reason === 'module-unusable') return 'module'
  if (reason === 'token-absent') return 'token'
  return reason === 'pin-refused' || reason === 'pin-tries-low' ? 'login' : 'keys'
}
