/**
 * The reference adapter as a process that is killed at the worst moment: pinbridge has answered a pin/set, and nothing of it is stored
 * yet. Usage: crashing-adapter.ts JSON, of `{ access, file, credentials, tokenKey }` with the key in hex; prints its URL.
 */
import { runAdapter } from './running-adapter.ts'

const { access, file, credentials, tokenKey } = JSON.parse(process.argv[2]!)
const secrets = { credentials, tokenKey: Buffer.from(tokenKey, 'hex') }
const adapter = await runAdapter(access, file, secrets, (client) => ({
  getPin: client.getPin,
  setPin: async (body, options) => {
    await client.setPin(body, options)
    process.kill(process.pid, 'SIGKILL')
    return new Promise(() => {})
  },
}))
process.stdout.write(`${adapter.url}\n`)
