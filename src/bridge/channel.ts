/** Messages over the private Unix socket: a frame is 4 bytes of length, big-endian, and that many bytes of JSON. */
import type { Socket } from 'node:net'

/** The longest frame: a full batch of PIN blocks with its PANs, and room to spare. */
const MAX_FRAME_BYTES = 2 * 1024 * 1024
const LENGTH_BYTES = 4

/** One end of the bridge; a frame that is too long or is no JSON ends the connection. */
export class Channel {
  readonly #socket: Socket
  #received: Buffer[] = []
  #receivedBytes = 0

  constructor(socket: Socket, onMessage: (message: unknown) => void) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk)
      this.#receivedBytes += chunk.length
      try {
        for (let frame = this.#nextFrame(); frame !== undefined; frame = this.#nextFrame()) {
          onMessage(JSON.parse(frame.toString('utf8')))
        }
      } catch {
        socket.destroy()
      }
    })
    // What an error means is the same as what follows it: the channel closes.
    socket.on('error', () => socket.destroy())
  }

  /** Sends one message; one that cannot be sent shows as the channel's end. */
  send(message: object): void {
    const body = Buffer.from(JSON.stringify(message))
    const frame = Buffer.allocUnsafe(LENGTH_BYTES + body.length)
    frame.writeUInt32BE(body.length)
    body.copy(frame, LENGTH_BYTES)
    this.#socket.write(frame)
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
    if (this.#receivedBytes < LENGTH_BYTES) return undefined
    const bytes = this.#received.length === 1 ? this.#received[0]! : Buffer.concat(this.#received)
    this.#received = [bytes]
    const length = bytes.readUInt32BE()
    if (length > MAX_FRAME_BYTES) throw new RangeError('frame too long')
    const end = LENGTH_BYTES + length
    if (bytes.length < end) return undefined
    this.#received = bytes.length > end ? [bytes.subarray(end)] : []
    this.#receivedBytes -= end
    return bytes.subarray(LENGTH_BYTES, end)
  }
}
