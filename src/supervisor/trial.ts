/**
 * Tries a configuration out on a token before anything depends on it: a vault that is connected to nobody opens the token by it,
 * has every key give its known answer, and ends.
 */
import type { ProcessUser, VaultConfig } from '../config/schema.ts'
import type { VaultReport } from './messages.ts'
import { onEnd, sendTo, spawnExaminer, VAULT_START_MS } from './spawn.ts'

/** Why a vault could not open its token, and which state of the PIN file it read. */
export type StartFailure = Omit<Extract<VaultReport, { type: 'failed' }>, 'type'>

/** What came of a trial, when its process has ended; undefined if the token was opened. */
export function tryConfig(config: VaultConfig, user: ProcessUser | undefined): Promise<StartFailure | undefined> {
  const child = spawnExaminer('vault/main', config.hsm.token, user)
  sendTo(child, { type: 'try', config })
  const impatience = setTimeout(() => child.kill('SIGKILL'), VAULT_START_MS)
  return new Promise((resolve) => {
    let failure: StartFailure | undefined = {
      reason: 'token-absent',
      problems: ['hsm: a vault that was to open the token by it ended without a word'],
      pinIdentity: '',
    }
    child.on('message', (message: VaultReport) => {
      if (message.type === 'failed') failure = message
      else if (message.type === 'opened') failure = undefined
    })
    onEnd(child, () => {
      clearTimeout(impatience)
      resolve(failure)
    })
  })
}
