import { randomBytes } from 'node:crypto'
import { PassThrough } from 'node:stream'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { Channel } from '../../../src/bridge/channel.ts'

const MOST_FRAME_BYTES = 2 * 1024 * 1024

/** One message as a channel hands it on. */
interface Received {
  readonly message: unknown
  readonly packed: string
}

/** A channel over a stream, and what it took in. */
function open(onMessage?: (message: unknown, packed: Buffer) => void) {
  const stream = new PassThrough()
  const received: Received[] = []
  const channel = new Channel(
    stream as unknown as Socket,
    onMessage ?? ((message, packed) => received.push({ message, packed: packed.toString('hex') })),
  )
  return { stream, received, channel }
}

/** A frame by the layout's own words, whose lengths may lie. */
function frame(json: string, packed: Buffer = Buffer.alloc(0), { length = 0, jsonLength = 0 } = {}): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(4 + Buffer.byteLength(json) + packed.length + length)
  head.writeUInt32BE(Buffer.byteLength(json) + jsonLength, 4)
  return Buffer.concat([head, Buffer.from(json), packed])
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('Channel', () => {
  it('reads messages and the bytes behind them however they arrive: one by one, all together, across borders', async () => {
    const sent: [unknown, Buffer][] = [
      [{ a: 1 }, Buffer.alloc(0)],
      [{ text: 'ä€😀' }, randomBytes(1)],
      [{}, randomBytes(26)],
      // What is packed is bytes, whatever they look like.
      [[1, 2], frame('{"n":7}', Buffer.from('{}'))],
      [{ long: 'x'.repeat(5000) }, Buffer.alloc(0)],
      [{ few: true }, randomBytes(5000)],
      [null, Buffer.from('00'.repeat(40), 'hex')],
    ]
    const bytes = Buffer.concat(sent.map(([message, packed]) => frame(JSON.stringify(message), packed)))
    const expected = sent.map(([message, packed]) => ({ message, packed: packed.toString('hex') }))
    for (const size of [1, 2, 3, 7, 8, 9, 1000, 4096, bytes.length]) {
      const { stream, received } = open()
      for (let at = 0; at < bytes.length; at += size) {
        stream.write(bytes.subarray(at, at + size))
        if (size < 10 && at % 64 === 0) await turn()
      }
      await turn()
      expect(received).toEqual(expected)
      expect(stream.destroyed).toBe(false)
    }
  })

  it('hands a message on when its last byte is there, and not before', async () => {
    const { stream, received } = open()
    const whole = frame('{"n":1}', Buffer.from('c0ffee', 'hex'))
    for (const byte of whole.subarray(0, -1)) {
      stream.write(Buffer.of(byte))
      await turn()
      expect(received).toEqual([])
    }
    stream.write(whole.subarray(-1))
    await turn()
    expect(received).toEqual([{ message: { n: 1 }, packed: 'c0ffee' }])
  })

  it('writes what it reads', async () => {
    const { received, channel, stream } = open()
    const packed = randomBytes(180_000)
    channel.send({ id: 1, text: 'ä€😀' })
    channel.send({ id: 2, big: 'y'.repeat(1_000_000) }, packed)
    channel.send({ id: 3 }, new Uint8Array(packed.buffer, packed.byteOffset, 5))
    channel.send({ id: 4 }, Buffer.alloc(0))
    await turn()
    expect(received.map(({ message }) => (message as { id: number }).id)).toEqual([1, 2, 3, 4])
    expect(received[0]).toEqual({ message: { id: 1, text: 'ä€😀' }, packed: '' })
    expect(received.map((each) => each.packed)).toEqual(
      ['', packed, packed.subarray(0, 5), ''].map((each) => Buffer.from(each).toString('hex')),
    )
    expect(stream.destroyed).toBe(false)
  })

  it('writes frames of its layout, byte for byte', async () => {
    const stream = new PassThrough()
    const written: Buffer[] = []
    // A copy, because a frame is wiped once it is written.
    stream.on('data', (chunk: Buffer) => written.push(Buffer.from(chunk)))
    const channel = new Channel(stream as unknown as Socket, () => {})
    channel.send({ id: 1, text: 'ä' }, Buffer.from('c0ffee', 'hex'))
    channel.send({})
    await turn()
    expect(written.map((bytes) => bytes.toString('hex')).join('')).toBe(
      '0000001b000000147b226964223a312c2274657874223a22c3a4227dc0ffee00000006000000027b7d',
    )
  })

  it('gives each receiver bytes of its own', async () => {
    const kept: Buffer[] = []
    const { stream } = open((_message, packed) => kept.push(packed))
    stream.write(Buffer.concat([frame('1', Buffer.from('aaaa', 'hex')), frame('2', Buffer.from('bbbb', 'hex'))]))
    await turn()
    kept[0]!.fill(0)
    expect(kept[1]!.toString('hex')).toBe('bbbb')
  })

  it.each([
    ['JSON alone', (room: number) => frame(JSON.stringify('z'.repeat(room - 2)))],
    ['packed bytes', (room: number) => frame('{}', Buffer.alloc(room - 2, 1))],
  ])('takes a frame of 2 MiB and ends the connection at one byte more, before it is there: %s', async (_name, make) => {
    const most = open()
    most.stream.write(make(MOST_FRAME_BYTES - 4))
    await turn()
    expect(most.received).toHaveLength(1)
    const more = open()
    more.stream.write(make(MOST_FRAME_BYTES - 3).subarray(0, 4))
    await turn()
    expect(more.stream.destroyed).toBe(true)
  })

  it('ends the connection at a frame too short for the length of its JSON, before it is there', async () => {
    for (const length of ['00000000', '00000003']) {
      const { stream } = open()
      stream.write(Buffer.from(length, 'hex'))
      await turn()
      expect(stream.destroyed).toBe(true)
    }
  })

  it.each(['hello', '', '{"a":1', '{"a":1}}'])('ends the connection at a frame that is no JSON: %j', async (text) => {
    const { stream, received } = open()
    stream.write(frame(text))
    await turn()
    expect(stream.destroyed).toBe(true)
    expect(received).toEqual([])
  })

  it.each<[string, Buffer]>([
    ['no bytes', Buffer.from('00000000', 'hex')],
    ['no whole length of the JSON', Buffer.from('00000003000000', 'hex')],
    ['JSON of one byte more than the frame', frame('{"a":1}', Buffer.alloc(0), { jsonLength: 1 })],
    ['JSON that takes in its neighbour', frame('{"a":1}', Buffer.alloc(3), { jsonLength: 4 })],
    ['JSON of 4 GiB', Buffer.concat([Buffer.from('0000000affffffff', 'hex'), Buffer.from('{"a":1')])],
    ['JSON that ends in its packed bytes', frame('{"a":1}', Buffer.from('c0', 'hex'), { jsonLength: 1 })],
    ['packed bytes that begin in its JSON', frame('{"a":1}', Buffer.from('c0', 'hex'), { jsonLength: -1 })],
  ])('ends the connection at a frame of %s, whatever follows', async (_name, bytes) => {
    const { stream, received } = open()
    stream.write(Buffer.concat([bytes, frame('{"n":2}')]))
    await turn()
    expect(stream.destroyed).toBe(true)
    expect(received).toEqual([])
  })

  it('hands on nothing that follows a bad frame', async () => {
    const { stream, received } = open()
    stream.write(Buffer.concat([frame('{"n":1}'), frame('nonsense'), frame('{"n":2}')]))
    await turn()
    expect(received.map(({ message }) => message)).toEqual([{ n: 1 }])
    expect(stream.destroyed).toBe(true)
  })

  it('hands on nothing after its owner has dropped the connection', async () => {
    const received: unknown[] = []
    const { stream, channel } = open((message) => {
      received.push(message)
      channel.destroy()
    })
    stream.write(Buffer.concat([frame('{"n":1}'), frame('{"n":2}')]))
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
