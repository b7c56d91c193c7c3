import { describe, expect, it } from 'vitest'
import { checkProfileMessages, messageInputsOf } from '../../src/pin-change/known-answers.ts'
import { encodeMessage } from '../../src/pin-change/message.ts'
import { SHIPPED_PROFILES, findProfile } from '../../src/pin-change/shipped-profiles.ts'
import { SecretScope } from '../../src/secret.ts'
import { ORACLES, type Oracle } from '../support/oracles.ts'

// Written by hand, field by field, from the documented table of layouts; not taken from the profiles.
const EXPECTED = {
  'seccos-3des': [
    // enciphered PIN block 8 · PRW 8 · change counter 2 · transaction id 10
    ['0123456789ABCDEF', '922E58D245FCDBB5', '0003', '21430919092023091909'].join(''),
    ['FEDCBA9876543210', 'A0A1A2A3A4A5A6A7', '0000', '0000000000000000000' + '7'].join(''),
  ],
  'dk-aes': [
    // enciphered PIN block 16 · PAN sequence number 1
    ['00112233445566778899AABBCCDDEEFF', '01'].join(''),
  ],
} as const

const MACS = {
  'seccos-3des': (oracle: Oracle, key: string, message: string) => oracle.retailMac(key, message, 2),
  'dk-aes': (oracle: Oracle, key: string, message: string) => oracle.cmac('AES', key, message).slice(0, 16),
}

describe.each(['seccos-3des', 'dk-aes'] as const)('MAC profile %s', (id) => {
  const profile = findProfile(SHIPPED_PROFILES, 'pin-mac', id)!

  it('has as many known answers as are written here', () => {
    expect(profile.knownAnswers).toHaveLength(EXPECTED[id].length)
    expect(checkProfileMessages(profile)).toBe(true)
  })

  it.each(EXPECTED[id].map((message, i) => ({ message, i })))(
    'encodes known answer $i to $message',
    ({ message, i }) => {
      using secrets = new SecretScope()
      const answer = profile.knownAnswers[i]!
      expect(answer.messageHex).toBe(message)
      const encoded = encodeMessage(profile, messageInputsOf(answer.inputs, secrets), secrets)
      expect(encoded.toString('hex').toUpperCase()).toBe(message)
    },
  )

  it.each(ORACLES)('has the outputs that $name computes', (oracle) => {
    for (const { messageHex, keyHex, outputHex } of profile.knownAnswers) {
      expect(outputHex).toBe(MACS[id](oracle, keyHex, messageHex).toUpperCase())
      expect(outputHex).toHaveLength(16)
    }
  })
})
