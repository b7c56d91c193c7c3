/** The HSM key that signs transcripts. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { HsmStartError, type Hsm } from '../../hsm/hsm.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { readPublicKey } from '../../hsm/pkcs11/find-key.ts'
import { checkKey } from '../../hsm/self-test.ts'
import { CommandError } from '../command-error.ts'
import type { OpenedToken } from '../open-token.ts'
import type { TranscriptSigner } from './transcript.ts'

/** The signer, and the HSM that it is in. */
export interface OpenedSigner extends TranscriptSigner {
  readonly hsm: Hsm
}

/**
 * The key of the configuration that signs transcripts.
 *
 * @param id - which, if there are several.
 * @throws CommandError that says how one is made.
 */
export function transcriptKeyOf({ keys }: Config, id: string | undefined): KeyEntry {
  const signing = keys.filter(({ purpose, state }) => purpose === 'transcript-sign' && state === 'active')
  const found = id === undefined ? signing : signing.filter((key) => key.id === id)
  if (found.length === 1) return found[0]!
  const ids = signing.map((key) => key.id).join(', ')
  if (found.length > 1)
    throw new CommandError(EX_USAGE, `several keys sign transcripts (${ids}): say which with --transcript-key`)
  if (signing.length > 0)
    throw new CommandError(EX_USAGE, `--transcript-key: there is no such key; ${ids} can sign transcripts`)
  throw new CommandError(
    EX_UNAVAILABLE,
    'there is no key yet that signs the transcript; make one first:\n' +
      '  pinbridge keys generate --config FILE --id transcript --purpose transcript-sign --algorithm EC-P256',
  )
}

/**
 * Finds the key in the first token that holds it, and has it sign something that is then verified.
 *
 * @throws CommandError if no token holds it, or it does not work.
 */
export async function openSigner(tokens: readonly OpenedToken[], key: KeyEntry): Promise<OpenedSigner> {
  const problems: string[] = []
  for (const { maker, token, settings } of tokens) {
    try {
      const hsm = await maker.find([key], new KeyCatalogue([key], []))
      const publicKey = readPublicKey(token.lib, token.anchor, key)
      if (await checkKey(hsm, key, undefined, publicKey)) return { key, hsm, sign: (text) => hsm.sign(key, text) }
      problems.push(`token ${settings.name}: key ${key.id} does not sign`)
    } catch (error) {
      if (!(error instanceof HsmStartError)) throw error
      problems.push(...error.problems.map((problem) => `token ${settings.name}: ${problem}`))
    }
  }
  throw new CommandError(
    EX_UNAVAILABLE,
    `nothing can sign the transcript:\n${problems.map((each) => `  ${each}`).join('\n')}`,
  )
}
