/** What each record of the log may hold, said anew from outside: by process, by what happened, by the path of each member. */

/** In every record; `pid` and `hostname` are in none, and `time` is pino's. */
const ALWAYS = ['level', 'time', 'process', 'msg']

const HSM_CHOICES = ['oaep256', 'ecdhEs', 'tdeaCmac', 'aesCmac', 'retailMac', 'rsa', 'ecdh', 'cipher']

/** By the process and the message, which is one of these, so that nothing can stand in it either; requests alone have none. */
export const RECORDS: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  supervisor: {
    'DEVELOPMENT: keys with known values, for tests only; never give this service a real PIN': [],
    'the launcher is not built: gateway and vaults may ask the kernel for anything': [],
    listening: ['port', 'managementPort'],
    stopping: [],
    'not everything was answered in time; ending all the same': [],
    'the gateway could not start': ['problem'],
    'the gateway ended; starting another': ['code', 'signal'],
    'a vault ended': ['token', 'vault', 'code', 'signal', 'cause'],
    'replacing a vault': ['token', 'vault'],
    'the refusal cannot be written beside the PIN file: a restart would try this PIN again': ['token'],
    'no vault is started until the HSM PIN file changes': ['token'],
    reloaded: ['changed[]'],
    'these members take a restart': ['members[]'],
    'the new configuration cannot be used; everything stays as it was': ['problems[]'],
    'the new configuration cannot be read; everything stays as it was': ['errorType'],
    'the gateway cannot use the TLS files; everything stays as it was': [],
    'the HSM cannot be used by it; everything stays as it was': ['problems[]'],
    'the new configuration cannot be used without a restart; everything stays as it was': ['problems[]'],
    'the gateway could not take over what came while it started': [],
    'replacing the vaults: their part of the configuration has changed': ['token'],
  },
  gateway: {
    request: [
      ...['requestId', 'correlationId', 'traceId', 'route', 'clientId', 'operation', 'keys[].id'],
      ...[
        'keys[].version',
        'keys[].kcv',
        'batch.items',
        'batch.rejected',
        'batch.limited',
        'code',
        'status',
        'durationMs',
        'ckr',
        'method',
        'reason',
      ],
      'errorType',
    ],
    'one PIN block, many PANs': ['requestId', 'clientId', 'operation'],
    'the audit record is sealed': ['seq', 'hash'],
    'the audit record cannot be written': ['problem'],
    'the audit record can be written again': [],
    'a vault did not answer within its deadline': ['vault'],
    'the limit store is up': [],
    'the limit store is gone': ['reason'],
    'the trace collector takes no spans, or not all': ['reason', 'status'],
    'the trace collector takes spans again': [],
  },
  vault: {
    'HSM open': HSM_CHOICES,
    'the HSM cannot be used': ['token', 'reason', 'problems[]'],
    'the token cannot serve this key': ['key', 'reason'],
    'a key did not give its known answer; leaving': [],
  },
  migrate: {
    'migration-started': [
      ...['from', 'to'].flatMap((zone) => ['key', 'version', 'kcv', 'format'].map((member) => `${zone}.${member}`)),
      ...['prw.key', 'prw.version', 'prw.kcv', 'prw.profile', 'checkIds', 'dryRun', 'input.file', 'input.bytes'],
      ...['output', 'resumedAtLine'],
    ],
    'migration-ended': [
      ...['outcome', 'exitCode', 'rowsRead', 'rowsWritten', 'rowsRejected.*', 'inputChanged', 'seconds'],
      ...['input', 'output', 'rejects'].flatMap((file) => [file, `${file}.file`, `${file}.bytes`, `${file}.sha256`]),
    ],
    'a chunk is done again': ['code'],
    'a vault ended': ['vault', 'code', 'signal'],
    'going on without a token': ['token', 'reason', 'problems[]'],
  },
}

/** Where records go: standard output has the ready line, standard error the rest. */
const READY_LINE = ['event', 'url', 'management', 'pid', 'gateway', 'vaults[]']

/**
 * Lists what is in a log and should not be: a line that is no record, a record of no known kind, and a member that its kind
 * does not have.
 *
 * @param output - the standard error of a service or a command, perhaps with the ready line among it.
 */
export function strangersInLog(output: string): string[] {
  return output
    .split('\n')
    .filter((line) => line !== '')
    .flatMap((line) => {
      if (!line.startsWith('{')) return ['a line that is no record']
      const record = JSON.parse(line) as Record<string, unknown>
      if (record['event'] === 'ready') return strangers(record, READY_LINE, 'ready')
      const process = String(record['process']).replace(/-\d+$/, '')
      const kind = String(record['msg'] ?? record['event'])
      const listed = RECORDS[process]?.[kind]
      if (listed === undefined) return [`${process}: ${kind}`]
      return strangers(record, [...ALWAYS, 'event', ...listed], `${process}: ${kind}`)
    })
}

function strangers(record: object, listed: readonly string[], kind: string): string[] {
  return pathsOf(record, '')
    .filter((path) => !listed.includes(path) && !listed.includes(path.replace(/\.ERR_[A-Z_]+$/, '.*')))
    .map((path) => `${kind}: ${path}`)
}

function pathsOf(value: unknown, path: string): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => pathsOf(item, `${path}[]`))
  if (typeof value !== 'object' || value === null) return [path]
  return Object.entries(value).flatMap(([name, member]) => pathsOf(member, path === '' ? name : `${path}.${name}`))
}
