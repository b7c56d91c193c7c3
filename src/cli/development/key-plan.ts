/** The keys of a development set-up, as callers and simulators know them by name. */
import type { KeyEntry } from '../../config/schema.ts'

/** A key before it is made: no KCV and no known answer yet. */
export type PlannedKey = Omit<KeyEntry, 'kcv' | 'check' | 'version' | 'state' | 'origin'>

const TDEA_FORMATS: KeyEntry['formats'] = ['ISO-0', 'ISO-1', 'ISO-3']
const BOTH_USES: KeyEntry['use'] = ['generate', 'verify']

export const DEVELOPMENT_KEYS: readonly PlannedKey[] = [
  {
    id: 'jwe-ec',
    purpose: 'jwe-decrypt',
    algorithm: 'EC-P256',
    kid: 'jwe-ec',
    alg: 'ECDH-ES',
    enc: 'A256GCM',
    d1Profile: 'd1',
  },
  {
    id: 'jwe-rsa',
    purpose: 'jwe-decrypt',
    algorithm: 'RSA-2048',
    kid: 'jwe-rsa',
    alg: 'RSA-OAEP-256',
    enc: 'A256GCM',
    d1Profile: 'd1',
  },
  { id: 'zpk-in', purpose: 'zone-pin', direction: 'in', algorithm: 'TDEA-128', formats: TDEA_FORMATS, migrate: true },
  {
    id: 'zpk-out',
    purpose: 'zone-pin',
    direction: 'both',
    algorithm: 'TDEA-128',
    formats: TDEA_FORMATS,
    migrate: true,
  },
  { id: 'zpk-aes', purpose: 'zone-pin', direction: 'both', algorithm: 'AES-256', formats: ['ISO-4'], migrate: true },
  { id: 'seccos-pin', purpose: 'seccos-pin', direction: 'both', algorithm: 'TDEA-128', formats: ['SECCOS'] },
  { id: 'prw', purpose: 'prw', use: BOTH_USES, algorithm: 'TDEA-128', profile: 'seccos-3des' },
  { id: 'pin-mac', purpose: 'pin-mac', use: BOTH_USES, algorithm: 'TDEA-128', profile: 'seccos-3des' },
  { id: 'prw-aes', purpose: 'prw', use: BOTH_USES, algorithm: 'AES-128', profile: 'dk-aes' },
  { id: 'pin-mac-aes', purpose: 'pin-mac', use: BOTH_USES, algorithm: 'AES-128', profile: 'dk-aes' },
  // What D1 is called with, and what it answers with.
  { id: 'assertion', purpose: 'assertion-sign', algorithm: 'EC-P256', kid: 'assertion', issuerId: 'pinbridge1' },
  { id: 'jwe-open', purpose: 'jwe-open', algorithm: 'EC-P256', kid: 'jwe-open', alg: 'ECDH-ES', enc: 'A256GCM' },
  { id: 'audit-mac', purpose: 'audit-mac', algorithm: 'AES-256' },
  { id: 'limit-hash', purpose: 'limit-hash', algorithm: 'AES-256' },
]
