/** Examples of PIN set and get, and of PIN block translation. */
import {
  AES_BLOCK,
  BLOCK,
  CARD,
  CHANGE,
  FULL_CARD,
  jweFor,
  keyRef,
  LONG_KCV,
  MAC,
  OTHER_BLOCK,
  OTHER_CARD,
  PRW,
  ZPK_AES,
  ZPK_IN,
  ZPK_OUT,
  type Examples,
} from './example.ts'

const toZpk = { pinBlock: OTHER_BLOCK, format: 'ISO-0', key: keyRef('zpk-out') }
const issuedPrw = { value: PRW, profile: 'seccos-3des', key: keyRef('prw'), counter: '0003' }
const issuedMac = { value: MAC, profile: 'seccos-3des', key: keyRef('pin-mac') }

export const setPin: Examples = {
  iso0: {
    summary: 'ISO0: the PIN block under a zone key of the issuer',
    request: { type: 'ISO0', encryptedPinBlock: jweFor('jwe-ec'), card: CARD, to: ZPK_OUT },
    answer: toZpk,
  },
  seccos: {
    summary: "3DES_SECCOS: D1's MAC and PRW are verified before anything is released",
    request: {
      type: '3DES_SECCOS',
      encryptedPinBlock: jweFor('jwe-ec'),
      card: FULL_CARD,
      change: CHANGE,
      to: ZPK_OUT,
    },
    answer: { ...toZpk, verified: { prw: true, mac: true } },
  },
  issue: {
    summary: "The issuer's own PRW and MAC beside the PIN block",
    request: {
      type: 'ISO0',
      encryptedPinBlock: jweFor('jwe-ec'),
      card: FULL_CARD,
      change: CHANGE,
      to: ZPK_OUT,
      issue: { prw: 'prw', mac: 'pin-mac' },
    },
    answer: { ...toZpk, prw: issuedPrw, mac: issuedMac },
  },
  prwOnly: {
    summary: 'A PRW alone, for an issuer who keeps no PIN block',
    request: {
      type: 'ISO0',
      encryptedPinBlock: jweFor('jwe-ec'),
      card: FULL_CARD,
      change: CHANGE,
      issue: { prw: 'prw' },
    },
    answer: { prw: issuedPrw },
  },
}

export const getPin: Examples = {
  iso0: {
    summary: 'A stored PIN block, sealed to D1 as ISO0',
    request: { pinBlock: BLOCK, from: ZPK_IN, card: CARD, recipient: 'd1-dev' },
    answer: { encryptedPinBlock: jweFor('d1-dev') },
  },
}

export const translatePinBlock: Examples = {
  sameFormat: {
    summary: 'From one zone key to another',
    request: { pinBlock: BLOCK, from: ZPK_IN, to: ZPK_OUT, card: CARD },
    answer: toZpk,
  },
  toIso4: {
    summary: 'From TDEA and ISO format 0 to AES and ISO format 4',
    request: { pinBlock: BLOCK, from: ZPK_IN, to: ZPK_AES, card: CARD },
    answer: { pinBlock: AES_BLOCK, format: 'ISO-4', key: keyRef('zpk-aes', LONG_KCV) },
  },
  version: {
    summary: 'A stored block, with the version of its key that the answer named when it was made',
    request: { pinBlock: BLOCK, from: { ...ZPK_IN, version: 1 }, to: ZPK_OUT, card: CARD },
    answer: toZpk,
  },
}

export const translatePinBlockBatch: Examples = {
  items: {
    summary: 'JSON in, JSON out; the second item is not a PIN block of its card',
    request: {
      from: ZPK_IN,
      to: ZPK_OUT,
      items: [
        { id: 'row-1', pinBlock: BLOCK, card: CARD },
        { id: 'row-2', pinBlock: OTHER_BLOCK, card: OTHER_CARD },
      ],
    },
    answer: {
      format: 'ISO-0',
      key: keyRef('zpk-out'),
      items: [
        { id: 'row-1', pinBlock: OTHER_BLOCK },
        { id: 'row-2', code: 'ERR_PIN_BLOCK_INVALID' },
      ],
    },
  },
  rows: {
    summary: 'CSV in, CSV out',
    request: { from: ZPK_IN, to: ZPK_OUT, rows: `id,pan,pinBlock\nrow-1,${CARD.pan},${BLOCK}\n` },
    answer: { format: 'ISO-0', key: keyRef('zpk-out'), rows: `id,pinBlock,code\nrow-1,${OTHER_BLOCK},\n` },
  },
}
