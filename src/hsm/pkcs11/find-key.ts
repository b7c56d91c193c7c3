/** Looks a key up once at start, demands exactly one object, and holds its attributes against the catalogue. */
import graphene, { type Session } from 'graphene-pk11'
import pkcs11, { type Handle, type PKCS11 } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import type { PublicKey } from '../hsm.ts'
import {
  expectedFlags,
  GENERATED_FLAGS,
  keyType,
  objectId,
  objectLabel,
  SECRET_KEY_ONLY,
  type ObjectRole,
  type Usage,
} from './templates.ts'

/** A found object, or the sentences that say why it cannot be used. */
export type Found = { readonly handle: Handle } | { readonly problems: string[] }

/** Finds the object of `key` in this role and checks label, type, usage flags, sensitivity and origin. */
export function findKey(
  lib: PKCS11,
  session: Session,
  key: KeyEntry,
  role: ObjectRole,
  usage: Usage,
  environment: 'development' | 'production',
): Found {
  const objectClass = role === 'private' ? graphene.ObjectClass.PRIVATE_KEY : graphene.ObjectClass.SECRET_KEY
  const handles = findHandles(session, objectClass, objectId(key, role))
  const name = role === 'retail-cbc' ? `${key.id}.cbc` : key.id
  if (handles.length !== 1)
    return { problems: [`key ${name}: ${handles.length} objects carry its CKA_ID, one is needed`] }
  const handle = handles[0]!
  const read = (type: number): Buffer | undefined => readAttribute(lib, session.handle, handle, type)

  const problems: string[] = []
  const label = read(pkcs11.CKA_LABEL)?.toString('utf8') ?? ''
  if (label !== objectLabel(key, role, environment)) {
    problems.push(
      label.startsWith('dev:') && environment === 'production'
        ? `key ${name}: is a development key, which production refuses`
        : `key ${name}: its CKA_LABEL does not name this purpose, id and version`,
    )
  }
  if (!equalsNumber(read(pkcs11.CKA_KEY_TYPE), keyType(key, role))) {
    problems.push(`key ${name}: its CKA_KEY_TYPE is not that of ${key.algorithm}`)
  }
  const lengthBits = secretBits(key)
  if (role === 'secret' && lengthBits > 0 && key.algorithm.startsWith('AES')) {
    if (!equalsNumber(read(pkcs11.CKA_VALUE_LEN), lengthBits / 8))
      problems.push(`key ${name}: it is not ${lengthBits} bits long`)
  }
  const flags = [...expectedFlags(usage), ...(key.origin === 'generated' ? GENERATED_FLAGS : [])]
  for (const [type, attribute, value] of flags) {
    if (role === 'private' && SECRET_KEY_ONLY.includes(type)) continue
    const bytes = read(type)
    if (bytes?.length !== 1 || (bytes[0] !== 0) !== value) problems.push(`key ${name}: ${attribute} must be ${value}`)
  }
  return problems.length > 0 ? { problems } : { handle }
}

/** Reads the public half of a JWE key from its public key object; undefined unless there is exactly one. */
export function readPublicKey(lib: PKCS11, session: Session, key: KeyEntry): PublicKey | undefined {
  const handles = findHandles(session, graphene.ObjectClass.PUBLIC_KEY, objectId(key, 'private'))
  if (handles.length !== 1) return undefined
  const read = (type: number): Buffer | undefined => readAttribute(lib, session.handle, handles[0]!, type)
  if (key.algorithm === 'EC-P256') {
    const point = read(pkcs11.CKA_EC_POINT)
    // CKA_EC_POINT is a DER OCTET STRING around the uncompressed point (PKCS#11 v2.40, 2.3.3): 04 41 04 X Y.
    if (point?.length !== 67 || point[0] !== 0x04 || point[1] !== 65 || point[2] !== 0x04) return undefined
    return {
      kty: 'EC',
      crv: 'P-256',
      x: point.subarray(3, 35).toString('base64url'),
      y: point.subarray(35).toString('base64url'),
    }
  }
  const modulus = read(pkcs11.CKA_MODULUS)
  const exponent = read(pkcs11.CKA_PUBLIC_EXPONENT)
  if (!modulus || !exponent || `RSA-${modulus.length * 8}` !== key.algorithm) return undefined
  return { kty: 'RSA', n: modulus.toString('base64url'), e: exponent.toString('base64url') }
}

/** The handles of all objects of this class and CKA_ID. */
export function findHandles(session: Session, objectClass: number, id: Buffer): Handle[] {
  const found = session.find({ class: objectClass, id })
  const handles: Handle[] = []
  for (let i = 0; i < found.length; i++) handles.push(found.items(i).handle)
  return handles
}

function readAttribute(lib: PKCS11, session: Handle, object: Handle, type: number): Buffer | undefined {
  try {
    const value = lib.C_GetAttributeValue(session, object, [{ type }])[0]?.value
    return Buffer.isBuffer(value) ? value : undefined
  } catch {
    // The token has no such attribute: the caller sees that it is not what it must be.
    return undefined
  }
}

/** Compares a CK_ULONG attribute, native byte order, with a number. */
function equalsNumber(attribute: Buffer | undefined, value: number): boolean {
  return attribute?.length === 8 && attribute.readBigUInt64LE() === BigInt(value)
}

function secretBits(key: KeyEntry): number {
  const bits = /^(?:AES|TDEA)-(\d+)$/.exec(key.algorithm)?.[1]
  return bits === undefined ? 0 : Number(bits)
}
