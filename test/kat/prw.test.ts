import { describe, expect, it } from 'vitest'
import { checkProfileMessages, messageInputsOf } from '../../src/pin-change/known-answers.ts'
import { encodeMessage } from '../../src/pin-change/message.ts'
import { SHIPPED_PROFILES, findProfile } from '../../src/pin-change/shipped-profiles.ts'
import { SecretScope } from '../../src/secret.ts'
import { ORACLES } from '../support/oracles.ts'

// Written by hand, field by field, from the documented table of layouts; not taken from the profiles.
const EXPECTED = {
  'seccos-3des': [
    // PAN 10 · PAN sequence number 1 · PIN length 1 · PIN 6 · change counter 2
    ['0000' + '4000001234567899', '01', '04', '1234' + 'FFFFFFFF', '0003'].join(''),
    ['0' + '5000000000001234561', '99', '0C', '918273645500', '9999'].join(''),
  ],
  'dk-aes': [
    // PAN 10 · PAN sequence number 1 · expiry 2 · PIN length 1 · PIN 6 · random number 4
    ['0000' + '4000001234567899', '01', '2912', '04', '1234' + 'FFFFFFFF', 'A1B2C3D4'].join(''),
    ['00000000' + '400000123457', '00', '3001', '05', '90807' + 'FFFFFFF', '00000000'].join(''),
  ],
} as const

describe.each(['seccos-3des', 'dk-aes'] as const)('PRW profile %s', (id) => {
  const profile = findProfile(SHIPPED_PROFILES, 'prw', id)!

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
    const cipher = id === 'dk-aes' ? 'AES' : 'TDEA'
    for (const { messageHex, keyHex, outputHex } of profile.knownAnswers) {
      const full = oracle.cmac(cipher, keyHex, messageHex).toUpperCase()
      expect(outputHex).toBe(full)
      expect(outputHex).toHaveLength(id === 'dk-aes' ? 32 : 16)
    }
  })
})
