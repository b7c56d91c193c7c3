/**
 * Messages over the private Unix socket: JSON, and bytes behind it where a message has packed blocks.
 *
 * Layout of a frame: its length 4 · the JSON's length 4 · JSON · packed bytes; lengths are big-endian, and the first one
 * counts what follows it.
 */
import type { Socket } from 'node:net'

/** The longest frame: a full batch of PIN blocks with its PANs, and room to spare. */
const MAX_FRAME_BYTES = 2 * 1024 * 1024
const LENGTH_BYTES = 4
const HEADER_BYTES = 2 * LENGTH_BYTES

/** One end of the bridge; a frame that is too long or holds no JSON ends the connection. */
export class Channel {
  readonly #socket: Socket
  #received: Buffer[] = []
  #receivedBytes = 0
  /** How many bytes are needed to go on; known from the moment a frame's length is. */
  #needed = LENGTH_BYTES

  /** @param onMessage - `packed` is empty for a message without any, and the receiver's own. */
  constructor(socket: Socket, onMessage: (message: unknown, packed: Buffer) => void) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk)
      this.#receivedBytes += chunk.length
      try {
        for (let frame = this.#nextFrame(); frame && !socket.destroyed; frame = this.#nextFrame()) {
          const jsonEnd = HEADER_BYTES + frame.readUInt32BE(LENGTH_BYTES)
          if (jsonEnd > frame.length) throw new RangeError('frame too short')
          onMessage(JSON.parse(frame.toString('utf8', HEADER_BYTES, jsonEnd)), frame.subarray(jsonEnd))
        }
      } catch {
        socket.destroy()
      }
    })
    // What an error means is the same as what follows it: the channel closes.
    socket.on('error', () => socket.destroy())
  }

  /** Sends one message; one that cannot be sent shows as the channel's end. */
  send(message: object, packed?: Uint8Array): void {
    const json = JSON.stringify(message)
    const jsonBytes = Buffer.byteLength(json)
    const packedBytes = packed?.length ?? 0
    const frame = Buffer.allocUnsafe(HEADER_BYTES + jsonBytes + packedBytes)
    frame.writeUInt32BE(LENGTH_BYTES + jsonBytes + packedBytes)
    frame.writeUInt32BE(jsonBytes, LENGTH_BYTES)
    frame.write(json, HEADER_BYTES)
    if (packed) frame.set(packed, HEADER_BYTES + jsonBytes)
    // The kernel has it by then; PANs do not stay in the memory that buffers are made of.
    this.#socket.write(frame, () => frame.fill(0))
  }

  /** Sends what is pending and ends the connection. */
  end(): void {
    this.#socket.end()
  }

  /** Drops the connection. */
  destroy(): void {
    this.#socket.destroy()
  }

  #nextFrame(): Buffer | undefined {
    if (this.#receivedBytes < this.#needed) return undefined
    const bytes = this.#received.length === 1 ? this.#received[0]! : Buffer.concat(this.#received)
    this.#received = [bytes]
    const length = bytes.readUInt32BE()
    if (length < LENGTH_BYTES || length > MAX_FRAME_BYTES) throw new RangeError('frame too long or too short')
    this.#needed = LENGTH_BYTES + length
    if (bytes.length < this.#needed) return undefined
    const frame = bytes.subarray(0, this.#needed)
    this.#received = bytes.length > frame.length ? [bytes.subarray(frame.length)] : []
    this.#receivedBytes -= frame.length
    this.#needed = LENGTH_BYTES
    return frame
  }
}
