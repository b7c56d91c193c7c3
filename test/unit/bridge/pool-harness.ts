/** A vault pool behind a real Unix socket, and vaults of the test that dial in and say what they like. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { Channel } from '../../../src/bridge/channel.ts'
import { VaultPool, type PoolLimits } from '../../../src/bridge/vault-pool.ts'

/** A message as a vault of the test received it. */
export interface Message {
  readonly id: number
  readonly operation: string
  readonly body: any
  readonly packed: Buffer
}

/** A vault of the test. */
export interface FakeVault {
  readonly socket: Socket
  readonly channel: Channel
  readonly received: Message[]
  readonly closed: Promise<void>
}

/** What a vault of the test does with a message. */
export type Answer = (message: Message, vault: FakeVault) => void

/** A pool and what it said. */
export interface PoolHarness {
  readonly pool: VaultPool
  readonly ready: number[]
  readonly overdue: number[]
  /** Connects, and says nothing yet. */
  readonly dial: (answer?: Answer) => FakeVault
  /** Admits and connects a vault, and waits until it serves; without `answer` it stays silent. */
  readonly serve: (id: number, answer?: Answer) => Promise<FakeVault>
  readonly close: () => Promise<void>
}

/** A secret as the supervisor makes it. */
export const newSecret = (): string => randomBytes(32).toString('hex')

/** Opens a pool; limits that are not given are generous. */
export async function openPool(limits: Partial<PoolLimits> = {}): Promise<PoolHarness> {
  const folder = mkdtempSync(join(tmpdir(), 'vault-pool-'))
  const path = join(folder, 'bridge.sock')
  const sockets = new Set<Socket>()
  const ready: number[] = []
  const overdue: number[] = []
  const pool = new VaultPool(
    { hsmMs: 2000, queue: 100_000, inFlightPerVault: 8, ...limits },
    { onReady: (id) => ready.push(id), onOverdue: (id) => overdue.push(id) },
  )
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  }
  const server = createServer((socket) => {
    keep(socket)
    pool.connect(socket)
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))

  const dial = (answer: Answer = () => {}): FakeVault => {
    const socket = connect(path)
    keep(socket)
    const received: Message[] = []
    const channel = new Channel(socket, (message, packed) => {
      const whole = { ...(message as Omit<Message, 'packed'>), packed }
      received.push(whole)
      answer(whole, vault)
    })
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    const vault: FakeVault = { socket, channel, received, closed }
    return vault
  }
  const serve = async (id: number, answer?: Answer): Promise<FakeVault> => {
    const secret = newSecret()
    pool.admit(id, secret, 'token')
    const vault = dial(answer)
    vault.channel.send({ vault: id, secret, publicKeys: [{ kid: `of-${id}` }] })
    await expect.poll(() => ready.includes(id), { interval: 2 }).toBe(true)
    return vault
  }
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
    rmSync(folder, { recursive: true })
  }
  return { pool, ready, overdue, dial, serve, close }
}
