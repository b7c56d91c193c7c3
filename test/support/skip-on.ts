/** Skips a test on one token: by the token's name, with the reason, which `scripts/test` prints at its end. */
import type { TestContext } from 'vitest'
import type { TokenKind } from './tokens.ts'

declare module 'vitest' {
  interface TaskMeta {
    /** The token that cannot do it, and why. */
    skipped?: string
  }
}

/** Skips the test; SoftHSM is what the suite is measured by, so that nothing is skipped there. */
export function skipOn(kind: TokenKind, context: TestContext, reason: string): never {
  if (kind === 'softhsm') throw new Error(`to be skipped on SoftHSM: ${reason}`)
  context.task.meta.skipped = `${kind}: ${reason}`
  return context.skip(`${kind}: ${reason}`)
}
