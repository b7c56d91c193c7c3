/** What `doctor` says of a token's capabilities: what was chosen for each kind of work, why, and what it cost. */
import type { OpenHsm } from '../hsm/pkcs11/open-hsm.ts'
import type { Choice } from '../hsm/pkcs11/capabilities.ts'
import type { CallMode } from '../hsm/pkcs11/calls.ts'
import { WAY_NAMES } from '../hsm/pkcs11/cek-ways.ts'
import type { Finding } from './doctor-findings.ts'

/** One line for each choice that the self-test made. */
export function capabilityFindings(open: OpenHsm): Finding[] {
  const { can, measured, adapter } = open
  const { rsa, ecdh, cipher } = adapter.modes
  const calls = [
    `RSA ${timed(rsa, measured.rsa)}`,
    `ECDH ${timed(ecdh, measured.ecdh)}`,
    `block ciphers and MACs ${timed(cipher, measured.cipher)}`,
  ]
  return [
    cekFinding(open, 'RSA-OAEP-256', can.rsa),
    cekFinding(open, 'ECDH-ES', can.ecdh),
    finding('TDEA', can.ecb.TDEA, { native: 'by the token' }),
    finding('AES', can.ecb.AES, { native: 'by the token' }),
    finding('TDEA-CMAC', can.cmac.TDEA, { native: 'by the token', composed: composedOf(can.chaining.TDEA) }),
    finding('AES-CMAC', can.cmac.AES, { native: 'by the token', composed: composedOf(can.chaining.AES) }),
    finding('retail MAC', can.retailMac, { native: 'by the token', composed: composedOf(can.chaining.TDEA) }),
    {
      subject: 'origin of keys',
      verdict: can.originMarks.length > 0 ? 'ok' : 'note',
      text:
        can.originMarks.length > 0
          ? `told by ${can.originMarks.map(([, name]) => name).join(', ')}`
          : 'the token does not tell a key made in it from an imported one',
    },
    { subject: 'calls', verdict: 'ok', text: calls.join(', ') },
  ]
}

function composedOf(chaining: 'cbc' | 'ecb'): string {
  return `composed of ${chaining === 'cbc' ? 'CBC and ECB' : 'ECB, a call for each block'}`
}

function finding<Way extends string>(subject: string, choice: Choice<Way>, names: Record<Way, string>): Finding {
  if (choice.chosen === undefined) return { subject, verdict: 'note', text: `not served: ${choice.lacking}` }
  return { subject, verdict: 'ok', text: `${names[choice.chosen]} (${choice.why})` }
}

/** What was chosen for the keys of an alg; several may differ, since an RSA key says by its one use where its CEKs are. */
function cekFinding({ cekChoices }: OpenHsm, alg: string, can: Choice): Finding {
  if (can.lacking !== undefined) return { subject: alg, verdict: 'note', text: `not served: ${can.lacking}` }
  const texts = new Set<string>()
  for (const [key, { chosen, why }] of cekChoices) {
    if (key.alg !== alg) continue
    texts.add(chosen === undefined ? `not served: ${why}` : `${WAY_NAMES[chosen]}${why === '' ? '' : ` (${why})`}`)
  }
  if (texts.size === 0) return { subject: alg, verdict: 'ok', text: `no key to try it with (${can.why})` }
  return { subject: alg, verdict: 'ok', text: [...texts].join('; ') }
}

function timed(mode: CallMode, ms: number | undefined): string {
  return ms === undefined ? `${mode} (no key to measure with)` : `${mode} (${ms.toFixed(3)} ms)`
}
