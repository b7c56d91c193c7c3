/** The log: pino to standard error, one JSON record a line; records are built from allow-listed members where they arise. */
import { pino, type Logger } from 'pino'

export type { Logger }

/** What a pipe takes whole (PIPE_BUF on Linux): more could be torn by what another process writes between. */
const MAX_WRITE_BYTES = 4096

/** Makes the log of one process; `process` names it (supervisor, gateway, vault). */
export function createLog(process: string, level: string): Logger {
  return pino(
    {
      level,
      base: { process },
      timestamp: pino.stdTimeFunctions.isoTime,
      // A foreign error's message, stack and cause may hold anything: only its class stands in a record.
      serializers: { err: (error: unknown) => ({ type: error instanceof Error ? error.name : typeof error }) },
    },
    standardError(),
  )
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
