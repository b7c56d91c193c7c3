/** The PKCS#11 module of a process: loaded and initialised once, its token found by label and logged in to once. */
import graphene, { type Module, type Session, type Slot } from 'graphene-pk11'
import pkcs11, { type Handle, type PKCS11 } from 'pkcs11js'
import { HsmStartError } from '../hsm.ts'
import { CKR, ckrOf, isSick, nameOf } from './return-values.ts'

/** CKS_RW_USER_FUNCTIONS, which the binding does not export: a session that may write and is logged in. */
const RW_USER_FUNCTIONS = 3

/** A token that is logged in to; the anchor session holds the login and does nothing else. */
export interface Token {
  readonly lib: PKCS11
  readonly slot: Slot
  readonly anchor: Session
  /** Whether a wrong PIN was given since the last right one, before this login. */
  readonly isPinCountLow: boolean
  /** Opens one more session, for the pool. */
  openSession(): Handle
  /** Whether the anchor session still is, and still is logged in. */
  isThere(): boolean
  /** Ends the login and the module; nothing may be in flight. A token that went away is closed without a word. */
  close(): void
}

/** Which token to open. */
export interface TokenAddress {
  readonly module: string
  readonly tokenLabel: string
  /** The text for C_Initialize's LibraryParameters; NSS reads from it where its data base is. */
  readonly libraryParameters?: string | undefined
  /** The vendor's mechanism for ISO 9797-1 algorithm 3, if the token has one. */
  readonly retailMacMechanism?: number | undefined
}

/**
 * Loads and initialises a module; CKF_OS_LOCKING_OK, because asynchronous calls run on other threads.
 *
 * @throws HsmStartError; `token-absent` if the module is there and what it works with is not, such as a daemon or a server.
 */
export function loadModule(path: string, libraryParameters?: string): { lib: PKCS11; module: Module } {
  const lib = new pkcs11.PKCS11()
  try {
    lib.load(path)
    const module = new graphene.Module(lib)
    initialise(module, libraryParameters)
    return { lib, module }
  } catch (error) {
    if (ckrOf(error) !== undefined) {
      throw new HsmStartError('token-absent', [`hsm.module: the module does not initialise (${nameOf(error)})`])
    }
    throw new HsmStartError('module-unusable', [
      `hsm.module: the PKCS#11 module could not be loaded (${nameOf(error)})`,
    ])
  }
}

function initialise(module: Module, libraryParameters: string | undefined): void {
  try {
    module.initialize({
      flags: pkcs11.CKF_OS_LOCKING_OK,
      // The binding drops the last character.
      ...(libraryParameters !== undefined && { libraryParameters: `${libraryParameters} ` }),
    })
  } catch (error) {
    // It is not ended after a refused PIN.
    if (ckrOf(error) !== CKR.CRYPTOKI_ALREADY_INITIALIZED) throw error
  }
}

/** Finds the one token of that label; several with one label are refused as none is. */
export function findSlot(module: Module, tokenLabel: string): Slot {
  const found: Slot[] = []
  try {
    const slots = module.getSlots(true)
    for (let i = 0; i < slots.length; i++) {
      const slot = slots.items(i)
      if (slot.getToken().label.trimEnd() === tokenLabel) found.push(slot)
    }
  } catch (error) {
    throw new HsmStartError('token-absent', [`hsm.tokenLabel: the slots could not be read (${nameOf(error)})`])
  }
  if (found.length !== 1) {
    throw new HsmStartError('token-absent', [`hsm.tokenLabel: ${found.length} tokens carry this label, one is needed`])
  }
  return found[0]!
}

/**
 * Opens the token and logs in, once: a wrong PIN is never tried again from here.
 *
 * @param pin - the user PIN; the binding takes text only, so that this one secret is a string while it is used.
 * @throws HsmStartError; `pin-tries-low` without a login attempt when the token says that the next wrong one locks it, or that
 * its PIN has to be changed first; `pin-refused` with the module left as it is, for its owner to tell it and end.
 */
export function openToken(address: TokenAddress, pin: string): Token {
  const { lib, module } = loadModule(address.module, address.libraryParameters)
  try {
    const slot = findSlot(module, address.tokenLabel)
    const flags = lib.C_GetTokenInfo(slot.handle).flags
    if ((flags & (pkcs11.CKF_USER_PIN_FINAL_TRY | pkcs11.CKF_USER_PIN_LOCKED)) !== 0) {
      throw new HsmStartError('pin-tries-low', ['hsm.pinFile: the token is locked, or one wrong PIN away from it'])
    }
    if ((flags & pkcs11.CKF_USER_PIN_TO_BE_CHANGED) !== 0) {
      throw new HsmStartError('pin-tries-low', [
        'hsm.pinFile: the token wants its user PIN changed before it is used (CKF_USER_PIN_TO_BE_CHANGED)',
      ])
    }
    const anchor = slot.open(graphene.SessionFlag.SERIAL_SESSION | graphene.SessionFlag.RW_SESSION)
    login(lib, anchor.handle, pin)
    return {
      lib,
      slot,
      anchor,
      isPinCountLow: (flags & pkcs11.CKF_USER_PIN_COUNT_LOW) !== 0,
      openSession: () => lib.C_OpenSession(slot.handle, pkcs11.CKF_SERIAL_SESSION),
      isThere: () => isLoggedIn(lib, anchor.handle),
      close: () => {
        quietly(() => lib.C_CloseAllSessions(slot.handle))
        quietly(() => module.finalize())
      },
    }
  } catch (error) {
    // A refusal has to be told whatever the module does at its end, or the PIN is tried again.
    if (!(error instanceof HsmStartError && error.reason === 'pin-refused')) quietly(() => module.finalize())
    if (error instanceof HsmStartError) throw error
    throw new HsmStartError('token-absent', [`hsm: the token could not be opened (${nameOf(error)})`])
  }
}

/** What says nothing of the PIN: a token that is sick, gone or full, that is being made, or SoftHSM's when several start at once. */
const NO_REFUSAL: readonly number[] = [CKR.GENERAL_ERROR, CKR.FUNCTION_FAILED, CKR.USER_PIN_NOT_INITIALIZED]

function login(lib: PKCS11, session: Handle, pin: string): void {
  try {
    lib.C_Login(session, pkcs11.CKU_USER, pin)
  } catch (error) {
    const ckr = ckrOf(error)
    if (ckr === CKR.USER_ALREADY_LOGGED_IN) return
    if (ckr === undefined || isSick(ckr) || NO_REFUSAL.includes(ckr)) throw error
    // Whatever else a token says, a vendor's own word too, may be its word for a wrong PIN.
    throw new HsmStartError('pin-refused', [`hsm.pinFile: the token refused the PIN (${nameOf(error)})`])
  }
}

function isLoggedIn(lib: PKCS11, session: Handle): boolean {
  try {
    return lib.C_GetSessionInfo(session).state === RW_USER_FUNCTIONS
  } catch {
    return false
  }
}

function quietly(end: () => void): void {
  try {
    end()
  } catch {
    // What cannot be ended is gone already, and what went wrong before is what has to be told.
  }
}
