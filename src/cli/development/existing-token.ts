/** A token that is there already, as the command line names it, for the development keys to be made in. */
import { resolve } from 'node:path'
import { secretFileProblems } from '../../config/files.ts'
import { nameByLabel, NAME_OF_THE_ONLY_ONE } from '../../config/one-token.ts'
import { HsmStartError } from '../../hsm/hsm.ts'
import { identityOf, isRefused, readPin, REFUSED_BEFORE, rememberRefusal } from '../../pin-file.ts'
import type { DevelopmentToken } from './make-token.ts'

/** The PIN file cannot serve: the sentence says why. */
export class PinFileError extends Error {}

/**
 * Reads the PIN and sets the variables that the module reads.
 *
 * @returns the token with absolute paths, and the user PIN.
 * @throws PinFileError; also where the token refused this PIN before, as a few wrong tries lock many a token.
 */
export function readExistingToken(given: DevelopmentToken): { token: DevelopmentToken; pin: string } {
  const pinFile = resolve(given.pinFile)
  const problems = secretFileProblems(pinFile)
  if (problems.length > 0) throw new PinFileError(`--pin-file: ${problems.join(', ')}`)
  if (isRefused(ownerOf({ ...given, pinFile }))) throw new PinFileError(REFUSED_BEFORE)
  Object.assign(process.env, given.environment)
  // A name without a slash is looked for by the loader.
  const module = given.module.includes('/') ? resolve(given.module) : given.module
  return { token: { ...given, module, pinFile }, pin: readPin(pinFile).pin }
}

/** Remembers a PIN that the token refused while `work` logged in. */
export async function rememberingRefusal<T>(token: DevelopmentToken, work: () => Promise<T>): Promise<T> {
  const identity = identityOf(token.pinFile)
  try {
    return await work()
  } catch (error) {
    if (error instanceof HsmStartError && error.reason === 'pin-refused') rememberRefusal(ownerOf(token), identity)
    throw error
  }
}

/** As the configuration that is written names it. */
function ownerOf({ tokenLabel, pinFile }: DevelopmentToken): { name: string; pinFile: string } {
  return { name: nameByLabel(tokenLabel) ?? NAME_OF_THE_ONLY_ONE, pinFile }
}
