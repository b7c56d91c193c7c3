/** What `doctor` finds out: each line is one thing that is right, worth knowing, or wrong. */
import { profilesOf } from '../config/config.ts'
import type { Config, KeyEntry, TokenConfig } from '../config/schema.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { KeyCatalogue } from '../hsm/key-catalogue.ts'
import { openHsm, type OpenHsm } from '../hsm/pkcs11/open-hsm.ts'
import { SHIPPED_PROFILES } from '../pin-change/shipped-profiles.ts'
import { isRefused, readPin, REFUSED_BEFORE, rememberRefusal } from '../pin-file.ts'
import { capabilityFindings } from './doctor-capabilities.ts'
import { unservedRoutes } from './doctor-routes.ts'

/** One line of the table. */
export interface Finding {
  readonly subject: string
  readonly verdict: 'ok' | 'note' | 'wrong'
  readonly text: string
}

/** Opens each token as a vault would, once, and says what came of it; a login is tried once and never again. */
export async function examine(config: Config): Promise<Finding[]> {
  const findings: Finding[] = [
    { subject: 'configuration', verdict: 'ok', text: `${config.keys.length} keys, ${config.clients.length} clients` },
  ]
  if (config.environment === 'development') {
    findings.push({ subject: 'environment', verdict: 'note', text: 'development: never give it a real PIN' })
  }
  const { tokens } = config.hsm
  for (const token of tokens) {
    const found = await examineToken(config, token)
    findings.push(
      ...(tokens.length === 1
        ? found
        : found.map((finding) => ({ ...finding, subject: `${token.name}: ${finding.subject}` }))),
    )
  }
  return findings
}

async function examineToken(config: Config, token: TokenConfig): Promise<Finding[]> {
  const { pinFile, environment, sessions } = token
  if (isRefused(token)) return [{ subject: 'login', verdict: 'wrong', text: REFUSED_BEFORE }]
  const catalogue = new KeyCatalogue(config.keys, profilesOf(config))
  Object.assign(process.env, environment)
  let pinIdentity = ''
  try {
    const { pin, identity } = readPin(pinFile)
    pinIdentity = identity
    const settings = { address: token, sessions, environment: config.environment, keys: config.keys, catalogue }
    const open = await openHsm(settings, pin)
    try {
      return [
        ...tokenFindings(open),
        ...keyFindings(open, config.keys),
        ...routeFindings(open),
        ...profileFindings(config, catalogue),
      ]
    } finally {
      open.close()
    }
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    if (error.reason === 'pin-refused') rememberRefusal(token, pinIdentity)
    return error.problems.map((text): Finding => ({ subject: subjectOf(error), verdict: 'wrong', text }))
  }
}

function tokenFindings(open: OpenHsm): Finding[] {
  const { slot } = open.token
  const info = slot.getToken()
  return [
    { subject: 'module', verdict: 'ok', text: slot.module.libraryDescription.trim() },
    {
      subject: 'token',
      verdict: 'ok',
      text: `${info.label.trim()} (${info.manufacturerID.trim()} ${info.model.trim()}), logged in`,
    },
    ...capabilityFindings(open),
  ]
}

function keyFindings({ keys, unavailable }: OpenHsm, configured: readonly KeyEntry[]): Finding[] {
  return configured.map((key): Finding => {
    const { id, version, purpose, algorithm, state, kcv } = key
    const text = `${purpose}, ${algorithm}, KCV ${kcv.toUpperCase()}, ${state}`
    const subject = `key ${id} v${version}`
    const reason = unavailable.get(key)?.reason
    if (reason !== undefined) return { subject, verdict: 'wrong', text: `${text}: unavailable, ${reason}` }
    return keys.includes(key)
      ? { subject, verdict: 'ok', text: `${text}: found once, attributes and known answer right` }
      : { subject, verdict: 'note', text: `${text}: not in use, not looked for` }
  })
}

function routeFindings({ keys, unavailable }: OpenHsm): Finding[] {
  return [...unservedRoutes(keys, unavailable.keys())].map(([route, ids]) => ({
    subject: `route ${route}`,
    verdict: 'wrong',
    text: `cannot be served by this token: unavailable ${ids.map((id) => `key ${id}`).join(', ')}`,
  }))
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
