/**
 * Two oracles that share nothing with src and nothing with each other: one on OpenSSL through node:crypto with the
 * numbers as BigInts, one on node-forge's JavaScript ciphers with strings of bits. Hex in, lower-case hex out.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import forge from 'node-forge'

/** A block cipher by its name. */
export type OracleCipher = 'TDEA' | 'AES'

/** An independent implementation of what pinbridge asks of its HSM. */
export interface Oracle {
  readonly name: string
  /** Enciphers whole blocks in ECB. */
  readonly ecb: (cipher: OracleCipher, keyHex: string, blocksHex: string) => string
  /** Deciphers whole blocks in ECB. */
  readonly decipherEcb: (cipher: OracleCipher, keyHex: string, blocksHex: string) => string
  /** CMAC of NIST SP 800-38B, not truncated. */
  readonly cmac: (cipher: OracleCipher, keyHex: string, messageHex: string) => string
  /** MAC algorithm 3 of ISO/IEC 9797-1 under K1|K2, with padding method 1 or 2, not truncated. */
  readonly retailMac: (keyHex: string, messageHex: string, padding: 1 | 2) => string
}

// ---- node:crypto, BigInt

function nodeBlocks(
  create: typeof createCipheriv | typeof createDecipheriv,
  cipher: OracleCipher,
  keyHex: string,
  blocksHex: string,
): string {
  const key = Buffer.from(cipher === 'TDEA' && keyHex.length === 32 ? keyHex + keyHex.slice(0, 16) : keyHex, 'hex')
  const name = cipher === 'TDEA' ? 'des-ede3' : `aes-${key.length * 8}-ecb`
  const openssl = create(name, key, null).setAutoPadding(false)
  return openssl.update(blocksHex, 'hex', 'hex') + openssl.final('hex')
}

function nodeEcb(cipher: OracleCipher, keyHex: string, blocksHex: string): string {
  return nodeBlocks(createCipheriv, cipher, keyHex, blocksHex)
}

function nodeDecipherEcb(cipher: OracleCipher, keyHex: string, blocksHex: string): string {
  return nodeBlocks(createDecipheriv, cipher, keyHex, blocksHex)
}

function nodeSingleDes(direction: 'encipher' | 'decipher', keyHex: string, blockHex: string): string {
  const key = Buffer.from(keyHex.repeat(3), 'hex')
  const openssl =
    direction === 'encipher' ? createCipheriv('des-ede3', key, null) : createDecipheriv('des-ede3', key, null)
  openssl.setAutoPadding(false)
  return openssl.update(blockHex, 'hex', 'hex') + openssl.final('hex')
}

function xorBigInt(a: string, b: string): string {
  return (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16).padStart(a.length, '0')
}

function nodeCmac(cipher: OracleCipher, keyHex: string, messageHex: string): string {
  const digits = cipher === 'TDEA' ? 16 : 32
  const bits = BigInt(digits * 4)
  const polynomial = cipher === 'TDEA' ? 0x1bn : 0x87n
  const timesX = (value: bigint) => {
    const shifted = value << 1n
    return shifted >> bits ? (shifted ^ polynomial) & ((1n << bits) - 1n) : shifted
  }
  const k1 = timesX(BigInt(`0x${nodeEcb(cipher, keyHex, '0'.repeat(digits))}`))
  const k2 = timesX(k1)

  const blocks = messageHex.match(new RegExp(`.{1,${digits}}`, 'g')) ?? ['']
  const last = blocks.pop()!
  const mask = (last.length === digits ? k1 : k2).toString(16).padStart(digits, '0')
  blocks.push(xorBigInt(last.length === digits ? last : `${last}80`.padEnd(digits, '0'), mask))
  return blocks.reduce((chain, block) => nodeEcb(cipher, keyHex, xorBigInt(chain, block)), '0'.repeat(digits))
}

function nodeRetailMac(keyHex: string, messageHex: string, padding: 1 | 2): string {
  let padded = padding === 2 ? `${messageHex}80` : messageHex
  while (padded.length === 0 || padded.length % 16 !== 0) padded += '00'
  const [k1, k2] = [keyHex.slice(0, 16), keyHex.slice(16, 32)]
  let chain = '0'.repeat(16)
  for (const block of padded.match(/.{16}/g)!) chain = nodeSingleDes('encipher', k1, xorBigInt(chain, block))
  return nodeSingleDes('encipher', k1, nodeSingleDes('decipher', k2, chain))
}

// ---- node-forge, strings of bits

function forgeBlocks(direction: 'encipher' | 'decipher', name: string, keyHex: string, blocksHex: string): string {
  const key = forge.util.hexToBytes(keyHex)
  const mode = name as forge.cipher.Algorithm
  const cipher =
    direction === 'encipher' ? forge.cipher.createCipher(mode, key) : forge.cipher.createDecipher(mode, key)
  cipher.start({})
  cipher.update(forge.util.createBuffer(forge.util.hexToBytes(blocksHex)))
  // Without finish there is no padding: update has already put out every whole block.
  return cipher.output.toHex()
}

function forgeEcbOf(
  direction: 'encipher' | 'decipher',
  cipher: OracleCipher,
  keyHex: string,
  blocksHex: string,
): string {
  if (cipher === 'AES') return forgeBlocks(direction, 'AES-ECB', keyHex, blocksHex)
  const [k1, k2, k3 = k1] = keyHex.match(/.{16}/g)!
  return forgeBlocks(direction, '3DES-ECB', `${k1}${k2}${k3}`, blocksHex)
}

function forgeEcb(cipher: OracleCipher, keyHex: string, blocksHex: string): string {
  return forgeEcbOf('encipher', cipher, keyHex, blocksHex)
}

function forgeDecipherEcb(cipher: OracleCipher, keyHex: string, blocksHex: string): string {
  return forgeEcbOf('decipher', cipher, keyHex, blocksHex)
}

const toBits = (hex: string) =>
  [...hex].map((digit) => Number.parseInt(digit, 16).toString(2).padStart(4, '0')).join('')
const toHex = (bits: string) =>
  (bits.match(/.{4}/g) ?? []).map((four) => Number.parseInt(four, 2).toString(16)).join('')
const xorBits = (a: string, b: string) => [...a].map((bit, i) => (bit === b[i] ? '0' : '1')).join('')

function forgeCmac(cipher: OracleCipher, keyHex: string, messageHex: string): string {
  const size = cipher === 'TDEA' ? 64 : 128
  const constant = (cipher === 'TDEA' ? '00011011' : '10000111').padStart(size, '0')
  const encipher = (bits: string) => toBits(forgeEcb(cipher, keyHex, toHex(bits)))
  const derive = (bits: string) => {
    const shifted = `${bits.slice(1)}0`
    return bits.startsWith('1') ? xorBits(shifted, constant) : shifted
  }
  const subkey1 = derive(encipher('0'.repeat(size)))
  const subkey2 = derive(subkey1)

  const message = toBits(messageHex)
  const whole = message.length > 0 && message.length % size === 0
  const padded = whole ? message : `${message}1`.padEnd(size * (Math.floor(message.length / size) + 1), '0')
  const tail = padded.length - size
  let state = '0'.repeat(size)
  for (let at = 0; at < tail; at += size) state = encipher(xorBits(state, padded.slice(at, at + size)))
  return toHex(encipher(xorBits(xorBits(state, padded.slice(tail)), whole ? subkey1 : subkey2)))
}

function forgeRetailMac(keyHex: string, messageHex: string, padding: 1 | 2): string {
  const bits = toBits(messageHex) + (padding === 2 ? '1' : '')
  const blocks = Math.max(1, Math.ceil(bits.length / 64))
  const padded = bits.padEnd(64 * blocks, '0')
  const left = keyHex.slice(0, 16)
  const right = keyHex.slice(16)
  let state = '0'.repeat(64)
  for (let n = 0; n < blocks; n++) {
    const input = toHex(xorBits(state, padded.slice(64 * n, 64 * n + 64)))
    state = toBits(forgeBlocks('encipher', 'DES-ECB', left, input))
  }
  return forgeBlocks('encipher', 'DES-ECB', left, forgeBlocks('decipher', 'DES-ECB', right, toHex(state)))
}

/** Both oracles; a self-made expectation counts only where they agree. */
export const ORACLES: readonly Oracle[] = [
  { name: 'node:crypto', ecb: nodeEcb, decipherEcb: nodeDecipherEcb, cmac: nodeCmac, retailMac: nodeRetailMac },
  { name: 'node-forge', ecb: forgeEcb, decipherEcb: forgeDecipherEcb, cmac: forgeCmac, retailMac: forgeRetailMac },
]

/** Returns what both oracles compute; throws if they differ. */
export function agreed(compute: (oracle: Oracle) => string): string {
  const [first, ...others] = ORACLES.map(compute)
  if (first === undefined || others.some((other) => other !== first)) throw new Error('the oracles differ')
  return first
}
