/** Makes the objects of catalogued keys in a token, in the shapes that fit what it can: key pairs inside it, values by import. */
import { randomUUID } from 'node:crypto'
import pkcs11, { type Template } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { SecretScope } from '../../secret.ts'
import type { Hsm, PublicKey } from '../hsm.ts'
import type { KeyCatalogue } from '../key-catalogue.ts'
import type { MacForm } from '../mac-keys.ts'
import { Calls } from './calls.ts'
import { findCapabilities, type Capabilities } from './capabilities.ts'
import { generateSpare } from './cek-in-token.ts'
import { chooseCekWay } from './cek-ways.ts'
import { findHandles, readPublicKey } from './find-key.ts'
import { keyShapes, whyUnavailable } from './key-shapes.ts'
import { keyPairGeneration } from './mechanisms.ts'
import type { Token } from './module.ts'
import { findKeys } from './open-hsm.ts'
import { Pkcs11Hsm } from './pkcs11-hsm.ts'
import { SessionPool } from './session-pool.ts'
import { objectValue } from './session-keys.ts'
import { keyType, objectId, publicKeyTemplate, storedKeyTemplate, type Usage } from './templates.ts'

type Environment = 'development' | 'production'

/** Makes keys in one token. */
export class KeyMaker {
  readonly #token: Token
  readonly #calls: Calls
  readonly #environment: Environment
  readonly #can: Capabilities

  private constructor(token: Token, calls: Calls, environment: Environment, can: Capabilities) {
    this.#token = token
    this.#calls = calls
    this.#environment = environment
    this.#can = can
  }

  /** Finds out what the token can. */
  static async open(token: Token, environment: Environment, retailMacMechanism?: number): Promise<KeyMaker> {
    const calls = new Calls(token.lib, new SessionPool(token, 1))
    const can = await findCapabilities(token, calls, retailMacMechanism)
    return new KeyMaker(token, calls, environment, can)
  }

  /** Why this token could not serve the key; undefined if it could. */
  whyUnavailable(key: KeyEntry, form: MacForm | undefined): string | undefined {
    return whyUnavailable(key, form, this.#can)
  }

  /**
   * Generates a JWE key pair inside the token, one that unwraps into the token where it keeps CEKs; returns its public half.
   *
   * @throws what the token returns.
   */
  async generateKeyPair(key: KeyEntry): Promise<PublicKey> {
    const usages = keyShapes(key, undefined, this.#can).map((shape) => shape[0]!.usage)
    const keepsCeks = this.#can.aesGcm && key.algorithm.startsWith('RSA') && (await this.#keepsUnwrappedCeks(key))
    const usage = (keepsCeks && usages.find(({ unwrap }) => unwrap)) || usages[0]!
    return this.#generate(key, usage)
  }

  /**
   * Imports a symmetric key value; a composed retail MAC key becomes its two objects.
   *
   * @param value - the clear key; not wiped here, its owner does.
   * @throws what the token returns; what it took of a key stays in it.
   */
  importSecretKey(key: KeyEntry, form: MacForm | undefined, value: Buffer): void {
    const { lib, anchor } = this.#token
    const [shape = []] = keyShapes(key, form, this.#can)
    for (const { role, usage } of shape) {
      using secrets = new SecretScope()
      const template: Template = [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: keyType(key.algorithm, role) },
        { type: pkcs11.CKA_VALUE, value: objectValue(role, value, secrets) },
        ...storedKeyTemplate(key, role, usage, this.#environment),
      ]
      lib.C_CreateObject(anchor.handle, template)
    }
  }

  /** The keys of a catalogue, found in the token and ready for their known answers. */
  async find(keys: readonly KeyEntry[], catalogue: KeyCatalogue): Promise<Hsm> {
    const settings = { keys, environment: this.#environment, catalogue }
    const hsm = this.#hsm(findKeys(this.#token, this.#can, settings).objects)
    await hsm.learn()
    return hsm
  }

  #hsm(objects: ConstructorParameters<typeof Pkcs11Hsm>[2]): Pkcs11Hsm {
    return new Pkcs11Hsm(this.#calls, { chaining: this.#can.chaining, retailMac: this.#can.vendorRetailMac }, objects)
  }

  #generate(key: KeyEntry, usage: Usage, isTemporary = false): PublicKey {
    const { lib, anchor } = this.#token
    const templates = [
      publicKeyTemplate(key, this.#environment),
      storedKeyTemplate(key, 'private', usage, this.#environment),
    ].map((template) =>
      isTemporary ? template.map((one) => (one.type === pkcs11.CKA_TOKEN ? { ...one, value: false } : one)) : template,
    )
    lib.C_GenerateKeyPair(anchor.handle, keyPairGeneration(key.algorithm), templates[0]!, templates[1]!)
    const publicKey = readPublicKey(lib, anchor, key)
    if (publicKey === undefined) throw new Error('internal error: the token does not show the key it generated')
    return publicKey
  }

  /** Tries it with a key pair that lives as long as the trial. */
  async #keepsUnwrappedCeks(like: KeyEntry): Promise<boolean> {
    const key = { ...like, id: `trial-${randomUUID()}` }
    const { lib, anchor } = this.#token
    const usage = { unwrap: true }
    try {
      const publicKey = this.#generate(key, usage, true)
      const handle = findHandles(anchor, pkcs11.CKO_PRIVATE_KEY, objectId(key, 'private'))[0]!
      const modulus = publicKey.kty === 'RSA' ? Buffer.from(publicKey.n, 'base64url') : undefined
      const objects = { objects: new Map([['private', { handle, usage }]] as const), ...(modulus && { modulus }) }
      const hsm = this.#hsm(new Map([[key, objects]]))
      hsm.spareCek = generateSpare(this.#calls, anchor.handle)
      const { chosen } = await chooseCekWay(hsm, this.#calls, this.#can, key, objects, publicKey)
      lib.C_DestroyObject(anchor.handle, hsm.spareCek)
      return chosen === 'kept'
    } catch {
      // It makes no such key for a session, or cannot use it: then CEKs come into the vault.
      return false
    } finally {
      for (const objectClass of [pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY]) {
        for (const handle of findHandles(anchor, objectClass, objectId(key, 'private'))) {
          lib.C_DestroyObject(anchor.handle, handle)
        }
      }
    }
  }
}
