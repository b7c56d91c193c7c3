/** Initialises an empty slot as a token, through PKCS#11 and so with any module that allows it. */
import pkcs11 from 'pkcs11js'
import { HsmStartError } from '../hsm.ts'
import { loadModule } from './module.ts'
import { nameOf } from './return-values.ts'

/** The label and the PINs of a new token. */
export interface NewToken {
  readonly label: string
  readonly pin: string
  readonly securityOfficerPin: string
}

/**
 * Initialises the first slot, whatever it holds.
 *
 * @param module - the path of a module that the process has not loaded yet, whose first slot is free.
 * @throws HsmStartError
 */
export function initToken(module: string, { label, pin, securityOfficerPin }: NewToken): void {
  const { lib, module: loaded } = loadModule(module)
  try {
    // C_InitToken reads 32 bytes, blank padded (PKCS#11 5.5): behind a shorter text it would read on in our memory.
    lib.C_InitToken(loaded.getSlots(0, true).handle, securityOfficerPin, label.padEnd(32))
    // SoftHSM gives an initialised token a slot of its own, so that the list is read again.
    const slot = loaded.getSlots(0, true).handle
    const session = lib.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
    lib.C_Login(session, pkcs11.CKU_SO, securityOfficerPin)
    lib.C_InitPIN(session, pin)
  } catch (error) {
    throw new HsmStartError('token-absent', [`the token could not be made (${nameOf(error)})`])
  } finally {
    loaded.finalize()
  }
}
