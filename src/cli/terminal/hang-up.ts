/** A command whose terminal goes away brings to its end, or takes back, what it has begun. */

/** What asks a command to end: Ctrl-C, whoever runs the machine, and a terminal that hangs up. */
export const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

let isOutlived = false

/** Lets what is written to a terminal that is gone (EIO) be lost, from now on, where it would end the process otherwise. */
export function outliveTerminal(): void {
  if (isOutlived) return
  isOutlived = true
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EIO') throw error
    })
  }
}
