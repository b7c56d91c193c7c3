import { createCipheriv } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { xorInto } from '../../src/bytes.ts'
import { padMethod2, splitLastBlock } from '../../src/key-block/iso-9797-padding.ts'
import { retailMac } from '../../src/key-block/retail-mac.ts'
import { retailMacKeyObjects } from '../../src/key-block/retail-mac-key.ts'
import { SecretScope } from '../../src/secret.ts'
import { ORACLES } from '../support/oracles.ts'
import { MacVectors, readVectors } from '../support/vector-file.ts'

/** The MAC under a clear key. */
function ofValue(keyHex: string, messageHex: string): string {
  using secrets = new SecretScope()
  return retailMac(Buffer.from(keyHex, 'hex'), Buffer.from(messageHex, 'hex'), secrets).toString('hex')
}

/** Composes the MAC as the HSM adapter does, with OpenSSL in the place of the token. */
function composed(keyHex: string, messageHex: string): string {
  using secrets = new SecretScope()
  const { mac, cbc } = retailMacKeyObjects(Buffer.from(keyHex, 'hex'), secrets)
  const { allButLast, last } = splitLastBlock(padMethod2(Buffer.from(messageHex, 'hex'), 8, secrets), 8)
  const chain = Buffer.alloc(8)
  if (allButLast.length > 0) {
    const enciphered = createCipheriv('des-ede3-cbc', cbc, Buffer.alloc(8)).setAutoPadding(false).update(allButLast)
    enciphered.copy(chain, 0, enciphered.length - 8)
  }
  xorInto(chain, chain, last)
  return createCipheriv('des-ede3', mac, null).setAutoPadding(false).update(chain).toString('hex')
}

describe('ISO 9797-1 MAC algorithm 3', () => {
  for (const { source, padding, tests } of readVectors(MacVectors, 'retail-mac.json').testGroups) {
    it.each(tests)(`${source}, padding method ${padding}: $comment`, ({ key, msg, tag, result }) => {
      expect(result).toBe('valid')
      expect(tag.length).toBeGreaterThanOrEqual(8)
      for (const oracle of ORACLES) expect(oracle.retailMac(key, msg, padding!).slice(0, tag.length)).toBe(tag)
      if (padding !== 2) return
      for (const make of [composed, ofValue]) expect(make(key, msg).slice(0, tag.length)).toBe(tag)
    })
  }

  it('composes the same MAC as both oracles for every length from 0 to 40 bytes', () => {
    for (let bytes = 0; bytes <= 40; bytes++) {
      const message = Buffer.from(Array.from({ length: bytes }, (_, i) => i * 7 + bytes)).toString('hex')
      const key = '23456789abcdef010123456789abcdef'
      for (const oracle of ORACLES) {
        for (const make of [composed, ofValue]) expect(make(key, message)).toBe(oracle.retailMac(key, message, 2))
      }
    }
  })
})
