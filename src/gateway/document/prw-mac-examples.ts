/** Examples of PRWs and MACs, by both shipped kinds of profile. */
import {
  AES_BLOCK,
  AES_PRW,
  BLOCK,
  CHANGE,
  FULL_CARD,
  keyRef,
  LONG_KCV,
  MAC,
  PRW,
  RANDOM_NUMBER,
  ZPK_AES,
  ZPK_IN,
  type Examples,
} from './example.ts'

const seccosPrw = { pinBlock: BLOCK, from: ZPK_IN, card: FULL_CARD, change: { counter: CHANGE.counter }, key: 'prw' }
const aesPrw = { pinBlock: AES_BLOCK, from: ZPK_AES, card: FULL_CARD, key: 'prw-aes' }

export const generatePrw: Examples = {
  seccos: {
    summary: 'Profile seccos-3des: bound to the PIN change counter',
    request: seccosPrw,
    answer: { prw: PRW, profile: 'seccos-3des', key: keyRef('prw'), counter: CHANGE.counter },
  },
  dkAes: {
    summary: 'Profile dk-aes: takes in a random number, which verifying needs again',
    request: aesPrw,
    answer: { prw: AES_PRW, profile: 'dk-aes', key: keyRef('prw-aes', LONG_KCV), randomNumber: RANDOM_NUMBER },
  },
}

export const verifyPrw: Examples = {
  seccos: {
    summary: 'Profile seccos-3des: the entered PIN is the right one',
    request: { ...seccosPrw, prw: PRW },
    answer: { verified: true },
  },
  dkAes: {
    summary: 'Profile dk-aes: with the random number of the PRW',
    request: { ...aesPrw, prw: AES_PRW, randomNumber: RANDOM_NUMBER },
    answer: { verified: true },
  },
  wrong: {
    summary: 'The entered PIN is a wrong one: an answer, not an error, and one of the guesses that are allowed',
    request: { ...seccosPrw, prw: 'FFFFFFFFFFFFFFFF' },
    answer: { verified: false },
  },
}

const seccosMac = { key: 'pin-mac', pinBlock: BLOCK, prw: PRW, change: CHANGE }
const aesMac = { key: 'pin-mac-aes', pinBlock: AES_BLOCK, card: FULL_CARD }

export const generateMac: Examples = {
  seccos: {
    summary: 'Profile seccos-3des: over PIN block, PRW and PIN change',
    request: seccosMac,
    answer: { mac: MAC, profile: 'seccos-3des', key: keyRef('pin-mac') },
  },
  dkAes: {
    summary: 'Profile dk-aes: over a PIN block of ISO format 4 and the PAN sequence number',
    request: aesMac,
    answer: { mac: MAC, profile: 'dk-aes', key: keyRef('pin-mac-aes', LONG_KCV) },
  },
}

export const verifyMac: Examples = {
  seccos: {
    summary: 'Profile seccos-3des',
    request: { ...seccosMac, mac: MAC },
    answer: { verified: true },
  },
  dkAes: {
    summary: 'Profile dk-aes',
    request: { ...aesMac, mac: MAC },
    answer: { verified: true },
  },
  wrong: {
    summary: 'Not the MAC of this PIN block: an answer, not an error, and one of the guesses that are allowed',
    request: { ...seccosMac, mac: 'FFFFFFFFFFFFFFFF' },
    answer: { verified: false },
  },
}
