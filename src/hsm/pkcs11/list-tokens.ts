/** What a PKCS#11 module shows of its tokens before anyone logs in: for whoever has to choose one. */
import pkcs11 from 'pkcs11js'
import { HsmStartError } from '../hsm.ts'
import { loadModule } from './module.ts'
import { nameOf } from './return-values.ts'

/** A token as its module describes it. */
export interface TokenDescription {
  readonly label: string
  readonly manufacturer: string
  readonly model: string
  readonly serialNumber: string
  /** Whether it was initialised, and has a user PIN. */
  readonly isReady: boolean
  /** What it says of its tries: some were wrong, one is left, none is left, its PIN must be changed first. */
  readonly pinState: 'untouched' | 'count-low' | 'final-try' | 'locked' | 'to-be-changed'
  readonly isWriteProtected: boolean
  readonly hasUserPin: boolean
  readonly firmware: string
  /** What cannot be told of it is left out, which PKCS#11 has a number for. */
  readonly sessions: { readonly open?: number; readonly most?: number }
  /** Bytes for private objects, such as keys. */
  readonly memory: { readonly free?: number; readonly total?: number }
  /** Its own clock, in milliseconds since 1970; undefined if it says that it has none. */
  readonly clockMs?: number
  /** Whether it says that its security officer's PIN is close to being locked, or is. */
  readonly isOfficerPinLow: boolean
}

/** A module, and the tokens in its slots. */
export interface ModuleDescription {
  readonly library: string
  readonly manufacturer: string
  readonly version: string
  /** The version of PKCS#11 that it speaks. */
  readonly cryptoki: string
  readonly tokens: readonly TokenDescription[]
}

/**
 * Loads a module, lists its tokens and ends it; nobody logs in.
 *
 * @throws HsmStartError if the module cannot be loaded, or does not show its slots.
 */
export function listTokens(path: string, libraryParameters?: string): TokenDescription[] {
  return [...describeModule(path, libraryParameters).tokens]
}

/** Does the same, and says what the module is. */
export function describeModule(path: string, libraryParameters?: string): ModuleDescription {
  const { lib, module } = loadModule(path, libraryParameters)
  try {
    const { libraryDescription, manufacturerID, libraryVersion, cryptokiVersion } = lib.C_GetInfo()
    return {
      library: libraryDescription.trim(),
      manufacturer: manufacturerID.trim(),
      version: versionText(libraryVersion),
      cryptoki: versionText(cryptokiVersion),
      tokens: lib.C_GetSlotList(true).map((slot) => describe(lib.C_GetTokenInfo(slot))),
    }
  } catch (error) {
    throw new HsmStartError('token-absent', [`hsm.module: the module does not show its tokens (${nameOf(error)})`])
  } finally {
    module.finalize()
  }
}

function describe(info: pkcs11.TokenInfo): TokenDescription {
  const has = (flag: number): boolean => (info.flags & flag) !== 0
  const clockMs = has(pkcs11.CKF_CLOCK_ON_TOKEN) ? clockOf(info.utcTime) : undefined
  return {
    label: info.label.trimEnd(),
    manufacturer: info.manufacturerID.trimEnd(),
    model: info.model.trimEnd(),
    serialNumber: info.serialNumber.trimEnd(),
    isReady: has(pkcs11.CKF_TOKEN_INITIALIZED) && has(pkcs11.CKF_USER_PIN_INITIALIZED),
    pinState: has(pkcs11.CKF_USER_PIN_LOCKED)
      ? 'locked'
      : has(pkcs11.CKF_USER_PIN_FINAL_TRY)
        ? 'final-try'
        : has(pkcs11.CKF_USER_PIN_TO_BE_CHANGED)
          ? 'to-be-changed'
          : has(pkcs11.CKF_USER_PIN_COUNT_LOW)
            ? 'count-low'
            : 'untouched',
    isWriteProtected: has(pkcs11.CKF_WRITE_PROTECTED),
    hasUserPin: has(pkcs11.CKF_USER_PIN_INITIALIZED),
    firmware: versionText(info.firmwareVersion),
    sessions: known({ open: info.sessionCount, most: info.maxSessionCount }),
    memory: known({ free: info.freePrivateMemory, total: info.totalPrivateMemory }),
    ...(clockMs !== undefined && { clockMs }),
    isOfficerPinLow:
      has(pkcs11.CKF_SO_PIN_COUNT_LOW) || has(pkcs11.CKF_SO_PIN_FINAL_TRY) || has(pkcs11.CKF_SO_PIN_LOCKED),
  }
}

function versionText({ major, minor }: pkcs11.Version): string {
  return `${major}.${minor}`
}

/** Leaves out CK_UNAVAILABLE_INFORMATION, all ones of 32 or 64 bits, and CK_EFFECTIVELY_INFINITE, which is 0 (PKCS#11 v2.40, 3.2). */
function known<Name extends string>(counts: Record<Name, number | bigint>): Partial<Record<Name, number>> {
  const told = (Object.entries(counts) as [Name, number | bigint][])
    .map(([name, count]) => [name, Number(count)] as const)
    .filter(([name, count]) => count < 0xffff_ffff && (count > 0 || name === 'open' || name === 'free'))
  return Object.fromEntries(told) as Partial<Record<Name, number>>
}

/** Reads `YYYYMMDDhhmmss00` (PKCS#11 v2.40, 3.2, CK_TOKEN_INFO.utcTime). */
function clockOf(utcTime: string): number | undefined {
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)/.exec(utcTime) ?? []
  const timeMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`)
  return Number.isNaN(timeMs) ? undefined : timeMs
}
