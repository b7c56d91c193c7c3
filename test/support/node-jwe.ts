/**
 * A second D1: JWEs by node:crypto alone, from RFC 7516 and RFC 7518, with no line of jose and none of src.
 *
 * Everything can be given: the header's very bytes, the ephemeral key, the CEK, the IV, the label. So a malformed JWE can be
 * made wherever a correct one can, and what was not given is correct.
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHash,
  createPublicKey,
  publicEncrypt,
  randomBytes,
  type ECDH,
} from 'node:crypto'

/** The public members of a P-256 or RSA key as GET /v1/jwks gives it. */
export interface NodeJwk {
  readonly kid?: string
  readonly alg?: string
  readonly x?: string
  readonly y?: string
  readonly n?: string
  readonly e?: string
}

/** What a JWE was made of: its five parts as text, and the secrets that a look at a memory searches. */
export interface MadeJwe {
  readonly compact: string
  readonly parts: readonly [string, string, string, string, string]
  readonly cek: Buffer
  /** The ECDH shared secret; empty with RSA. */
  readonly z: Buffer
}

/** What a JWE held, and the secrets it was under. */
export interface OpenedJwe {
  readonly header: any
  readonly payload: Buffer
  readonly cek: Buffer
  readonly z: Buffer
}

/** What any part of a JWE is made of; undefined means as it should be. */
export interface JweOptions {
  /** Members that are added to the header or replaced; an undefined value removes the member. */
  readonly header?: Readonly<Record<string, unknown>>
  /** The header's text itself, in place of all members. */
  readonly headerText?: string | Buffer
  readonly iv?: Buffer
}

/** What an ECDH-ES JWE can be given besides. */
export interface EcOptions extends JweOptions {
  readonly apu?: Buffer
  readonly apv?: Buffer
  readonly ephemeral?: ECDH
  /** Replaces the ephemeral public key in the header, and nowhere else. */
  readonly epk?: unknown
}

/** What an RSA-OAEP-256 JWE can be given besides. */
export interface RsaOptions extends JweOptions {
  readonly cek?: Buffer
  readonly oaepHash?: string
  readonly oaepLabel?: Buffer
  /** The encrypted key itself, in place of the wrapped CEK. */
  readonly encryptedKey?: Buffer
}

const base64url = (bytes: Buffer | string) => Buffer.from(bytes).toString('base64url')

/** Seals a payload to a P-256 key: ECDH-ES, A256GCM. */
export function sealEc(payload: Buffer | string, to: NodeJwk, options: EcOptions = {}): MadeJwe {
  const { apu, apv, ephemeral = newEphemeral(), epk = jwkOf(ephemeral) } = options
  const header = headerOf(options, {
    alg: 'ECDH-ES',
    enc: 'A256GCM',
    kid: to.kid,
    epk,
    ...(apu && { apu: base64url(apu) }),
    ...(apv && { apv: base64url(apv) }),
  })
  const z = sharedSecret(ephemeral, to)
  const cek = concatKdf(z, 'A256GCM', apu, apv)
  return { ...assemble({ header, encryptedKey: Buffer.alloc(0), cek, payload, iv: options.iv }), cek, z }
}

/** Seals a payload to an RSA key: RSA-OAEP-256, A256GCM. */
export function sealRsa(payload: Buffer | string, to: NodeJwk, options: RsaOptions = {}): MadeJwe {
  const { cek = randomBytes(32), oaepHash = 'sha256', oaepLabel } = options
  const header = headerOf(options, { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: to.kid })
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const wrap = () => publicEncrypt({ key: rsaKey(to), padding, oaepHash, ...(oaepLabel && { oaepLabel }) }, cek)
  const encryptedKey = options.encryptedKey ?? wrap()
  // A CEK of another length cannot encrypt with A256GCM; what stands in its place shows only if its length is not checked.
  const contentKey = Buffer.concat([cek, Buffer.alloc(32)]).subarray(0, 32)
  return { ...assemble({ header, encryptedKey, cek: contentKey, payload, iv: options.iv }), cek, z: Buffer.alloc(0) }
}

/** Seals to a key by its kty, correctly. */
export function sealTo(payload: Buffer | string, to: NodeJwk): MadeJwe {
  return to.n === undefined ? sealEc(payload, to) : sealRsa(payload, to)
}

/** The CEK under RSAES-PKCS1-v1_5, as `RSA1_5` would have it. */
export function wrapPkcs1(cek: Buffer, to: NodeJwk): Buffer {
  return publicEncrypt({ key: rsaKey(to), padding: constants.RSA_PKCS1_PADDING }, cek)
}

/** Raw RSA of a whole encoded message: what no honest sender does. */
export function rsaRaw(message: Buffer, to: NodeJwk): Buffer {
  return publicEncrypt({ key: rsaKey(to), padding: constants.RSA_NO_PADDING }, message)
}

/** Opens an ECDH-ES A256GCM JWE with the recipient's private JWK; throws if it does not open. */
export function openEc(compact: string, privateJwk: { readonly d?: string }): OpenedJwe {
  const [head = '', encryptedKey, iv = '', ciphertext = '', tag = ''] = compact.split('.')
  if (encryptedKey !== '') throw new Error('ECDH-ES has an empty encrypted key')
  const header = JSON.parse(Buffer.from(head, 'base64url').toString())
  const recipient = createECDH('prime256v1')
  recipient.setPrivateKey(Buffer.from(privateJwk.d ?? '', 'base64url'))
  const z = recipient.computeSecret(pointOf(header.epk))
  const cek = concatKdf(z, header.enc, fromBase64url(header.apu), fromBase64url(header.apv))
  const decipher = createDecipheriv('aes-256-gcm', cek, Buffer.from(iv, 'base64url'), { authTagLength: 16 })
  decipher.setAAD(Buffer.from(head, 'ascii')).setAuthTag(Buffer.from(tag, 'base64url'))
  const payload = Buffer.concat([decipher.update(Buffer.from(ciphertext, 'base64url')), decipher.final()])
  return { header, payload, cek, z }
}

/** A fresh ephemeral key. */
export function newEphemeral(): ECDH {
  const ephemeral = createECDH('prime256v1')
  ephemeral.generateKeys()
  return ephemeral
}

/** An ephemeral key whose shared secret with `to` begins with a zero byte: about one in 256. */
export function ephemeralWithLeadingZero(to: NodeJwk): ECDH {
  for (;;) {
    const ephemeral = newEphemeral()
    if (sharedSecret(ephemeral, to)[0] === 0) return ephemeral
  }
}

/** The public JWK of an ephemeral key. */
export function jwkOf(ephemeral: ECDH): { kty: 'EC'; crv: 'P-256'; x: string; y: string } {
  const point = ephemeral.getPublicKey()
  return { kty: 'EC', crv: 'P-256', x: base64url(point.subarray(1, 33)), y: base64url(point.subarray(33)) }
}

/** Replaces one part of a compact JWE, counted from 0, by text. */
export function withPart(compact: string, index: number, part: string | ((old: string) => string)): string {
  const parts = compact.split('.')
  parts[index] = typeof part === 'string' ? part : part(parts[index]!)
  return parts.join('.')
}

/** Flips the lowest bit of one byte of a part; the text stays canonical base64url. */
export function flipBit(compact: string, index: number, at = 0): string {
  return withPart(compact, index, (old) => {
    const bytes = Buffer.from(old, 'base64url')
    bytes[at]! ^= 1
    return base64url(bytes)
  })
}

function headerOf({ header, headerText }: JweOptions, members: Record<string, unknown>): Buffer {
  return headerText === undefined ? Buffer.from(JSON.stringify({ ...members, ...header })) : Buffer.from(headerText)
}

function assemble(made: {
  readonly header: Buffer
  readonly encryptedKey: Buffer
  readonly cek: Buffer
  readonly payload: Buffer | string
  readonly iv: Buffer | undefined
}): Pick<MadeJwe, 'compact' | 'parts'> {
  const head = base64url(made.header)
  const iv = made.iv ?? randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', made.cek, iv, { authTagLength: 16 })
  cipher.setAAD(Buffer.from(head, 'ascii'))
  const ciphertext = Buffer.concat([cipher.update(made.payload), cipher.final()])
  const rest = [made.encryptedKey, iv, ciphertext, cipher.getAuthTag()].map(base64url)
  const parts = [head, ...rest] as unknown as MadeJwe['parts']
  return { compact: parts.join('.'), parts }
}

/** Z, always 32 bytes. */
function sharedSecret(ephemeral: ECDH, to: NodeJwk): Buffer {
  const secret = ephemeral.computeSecret(pointOf(to))
  return Buffer.concat([Buffer.alloc(32 - secret.length), secret])
}

function pointOf({ x = '', y = '' }: NodeJwk): Buffer {
  return Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
}

/** RFC 7518 section 4.6.2, one round for 256 bits. */
function concatKdf(z: Buffer, algorithm: string, apu: Buffer = Buffer.alloc(0), apv: Buffer = Buffer.alloc(0)): Buffer {
  const field = (bytes: Buffer) => [uint32(bytes.length), bytes]
  const info = [...field(Buffer.from(algorithm)), ...field(apu), ...field(apv), uint32(256)]
  return createHash('sha256')
    .update(Buffer.concat([uint32(1), z, ...info]))
    .digest()
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

function rsaKey({ n = '', e = '' }: NodeJwk) {
  return createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' })
}

function fromBase64url(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text, 'base64url')
}
