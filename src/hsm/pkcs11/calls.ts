/** The calls to a token that carry the load: each on a session of its own, and each on this thread or on another, as measured. */
import type { Handle, Mechanism, PKCS11, Template } from 'pkcs11js'
import { ServiceError } from '../../errors.ts'
import type { SessionPool } from './session-pool.ts'

/** Whether a call blocks this process's loop or goes to a thread. */
export type CallMode = 'sync' | 'async'

/** What a mode is measured for: RSA, key agreement, block ciphers and MACs. */
export interface CallModes {
  rsa: CallMode
  ecdh: CallMode
  cipher: CallMode
}

export class Calls {
  readonly modes: CallModes = { rsa: 'sync', ecdh: 'sync', cipher: 'sync' }
  readonly lib: PKCS11
  readonly #pool: SessionPool
  #sessionObjects = 0

  constructor(lib: PKCS11, pool: SessionPool) {
    this.lib = lib
    this.#pool = pool
  }

  /** How many session objects have been made. */
  get sessionObjects(): number {
    return this.#sessionObjects
  }

  /** Runs `use` with a session of its own; an error ends that session, and leaves as a ServiceError. */
  withSession<T>(use: (session: Handle) => T | Promise<T>): Promise<T> {
    return this.#pool.withSession(use)
  }

  /** C_DecryptInit and C_Decrypt; gives the part of `out` that was written. */
  async decrypt(
    session: Handle,
    mechanism: Mechanism,
    key: Handle,
    input: Buffer,
    out: Buffer,
    mode: CallMode = this.modes.cipher,
  ): Promise<Buffer> {
    this.lib.C_DecryptInit(session, mechanism, key)
    return mode === 'async'
      ? await this.lib.C_DecryptAsync(session, input, out)
      : this.lib.C_Decrypt(session, input, out)
  }

  /** C_EncryptInit and C_Encrypt; gives the part of `out` that was written. */
  async encrypt(session: Handle, mechanism: Mechanism, key: Handle, input: Buffer, out: Buffer): Promise<Buffer> {
    this.lib.C_EncryptInit(session, mechanism, key)
    return this.modes.cipher === 'async'
      ? await this.lib.C_EncryptAsync(session, input, out)
      : this.lib.C_Encrypt(session, input, out)
  }

  /** C_SignInit and C_Sign; the signature has to fill `out`. */
  async sign(session: Handle, mechanism: Mechanism, key: Handle, message: Buffer, out: Buffer): Promise<Buffer> {
    this.lib.C_SignInit(session, mechanism, key)
    const made =
      this.modes.cipher === 'async'
        ? await this.lib.C_SignAsync(session, message, out)
        : this.lib.C_Sign(session, message, out)
    return expectBytes(made, out.length)
  }

  /** C_VerifyInit and C_Verify; throws what the token says of a wrong signature. */
  async verify(session: Handle, mechanism: Mechanism, key: Handle, message: Buffer, mac: Buffer): Promise<boolean> {
    this.lib.C_VerifyInit(session, mechanism, key)
    return this.modes.cipher === 'async'
      ? await this.lib.C_VerifyAsync(session, message, mac)
      : this.lib.C_Verify(session, message, mac)
  }

  /**
   * Derives or unwraps a session object, lends it to `use`, and destroys it; `make` may give none.
   *
   * The asynchronous forms leak some 600 bytes each in the binding (template and mechanism). So they are used only where a
   * call takes so long that it must not block the loop, and the objects are counted: a vault is replaced after so many.
   */
  async withObject<H extends Handle | undefined, T>(
    session: Handle,
    make: () => H | Promise<H>,
    use: (object: H) => T | Promise<T>,
  ): Promise<T> {
    // Before it is known whether one comes of it: the binding's leak does not ask.
    this.#sessionObjects++
    const object = await make()
    try {
      return await use(object)
    } finally {
      if (object !== undefined) this.lib.C_DestroyObject(session, object)
    }
  }

  /** C_DeriveKey: one object more in this session. */
  derive(session: Handle, mechanism: Mechanism, key: Handle, template: Template): Handle | Promise<Handle> {
    return this.modes.ecdh === 'async'
      ? this.lib.C_DeriveKeyAsync(session, mechanism, key, template)
      : this.lib.C_DeriveKey(session, mechanism, key, template)
  }

  /** C_UnwrapKey: one object more in this session. */
  unwrap(
    session: Handle,
    mechanism: Mechanism,
    key: Handle,
    wrapped: Buffer,
    template: Template,
  ): Handle | Promise<Handle> {
    return this.modes.rsa === 'async'
      ? this.lib.C_UnwrapKeyAsync(session, mechanism, key, wrapped, template)
      : this.lib.C_UnwrapKey(session, mechanism, key, wrapped, template)
  }
}

/** A token that answers with another length than the mechanism has is not to be believed. */
export function expectBytes(result: Buffer, bytes: number): Buffer {
  if (result.length !== bytes) throw new ServiceError('ERR_HSM_UNAVAILABLE')
  return result
}
