/**
 * A key block's header in words, for whoever has to decide what to do with it.
 *
 * @see ANSI X9.143:2021, tables 2 to 6 and 8; ASC X9 TR 31-2018, A.5
 */
import type { KeyBlockHeader, OptionalBlock } from './header.ts'

const VERSIONS: Readonly<Record<string, string>> = {
  A: 'bound by variants of a TDEA key, with a MAC of 4 bytes: obsolete',
  B: 'bound by keys derived from a TDEA key',
  C: 'bound by variants of a TDEA key, with a MAC of 4 bytes: obsolete',
  D: 'bound by keys derived from an AES key',
}

const USAGES: Readonly<Record<string, string>> = {
  B0: 'base derivation key (BDK)',
  B1: 'initial DUKPT key',
  B2: 'base key variant key',
  B3: 'key derivation key, not of X9.24',
  C0: 'card verification key (CVK)',
  D0: 'data encryption, symmetric',
  D1: 'data encryption, asymmetric',
  D2: 'data encryption for a decimalisation table',
  D3: 'data encryption for sensitive data',
  E0: 'EMV master key: application cryptograms',
  E1: 'EMV master key: secure messaging for confidentiality',
  E2: 'EMV master key: secure messaging for integrity',
  E3: 'EMV master key: data authentication code',
  E4: 'EMV master key: dynamic numbers',
  E5: 'EMV master key: card personalisation',
  E6: 'EMV master key: other',
  E7: 'EMV master personalisation key',
  I0: 'initialisation vector',
  K0: 'key encryption or wrapping',
  K1: 'key block protection key (KBPK)',
  K2: 'TR-34 asymmetric key',
  K3: 'asymmetric key for key agreement or wrapping',
  K4: 'key block protection key of ISO 20038',
  M0: 'MAC: ISO 16609 algorithm 1, TDEA',
  M1: 'MAC: ISO 9797-1 algorithm 1',
  M2: 'MAC: ISO 9797-1 algorithm 2',
  M3: 'MAC: ISO 9797-1 algorithm 3 (retail MAC)',
  M4: 'MAC: ISO 9797-1 algorithm 4',
  M5: 'MAC: ISO 9797-1:1999 algorithm 5',
  M6: 'MAC: ISO 9797-1:2011 algorithm 5 (CMAC)',
  M7: 'HMAC',
  M8: 'MAC: ISO 9797-1:2011 algorithm 6',
  P0: 'PIN encryption',
  P1: 'PIN generation',
  S0: 'asymmetric key pair for digital signatures',
  S1: 'asymmetric key pair of a CA',
  S2: 'asymmetric key pair, not of X9.24',
  V0: 'PIN verification, other algorithm',
  V1: 'PIN verification, IBM 3624',
  V2: 'PIN verification, Visa PVV',
  V3: 'PIN verification, X9.132 algorithm 1',
  V4: 'PIN verification, X9.132 algorithm 2',
  V5: 'PIN verification, X9.132 algorithm 3',
}

const ALGORITHMS: Readonly<Record<string, string>> = {
  A: 'AES',
  D: 'single DES',
  E: 'elliptic curve',
  H: 'HMAC',
  R: 'RSA',
  S: 'DSA',
  T: 'triple DES (TDEA)',
}

const MODES: Readonly<Record<string, string>> = {
  B: 'enciphers and deciphers, or wraps and unwraps',
  C: 'generates and verifies',
  D: 'deciphers or unwraps only',
  E: 'enciphers or wraps only',
  G: 'generates only',
  N: 'without restriction',
  S: 'signs only',
  T: 'signs and deciphers',
  V: 'verifies only',
  X: 'derives keys',
  Y: 'makes variants of itself',
}

const EXPORTABILITIES: Readonly<Record<string, string>> = {
  E: 'may be exported under a trusted key, in a key block',
  N: 'may not be exported',
  S: 'may be exported, also in forms that are less protected',
}

const OPTIONAL_BLOCKS: Readonly<Record<string, string>> = {
  AL: 'asymmetric key life',
  BI: 'identifier of a base derivation key',
  CT: 'public key certificate',
  DA: 'derivations that are allowed',
  FL: 'flags',
  HM: 'hash algorithm for HMAC',
  IK: 'initial key identifier',
  KC: 'check value of the key that is carried',
  KP: 'check value of the protection key',
  KS: 'key set identifier, or initial key serial number',
  KV: 'key block values',
  LB: 'label',
  PB: 'padding',
  PK: 'check value of a protection key, for export',
  TC: 'time of creation',
  TS: 'time stamp',
  WP: 'wrapping pedigree',
}

/** A place of the header: what it is called, what stands there, and what that means. */
export interface HeaderWords {
  readonly name: string
  readonly value: string
  readonly meaning: string
}

/** Every place of a header, and every optional block, in the order in which they are written. */
export function headerInWords(header: KeyBlockHeader): HeaderWords[] {
  const { versionId, usage, algorithm, modeOfUse, keyVersion, exportability, keyContext, optionalBlocks } = header
  const say = (name: string, value: string, meaning = 'not known'): HeaderWords => ({ name, value, meaning })
  return [
    say('version', versionId, VERSIONS[versionId]),
    say('key usage', usage, USAGES[usage]),
    say('algorithm', algorithm, ALGORITHMS[algorithm]),
    say('mode of use', modeOfUse, MODES[modeOfUse]),
    say('key version', keyVersion, keyVersionWords(keyVersion)),
    say('exportability', exportability, EXPORTABILITIES[exportability]),
    ...(keyContext === '0' ? [] : [say('key context', keyContext, keyContext === '1' ? 'storage' : 'key exchange')]),
    ...optionalBlocks.map((block) => say(`block ${block.id}`, shown(block), OPTIONAL_BLOCKS[block.id])),
  ]
}

function keyVersionWords(keyVersion: string): string {
  if (keyVersion === '00') return 'the key has no versions'
  return keyVersion.startsWith('c') ? `component ${keyVersion.slice(1)} of a key` : `version ${keyVersion} of the key`
}

const SHOWN_CHARACTERS = 64

/** A certificate is long; the whole of it is in the JSON form. */
function shown({ data }: OptionalBlock): string {
  return data.length <= SHOWN_CHARACTERS ? data : `${data.slice(0, SHOWN_CHARACTERS)}… (${data.length} characters)`
}
