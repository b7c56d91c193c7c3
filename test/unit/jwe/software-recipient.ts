/** A recipient in software, in the order in which a vault opens a JWE: node:crypto stands where the HSM would. */
import { constants, createECDH, createPublicKey, generateKeyPairSync, privateDecrypt, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { decodeOaep256 } from '../../../src/hsm/oaep.ts'
import { CEK_BYTES } from '../../../src/jwe/algorithms.ts'
import { checkContentForm, parseCompact } from '../../../src/jwe/compact.ts'
import { deriveCek } from '../../../src/jwe/concat-kdf.ts'
import { openContent } from '../../../src/jwe/content.ts'
import { ephemeralJwk } from '../../../src/jwe/ephemeral-key.ts'
import { checkAlgorithms, checkKeyAgreement, checkKeyTransport, parseHeader } from '../../../src/jwe/header.ts'
import type { SecretScope } from '../../../src/secret.ts'

/** A P-256 recipient. */
export class EcRecipient {
  readonly kid = 'jwe-ec'
  readonly #key = createECDH('prime256v1')

  constructor(privateKey?: Buffer) {
    if (privateKey) this.#key.setPrivateKey(privateKey)
    else this.#key.generateKeys()
  }

  get publicKey(): Buffer {
    return this.#key.getPublicKey()
  }

  get jwk() {
    return { ...ephemeralJwk(this.publicKey), kid: this.kid }
  }

  get privateJwk() {
    // node drops the leading zeros of d, and RFC 7518 section 6.2.2.1 wants all 32 bytes.
    const d = Buffer.from(this.#key.getPrivateKey('hex').padStart(64, '0'), 'hex')
    return { ...this.jwk, d: d.toString('base64url') }
  }

  deriveZ(point: Uint8Array): Buffer {
    return this.#key.computeSecret(point)
  }

  open(text: string, secrets: SecretScope): Buffer {
    const jwe = parseCompact(text)
    const header = parseHeader(jwe.header)
    checkAlgorithms(header, { alg: 'ECDH-ES', enc: 'A256GCM' })
    checkContentForm(jwe)
    const { ephemeralKey, apu, apv } = checkKeyAgreement(header, jwe)
    const z = secrets.adopt(this.deriveZ(ephemeralKey))
    const cek = deriveCek(z, { algorithmId: header.enc, apu, apv, keyBits: 8 * CEK_BYTES }, secrets)
    return openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets)
  }
}

/** An RSA-2048 recipient whose token offers raw RSA only. */
export class RsaRecipient {
  readonly kid = 'jwe-rsa'
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject

  constructor(privateKey?: KeyObject) {
    this.privateKey = privateKey ?? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    this.publicKey = createPublicKey(this.privateKey)
  }

  rawDecrypt(ciphertext: Uint8Array): Buffer {
    return privateDecrypt({ key: this.privateKey, padding: constants.RSA_NO_PADDING }, ciphertext)
  }

  open(text: string, secrets: SecretScope): Buffer {
    const jwe = parseCompact(text)
    const header = parseHeader(jwe.header)
    checkAlgorithms(header, { alg: 'RSA-OAEP-256', enc: 'A256GCM' })
    checkContentForm(jwe)
    checkKeyTransport(jwe, 256)
    const substitute = secrets.adopt(randomBytes(CEK_BYTES))
    const em = secrets.adopt(this.rawDecrypt(jwe.encryptedKey))
    const cek = decodeOaep256(em, secrets, CEK_BYTES, substitute)
    return openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets)
  }
}

/** The base64url of a header's JSON. */
export function encodeHeader(header: unknown): string {
  return Buffer.from(typeof header === 'string' ? header : JSON.stringify(header)).toString('base64url')
}
