/** What `doctor` says of the files that the service needs: who may read and write them, and what stands beside them. */
import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import type { ExaminedConfig } from '../../config/config.ts'
import type { TokenConfig } from '../../config/schema.ts'
import { refusalPath } from '../../pin-file.ts'
import { finding, type Finding } from './finding.ts'

const LOW_BYTES = 1024 ** 3

/** What is wrong with modes and owners has been told as a problem of the configuration; the rest is said here. */
export function fileFindings(configPath: string, { config, tokens, isSound }: ExaminedConfig): Finding[] {
  const findings = modeFinding('configuration file', configPath)
  for (const { token, place } of tokens) {
    const of = tokens.length === 1 ? '' : ` of ${token.name}`
    if (isSound([...place, 'pinFile'])) findings.push(...modeFinding(`PIN file${of}`, token.pinFile))
    if (!isSound(place)) continue
    findings.push(...refusalFinding(token, `PIN file${of}`), ...tokenFolderFinding(token, `token folder${of}`))
  }
  if (isSound(['listeners', 'api', 'privateKey'])) {
    findings.push(...modeFinding('TLS private key', config.listeners.api.privateKey))
  }
  const password = isSound(['limits']) ? config.limits.store?.passwordFile : undefined
  if (password !== undefined) findings.push(...modeFinding('limit store password', password))
  const collectorKey = isSound(['tracing']) ? config.tracing?.privateKeyFile : undefined
  if (collectorKey !== undefined) findings.push(...modeFinding('key for the trace collector', collectorKey))
  if (config.audit && isSound(['audit'])) {
    findings.push(...modeFinding('audit folder', config.audit.directory), ...spaceFinding(config.audit))
  }
  return findings
}

function modeFinding(subject: string, path: string): Finding[] {
  try {
    const { mode, uid } = statSync(path)
    return [finding('files', subject, 'ok', `${path}: mode ${modeText(mode)}, owner ${uid}`)]
  } catch {
    return []
  }
}

function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

function refusalFinding(token: TokenConfig, subject: string): Finding[] {
  const path = refusalPath(token)
  if (!existsSync(path)) return []
  const text = `${path} remembers a PIN that the token refused`
  return [
    finding(
      'files',
      subject,
      'note',
      text,
      'it does no harm once the PIN file has changed; remove it when the login is right',
    ),
  ]
}

/** Where a token in software keeps its keys; a token in hardware has no folder. */
function tokenFolderFinding({ environment, libraryParameters }: TokenConfig, subject: string): Finding[] {
  const path = folderOfSoftHsm(environment['SOFTHSM2_CONF']) ?? folderOfNss(libraryParameters)
  if (path === undefined) return []
  try {
    const { mode, uid } = statSync(path)
    const said = `${path}: mode ${modeText(mode)}, owner ${uid}`
    if ((mode & 0o077) === 0) return [finding('files', subject, 'ok', said)]
    const todo = `\`chmod go-rwx ${path}\`: whoever copies these files can try PINs on them for as long as it takes`
    return [
      finding('files', subject, (mode & 0o022) === 0 ? 'note' : 'wrong', `${said}: others reach the keys’ files`, todo),
    ]
  } catch {
    const todo = 'put the folder back from its backup, or correct where the module looks for it'
    return [finding('files', subject, 'wrong', 'is not there, or cannot be looked at by this user', todo)]
  }
}

function folderOfSoftHsm(path: string | undefined): string | undefined {
  try {
    return path === undefined
      ? undefined
      : /^\s*directories\.tokendir\s*=\s*(\S+)/m.exec(readFileSync(path, 'utf8'))?.[1]
  } catch {
    return undefined
  }
}

function folderOfNss(libraryParameters: string | undefined): string | undefined {
  return /configdir='(?:sql:|dbm:)?([^']+)'/.exec(libraryParameters ?? '')?.[1]
}

function spaceFinding({
  directory,
  rotateBytes,
}: {
  readonly directory: string
  readonly rotateBytes: number
}): Finding[] {
  try {
    const { bavail, bsize } = statfsSync(directory)
    const free = bavail * bsize
    const text = `${(free / 1024 ** 3).toFixed(1)} GiB free for the audit record`
    const todo =
      'move old audit files elsewhere (all but the last): a service that cannot write its record refuses requests'
    if (free < Math.min(LOW_BYTES, rotateBytes)) return [finding('files', 'audit folder', 'wrong', text, todo)]
    return [
      finding(
        'files',
        'audit folder',
        free < 4 * LOW_BYTES ? 'note' : 'ok',
        text,
        free < 4 * LOW_BYTES ? todo : undefined,
      ),
    ]
  } catch {
    return []
  }
}
