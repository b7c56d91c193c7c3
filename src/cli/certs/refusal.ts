/** What a person is told when the HSM does not sign. */
import type { ServiceError } from '../../errors.ts'
import { EX_UNAVAILABLE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** The error of a command that asked for a signature. */
export function refusal({ detail }: ServiceError): CommandError {
  const why = detail?.ckr ?? (detail?.reason === 'wrong-answer' ? 'its signature does not verify' : 'no return value')
  return new CommandError(EX_UNAVAILABLE, `the HSM did not sign (${why})`)
}
