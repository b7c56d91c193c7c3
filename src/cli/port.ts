/** How a command reads a port that it is given. */
import { InvalidArgumentError } from 'commander'

/** Reads a port. */
export function parsePort(text: string): number {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('a port is a number from 0 to 65535')
  return port
}
