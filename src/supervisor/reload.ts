/**
 * Reads the configuration anew when it is told to, or when one of its files changes, and has the running service take it over (M-29).
 * A file that is not fit leaves everything as it was, and says so.
 */
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ConfigError } from '../config/config.ts'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../log.ts'
import { identityOf } from '../pin-file.ts'
import { mergeLive } from './live-config.ts'

const LOOK_EVERY_MS = 1_000

/** The running service, as far as a reload concerns it. */
export interface Reloadable {
  readonly config: Config
  /** Takes a configuration over; if it cannot, nothing has changed. */
  readonly adopt: (config: Config) => Promise<Refusal | undefined>
  /** A new configuration was not fit: the one in the file with this SHA-256, if it could be read. */
  readonly refuse: (sha256: string | undefined) => void
}

/** Why a configuration was not taken over: rules that it breaks beside what takes a restart, the HSM, or the TLS files. */
export interface Refusal {
  readonly by: 'rules' | 'hsm' | 'gateway'
  readonly problems: readonly string[]
}

/** Reloads on demand and on change. */
export interface Reloader {
  readonly reload: () => void
  readonly stop: () => void
}

/**
 * Watches the configuration, the TLS files, the limit store's authority and the keys for tokens, and reloads when one is another file, or is written to.
 *
 * Looked at by identity and time of what the path leads to, because an orchestrator replaces a folder behind a link, which no
 * notification tells of. A change is acted upon once it is seen twice alike: files are rarely written at one blow.
 */
export function watchConfig(deps: {
  readonly path: string
  readonly load: () => Config
  readonly service: Reloadable
  readonly log: Logger
}): Reloader {
  const { path, load, service, log } = deps
  let acted = identitiesOf(filesOf(path, service.config))
  let last = acted
  let running: Promise<void> | undefined
  let again = false

  const reloadOnce = async (): Promise<void> => {
    const before = acted
    const files = filesOf(path, service.config)
    // Noted before they are read: what changes meanwhile is seen at the next look.
    acted = identitiesOf(files)
    last = acted
    try {
      const next = load()
      // Files that only the new configuration names have been read with it.
      acted = { ...identitiesOf(filesOf(path, next)), ...acted }
      const { config, changed, takesRestart } = mergeLive(service.config, next)
      const refusal = await service.adopt(config)
      if (refusal) {
        service.refuse(config.sha256)
        tellRefusal(log, refusal)
        return
      }
      log.info({ changed: [...changed, ...differing(files, before, acted)] }, 'reloaded')
      if (takesRestart.length > 0) log.warn({ members: takesRestart }, 'these members take a restart')
    } catch (error) {
      service.refuse(sha256Of(path))
      if (error instanceof ConfigError) {
        log.error({ problems: error.problems }, 'the new configuration cannot be used; everything stays as it was')
      } else {
        const errorType = (error as Error | null)?.constructor.name
        log.error({ errorType }, 'the new configuration cannot be read; everything stays as it was')
      }
    }
  }
  const reload = (): void => {
    again = running !== undefined
    running ??= reloadOnce().finally(() => {
      running = undefined
      if (again) reload()
    })
  }
  const look = (): void => {
    const files = filesOf(path, service.config)
    const now = identitiesOf(files)
    if (differing(files, last, now).length === 0 && differing(files, acted, now).length > 0) reload()
    last = now
  }
  const timer = setInterval(look, LOOK_EVERY_MS)
  return { reload, stop: () => clearInterval(timer) }
}

function tellRefusal(log: Logger, { by, problems }: Refusal): void {
  if (by === 'gateway') log.error('the gateway cannot use the TLS files; everything stays as it was')
  else if (by === 'hsm') log.error({ problems }, 'the HSM cannot be used by it; everything stays as it was')
  else log.error({ problems }, 'the new configuration cannot be used without a restart; everything stays as it was')
}

function sha256Of(path: string): string | undefined {
  try {
    return hash('sha256', readFileSync(path))
  } catch {
    return undefined
  }
}

/** Paths by the members that name them. */
type Files = Readonly<Record<string, string>>

/** What is at each path. */
type Identities = Readonly<Record<string, string>>

/** The files that a reload reads; of the limit store's authority, when it expires. */
function filesOf(path: string, { listeners: { api }, authentication, limits: { store } }: Config): Files {
  return {
    configuration: path,
    'listeners.api.certificate': api.certificate,
    'listeners.api.privateKey': api.privateKey,
    'listeners.api.clientCa': api.clientCa,
    ...(authentication.bearer && { 'authentication.bearer.jwks': authentication.bearer.jwks }),
    ...(store?.caFile !== undefined && { 'limits.store.caFile': store.caFile }),
  }
}

function identitiesOf(files: Files): Identities {
  return Object.fromEntries(Object.values(files).map((path) => [path, identityOf(path)]))
}

/** The members whose files are not the same. */
function differing(files: Files, before: Identities, now: Identities): string[] {
  return Object.entries(files).flatMap(([name, path]) => (before[path] === now[path] ? [] : [name]))
}
