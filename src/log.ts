/** The log: pino to standard error, one JSON record a line; records are built from allow-listed members where they arise. */
import { pino, type Logger } from 'pino'

export type { Logger }

/** More than one turn of the event loop brings together: records are written at the end of it, or when there are so many. */
const BUFFER_BYTES = 8 * 1024

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
  const stream = pino.destination({ dest: 2, sync: true, minLength: BUFFER_BYTES })
  let isPending = false
  const flush = () => {
    isPending = false
    stream.flushSync()
  }
  process.on('exit', flush)
  return {
    write: (line) => {
      stream.write(line)
      if (!isPending) setImmediate(flush)
      isPending = true
    },
  }
}
