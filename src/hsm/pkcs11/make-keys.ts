/** Makes the objects of catalogued keys in a token, in the shapes that fit what it can: key pairs inside it, values by import. */
import { randomUUID } from 'node:crypto'
import pkcs11, { type Handle, type Template } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { SecretScope } from '../../secret.ts'
import type { PublicKey } from '../hsm.ts'
import type { KeyCatalogue } from '../key-catalogue.ts'
import { isJweKey } from '../key-pairs.ts'
import type { MacForm } from '../mac-keys.ts'
import { checkKey, computeKcv } from '../self-test.ts'
import { Calls } from './calls.ts'
import { findCapabilities, type Capabilities } from './capabilities.ts'
import { generateSpare } from './cek-in-token.ts'
import { chooseCekWay } from './cek-ways.ts'
import { findHandles, readPublicKey } from './find-key.ts'
import { generateSecretKey, type GeneratedSecret } from './generate-secret-key.ts'
import { destroyHandles } from './key-objects.ts'
import { keyShapes, whyUnavailable, type KeyShape } from './key-shapes.ts'
import { wrapKey } from './key-wrap.ts'
import { keyPairGeneration } from './mechanisms.ts'
import type { Token } from './module.ts'
import { findKeys } from './open-hsm.ts'
import { Pkcs11Hsm, type KeyObjects } from './pkcs11-hsm.ts'
import { generateProvenPair, type Proof } from './proven-pair.ts'
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
  readonly #made = new Map<string, Handle[]>()

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
   * Generates a key pair inside the token and returns its public half; a JWE key of RSA unwraps into the token where it keeps CEKs.
   *
   * @throws what the token returns.
   */
  async generateKeyPair(key: KeyEntry): Promise<PublicKey> {
    const shape = await this.#pairShape(key)
    return this.#generate(key, shape[0]!.usage)
  }

  /**
   * As `generateKeyPair`, for a JWE key whose possession is to be proven: it signs what `prove` gives it, and is stored unable to.
   *
   * @throws what `prove` throws, and HsmStartError if this token cannot; nothing of the key is in the token then.
   */
  async generateProvenKeyPair(key: KeyEntry, prove: Proof): Promise<PublicKey> {
    const { originMarks } = this.#can
    const expected = { shape: await this.#pairShape(key), originMarks, environment: this.#environment }
    return await generateProvenPair(this.#token, this.#calls, key, expected, 'CKA_SIGN', prove, this.#madeOf(key))
  }

  /**
   * As `generateKeyPair`, for a key that signs and that can be recovered elsewhere: it is wrapped out once, and is stored unable to
   * leave.
   *
   * @param wrapper - the key that wraps, which is in this token.
   * @param use - is lent the pair while it is not stored yet; what is wrapped is its PrivateKeyInfo (PKCS #8), by RFC 5649.
   * @throws what `use` throws, what the token returns, and HsmStartError if it cannot; nothing of the key is in the token then.
   */
  async generateRecoverablePair(
    key: KeyEntry,
    wrapper: KeyEntry,
    use: (publicKey: PublicKey, sign: (message: Uint8Array) => Promise<Buffer>, wrapped: Buffer) => Promise<void>,
  ): Promise<PublicKey> {
    const { originMarks } = this.#can
    const expected = { shape: await this.#pairShape(key), originMarks, environment: this.#environment }
    const { lib, anchor } = this.#token
    const wrappers = findHandles(anchor, pkcs11.CKO_SECRET_KEY, objectId(wrapper, 'secret'))
    const lend: Proof = (publicKey, sign, privateKey) =>
      use(publicKey, sign, wrapKey(lib, anchor.handle, wrappers[0]!, privateKey))
    const made = this.#madeOf(key)
    return await generateProvenPair(this.#token, this.#calls, key, expected, 'CKA_EXTRACTABLE', lend, made)
  }

  /**
   * Generates a symmetric key inside the token.
   *
   * @throws what the token returns; what it made of a key stays in it.
   */
  async generateSecretKey(key: KeyEntry, form: MacForm | undefined): Promise<GeneratedSecret> {
    const [shape = []] = keyShapes(key, form, this.#can)
    const expected = { shape, originMarks: this.#can.originMarks, environment: this.#environment }
    return await generateSecretKey(this.#token, this.#calls, key, expected, this.#madeOf(key))
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
      this.#madeOf(key).push(lib.C_CreateObject(anchor.handle, template))
    }
  }

  /**
   * Destroys what this has made of a key, and no object that was there before or that somebody else has made meanwhile.
   *
   * @throws what the token returns; what is left can be tried again.
   */
  destroyMade(key: KeyEntry): void {
    const made = this.#madeOf(key)
    while (made.length > 0) {
      destroyHandles(this.#token, made.slice(-1))
      made.pop()
    }
  }

  /** The keys of a catalogue, found in the token and ready for their known answers. */
  async find(keys: readonly KeyEntry[], catalogue: KeyCatalogue): Promise<Pkcs11Hsm> {
    const settings = { keys, environment: this.#environment, catalogue }
    const hsm = this.#hsm(findKeys(this.#token, this.#can, settings).objects)
    await hsm.learn()
    return hsm
  }

  /**
   * Whether a key that stands in the token computes as its entry says: known answer and KCV, or a JWE of our own that it opens.
   *
   * @throws HsmStartError if it is not as the catalogue wants it.
   */
  async proves(key: KeyEntry, catalogue: KeyCatalogue): Promise<boolean> {
    const { objects, publicKeys } = findKeys(this.#token, this.#can, {
      keys: [key],
      environment: this.#environment,
      catalogue,
    })
    const [found, publicKey, form] = [objects.get(key), publicKeys.get(key), catalogue.macFormOf(key)]
    if (found === undefined) return false
    const hsm = this.#hsm(objects)
    await hsm.learn()
    if (!isJweKey(key)) {
      const kcv = await computeKcv(hsm, key, form)
      return (kcv === undefined || kcv === key.kcv.toUpperCase()) && (await checkKey(hsm, key, form, publicKey))
    }
    const { lib, anchor } = this.#token
    const spare = this.#can.aesGcm ? generateSpare(this.#calls, anchor.handle) : undefined
    if (spare !== undefined) hsm.spareCek = spare
    try {
      return publicKey !== undefined && (await this.#opensJwes(hsm, key, found, publicKey))
    } finally {
      if (spare !== undefined) lib.C_DestroyObject(anchor.handle, spare)
    }
  }

  async #opensJwes(hsm: Pkcs11Hsm, key: KeyEntry, found: KeyObjects, publicKey: PublicKey): Promise<boolean> {
    const { chosen } = await chooseCekWay(hsm, this.#calls, this.#can, key, found, publicKey)
    return chosen !== undefined
  }

  #hsm(objects: ConstructorParameters<typeof Pkcs11Hsm>[2]): Pkcs11Hsm {
    return new Pkcs11Hsm(this.#calls, { chaining: this.#can.chaining, retailMac: this.#can.vendorRetailMac }, objects)
  }

  #madeOf({ id, version }: KeyEntry): Handle[] {
    const name = `${id}@${version}`
    const made = this.#made.get(name) ?? []
    this.#made.set(name, made)
    return made
  }

  /** The shape of a new key pair, whose one object is private. */
  async #pairShape(key: KeyEntry): Promise<KeyShape> {
    const shapes = keyShapes(key, undefined, this.#can)
    const unwrapping = shapes.find((shape) => shape[0]!.usage.unwrap)
    const keepsCeks = unwrapping !== undefined && this.#can.aesGcm && (await this.#keepsUnwrappedCeks(key))
    return keepsCeks ? unwrapping : shapes[0]!
  }

  #generate(key: KeyEntry, usage: Usage, isTemporary = false): PublicKey {
    const { lib, anchor } = this.#token
    const templates = [
      publicKeyTemplate(key, this.#environment),
      storedKeyTemplate(key, 'private', usage, this.#environment),
    ].map((template) =>
      isTemporary ? template.map((one) => (one.type === pkcs11.CKA_TOKEN ? { ...one, value: false } : one)) : template,
    )
    const mechanism = keyPairGeneration(key.algorithm)
    const pair = lib.C_GenerateKeyPair(anchor.handle, mechanism, templates[0]!, templates[1]!)
    if (!isTemporary) this.#madeOf(key).push(pair.privateKey, pair.publicKey)
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
      const objects = { objects: new Map([['private', { handle, usage }]] as const), publicKey }
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
