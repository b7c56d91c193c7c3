/** Logs in to a token of the configuration for a command that works on its keys: once, and never with a PIN that was refused. */
import type { Config, TokenConfig } from '../config/schema.ts'
import { EX_INTERRUPTED, EX_UNAVAILABLE, EX_USAGE } from '../exit-codes.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { KeyMaker } from '../hsm/pkcs11/make-keys.ts'
import { openToken, type Token } from '../hsm/pkcs11/module.ts'
import { isRefused, readPin, REFUSED_BEFORE, rememberRefusal } from '../pin-file.ts'
import { CommandError } from './command-error.ts'

/** A token that is logged in to. */
export interface OpenedToken {
  readonly token: Token
  /** What the configuration says of it. */
  readonly settings: TokenConfig
  readonly maker: KeyMaker
  /** Throws once Ctrl-C was pressed: asked between steps, so that each can be taken back. */
  readonly throwIfInterrupted: () => void
}

/**
 * Opens a token, lends it to `work` and closes it.
 *
 * Ctrl-C and SIGTERM do not end the process meanwhile, because what was made in the token would stay there by half: `work`
 * asks for them between its steps, and takes back what it has done on every way out.
 *
 * @param name - of a token of the configuration; undefined for the only one.
 * @throws CommandError that says why the token cannot be used, or that Ctrl-C was pressed (130).
 */
export async function withToken<T>(
  config: Config,
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
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
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
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

function tokenOf({ hsm: { tokens } }: Config, name: string | undefined): TokenConfig {
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
