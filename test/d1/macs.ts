/** The two MACs of a Seccos PIN change, written with node:crypto alone and from the standards, not from this project's code. */
import { createCipheriv } from 'node:crypto'

const BLOCK_BYTES = 8

/** TDEA-CMAC (NIST SP 800-38B) of a message; key and message in hex. */
export function tdeaCmac(keyHex: string, messageHex: string): string {
  const encipher = tdea(Buffer.from(keyHex, 'hex'))
  const message = Buffer.from(messageHex, 'hex')
  const k1 = double(encipher(Buffer.alloc(BLOCK_BYTES)))
  const whole = message.length > 0 && message.length % BLOCK_BYTES === 0
  const blocks = Math.max(1, Math.ceil(message.length / BLOCK_BYTES))
  const padded = Buffer.alloc(blocks * BLOCK_BYTES)
  message.copy(padded)
  if (!whole) padded[message.length] = 0x80
  const subkey = whole ? k1 : double(k1)
  let chain: Buffer = Buffer.alloc(BLOCK_BYTES)
  for (let i = 0; i < blocks; i++) {
    let block = xor(chain, padded.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))
    if (i === blocks - 1) block = xor(block, subkey)
    chain = encipher(block)
  }
  return chain.toString('hex')
}

/** ISO/IEC 9797-1 MAC algorithm 3 with padding method 2; key (K1|K2) and message in hex. */
export function retailMac(keyHex: string, messageHex: string): string {
  const key = Buffer.from(keyHex, 'hex')
  const k1 = key.subarray(0, 8)
  const single = tdea(Buffer.concat([k1, k1]))
  const triple = tdea(key)
  const message = Buffer.from(messageHex, 'hex')
  const padded = Buffer.alloc((Math.floor(message.length / BLOCK_BYTES) + 1) * BLOCK_BYTES)
  message.copy(padded)
  padded[message.length] = 0x80
  let chain: Buffer = Buffer.alloc(BLOCK_BYTES)
  for (let at = 0; at < padded.length; at += BLOCK_BYTES) {
    const block = xor(chain, padded.subarray(at, at + BLOCK_BYTES))
    chain = at + BLOCK_BYTES === padded.length ? triple(block) : single(block)
  }
  return chain.toString('hex')
}

/** TDEA of single blocks under a double-length key. */
function tdea(key: Buffer): (block: Buffer) => Buffer {
  return (block) => {
    const cipher = createCipheriv('des-ede-ecb', key, null).setAutoPadding(false)
    return Buffer.concat([cipher.update(block), cipher.final()])
  }
}

/** Multiplication by x in GF(2^64), SP 800-38B 6.1. */
function double(block: Buffer): Buffer {
  const value = block.readBigUInt64BE()
  const doubled = Buffer.alloc(BLOCK_BYTES)
  doubled.writeBigUInt64BE(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n ? 0x1bn : 0n)))
  return doubled
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ b[i]!))
}
