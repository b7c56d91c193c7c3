import { PassThrough } from 'node:stream'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { Channel } from '../../../src/bridge/channel.ts'

/** A channel over a stream, and what it took in. */
function open(onMessage?: (message: unknown) => void) {
  const stream = new PassThrough()
  const received: unknown[] = []
  const channel = new Channel(stream as unknown as Socket, onMessage ?? ((message) => received.push(message)))
  return { stream, received, channel }
}

function frame(text: string): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(Buffer.byteLength(text))
  return Buffer.concat([head, Buffer.from(text)])
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('Channel', () => {
  it('reads messages however their bytes arrive: one by one, all together, across borders', async () => {
    const messages = [{ a: 1 }, { text: 'ä€😀' }, {}, [1, 2], { long: 'x'.repeat(5000) }]
    const bytes = Buffer.concat(messages.map((message) => frame(JSON.stringify(message))))
    for (const size of [1, 2, 3, 7, 1000, bytes.length]) {
      const { stream, received } = open()
      for (let at = 0; at < bytes.length; at += size) {
        stream.write(bytes.subarray(at, at + size))
        if (size < 8 && at % 64 === 0) await turn()
      }
      await turn()
      expect(received).toEqual(messages)
      expect(stream.destroyed).toBe(false)
    }
  })

  it('writes what it reads', async () => {
    const { received, channel } = open()
    channel.send({ id: 1, text: 'ä€😀' })
    channel.send({ id: 2, big: 'y'.repeat(1_000_000) })
    await turn()
    expect(received).toHaveLength(2)
    expect(received[0]).toEqual({ id: 1, text: 'ä€😀' })
  })

  it('takes a frame of 2 MiB and ends the connection at one byte more, before it is there', async () => {
    const most = open()
    most.stream.write(frame(JSON.stringify('z'.repeat(2 * 1024 * 1024 - 2))))
    await turn()
    expect(most.received).toHaveLength(1)
    const more = open()
    more.stream.write(Buffer.from('00200001', 'hex'))
    await turn()
    expect(more.stream.destroyed).toBe(true)
  })

  it.each(['hello', '', '{"a":1', '{"a":1}}'])('ends the connection at a frame that is no JSON: %j', async (text) => {
    const { stream, received } = open()
    stream.write(frame(text))
    await turn()
    expect(stream.destroyed).toBe(true)
    expect(received).toEqual([])
  })

  it('hands on nothing that follows a bad frame', async () => {
    const { stream, received } = open()
    stream.write(Buffer.concat([frame('{"n":1}'), frame('nonsense'), frame('{"n":2}')]))
    await turn()
    expect(received).toEqual([{ n: 1 }])
    expect(stream.destroyed).toBe(true)
  })

  it('ends the connection when its owner cannot take a message', async () => {
    const { stream } = open(() => {
      throw new TypeError('not what I expected')
    })
    stream.write(frame('{}'))
    await turn()
    expect(stream.destroyed).toBe(true)
  })
})
