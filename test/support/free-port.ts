/** A port that nobody has, for a service that is told its port. */
import { createServer } from 'node:net'

/** One below those that the kernel gives away, so that nobody else takes it between now and the start. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.trunc(Math.random() * 10_000)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    await new Promise((resolve) => (isFree ? server.close(resolve) : resolve(undefined)))
    if (isFree) return port
  }
}
