/** The entry of a component: typed hidden, in hex, into memory that is wiped. */
import { decodeHexBytes } from '../../bytes.ts'
import { symmetricKcv, zeroEnciphermentKcv } from '../../key-block/kcv.ts'
import type { BlockAlgorithm } from '../../key-block/ecb.ts'
import { SecretScope } from '../../secret.ts'
import type { Terminal } from '../terminal/terminal.ts'

const SPACE = 0x20
const HYPHEN = 0x2d
/** As many as a person may put spaces and hyphens between the digits. */
const MOST_TYPED_BYTES = 256

/** What a key of an algorithm consists of. */
export interface ValueForm {
  readonly algorithm: BlockAlgorithm
  readonly bytes: number
}

/** Reads off an algorithm, such as `TDEA-128`, what its values are. */
export function valueFormOf(algorithm: string): ValueForm {
  const [cipher, bits] = algorithm.split('-')
  return { algorithm: cipher as BlockAlgorithm, bytes: Number(bits) / 8 }
}

/**
 * Asks for a component until it is hex of the right length.
 *
 * @param secrets - takes the component.
 * @throws CommandError (130) at Ctrl-C.
 */
export async function askComponent(
  terminal: Terminal,
  question: string,
  form: ValueForm,
  secrets: SecretScope,
): Promise<Buffer> {
  const component = secrets.take(form.bytes)
  for (;;) {
    using typed = new SecretScope()
    const digits = withoutSeparators(await terminal.askHidden(question, typed, MOST_TYPED_BYTES))
    if (decodeHexBytes(digits, component)) return component
    component.fill(0)
    terminal.say(
      digits.length === 2 * form.bytes
        ? '  something in it is neither a digit nor one of A to F: type it again'
        : `  it has ${2 * form.bytes} hex digits, and ${digits.length} were typed: type it again`,
    )
  }
}

/** The KCVs that a sheet may have of a value: the one of ANSI X9.24 first. */
export interface Kcvs {
  readonly kcv: string
  /** AES: the first 3 bytes of E_K(0¹⁶), which older sheets have. */
  readonly older?: string
}

/** Computes them; they are no secret. */
export function kcvsOf({ algorithm }: ValueForm, value: Buffer): Kcvs {
  using secrets = new SecretScope()
  const kcv = symmetricKcv(algorithm, value, secrets)
  return algorithm === 'TDEA' ? { kcv } : { kcv, older: zeroEnciphermentKcv(algorithm, value, secrets) }
}

/** KCVs as they are shown. */
export function kcvText({ kcv, older }: Kcvs): string {
  return older === undefined ? kcv : `${kcv} (${older} on sheets that encipher zeros instead of the CMAC)`
}

/** What is wrong with the form of a KCV; undefined if nothing is. */
export function kcvProblem(text: string): string | undefined {
  return /^(?:[0-9A-Fa-f]{6}|[0-9A-Fa-f]{10})$/.test(text) ? undefined : 'a KCV has 6 hex digits, or 10 for AES'
}

/** Whether a KCV from a sheet, 6 or 10 digits, is one of these. */
export function isKcvOf(text: string, { kcv, older }: Kcvs): boolean {
  const given = text.toUpperCase()
  return kcv.startsWith(given) || older === given
}

/** Takes spaces and hyphens out, in place. */
function withoutSeparators(typed: Buffer): Buffer {
  let length = 0
  for (const byte of typed) if (byte !== SPACE && byte !== HYPHEN) typed[length++] = byte
  return typed.subarray(0, length)
}
