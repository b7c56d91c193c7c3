/** Says what a command is doing while the person waits. */

const PATIENCE_MS = 1000
const ERASE_LINE = '\r\x1b[K'

/**
 * Does work and says on standard error what it is, once it takes over a second.
 *
 * On a terminal it is said at once and taken away at the end, because a module that is at work lets no timer run.
 *
 * @param what - such as `generating the key`; no secret.
 */
export async function withProgress<T>(what: string, work: () => Promise<T>): Promise<T> {
  const { stderr } = process
  const began = performance.now()
  const seconds = (): number => Math.round((performance.now() - began) / 1000)
  const say = (): void => {
    if (stderr.isTTY) stderr.write(`${ERASE_LINE}${what} … ${seconds() > 0 ? `${seconds()} s` : ''}`)
    else stderr.write(`${what} …\n`)
  }
  if (stderr.isTTY) say()
  const timer = stderr.isTTY ? setInterval(say, PATIENCE_MS) : setTimeout(say, PATIENCE_MS)
  try {
    return await work()
  } finally {
    clearTimeout(timer)
    if (stderr.isTTY) stderr.write(ERASE_LINE)
  }
}
