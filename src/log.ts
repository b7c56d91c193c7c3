/** The log: pino to standard error, one JSON record a line; records are built from allow-listed members where they arise. */
import { pino, type Logger } from 'pino'

export type { Logger }

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
    pino.destination({ dest: 2, sync: true }),
  )
}
