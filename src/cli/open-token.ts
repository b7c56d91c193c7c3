/** Logs in to a token of the configuration for a command that works on its keys: once, and never with a PIN that was refused. */
import { setImmediate } from 'node:timers/promises'
import type { Config, TokenConfig } from '../config/schema.ts'
import { EX_INTERRUPTED, EX_UNAVAILABLE, EX_USAGE } from '../exit-codes.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { KeyMaker } from '../hsm/pkcs11/make-keys.ts'
import { openToken, type Token } from '../hsm/pkcs11/module.ts'
import { isRefused, readPin, REFUSED_BEFORE, rememberRefusal } from '../pin-file.ts'
import { CommandError } from './command-error.ts'
import { ENDING_SIGNALS, outliveTerminal } from './terminal/hang-up.ts'

/** A token that is logged in to. */
export interface OpenedToken {
  readonly token: Token
  /** What the configuration says of it. */
  readonly settings: TokenConfig
  readonly maker: KeyMaker
  /** Throws once Ctrl-C was pressed: asked between steps, so that each can be taken back. */
  readonly throwIfInterrupted: () => void
}

/** What of a configuration decides how a token is opened. */
type TokenSettings = Pick<Config, 'environment'> & { readonly hsm: Pick<Config['hsm'], 'tokens'> }

/**
 * Opens a token, lends it to `work` and closes it.
 *
 * Ctrl-C, SIGTERM and a terminal that hangs up do not end the process meanwhile, because what was made in the token would stay there by half: `work`
 * asks for them between its steps, and takes back what it has done on every way out.
 *
 * @param name - of a token of the configuration; undefined for the only one.
 * @throws CommandError that says why the token cannot be used, or that Ctrl-C was pressed (130).
 */
export async function withToken<T>(
  config: TokenSettings,
  name: string | undefined,
  work: (opened: OpenedToken) => Promise<T>,
): Promise<T> {
  const settings = tokenOf(config, name)
  if (isRefused(settings)) throw new CommandError(EX_UNAVAILABLE, REFUSED_BEFORE)
  Object.assign(process.env, settings.environment)
  let interrupted = false
  const interrupt = (): void => {
    interrupted = true
  }
  for (const signal of ENDING_SIGNALS) process.on(signal, interrupt)
  outliveTerminal()
  const throwIfInterrupted = (): void => {
    if (interrupted) throw new CommandError(EX_INTERRUPTED, 'stopped; the token is as it was')
  }
  let token: Token | undefined
  const { pin, identity } = readPin(settings.pinFile)
  try {
    token = openToken(settings, pin)
    if (token.isPinCountLow) {
      process.stderr.write('Somebody gave this token a wrong PIN since the last right one.\n')
    }
    const maker = await KeyMaker.open(token, config.environment, settings.retailMacMechanism)
    throwIfInterrupted()
    return await work({ token, settings, maker, throwIfInterrupted })
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    if (error.reason === 'pin-refused') rememberRefusal(settings, identity)
    throw new CommandError(EX_UNAVAILABLE, error.problems.join('\n'))
  } finally {
    token?.close()
    for (const signal of ENDING_SIGNALS) process.off(signal, interrupt)
  }
}

/**
 * Has what was typed or sent while a token was at work heard of, for \`throwIfInterrupted\`: the key, the signal that is made of it,
 * and its handler take a turn of the event loop each.
 */
export async function hearInterrupts(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await setImmediate()
}

/**
 * Opens every token of the configuration, lends them to `work` and closes them: what is made goes into each, because the tokens
 * hold the same keys.
 */
export async function withEveryToken<T>(
  config: TokenSettings,
  work: (opened: readonly OpenedToken[]) => Promise<T>,
): Promise<T> {
  const openFrom = (at: number, opened: readonly OpenedToken[]): Promise<T> => {
    const next = config.hsm.tokens[at]
    return next ? withToken(config, next.name, (each) => openFrom(at + 1, [...opened, each])) : work(opened)
  }
  return openFrom(0, [])
}

function tokenOf({ hsm: { tokens } }: TokenSettings, name: string | undefined): TokenConfig {
  const names = tokens.map((each) => each.name).join(', ')
  const found = name === undefined ? tokens : tokens.filter((each) => each.name === name)
  if (found.length === 1) return found[0]!
  throw new CommandError(
    EX_USAGE,
    name === undefined
      ? `the configuration has several tokens (${names}): say which with --token`
      : `the configuration has no token of that name; it has ${names}`,
  )
}
