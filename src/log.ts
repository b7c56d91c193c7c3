/** The log: pino to standard error, one JSON record a line, of listed members only. */
import { pino, type DestinationStream, type LogFn } from 'pino'

/** What a pipe takes whole (PIPE_BUF on Linux): more could be torn by what another process writes between. */
const MAX_WRITE_BYTES = 4096

/** Every member that a record may have beside what pino adds itself; another one never leaves the process (M-5). */
const MEMBERS = [
  // Requests.
  ...['event', 'requestId', 'correlationId', 'traceId', 'route', 'clientId', 'operation', 'keys', 'batch'],
  ...['code', 'status', 'durationMs', 'ckr', 'method', 'reason', 'errorType'],
  // Processes.
  ...['vault', 'token', 'signal', 'cause', 'problem', 'problems', 'port', 'managementPort'],
  // What a reload took over, by members of the configuration, and what it did not.
  ...['changed', 'members'],
  // Up to where the audit record is sealed.
  ...['seq', 'hash'],
  // How a vault uses its token.
  ...['key', 'oaep256', 'ecdhEs', 'tdeaCmac', 'aesCmac', 'retailMac', 'rsa', 'ecdh', 'cipher'],
  // Migrations.
  ...['from', 'to', 'prw', 'checkIds', 'dryRun', 'input', 'output', 'resumedAtLine', 'outcome', 'exitCode'],
  ...['rowsRead', 'rowsWritten', 'rowsRejected', 'rejects', 'inputChanged', 'seconds'],
] as const
const LISTED: ReadonlySet<string> = new Set(MEMBERS)

/** What a record says beside its message: names, ids, counts, codes and times, and nothing that a caller's body held. */
export type LogRecord = { readonly [member in (typeof MEMBERS)[number]]?: unknown }

/** Writes a record; its message is a constant. */
interface Write {
  (record: LogRecord, message?: string): void
  (message: string): void
}

/** The log of one process. */
export interface Logger {
  readonly info: Write
  readonly warn: Write
  readonly error: Write
  /** The same log with these members in every record. */
  readonly child: (members: LogRecord) => Logger
}

/** Makes the log of one process; `process` names it (supervisor, gateway, vault). */
export function createLog(process: string, level: string, destination: DestinationStream = standardError()): Logger {
  return pino(
    {
      level,
      base: { process },
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: {
        // Before pino looks at the record: from an error it would take the message, which may hold anything.
        logMethod([record, ...rest]: Parameters<LogFn>, method) {
          method.apply(this, [typeof record === 'object' ? listed(record ?? {}) : record, ...rest])
        },
      },
    },
    destination,
  )
}

/** The listed members of a record; of an error, its class. */
function listed(record: object): object {
  if (record instanceof Error) return { errorType: record.constructor.name }
  return Object.keys(record).every((name) => LISTED.has(name))
    ? record
    : Object.fromEntries(Object.entries(record).filter(([name]) => LISTED.has(name)))
}

/** Writes the records of one turn of the event loop together: under load a write for each costs as much as making it. */
function standardError(): { write: (line: string) => void } {
  const stream = pino.destination({ dest: 2, sync: true })
  let pending = ''
  let isDue = false
  const flush = () => {
    isDue = false
    if (pending === '') return
    stream.write(pending)
    pending = ''
  }
  process.on('exit', flush)
  return {
    write: (line) => {
      if (Buffer.byteLength(pending) + Buffer.byteLength(line) > MAX_WRITE_BYTES) flush()
      pending += line
      if (!isDue) setImmediate(flush)
      isDue = true
    },
  }
}
