/** Examples of what the issuer calls D1 with, and of what is known of keys. */
import { CARD, jweFor, keyRef, LONG_KCV, type Examples } from './example.ts'

const CREDENTIALS = { pan: CARD.pan, exp: '0631' }
/** A JWT in form only. */
const ASSERTION = `${base64url({ alg: 'ES256', kid: 'assertion', typ: 'JWT' })}.${base64url({ iss: 'pinbridge1' })}.AA`

function base64url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

export const makeD1Assertion: Examples = {
  fiveMinutes: {
    summary: 'Valid for as long as it is by default, five minutes',
    request: { key: 'assertion' },
    answer: { assertion: ASSERTION, expiresAt: 1_900_000_300, key: keyRef('assertion', LONG_KCV) },
  },
  oneMinute: {
    summary: 'Valid for one minute',
    request: { key: 'assertion', lifetimeS: 60 },
    answer: { assertion: ASSERTION, expiresAt: 1_900_000_060, key: keyRef('assertion', LONG_KCV) },
  },
}

export const sealJwe: Examples = {
  card: {
    summary: 'The credentials of a card; exp is month before year',
    request: { recipient: 'd1-data-dev', payload: CREDENTIALS },
    answer: { jwe: jweFor('d1-data-dev') },
  },
  consumer: {
    summary: 'The personal information of a consumer; nobody of this name exists',
    request: {
      recipient: 'd1-data-dev',
      payload: {
        personalInformation: {
          language: 'de-DE',
          firstName: 'Erika',
          lastName: 'Mustermann',
          dateOfBirth: '1964-08-12',
          email: 'erika@mustermann.example',
          mobilePhoneNumber: { countryCode: '+49', phoneNumber: '15112345678' },
          residencyAddress: { line1: 'Heidestraße 17', city: 'Köln', zipCode: '51147', countryCode: 'DE' },
        },
      },
    },
    answer: { jwe: jweFor('d1-data-dev') },
  },
}

export const openJwe: Examples = {
  card: {
    summary: 'What D1 encrypted to a jwe-open key',
    request: { jwe: jweFor('jwe-open') },
    answer: { payload: CREDENTIALS, key: keyRef('jwe-open', LONG_KCV) },
  },
}

export const getJwks: Examples = {
  keys: {
    summary: 'One key on the curve P-256; the coordinates are those of RFC 7517, appendix A.1',
    answer: {
      keys: [
        {
          kty: 'EC',
          kid: 'jwe-ec',
          use: 'enc',
          alg: 'ECDH-ES',
          crv: 'P-256',
          x: 'MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4',
          y: '4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM',
        },
      ],
    },
  },
}

export const getKeys: Examples = {
  keys: {
    summary: 'A JWE key, a zone key and a PRW key',
    answer: {
      keys: [
        { id: 'jwe-ec', version: 1, purpose: 'jwe-decrypt', algorithm: 'EC-P256', kcv: LONG_KCV, state: 'active' },
        {
          id: 'zpk-out',
          version: 1,
          purpose: 'zone-pin',
          direction: 'both',
          algorithm: 'TDEA-128',
          kcv: 'D0D1D2',
          state: 'active',
        },
        {
          id: 'prw',
          version: 1,
          purpose: 'prw',
          use: ['generate', 'verify'],
          algorithm: 'TDEA-128',
          kcv: 'D0D1D2',
          profile: 'seccos-3des',
          state: 'active',
        },
      ],
    },
  },
}
