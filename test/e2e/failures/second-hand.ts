/** Somebody else's hand in the token while the service runs: another process that logs in and changes its objects. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import pkcs11, { type Handle, type PKCS11, type Template } from 'pkcs11js'
import { parse } from 'yaml'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'

/** What a secret key object is, but for its value. */
const DESCRIBED = [
  pkcs11.CKA_CLASS,
  pkcs11.CKA_KEY_TYPE,
  pkcs11.CKA_TOKEN,
  pkcs11.CKA_PRIVATE,
  pkcs11.CKA_MODIFIABLE,
  pkcs11.CKA_SENSITIVE,
  pkcs11.CKA_EXTRACTABLE,
  pkcs11.CKA_ENCRYPT,
  pkcs11.CKA_DECRYPT,
  pkcs11.CKA_SIGN,
  pkcs11.CKA_VERIFY,
  pkcs11.CKA_DERIVE,
  pkcs11.CKA_WRAP,
  pkcs11.CKA_UNWRAP,
  pkcs11.CKA_ID,
  pkcs11.CKA_LABEL,
]

/** The folder that a set-up's SoftHSM keeps its tokens in. */
export function tokenFolder(setUp: Pick<DevelopmentSetUp, 'config'>): string {
  return join(dirname(setUp.config), 'token')
}

/** The token's files of objects, each by its path. */
function objectFiles(setUp: DevelopmentSetUp): string[] {
  const tokens = tokenFolder(setUp)
  const folder = join(tokens, readdirSync(tokens)[0]!)
  return readdirSync(folder)
    .filter((name) => name.endsWith('.object') && name !== 'token.object')
    .map((name) => join(folder, name))
}

/** SoftHSM opened beside the service, not through the shim. */
export class SecondHand {
  readonly #setUp: DevelopmentSetUp
  readonly #lib: PKCS11
  readonly #session: Handle

  private constructor(setUp: DevelopmentSetUp, lib: PKCS11, session: Handle) {
    this.#setUp = setUp
    this.#lib = lib
    this.#session = session
  }

  /** Logs in for as long as `work` takes. */
  static use<T>(setUp: DevelopmentSetUp, work: (hand: SecondHand) => T): T {
    const { hsm } = parse(readFileSync(setUp.config, 'utf8'))
    process.env['SOFTHSM2_CONF'] = hsm.environment.SOFTHSM2_CONF
    const lib = new pkcs11.PKCS11()
    lib.load(hsm.environment.SHIM_MODULE)
    lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
    try {
      const session = lib.C_OpenSession(lib.C_GetSlotList(true)[0]!, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
      lib.C_Login(session, pkcs11.CKU_USER, readFileSync(hsm.pinFile, 'utf8').trimEnd())
      return work(new SecondHand(setUp, lib, session))
    } finally {
      lib.C_Finalize()
    }
  }

  /** What the secret key of this CKA_ID is, but for its value. */
  describe(id: string): Template {
    return this.#lib
      .C_GetAttributeValue(
        this.#session,
        this.#find(id),
        DESCRIBED.map((type) => ({ type })),
      )
      .map(({ type, value }) => ({ type, value }))
  }

  destroy(id: string, objectClass: number = pkcs11.CKO_SECRET_KEY): void {
    this.#lib.C_DestroyObject(this.#session, this.#find(id, objectClass))
  }

  create(description: Template, valueHex: string): Handle {
    return this.#lib.C_CreateObject(this.#session, [
      ...description,
      { type: pkcs11.CKA_VALUE, value: Buffer.from(valueHex, 'hex') },
    ])
  }

  /** Makes the object of this CKA_ID anew, the same but in a file that is known: the path of it. */
  remake(id: string, valueHex: string): string {
    const description = this.describe(id)
    this.destroy(id)
    const before = objectFiles(this.#setUp)
    this.create(description, valueHex)
    return objectFiles(this.#setUp).find((path) => !before.includes(path))!
  }

  /** The content of a file that holds an object like that of this CKA_ID, but with another value. */
  contentWith(id: string, valueHex: string): Buffer {
    const before = objectFiles(this.#setUp)
    const other = this.create(this.describe(id), valueHex)
    const content = readFileSync(objectFiles(this.#setUp).find((path) => !before.includes(path))!)
    this.#lib.C_DestroyObject(this.#session, other)
    return content
  }

  #findAll(id: string, objectClass: number): Handle[] {
    this.#lib.C_FindObjectsInit(this.#session, [
      { type: pkcs11.CKA_CLASS, value: objectClass },
      { type: pkcs11.CKA_ID, value: Buffer.from(id) },
    ])
    const found = this.#lib.C_FindObjects(this.#session, 10)
    this.#lib.C_FindObjectsFinal(this.#session)
    return found
  }

  #find(id: string, objectClass: number = pkcs11.CKO_SECRET_KEY): Handle {
    const found = this.#findAll(id, objectClass)
    if (found.length !== 1) throw new Error(`${found.length} objects carry the CKA_ID ${id}`)
    return found[0]!
  }
}

/**
 * Writes an object's file over, as a restored backup or a replica would: the handles stay, in every process, and what they
 * stand for is another key.
 */
export function overwrite(file: string, content: Buffer): void {
  const changed = Buffer.from(content)
  // SoftHSM reads a file again when the number that it begins with has changed.
  changed.writeBigUInt64BE(readFileSync(file).readBigUInt64BE() + 1n)
  writeFileSync(file, changed)
}
