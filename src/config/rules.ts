/** The rules between the members of a configuration, each checked where the members it needs can be relied on. */
import { BlockList, isIP } from 'node:net'
import { checkD1Profiles } from './d1-rules.ts'
import type { Section } from './form.ts'
import { checkKeys } from './key-rules.ts'
import { checkLimits } from './limit-rules.ts'
import { Problems, type Report } from './problems.ts'
import { checkProfiles } from './profile-rules.ts'
import { checkRecipients } from './recipient-rules.ts'
import { ConfigFile, type Config } from './schema.ts'
import { checkTracing } from './tracing-rules.ts'

/**
 * Reports every rule that is broken.
 *
 * @param sound - the sections that the schema found no wrong type in; rules about the others wait for the next run.
 */
export function checkRules(config: Config, sound: ReadonlySet<Section>, problems: Problems): void {
  const report = problems.add
  const areSound = (...sections: Section[]): boolean => sections.every((section) => sound.has(section))
  if (areSound('hsm')) checkTokens(config, report)
  if (areSound('processes')) checkUsers(config, report)
  if (areSound('profiles')) checkProfiles(config, report, (place) => problems.isWellFormed(place))
  if (areSound('keys', 'profiles', 'd1', 'acceptDefaultProfiles')) checkKeys(config, report)
  if (areSound('keys', 'profiles', 'd1')) checkD1Profiles(config, report)
  if (areSound('d1')) checkRecipients(config, report)
  if (areSound('clients')) checkClients(config, report)
  if (areSound('clients', 'authentication') && problems.isWellFormed(['authentication'])) checkSubjects(config, report)
  if (areSound('clients', 'keys', 'd1')) checkGrants(config, report)
  if (areSound('listeners')) checkListeners(config, report)
  if (areSound('limits', 'keys')) checkLimits(config, report)
  if (areSound('audit', 'keys')) checkAudit(config, report)
  if (areSound('tracing')) checkTracing(config, report)
}

/** What rules a configuration breaks whose members have their form, each problem with its place. */
export function ruleProblems(config: Config): string[] {
  const problems = new Problems('', () => undefined)
  checkRules(config, new Set(Object.keys(ConfigFile.properties) as Section[]), problems)
  return problems.texts()
}

/** What nobody records, nobody can show. */
function checkAudit({ environment, audit, keys }: Config, report: Report): void {
  if (audit === undefined) {
    if (environment === 'production') report(['audit'], 'is missing; production records every operation')
    return
  }
  const seals = keys.some(({ id, purpose, state }) => id === audit.key && purpose === 'audit-mac' && state === 'active')
  if (!seals) report(['audit', 'key'], 'must name an active key with the purpose audit-mac')
}

/** Messages and metrics tell tokens apart by their names. */
function checkTokens({ hsm: { tokens } }: Config, report: Report): void {
  tokens.forEach(({ name }, i) => {
    const j = tokens.findIndex((other) => other.name === name)
    if (j < i) report(['hsm', 'tokens', i, 'name'], `is the name of hsm.tokens[${j}] too`)
  })
}

/** Users that are one keep nothing from each other. */
function checkUsers({ processes: { users } }: Config, report: Report): void {
  if (users && users.vault.uid === users.gateway.uid) {
    report(['processes', 'users', 'vault', 'uid'], 'must be another than that of the gateway')
  }
}

function checkClients({ clients }: Config, report: Report): void {
  clients.forEach((client, i) => {
    for (const member of ['id', 'dnsName', 'subject'] as const) {
      if (client[member] === undefined) continue
      const j = clients.findIndex((other) => other[member] === client[member])
      if (j < i) report(['clients', i, member], `is the ${member} of clients[${j}] too`)
    }
  })
}

/** Where every request needs a token, a client that no token can be of is a mistake. */
function checkSubjects({ clients, authentication: { bearer } }: Config, report: Report): void {
  if (!bearer?.required) return
  clients.forEach(({ subject }, i) => {
    if (subject === undefined)
      report(['clients', i, 'subject'], 'is missing, and authentication.bearer.required needs it')
  })
}

/** A name that nothing has would deny in silence, and grant in silence once something takes it. */
function checkGrants({ clients, keys, d1 }: Config, report: Report): void {
  const keyIds = new Set(keys.map(({ id }) => id))
  const kids = new Set(d1.recipients.map(({ kid }) => kid))
  clients.forEach(({ grants }, i) => {
    grants.forEach((grant, j) => {
      const place = ['clients', i, 'grants', j]
      grant.keys.forEach((id, k) => {
        if (!keyIds.has(id)) report([...place, 'keys', k], 'names no key')
      })
      grant.recipients.forEach((kid, k) => {
        if (!kids.has(kid)) report([...place, 'recipients', k], 'names no recipient')
      })
    })
  })
}

/** Development keys are known to whoever made them, so that nothing outside the machine may reach them (M-22). */
function checkListeners({ environment, listeners }: Config, report: Report): void {
  if (environment !== 'development') return
  for (const name of ['api', 'management'] as const) {
    if (isLoopback(listeners[name].host)) continue
    report(['listeners', name, 'host'], 'must be a loopback address in development')
  }
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** Whether nothing but this machine reaches `host`. */
function isLoopback(host: string): boolean {
  const version = isIP(host)
  if (version === 0) return host === 'localhost'
  return LOOPBACK.check(host, version === 4 ? 'ipv4' : 'ipv6')
}
