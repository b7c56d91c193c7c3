/** PIN blocks of ISO format 0 and the message of a PRW, on strings of digits, as one would write them first. */

/** A request that cannot be carried out; Fastify answers with its status and code. */
export class Refusal extends Error {
  readonly statusCode: number
  readonly code: string

  constructor(statusCode: number, code: string) {
    super(code)
    this.statusCode = statusCode
    this.code = code
  }
}

/** The PAN field, 16 digits: `0000 | A×12`, A the 12 rightmost digits without the check digit (ISO 9564-1:2017 9.3.2.3). */
function panField(pan: string): Buffer {
  return Buffer.from(pan.slice(-13, -1).padStart(16, '0'), 'hex')
}

/** XORs two buffers of one length. */
export function xor(a: Buffer, b: Buffer): Buffer {
  const sum = Buffer.from(a)
  for (let i = 0; i < sum.length; i++) sum[i]! ^= b[i]!
  return sum
}

/** Encodes a PIN, digits, as a clear PIN block: `0 | L | P×L | F×(14−L)` XOR the PAN field. */
export function encodeIso0(pin: string, pan: string): Buffer {
  return xor(Buffer.from(`0${pin.length.toString(16)}${pin}`.padEnd(16, 'f'), 'hex'), panField(pan))
}

/** Decodes a clear PIN block to its PIN, digits; throws a refusal if it is none. */
export function decodeIso0(clearBlock: Buffer, pan: string): string {
  const field = xor(clearBlock, panField(pan)).toString('hex')
  const end = 2 + parseInt(field[1]!, 16)
  const pin = field.slice(2, end)
  if (field[0] !== '0' || !/^\d{4,12}$/.test(pin) || !/^f+$/.test(field.slice(end))) {
    throw new Refusal(422, 'ERR_PIN_BLOCK_INVALID')
  }
  return pin
}

/** The message of the profile seccos-3des: PAN 10 · PAN sequence number 1 · PIN length 1 · PIN 6 · change counter 2 bytes. */
export function prwMessage(
  pin: string,
  { pan, panSequenceNumber, counter }: { pan: string; panSequenceNumber: string; counter: string },
): Buffer {
  const pinLength = pin.length.toString(16).padStart(2, '0')
  return Buffer.from(pan.padStart(20, '0') + panSequenceNumber + pinLength + pin.padEnd(12, 'f') + counter, 'hex')
}
