/** Every CKA_* template that makes a key, and the attributes that every key is held against when it is found. */
import pkcs11, { type Template } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'

/** The usage flags of a key object; what is not true is false, and is written out as false. */
export interface Usage {
  readonly encrypt?: boolean
  readonly decrypt?: boolean
  readonly sign?: boolean
  readonly verify?: boolean
  readonly derive?: boolean
  readonly unwrap?: boolean
  readonly wrap?: boolean
}

/** Which PKCS#11 object classes a key is made of. */
export type ObjectRole = 'secret' | 'private' | 'retail-mac' | 'retail-cbc' | 'variant-kbek' | 'variant-kbak'

/** What follows the id of a key in the name of an object that it needs beside its own. */
const SUFFIXES: Readonly<Partial<Record<ObjectRole, string>>> = {
  'retail-cbc': '.cbc',
  'variant-kbek': '.kbek',
  'variant-kbak': '.kbak',
}

/** The name of a key's object: its id, which no other key may have with such a suffix. */
export function objectName(key: KeyEntry, role: ObjectRole): string {
  return `${key.id}${SUFFIXES[role] ?? ''}`
}

/** CKA_ID of a key's object: the id and the version, so that each version is an object of its own. */
export function objectId(key: KeyEntry, role: ObjectRole): Buffer {
  return Buffer.from(`${objectName(key, role)}.v${key.version}`)
}

/** CKA_LABEL of a key's object: purpose and version stand here too, so that editing a file does not repurpose a key. */
export function objectLabel(key: KeyEntry, role: ObjectRole, environment: 'development' | 'production'): string {
  const name = objectName(key, role)
  return `${environment === 'development' ? 'dev' : 'pinbridge'}:${key.purpose}:${name}:v${key.version}`
}

const KEY_TYPES: Record<KeyEntry['algorithm'], number> = {
  'TDEA-128': pkcs11.CKK_DES2,
  'TDEA-192': pkcs11.CKK_DES3,
  'AES-128': pkcs11.CKK_AES,
  'AES-192': pkcs11.CKK_AES,
  'AES-256': pkcs11.CKK_AES,
  'EC-P256': pkcs11.CKK_EC,
  Ed25519: 0x40, // CKK_EC_EDWARDS of v3.0, which the binding does not export
  'RSA-2048': pkcs11.CKK_RSA,
  'RSA-3072': pkcs11.CKK_RSA,
  'RSA-4096': pkcs11.CKK_RSA,
}

/** CKA_KEY_TYPE of a key's object; both objects of a retail MAC are written as triple length (K1|K2|K1, K1|K1|K1). */
export function keyType(algorithm: KeyEntry['algorithm'], role: ObjectRole): number {
  return role === 'retail-mac' || role === 'retail-cbc' ? pkcs11.CKK_DES3 : KEY_TYPES[algorithm]
}

/** Attributes that a private key object has no place for. */
const SECRET_KEY_ONLY: readonly number[] = [pkcs11.CKA_ENCRYPT, pkcs11.CKA_VERIFY, pkcs11.CKA_WRAP]

/** The attributes that every secret or private key must read back as, whoever made it. */
export function expectedFlags(
  key: KeyEntry,
  role: ObjectRole,
  usage: Usage,
): [attribute: number, name: string, value: boolean][] {
  const flags: [attribute: number, name: string, value: boolean][] = [
    [pkcs11.CKA_TOKEN, 'CKA_TOKEN', true], // kept in the token, not in a session
    [pkcs11.CKA_PRIVATE, 'CKA_PRIVATE', true], // no use before login
    [pkcs11.CKA_MODIFIABLE, 'CKA_MODIFIABLE', false], // its label and its uses cannot be changed later
    [pkcs11.CKA_SENSITIVE, 'CKA_SENSITIVE', true], // its value cannot be read
    [pkcs11.CKA_EXTRACTABLE, 'CKA_EXTRACTABLE', mayLeave(key, role)], // its value cannot be wrapped out, but where the catalogue says so
    [pkcs11.CKA_ENCRYPT, 'CKA_ENCRYPT', usage.encrypt ?? false],
    [pkcs11.CKA_DECRYPT, 'CKA_DECRYPT', usage.decrypt ?? false],
    [pkcs11.CKA_SIGN, 'CKA_SIGN', usage.sign ?? false],
    [pkcs11.CKA_VERIFY, 'CKA_VERIFY', usage.verify ?? false],
    [pkcs11.CKA_DERIVE, 'CKA_DERIVE', usage.derive ?? false],
    [pkcs11.CKA_WRAP, 'CKA_WRAP', usage.wrap ?? false], // a PIN key never carries other keys out
    [pkcs11.CKA_UNWRAP, 'CKA_UNWRAP', usage.unwrap ?? false], // nor in, but for the CEK of a JWE
  ]
  if (role !== 'private') return flags
  const ofPrivateKeys = flags.filter(([type]) => !SECRET_KEY_ONLY.includes(type))
  // Raw RSA by another name.
  return [...ofPrivateKeys, [pkcs11.CKA_SIGN_RECOVER, 'CKA_SIGN_RECOVER', false]]
}

/** Whether an object may be wrapped out: the one that holds the value as another party has it, and none that is made of it. */
export function mayLeave({ exportable = false }: KeyEntry, role: ObjectRole): boolean {
  return exportable && (role === 'secret' || role === 'retail-mac')
}

/** What names an object of a key. */
function named(key: KeyEntry, role: ObjectRole, environment: 'development' | 'production'): Template {
  return [
    { type: pkcs11.CKA_ID, value: objectId(key, role) },
    { type: pkcs11.CKA_LABEL, value: objectLabel(key, role, environment) },
  ]
}

/** The template of a secret or private key that stays in the token for good. */
export function storedKeyTemplate(
  key: KeyEntry,
  role: ObjectRole,
  usage: Usage,
  environment: 'development' | 'production',
): Template {
  const flags = expectedFlags(key, role, usage)
  return [...named(key, role, environment), ...flags.map(([type, , value]) => ({ type, value }))]
}

/** The template of the public half of a key pair, from which its JWK is read. */
export function publicKeyTemplate(key: KeyEntry, environment: 'development' | 'production'): Template {
  const curve = CURVES[key.algorithm]
  const kind =
    curve !== undefined
      ? [{ type: pkcs11.CKA_EC_PARAMS, value: curve }]
      : [
          { type: pkcs11.CKA_MODULUS_BITS, value: Number(key.algorithm.slice('RSA-'.length)) },
          { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.from('010001', 'hex') },
        ]
  return [
    ...named(key, 'private', environment),
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: false }, // anyone may read it
    ...kind,
  ]
}

/** The DER object identifier of the curve P-256 (prime256v1, RFC 5480 section 2.1.1.1). */
export const P256_OID = Buffer.from('06082a8648ce3d030107', 'hex')

/** CKA_EC_PARAMS of each curve; of Ed25519 the object identifier 1.3.101.112 (RFC 8410 section 3). */
const CURVES: Readonly<Partial<Record<KeyEntry['algorithm'], Buffer>>> = {
  'EC-P256': P256_OID,
  Ed25519: Buffer.from('06032b6570', 'hex'),
}

/** The template of what a key agreement gives and the vault reads out once: Z, or the CEK. */
export const READABLE_SECRET_TEMPLATE: Template = [
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET },
  { type: pkcs11.CKA_VALUE_LEN, value: 32 },
  // The rest runs in the vault, so that it has to come out.
  { type: pkcs11.CKA_SENSITIVE, value: false },
  { type: pkcs11.CKA_EXTRACTABLE, value: true },
]

/** The template of the key of one use under which an exportable key comes out of the token. */
export const WRAPPING_KEY_TEMPLATE: Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: false },
  { type: pkcs11.CKA_WRAP, value: true },
]

/** The template of a session key of a published value that is wrapped to see how a token wraps. */
export const KNOWN_KEY_TEMPLATE: Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
  { type: pkcs11.CKA_TOKEN, value: false },
  { type: pkcs11.CKA_SENSITIVE, value: true },
  { type: pkcs11.CKA_EXTRACTABLE, value: true },
]

/** What a CEK must read back as that stays in the token: it deciphers, and that is all. */
export const CEK_FLAGS: readonly [attribute: number, value: boolean][] = [
  [pkcs11.CKA_TOKEN, false],
  [pkcs11.CKA_SENSITIVE, true],
  [pkcs11.CKA_EXTRACTABLE, false],
  [pkcs11.CKA_DECRYPT, true],
  [pkcs11.CKA_ENCRYPT, false],
  [pkcs11.CKA_SIGN, false],
  [pkcs11.CKA_VERIFY, false],
  [pkcs11.CKA_DERIVE, false],
  [pkcs11.CKA_WRAP, false],
  [pkcs11.CKA_UNWRAP, false],
]

/** The template of a CEK that is unwrapped; with a length, NSS would cut a longer one down to it, and SoftHSM refuses. */
export const UNWRAPPED_CEK_TEMPLATE: Template = [
  { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
  { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
  ...CEK_FLAGS.map(([type, value]) => ({ type, value })),
]

/** The template of a CEK that the token derives or makes; a session object, as every CEK is, destroyed after its one use. */
export const CEK_TEMPLATE: Template = [...UNWRAPPED_CEK_TEMPLATE, { type: pkcs11.CKA_VALUE_LEN, value: 32 }]
