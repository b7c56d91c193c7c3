/**
 * The four profiles that pinbridge ships: documented defaults of our own, not the licensed DK or D1 layouts.
 *
 * Nobody else can be expected to compute the same values. An issuer who holds the specification writes the real layout
 * as a profile with its own known answers; outside development these defaults need `acceptDefaultProfiles: true`.
 *
 * Card data, PINs and keys of the known answers are invented. Their outputs were computed by two implementations that
 * share no code with this service (test/support/oracles.ts).
 */
import type { Profile, ProfileField, ProfileKind } from './profile.ts'

const pan: ProfileField = { source: 'pan', encoding: 'bcd', bytes: 10, align: 'right', fill: '0' }
const sequenceNumber: ProfileField = {
  source: 'panSequenceNumber',
  encoding: 'bcd',
  bytes: 1,
  align: 'right',
  fill: '0',
}
const expiry: ProfileField = { source: 'expiry', encoding: 'bcd', bytes: 2, align: 'right', fill: '0' }
const pinLength: ProfileField = { source: 'pinLength', encoding: 'binary', bytes: 1 }
const pin: ProfileField = { source: 'pin', encoding: 'bcd', bytes: 6, align: 'left', fill: 'F' }
const counter: ProfileField = { source: 'changeCounter', encoding: 'bcd', bytes: 2, align: 'right', fill: '0' }
const transactionId: ProfileField = { source: 'transactionId', encoding: 'bcd', bytes: 10, align: 'right', fill: '0' }

const TDEA_TEST_KEY = '23456789ABCDEF010123456789ABCDEF'
const AES_TEST_KEY = '000102030405060708090A0B0C0D0E0F'

/** PAN 10 · PAN sequence number 1 · PIN length 1 · PIN 6 · change counter 2: 20 bytes, to TDEA-CMAC, 8 bytes. */
const prwSeccos3des: Profile = {
  id: 'seccos-3des',
  kind: 'prw',
  algorithm: 'TDEA-CMAC',
  outputBytes: 8,
  fields: [pan, sequenceNumber, pinLength, pin, counter],
  knownAnswers: [
    {
      inputs: { pan: '4000001234567899', panSequenceNumber: '01', pin: '1234', changeCounter: '0003' },
      messageHex: '0000400000123456789901041234FFFFFFFF0003',
      keyHex: TDEA_TEST_KEY,
      outputHex: '922E58D245FCDBB5',
    },
    {
      inputs: { pan: '5000000000001234561', panSequenceNumber: '99', pin: '918273645500', changeCounter: '9999' },
      messageHex: '05000000000001234561990C9182736455009999',
      keyHex: TDEA_TEST_KEY,
      outputHex: '074A8EA6B245189E',
    },
  ],
}

/** Enciphered PIN block 8 · PRW 8 · change counter 2 · transaction id 10: 28 bytes, to the retail MAC, 8 bytes. */
const macSeccos3des: Profile = {
  id: 'seccos-3des',
  kind: 'pin-mac',
  algorithm: 'ISO-9797-1-ALG-3',
  outputBytes: 8,
  blockBytes: 8,
  fields: [
    { source: 'encipheredPinBlock', encoding: 'raw', bytes: 8 },
    { source: 'prw', encoding: 'raw', bytes: 8 },
    counter,
    transactionId,
  ],
  knownAnswers: [
    {
      inputs: {
        encipheredPinBlock: '0123456789ABCDEF',
        prw: '922E58D245FCDBB5',
        changeCounter: '0003',
        transactionId: '21430919092023091909',
      },
      messageHex: '0123456789ABCDEF922E58D245FCDBB5000321430919092023091909',
      keyHex: TDEA_TEST_KEY,
      outputHex: '3C96DB3B381E0069',
    },
    {
      inputs: {
        encipheredPinBlock: 'FEDCBA9876543210',
        prw: 'A0A1A2A3A4A5A6A7',
        changeCounter: '0000',
        transactionId: '7',
      },
      messageHex: 'FEDCBA9876543210A0A1A2A3A4A5A6A7000000000000000000000007',
      keyHex: TDEA_TEST_KEY,
      outputHex: 'ABD5EDB3E113C52E',
    },
  ],
}

/** PAN 10 · PAN sequence number 1 · expiry 2 · PIN length 1 · PIN 6 · random 4: 24 bytes, to AES-CMAC, 16 bytes. */
const prwDkAes: Profile = {
  id: 'dk-aes',
  kind: 'prw',
  algorithm: 'AES-CMAC',
  outputBytes: 16,
  randomBytes: 4,
  fields: [pan, sequenceNumber, expiry, pinLength, pin, { source: 'randomNumber', encoding: 'raw', bytes: 4 }],
  knownAnswers: [
    {
      inputs: {
        pan: '4000001234567899',
        panSequenceNumber: '01',
        expiry: '2912',
        pin: '1234',
        randomNumber: 'A1B2C3D4',
      },
      messageHex: '00004000001234567899012912041234FFFFFFFFA1B2C3D4',
      keyHex: AES_TEST_KEY,
      outputHex: '8EED7A13DC95AF08F6EC69EC90B6A1AD',
    },
    {
      inputs: { pan: '400000123457', panSequenceNumber: '00', expiry: '3001', pin: '90807', randomNumber: '00000000' },
      messageHex: '000000004000001234570030010590807FFFFFFF00000000',
      keyHex: AES_TEST_KEY,
      outputHex: 'F23BA61BBC7542B9B10A04B33F923FA8',
    },
  ],
}

/** Enciphered PIN block 16 · PAN sequence number 1: 17 bytes, to the leftmost 8 bytes of AES-CMAC. */
const macDkAes: Profile = {
  id: 'dk-aes',
  kind: 'pin-mac',
  algorithm: 'AES-CMAC',
  outputBytes: 8,
  blockBytes: 16,
  fields: [{ source: 'encipheredPinBlock', encoding: 'raw', bytes: 16 }, sequenceNumber],
  knownAnswers: [
    {
      inputs: { encipheredPinBlock: '00112233445566778899AABBCCDDEEFF', panSequenceNumber: '01' },
      messageHex: '00112233445566778899AABBCCDDEEFF01',
      keyHex: AES_TEST_KEY,
      outputHex: 'F8938D27E02D857C',
    },
  ],
}

/** The shipped profiles; a PRW and a MAC profile may share an id and differ by kind. */
export const SHIPPED_PROFILES: readonly Profile[] = [prwSeccos3des, macSeccos3des, prwDkAes, macDkAes]

/** Finds the one profile of a kind with this id among `profiles`; undefined if there is none. */
export function findProfile(profiles: readonly Profile[], kind: ProfileKind, id: string): Profile | undefined {
  return profiles.find((profile) => profile.kind === kind && profile.id === id)
}
