/**
 * Key blocks by the steps of ANSI X9.143 once more, on the ciphers of the two oracles and on nothing of src. Hex in, lower-case hex
 * out.
 */
import { agreed, type OracleCipher } from './oracles.ts'

/** A clear body, taken apart. */
export interface OracleBody {
  readonly key: string
  readonly padding: string
}

const MAC_DIGITS: Readonly<Record<string, number>> = { A: 8, B: 16, C: 8, D: 32 }

const xor = (a: string, b: string): string => (BigInt(`0x${a}`) ^ BigInt(`0x${b}`)).toString(16).padStart(a.length, '0')
const ascii = (text: string): string => Buffer.from(text, 'latin1').toString('hex')

/** K_S,1 and K_S,2 of X9.143 7.3: CMACs of counter, usage, separator, algorithm and length. */
function derived(cipher: OracleCipher, kbpk: string, usage: '0000' | '0001'): string {
  const bits = kbpk.length * 4
  const codes: Readonly<Record<string, string>> = {
    TDEA128: '0000',
    TDEA192: '0001',
    AES128: '0002',
    AES192: '0003',
    AES256: '0004',
  }
  const rest = `${usage}00${codes[`${cipher}${bits}`]!}${bits.toString(16).padStart(4, '0')}`
  const parts = ['01', '02', '03'].map((counter) => agreed((oracle) => oracle.cmac(cipher, kbpk, counter + rest)))
  return parts.join('').slice(0, kbpk.length)
}

function variant(kbpk: string, byte: string): string {
  return xor(kbpk, byte.repeat(kbpk.length / 2))
}

function chained(cipher: OracleCipher, key: string, iv: string, hex: string): { clear: string; last: string } {
  const digits = cipher === 'TDEA' ? 16 : 32
  const blocks = hex.match(new RegExp(`.{${digits}}`, 'g')) ?? []
  const clear = blocks.map((block, i) =>
    xor(
      agreed((oracle) => oracle.decipherEcb(cipher, key, block)),
      i === 0 ? iv : blocks[i - 1]!,
    ),
  )
  const last = blocks.reduce((chain, block) => agreed((oracle) => oracle.ecb(cipher, key, xor(chain, block))), iv)
  return { clear: clear.join(''), last }
}

/** Where the header of a block ends: behind its optional blocks, whose lengths are in the short or the extended form. */
function headerDigits(block: string): number {
  let at = 16
  for (let left = Number(block.slice(12, 14)); left > 0; left--) {
    const short = Number.parseInt(block.slice(at + 2, at + 4), 16)
    const digits = 2 * Number.parseInt(block.slice(at + 4, at + 6), 16)
    at += short === 0 ? Number.parseInt(block.slice(at + 6, at + 6 + digits), 16) : short
  }
  return at
}

/** Opens a block; undefined if its MAC or its length field is wrong. */
export function oracleOpen(block: string, kbpkHex: string): OracleBody | undefined {
  const version = block[0]!
  const at = headerDigits(block)
  const macAt = block.length - MAC_DIGITS[version]!
  const header = ascii(block.slice(0, at))
  const body = block.slice(at, macAt).toLowerCase()
  const mac = block.slice(macAt).toLowerCase()
  let clear: string
  let expected: string
  if (version === 'A' || version === 'C') {
    clear = chained('TDEA', variant(kbpkHex, '45'), ascii(block.slice(0, 8)), body).clear
    expected = chained('TDEA', variant(kbpkHex, '4d'), '0'.repeat(16), header + body).last.slice(0, 8)
  } else {
    const cipher = version === 'D' ? 'AES' : 'TDEA'
    clear = chained(cipher, derived(cipher, kbpkHex, '0000'), mac, body).clear
    const kbak = derived(cipher, kbpkHex, '0001')
    expected = agreed((oracle) => oracle.cmac(cipher, kbak, header + clear))
  }
  const keyDigits = Number.parseInt(clear.slice(0, 4), 16) / 4
  if (mac !== expected || keyDigits === 0 || keyDigits % 2 !== 0 || keyDigits + 4 > clear.length) return undefined
  return { key: clear.slice(4, 4 + keyDigits), padding: clear.slice(4 + keyDigits) }
}
