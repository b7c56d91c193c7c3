/**
 * Which PIN block format may be translated into which: PCI PIN v3.1 requirement 3-3, and our rule for SECCOS (M-21).
 *
 * Formats 0, 3 and 4 bind the PIN to a PAN. They may become one another with the PAN unchanged (a translation carries
 * one PAN, so there is none to change it to), and never format 1, which binds nothing. Format 1 may become any of them
 * and itself. Requirement 3-3 forbids the way from a standard format to a non-standard one, and keeps format 2 for
 * submission to an IC card: SECCOS stands for that submission, and it binds no PAN. Whoever may go there and back could
 * move a PIN to another PAN, so each such cell needs a grant of its own, also the re-encipherment of SECCOS under another
 * key of that purpose. SECCOS never becomes format 1: in two steps that would be the forbidden way from 0, 3 or 4 to 1.
 */
import type { PinFormat } from './pin.ts'

/** The answer: `seccos-grant` is permitted only to a client that holds the SECCOS grant. */
export type TranslationVerdict = 'permitted' | 'seccos-grant' | 'forbidden'

const yes = 'permitted'
const no = 'forbidden'
const grant = 'seccos-grant'

const TO: readonly PinFormat[] = ['ISO-0', 'ISO-3', 'ISO-4', 'ISO-1', 'SECCOS']

// prettier-ignore
const FROM: Readonly<Record<PinFormat, readonly TranslationVerdict[]>> = {
  // to:    ISO-0  ISO-3  ISO-4  ISO-1  SECCOS
  'ISO-0':  [yes,   yes,   yes,   no,    grant],
  'ISO-3':  [yes,   yes,   yes,   no,    grant],
  'ISO-4':  [yes,   yes,   yes,   no,    grant],
  'ISO-1':  [yes,   yes,   yes,   yes,   grant],
  'SECCOS': [grant, grant, grant, no,    grant],
}

const VERDICTS: ReadonlyMap<string, readonly TranslationVerdict[]> = new Map(Object.entries(FROM))

/**
 * Whether a PIN block of format `from` may be translated into one of format `to`; what the table does not name is
 * forbidden.
 */
export function translationVerdict(from: PinFormat, to: PinFormat): TranslationVerdict {
  return VERDICTS.get(from)?.[TO.indexOf(to)] ?? no
}
