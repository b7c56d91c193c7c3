/** One real vault process, and the other end of its bridge in the test's hands: what a taken-over gateway could do. */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { Channel } from '../../src/bridge/channel.ts'
import type { Hello } from '../../src/bridge/contract.ts'
import { loadConfig, vaultConfig } from '../../src/config/config.ts'
import type { VaultReport } from '../../src/supervisor/messages.ts'
import { spawnVault } from '../../src/supervisor/spawn.ts'
import { temporaryFolder } from './service.ts'

const PATIENCE_MS = 20_000

/** A vault that was started by the supervisor's own means and talks to the test. */
export interface VaultPeer {
  readonly process: ChildProcess
  readonly secret: string
  readonly hello: Hello
  /** What it told its supervisor. */
  readonly reports: readonly VaultReport[]
  /** How many connections it has made. */
  readonly connections: () => number
  /** Every message that came after the hello and is no status report, each with the bytes behind it as `packed`, in hex. */
  readonly replies: readonly any[]
  /** Sends a request with an id of its own, and bytes behind it, and gives the reply with that id. */
  readonly ask: (operation: unknown, body: unknown, packed?: Buffer) => Promise<any>
  /** Sends any message, and bytes behind it. */
  readonly send: (message: unknown, packed?: Buffer) => void
  /** Sends any bytes. */
  readonly write: (bytes: Buffer) => void
  /** Ends the connection from this side. */
  readonly hangUp: () => void
  /** Resolves when the process has ended. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  readonly end: () => Promise<void>
}

/** Starts a vault on the configuration in this file, and waits for its hello. */
export async function startVaultPeer(configPath: string): Promise<VaultPeer> {
  const config = loadConfig(configPath)
  const folder = temporaryFolder()
  const bridgeSocket = join(folder.path, 'bridge.sock')
  const secret = randomBytes(32).toString('hex')

  const replies: any[] = []
  const reports: VaultReport[] = []
  const waiting = new Map<unknown, (reply: any) => void>()
  let connections = 0
  let socket: Socket
  let channel: Channel
  const hello = Promise.withResolvers<Hello>()
  const server = createServer((connected) => {
    connections++
    if (connections > 1) {
      connected.destroy()
      return
    }
    socket = connected
    let greeted = false
    channel = new Channel(connected, (message: any, packed) => {
      if (!greeted) {
        greeted = true
        hello.resolve(message as Hello)
        return
      }
      // What it says of itself, unasked.
      if (message.status !== undefined) return
      const reply = { ...message, packed: packed.toString('hex').toUpperCase() }
      replies.push(reply)
      waiting.get(message.id)?.(reply)
      waiting.delete(message.id)
    })
  })
  await new Promise<void>((resolve) => server.listen(bridgeSocket, resolve))

  const [token] = config.hsm.tokens
  if (token === undefined) throw new Error('the configuration has no token')
  const child = spawnVault({ vault: 1, config: vaultConfig(config, token), secret, bridgeSocket }, undefined)
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  )
  child.on('message', (message: VaultReport) => reports.push(message))

  const end = async () => {
    child.kill('SIGKILL')
    await exited
    server.close()
    folder.dispose()
  }
  const gone = exited.then(() => {
    throw new Error(`the vault ended before it said hello: ${JSON.stringify(reports)}`)
  })
  gone.catch(() => {})
  let first: Hello
  try {
    first = await Promise.race([hello.promise, gone])
  } catch (error) {
    await end()
    throw error
  }

  let nextId = 1
  return {
    process: child,
    secret,
    hello: first,
    reports,
    connections: () => connections,
    replies,
    ask: (operation, body, packed) => {
      const id = nextId++
      const reply = new Promise<any>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no reply to ${String(operation)}`)), PATIENCE_MS)
        waiting.set(id, (message) => {
          clearTimeout(timer)
          resolve(message)
        })
      })
      channel.send({ id, operation, body }, packed)
      return reply
    },
    send: (message, packed) => channel.send(message as object, packed),
    write: (bytes) => void socket.write(bytes),
    hangUp: () => socket.destroy(),
    exited,
    end,
  }
}
