/** Compact JWEs (RFC 7516) with A256GCM: opened with a key that somebody holds, sealed to a public one. */
import { createCipheriv, createDecipheriv, createECDH, hash, randomBytes } from 'node:crypto'
import { Refusal } from './plain-pin-block.ts'
import type { KeyHolder } from './plain-routes.ts'

/** What AES-GCM deciphers, as the parts of a JWE give it. */
export interface Content {
  readonly cek: Buffer
  readonly iv: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
  readonly aad: Buffer
}

/** Whom a JWE is sealed to by ECDH-ES: its public key is the point `04 | x | y` of P-256. */
export interface Recipient {
  readonly kid: string
  readonly publicKey: Buffer
}

const fromBase64url = (text = ''): Buffer => Buffer.from(text, 'base64url')

/** The uncompressed point of a P-256 JWK. */
export function pointOf({ x, y }: { readonly x: string; readonly y: string }): Buffer {
  return Buffer.concat([Buffer.of(4), fromBase64url(x), fromBase64url(y)])
}

/**
 * Opens a JWE of ECDH-ES or RSA-OAEP-256.
 *
 * @param algs - with which alg JWEs are made for a key, by kid.
 */
export function openJwe(holder: KeyHolder, algs: ReadonlyMap<string, string | undefined>, compact: string): Buffer {
  const [head = '', encryptedKey, iv, ciphertext, tag] = compact.split('.')
  const { alg, enc, kid, epk, apu, apv } = JSON.parse(fromBase64url(head).toString())
  if (enc !== 'A256GCM' || alg === undefined || alg !== algs.get(kid)) throw new Refusal(400, 'ERR_JWE_INVALID')
  const cek =
    alg === 'ECDH-ES'
      ? concatKdf(holder.sharedSecret(kid, pointOf(epk)), fromBase64url(apu), fromBase64url(apv))
      : holder.unwrapCek(kid, fromBase64url(encryptedKey))
  const parts = { iv: fromBase64url(iv), ciphertext: fromBase64url(ciphertext), tag: fromBase64url(tag) }
  return holder.openContent({ cek, ...parts, aad: Buffer.from(head) })
}

/** Seals a payload by ECDH-ES to a P-256 key. */
export function sealEcdhEs({ kid, publicKey }: Recipient, payload: string): string {
  const ephemeral = createECDH('prime256v1')
  const point = ephemeral.generateKeys()
  const [x, y] = [point.toString('base64url', 1, 33), point.toString('base64url', 33)]
  const header = { alg: 'ECDH-ES', enc: 'A256GCM', kid, epk: { kty: 'EC', crv: 'P-256', x, y } }
  const head = Buffer.from(JSON.stringify(header)).toString('base64url')
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', concatKdf(ephemeral.computeSecret(publicKey)), iv)
  cipher.setAAD(Buffer.from(head))
  const ciphertext = Buffer.concat([cipher.update(payload), cipher.final()])
  return [head, '', ...[iv, ciphertext, cipher.getAuthTag()].map((part) => part.toString('base64url'))].join('.')
}

/** Deciphers A256GCM by OpenSSL; throws a refusal if the tag is wrong. */
export function openGcm({ cek, iv, ciphertext, tag, aad }: Content): Buffer {
  try {
    const decipher = createDecipheriv('aes-256-gcm', cek, iv, { authTagLength: 16 }).setAAD(aad).setAuthTag(tag)
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  } catch {
    throw new Refusal(422, 'ERR_JWE_DECRYPTION_FAILED')
  }
}

/** The Concat KDF for a CEK of 256 bits: one round of SHA-256 (RFC 7518 section 4.6.2). */
function concatKdf(z: Buffer, apu: Buffer = Buffer.alloc(0), apv: Buffer = Buffer.alloc(0)): Buffer {
  const info = [Buffer.from('A256GCM'), apu, apv].flatMap((field) => [uint32(field.length), field])
  return hash('sha256', Buffer.concat([uint32(1), z, ...info, uint32(256)]), 'buffer')
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
