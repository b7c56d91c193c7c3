/** A real Redis of a test's own: on a port of this machine, in a folder of its own, and ended with it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from '@redis/client'
import { testCertificates } from './certificates.ts'

const START_MS = 20_000
const PORT_TRIES = 5

/** How a server is to be. */
export interface RedisOptions {
  readonly password?: string
  /** With the certificate of the tests' server, by the tests' CA. */
  readonly tls?: boolean
  /** Further lines of its configuration. */
  readonly settings?: readonly string[]
}

/** A running server. */
export interface TestRedis {
  readonly url: string
  /** Sends one command by a connection of its own. */
  readonly command: (...words: string[]) => Promise<unknown>
  /** Lets it stand still: its port accepts connections, and nothing is answered. */
  readonly hang: () => unknown
  readonly goOn: () => unknown
  readonly kill: () => Promise<void>
  /** Starts it again on its port, empty. */
  readonly startAgain: () => Promise<void>
  /** Ends it and removes its folder. */
  readonly dispose: () => Promise<void>
}

/** Starts a server and waits until it answers. */
export async function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  for (let tries = 1; ; tries++) {
    try {
      // Below the ports that connections are given, so that none takes it while the server is down.
      return await startAt(randomInt(10_000, 32_000), options)
    } catch (error) {
      if (tries === PORT_TRIES) throw error
    }
  }
}

async function startAt(port: number, { password, tls = false, settings = [] }: RedisOptions): Promise<TestRedis> {
  const folder = mkdtempSync(join(tmpdir(), 'pinbridge-redis-'))
  const { server, ca } = await testCertificates()
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text, { mode: 0o600 })
    return join(folder, name)
  }
  const ports = tls
    ? [
        `port 0\ntls-port ${port}\ntls-auth-clients no`,
        `tls-cert-file ${file('cert.pem', server.certificate)}\ntls-key-file ${file('key.pem', server.privateKey)}`,
      ]
    : [`port ${port}`]
  const lines = [...ports, 'bind 127.0.0.1', `dir ${folder}`, 'save ""', 'appendonly no', ...settings]
  if (password !== undefined) lines.push(`requirepass ${password}`)
  const config = file('redis.conf', lines.join('\n'))
  const scheme = tls ? 'rediss' : 'redis'
  const url = `${scheme}://${tls ? 'localhost' : '127.0.0.1'}:${port}`

  const command = async (...words: string[]): Promise<unknown> => {
    const client = createClient({
      url,
      RESP: 2,
      ...(password !== undefined && { password }),
      socket: { reconnectStrategy: false, ...(tls && { tls: true as const, ca }) },
    })
    client.on('error', () => {})
    await client.connect()
    try {
      return await client.sendCommand(words)
    } finally {
      client.destroy()
    }
  }
  let child: ChildProcess
  const start = async (): Promise<void> => {
    child = spawn('redis-server', [config], { stdio: 'ignore' })
    child.on('error', () => {})
    const began = performance.now()
    // Another server may be there on that port.
    while (!String(await command('INFO', 'server').catch(() => '')).includes(`process_id:${child.pid}\r`)) {
      if (child.exitCode !== null || performance.now() - began > START_MS) throw new Error('redis-server did not start')
      await pause(20)
    }
  }
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
  const dispose = async (): Promise<void> => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    await start()
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    url,
    command,
    hang: () => child.kill('SIGSTOP'),
    goOn: () => child.kill('SIGCONT'),
    kill,
    startAgain: start,
    dispose,
  }
}
