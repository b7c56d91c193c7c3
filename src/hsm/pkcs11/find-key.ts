/** Looks a key up once at start, demands exactly one object, and holds its attributes against the catalogue (M-19). */
import graphene, { type Session } from 'graphene-pk11'
import pkcs11, { type Handle, type PKCS11 } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import type { PublicKey } from '../hsm.ts'
import type { KeyObject } from './block-cipher.ts'
import type { KeyShape } from './key-shapes.ts'
import { cipherOf } from './mechanisms.ts'
import type { OriginMark } from './origin-marks.ts'
import { expectedFlags, keyType, objectId, objectLabel, objectName, type ObjectRole } from './templates.ts'

/** The found objects of a key, or the sentences that say why it cannot be used, and which of its objects are not there. */
export type Found =
  | { readonly objects: ReadonlyMap<ObjectRole, KeyObject> }
  | { readonly objects?: undefined; readonly problems: string[]; readonly missing: readonly ObjectRole[] }

/** What a key is held against beside its catalogue entry. */
export interface Expected {
  readonly shape: KeyShape
  readonly originMarks: readonly OriginMark[]
  readonly environment: 'development' | 'production'
}

/** Finds the objects of `key` in this shape and checks label, type, usage flags, sensitivity and origin of each. */
export function findKey(lib: PKCS11, session: Session, key: KeyEntry, expected: Expected): Found {
  const objects = new Map<ObjectRole, KeyObject>()
  const problems: string[] = []
  const missing: ObjectRole[] = []
  for (const { role, usage } of expected.shape) {
    const objectClass = role === 'private' ? graphene.ObjectClass.PRIVATE_KEY : graphene.ObjectClass.SECRET_KEY
    const handles = findHandles(session, objectClass, objectId(key, role))
    if (handles.length !== 1) {
      problems.push(`key ${objectName(key, role)}: ${handles.length} objects carry its CKA_ID, one is needed`)
      if (handles.length === 0) missing.push(role)
      continue
    }
    const handle = handles[0]!
    const flags = expectedFlags(key, role, usage)
    const read = readAttributes(lib, session.handle, handle, [
      pkcs11.CKA_LABEL,
      pkcs11.CKA_KEY_TYPE,
      ...(key.algorithm.startsWith('AES') ? [pkcs11.CKA_VALUE_LEN] : []),
      ...flags.map(([type]) => type),
      ...(key.origin === 'generated' ? expected.originMarks.map(([type]) => type) : []),
    ])
    problems.push(
      ...labelProblems(read, key, role, expected.environment),
      ...valueProblems(read, key, role),
      ...flagProblems(read, key, role, flags),
      ...originProblems(read, key, expected.originMarks),
    )
    objects.set(role, { handle, usage, ...(role !== 'private' && { cipher: cipherOf(key.algorithm) }) })
  }
  return problems.length > 0 ? { problems, missing } : { objects }
}

type Read = (type: number) => Buffer | undefined

function labelProblems(
  read: Read,
  key: KeyEntry,
  role: ObjectRole,
  environment: 'development' | 'production',
): string[] {
  const label = read(pkcs11.CKA_LABEL)?.toString('utf8') ?? ''
  if (label === objectLabel(key, role, environment)) return []
  return [
    label.startsWith('dev:') && environment === 'production'
      ? `key ${objectName(key, role)}: is a development key, which production refuses`
      : `key ${objectName(key, role)}: its CKA_LABEL does not name this purpose, id and version`,
  ]
}

function valueProblems(read: Read, key: KeyEntry, role: ObjectRole): string[] {
  const problems: string[] = []
  if (!equalsNumber(read(pkcs11.CKA_KEY_TYPE), keyType(key.algorithm, role))) {
    problems.push(`key ${objectName(key, role)}: its CKA_KEY_TYPE is not that of ${key.algorithm}`)
  }
  const bits = /^AES-(\d+)$/.exec(key.algorithm)?.[1]
  const length = bits === undefined ? undefined : read(pkcs11.CKA_VALUE_LEN)
  // openCryptoki does not tell the length of an AES key; its KCV is that of one length only.
  if (length !== undefined && !equalsNumber(length, Number(bits) / 8)) {
    problems.push(`key ${objectName(key, role)}: it is not ${bits} bits long`)
  }
  return problems
}

function flagProblems(
  read: Read,
  key: KeyEntry,
  role: ObjectRole,
  flags: readonly (readonly [attribute: number, name: string, value: boolean])[],
): string[] {
  return flags
    .filter(([type, , value]) => {
      const bytes = read(type)
      return bytes?.length !== 1 || (bytes[0] !== 0) !== value
    })
    .map(([, attribute, value]) => `key ${objectName(key, role)}: ${attribute} must be ${value}`)
}

function originProblems(read: Read, key: KeyEntry, marks: readonly OriginMark[]): string[] {
  if (key.origin !== 'generated') return []
  if (marks.length === 0) return [`key ${key.id}: this token does not tell a key made in it from an imported one`]
  // What may leave is not marked as what never could.
  const expected = key.exportable ? marks.filter(([type]) => type !== pkcs11.CKA_NEVER_EXTRACTABLE) : marks
  return flagProblems(
    read,
    key,
    'private',
    expected.map(([type, name]) => [type, name, true] as const),
  )
}

/** Reads the public half of a key pair from its public key object; undefined unless there is exactly one. */
export function readPublicKey(lib: PKCS11, session: Session, key: KeyEntry): PublicKey | undefined {
  const handles = findHandles(session, graphene.ObjectClass.PUBLIC_KEY, objectId(key, 'private'))
  if (handles.length !== 1) return undefined
  const isRsa = key.algorithm.startsWith('RSA')
  const types = !isRsa ? [pkcs11.CKA_EC_POINT] : [pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT]
  const read = readAttributes(lib, session.handle, handles[0]!, types)
  if (key.algorithm === 'Ed25519') {
    const point = read(pkcs11.CKA_EC_POINT)
    const x = point && ed25519Point(point)
    return x && { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') }
  }
  if (!isRsa) {
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

/**
 * The 32 bytes of an Ed25519 public key: CKA_EC_POINT is the point alone (PKCS#11 v3.0, 2.3.5), and, as v2.40 has it for other curves
 * and SoftHSM for this one too, a DER OCTET STRING around it: 04 20 and the point.
 */
function ed25519Point(point: Buffer): Buffer | undefined {
  if (point.length === 32) return point
  return point.length === 34 && point[0] === 0x04 && point[1] === 32 ? point.subarray(2) : undefined
}

/** The handles of all objects of this class and CKA_ID. */
export function findHandles(session: Session, objectClass: number, id: Buffer): Handle[] {
  const found = session.find({ class: objectClass, id })
  const handles: Handle[] = []
  for (let i = 0; i < found.length; i++) handles.push(found.items(i).handle)
  return handles
}

/**
 * Reads attributes in one call, since a call may be a journey; one by one where the token lacks one of them and so refuses all.
 *
 * What it lacks reads as undefined: the caller sees that it is not what it must be.
 */
function readAttributes(lib: PKCS11, session: Handle, object: Handle, types: readonly number[]): Read {
  const values = new Map<number, Buffer>()
  const read = (some: readonly number[]): void => {
    const attributes = lib.C_GetAttributeValue(
      session,
      object,
      some.map((type) => ({ type })),
    )
    attributes.forEach(({ value }, i) => Buffer.isBuffer(value) && values.set(some[i]!, value))
  }
  try {
    read(types)
  } catch {
    for (const type of types) {
      try {
        read([type])
      } catch {
        // It lacks this one.
      }
    }
  }
  return (type) => values.get(type)
}

/** Compares a CK_ULONG attribute, native byte order, with a number. */
function equalsNumber(attribute: Buffer | undefined, value: number): boolean {
  return attribute?.length === 8 && attribute.readBigUInt64LE() === BigInt(value)
}
