/** Tries the HSM PIN: once, after a person said so, and not at all where the token says that it may be the last try. */
import type { TokenConfig } from '../../config/schema.ts'
import { EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { listTokens, type TokenDescription } from '../../hsm/pkcs11/list-tokens.ts'
import { CommandError } from '../command-error.ts'
import { withToken, type OpenedToken } from '../open-token.ts'
import type { Questions } from './questions.ts'

const PIN_STATES: Readonly<Record<TokenDescription['pinState'], string>> = {
  untouched: 'The token knows of no wrong PIN so far; it does not say how many tries it gives. Many lock after three.',
  'count-low': 'The token says that it was given a wrong PIN since the last right one: few tries are left.',
  'final-try': 'The token says that the next wrong PIN locks it.',
  locked: 'The token says that its PIN is locked.',
  'to-be-changed': 'The token says that its PIN must be changed before it is used.',
}

/**
 * Has a person say that the PIN is to be tried, because a wrong one costs a try.
 *
 * @throws CommandError (69) without a login where the token says that it would be the last one, (64) where nobody agrees.
 */
export async function agreeToLogIn(questions: Questions, { label, pinState }: TokenDescription): Promise<void> {
  if (pinState !== 'untouched' && pinState !== 'count-low') {
    throw new CommandError(
      EX_UNAVAILABLE,
      `${PIN_STATES[pinState]} No login is tried. Have its security officer set the user PIN anew with the vendor's tools.`,
    )
  }
  const agreed = await questions.agree(
    'logIn',
    `Log in to ${label} now, once`,
    `\nThe PIN is tried now, one time and no more. ${PIN_STATES[pinState]}`,
  )
  if (!agreed) throw new CommandError(EX_USAGE, 'no login was tried; nothing was made')
}

/**
 * Logs in once, has `look` look at the token, and logs out.
 *
 * @throws CommandError (69); a refusal is told with what the token says of its tries now.
 */
export async function tryLogin(token: TokenConfig, look: (opened: OpenedToken) => void): Promise<void> {
  try {
    await withLogin(token, async (opened) => look(opened))
  } catch (error) {
    const state = stateNow(token)
    if (!(error instanceof CommandError) || state === undefined || state === 'untouched') throw error
    throw new CommandError(error.exitCode, `${error.message}\n${PIN_STATES[state]}`)
  }
}

function stateNow({ module, libraryParameters, tokenLabel }: TokenConfig): TokenDescription['pinState'] | undefined {
  try {
    return listTokens(module, libraryParameters).find(({ label }) => label === tokenLabel)?.pinState
  } catch {
    // What is to be told is why the login failed.
    return undefined
  }
}

/** Logs in for the keys of production, lends the token to `work` and closes it. */
export async function withLogin<T>(token: TokenConfig, work: (opened: OpenedToken) => Promise<T>): Promise<T> {
  return await withToken({ environment: 'production', hsm: { tokens: [token] } }, undefined, work)
}
