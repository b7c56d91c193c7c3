/** What `doctor` says of a token's mechanisms: what was chosen for each kind of work, why, and what it cost. */
import type { OpenHsm } from '../../hsm/pkcs11/open-hsm.ts'
import type { Choice } from '../../hsm/pkcs11/capabilities.ts'
import type { CallMode } from '../../hsm/pkcs11/calls.ts'
import { WAY_NAMES } from '../../hsm/pkcs11/cek-ways.ts'
import { finding, type Finding } from './finding.ts'

/** One line for each choice that the self-test made. */
export function capabilityFindings(open: OpenHsm): Finding[] {
  const { can, measured, adapter } = open
  const { rsa, ecdh, cipher } = adapter.modes
  const calls = [
    `RSA ${timed(rsa, measured.rsa)}`,
    `ECDH ${timed(ecdh, measured.ecdh)}`,
    `block ciphers and MACs ${timed(cipher, measured.cipher)}`,
  ]
  const origin =
    can.originMarks.length > 0
      ? ok('origin of keys', `told by ${can.originMarks.map(([, name]) => name).join(', ')}`)
      : note('origin of keys', 'the token does not tell a key made in it from an imported one', ORIGIN_TODO)
  return [
    cekFinding(open, 'RSA-OAEP-256', can.rsa),
    cekFinding(open, 'ECDH-ES', can.ecdh),
    choiceFinding('TDEA', can.ecb.TDEA, { native: 'by the token' }),
    choiceFinding('AES', can.ecb.AES, { native: 'by the token' }),
    choiceFinding('TDEA-CMAC', can.cmac.TDEA, { native: 'by the token', composed: composedOf(can.chaining.TDEA) }),
    choiceFinding('AES-CMAC', can.cmac.AES, { native: 'by the token', composed: composedOf(can.chaining.AES) }),
    choiceFinding('retail MAC', can.retailMac, { native: 'by the token', composed: composedOf(can.chaining.TDEA) }),
    choiceFinding('ECDSA', can.ecdsa, { native: 'by the token' }),
    choiceFinding('Ed25519', can.eddsa, { native: 'by the token' }),
    choiceFinding('RSA signatures', can.rsaSignature, { native: 'by the token' }),
    choiceFinding('key wrap', can.keyWrap, { native: 'by the token' }),
    origin,
    ok('calls', calls.join(', ')),
  ]
}

const ORIGIN_TODO = 'keys with `origin: generated` are refused here: a token with CKA_LOCAL is needed for them'
const LACKING_TODO = 'nothing, unless a key below needs it; then use a token that has the mechanism'

const ok = (subject: string, text: string): Finding => finding('mechanisms', subject, 'ok', text)
const note = (subject: string, text: string, todo: string): Finding =>
  finding('mechanisms', subject, 'note', text, todo)

function composedOf(chaining: 'cbc' | 'ecb'): string {
  return `composed of ${chaining === 'cbc' ? 'CBC and ECB' : 'ECB, a call for each block'}`
}

function choiceFinding<Way extends string>(subject: string, choice: Choice<Way>, names: Record<Way, string>): Finding {
  if (choice.chosen === undefined) return note(subject, `not served: ${choice.lacking}`, LACKING_TODO)
  return ok(subject, `${names[choice.chosen]} (${choice.why})`)
}

/** What was chosen for the keys of an alg; several may differ, since an RSA key says by its one use where its CEKs are. */
function cekFinding({ cekChoices }: OpenHsm, alg: string, can: Choice): Finding {
  if (can.lacking !== undefined) return note(alg, `not served: ${can.lacking}`, LACKING_TODO)
  const texts = new Set<string>()
  for (const [key, { chosen, why }] of cekChoices) {
    if (key.alg !== alg) continue
    texts.add(chosen === undefined ? `not served: ${why}` : `${WAY_NAMES[chosen]}${why === '' ? '' : ` (${why})`}`)
  }
  if (texts.size === 0) return ok(alg, `no key to try it with (${can.why})`)
  return ok(alg, [...texts].join('; '))
}

function timed(mode: CallMode, ms: number | undefined): string {
  return ms === undefined ? `${mode} (no key to measure with)` : `${mode} (${ms.toFixed(3)} ms)`
}
