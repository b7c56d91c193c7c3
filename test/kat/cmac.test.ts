import { describe, expect, it } from 'vitest'
import { cmac } from '../../src/key-block/cmac.ts'
import { SecretScope } from '../../src/secret.ts'
import { ORACLES } from '../support/oracles.ts'
import { MacVectors, readVectors } from '../support/vector-file.ts'

const FILES = [
  ['TDEA', 'cmac-tdea.json'],
  ['AES', 'cmac-aes.json'],
  ['AES', 'cmac-aes-wycheproof.json'],
] as const

function ours(cipher: 'TDEA' | 'AES', keyHex: string, messageHex: string): string {
  using secrets = new SecretScope()
  return cmac(cipher, Buffer.from(keyHex, 'hex'), Buffer.from(messageHex, 'hex'), secrets).toString('hex')
}

describe.each(FILES)('CMAC with %s: %s', (cipher, name) => {
  for (const group of readVectors(MacVectors, name).testGroups) {
    it.each(group.tests)(`${group.keySize} bits, tcId $tcId, $comment: $result`, ({ key, msg, tag, result }) => {
      expect(key).toHaveLength(group.keySize / 4)
      expect(tag).toHaveLength(group.tagSize! / 4)
      for (const compute of [ours, ...ORACLES.map((oracle) => oracle.cmac)]) {
        expect(compute(cipher, key, msg) === tag).toBe(result === 'valid')
      }
    })
  }
})
