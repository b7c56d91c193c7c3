/** Sessions for the work: a session belongs to one operation from Init to Final, across every await. */
import type { Handle } from 'pkcs11js'
import type { Token } from './module.ts'
import { toServiceError } from './return-values.ts'

/** A fixed number of sessions, opened at start beside the anchor session that holds the login. */
export class SessionPool {
  readonly #token: Token
  readonly #free: Handle[] = []
  readonly #waiting: ((session: Handle) => void)[] = []

  constructor(token: Token, sessions: number) {
    this.#token = token
    for (let i = 0; i < sessions; i++) this.#free.push(token.openSession())
  }

  /**
   * Runs `use` with a session of its own.
   *
   * After an error the session may still hold an active operation, so it is closed and a new one takes its place.
   *
   * @throws ServiceError, whatever the call threw.
   */
  async withSession<T>(use: (session: Handle) => T | Promise<T>): Promise<T> {
    const session = this.#free.pop() ?? (await new Promise<Handle>((resolve) => this.#waiting.push(resolve)))
    try {
      const result = await use(session)
      this.#release(session)
      return result
    } catch (error) {
      this.#replace(session)
      throw toServiceError(error)
    }
  }

  #release(session: Handle): void {
    const next = this.#waiting.shift()
    if (next) next(session)
    else this.#free.push(session)
  }

  #replace(session: Handle): void {
    try {
      this.#token.lib.C_CloseSession(session)
    } catch {
      // It is gone already, which is what was wanted.
    }
    try {
      this.#release(this.#token.openSession())
    } catch {
      // A token that opens no session is found sick by its known answers; the dead handle makes every waiter fail at once.
      this.#release(session)
    }
  }
}
