/**
 * Libraries as holders of keys, by their values: node:crypto, which is OpenSSL, and node-forge, which is JavaScript. Neither has
 * CMAC, so it is chained of the TDEA of each.
 */
import { constants, createCipheriv, createDecipheriv, createECDH, privateDecrypt, type KeyObject } from 'node:crypto'
import forge from 'node-forge'
import { openGcm } from './plain-jwe.ts'
import { Refusal, xor } from './plain-pin-block.ts'
import type { KeyHolder } from './plain-routes.ts'
import type { OperationId, SubjectId } from './results.ts'

/** The libraries, as subjects. */
export type SoftwareId = Extract<SubjectId, 'node-crypto' | 'node-forge'>

/** The keys: two-key TDEA in hex by id, and the private keys that JWEs are made for. */
export interface KeyValues {
  readonly tdea: ReadonlyMap<string, string>
  /** The private number of a P-256 key, 32 bytes. */
  readonly ec: Buffer
  readonly rsa: KeyObject
}

const NO_P256 = 'node-forge has no ECDH on P-256, which ECDH-ES needs'

/** What a library cannot do, by `subject:operation`, and why; whoever prints a table says so. */
export const LEFT_OUT: Readonly<Partial<Record<`${SoftwareId}:${OperationId}`, string>>> = {
  'node-forge:pin-set-ecdh': NO_P256,
  'node-forge:pin-get': NO_P256,
}

const BLOCK_BYTES = 8

/** Makes the holder of a library. */
export const HOLDERS: Readonly<Record<SoftwareId, (values: KeyValues) => KeyHolder>> = {
  'node-crypto': ({ tdea, ec, rsa }) => {
    const name = 'des-ede-ecb'
    const valueOf = (id: string): Buffer => Buffer.from(tdea.get(id)!, 'hex')
    // In ECB a block knows nothing of the one before it: one object ciphers all blocks of a key.
    const deciphers = remembered((id) => createDecipheriv(name, valueOf(id), null).setAutoPadding(false))
    const ciphers = remembered((id) => createCipheriv(name, valueOf(id), null).setAutoPadding(false))
    const encipher = (id: string, block: Buffer): Buffer => ciphers(id).update(block)
    const ecdh = createECDH('prime256v1')
    ecdh.setPrivateKey(ec)
    return {
      decipher: (id, block) => deciphers(id).update(block),
      encipher,
      verifyCmac: cmacVerifier(encipher),
      sharedSecret: (_kid, point) => ecdh.computeSecret(point),
      unwrapCek: (_kid, encryptedKey) =>
        privateDecrypt({ key: rsa, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, encryptedKey),
      openContent: openGcm,
    }
  },
  'node-forge': ({ tdea, rsa }) => {
    const threeKeys = (id: string): string => forge.util.hexToBytes(tdea.get(id)! + tdea.get(id)!.slice(0, 16))
    const deciphers = remembered((id) => forge.cipher.createDecipher('3DES-ECB', threeKeys(id)))
    const ciphers = remembered((id) => forge.cipher.createCipher('3DES-ECB', threeKeys(id)))
    const encipher = (id: string, block: Buffer): Buffer => forgeBlock(ciphers(id), block)
    const privateKey = forge.pki.privateKeyFromPem(rsa.export({ type: 'pkcs1', format: 'pem' }).toString())
    const { md } = forge
    return {
      decipher: (id, block) => forgeBlock(deciphers(id), block),
      encipher,
      verifyCmac: cmacVerifier(encipher),
      sharedSecret: () => {
        throw new Error(NO_P256)
      },
      unwrapCek: (_kid, encryptedKey) => {
        const oaep256 = { md: md.sha256.create(), mgf1: { md: md.sha256.create() } }
        return fromForge(privateKey.decrypt(toForge(encryptedKey), 'RSA-OAEP', oaep256))
      },
      openContent: ({ cek, iv, ciphertext, tag, aad }) => {
        const decipher = forge.cipher.createDecipher('AES-GCM', toForge(cek))
        const [additionalData, tagBuffer] = [toForge(aad), forge.util.createBuffer(toForge(tag))]
        decipher.start({ iv: toForge(iv), additionalData, tag: tagBuffer, tagLength: 128 })
        decipher.update(forge.util.createBuffer(toForge(ciphertext)))
        if (!decipher.finish()) throw new Refusal(422, 'ERR_JWE_DECRYPTION_FAILED')
        return fromForge(decipher.output.getBytes())
      },
    }
  },
}

/** Makes each value once. */
function remembered<T>(make: (id: string) => T): (id: string) => T {
  const values = new Map<string, T>()
  return (id) => {
    const value = values.get(id) ?? make(id)
    values.set(id, value)
    return value
  }
}

// forge's bytes are strings of characters up to 255.
const toForge = (bytes: Buffer): string => bytes.toString('latin1')
const fromForge = (text: string): Buffer => Buffer.from(text, 'latin1')

function forgeBlock(cipher: forge.cipher.BlockCipher, block: Buffer): Buffer {
  // Begun anew each time, for its buffers keep all that went through them.
  cipher.start({})
  cipher.update(forge.util.createBuffer(toForge(block)))
  return fromForge(cipher.output.getBytes(BLOCK_BYTES))
}

/** TDEA-CMAC (NIST SP 800-38B) of one cipher call a block; the subkeys are made once a key. */
function cmacVerifier(encipher: (id: string, block: Buffer) => Buffer): KeyHolder['verifyCmac'] {
  const subkeys = remembered((id) => {
    const subkey1 = timesX(encipher(id, Buffer.alloc(BLOCK_BYTES)))
    return { whole: subkey1, padded: timesX(subkey1) }
  })
  return (id, message, mac) => {
    const { whole, padded } = subkeys(id)
    const lastAt = Math.max(0, Math.ceil(message.length / BLOCK_BYTES) - 1) * BLOCK_BYTES
    const last = Buffer.alloc(BLOCK_BYTES)
    const lastBytes = message.copy(last, 0, lastAt)
    if (lastBytes < BLOCK_BYTES) last[lastBytes] = 0x80
    let state: Buffer = Buffer.alloc(BLOCK_BYTES)
    for (let at = 0; at < lastAt; at += BLOCK_BYTES) {
      state = encipher(id, xor(state, message.subarray(at, at + BLOCK_BYTES)))
    }
    const mask = lastBytes === BLOCK_BYTES ? whole : padded
    return encipher(id, xor(xor(state, last), mask)).equals(mac)
  }
}

/** Multiplication by x in GF(2^64) (NIST SP 800-38B section 6.1). */
function timesX(block: Buffer): Buffer {
  const value = block.readBigUInt64BE()
  const product = Buffer.alloc(BLOCK_BYTES)
  product.writeBigUInt64BE(BigInt.asUintN(64, value << 1n) ^ (value >> 63n === 1n ? 0x1bn : 0n))
  return product
}
