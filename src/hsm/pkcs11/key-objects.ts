/** Every object of a catalogued key, of whatever class: for those who make keys and may have to undo it. */
import graphene from 'graphene-pk11'
import pkcs11, { type Handle } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { findHandles } from './find-key.ts'
import type { Token } from './module.ts'
import { CKR, ckrOf } from './return-values.ts'
import { objectId, type ObjectRole } from './templates.ts'

const CLASSES = [graphene.ObjectClass.SECRET_KEY, graphene.ObjectClass.PRIVATE_KEY, graphene.ObjectClass.PUBLIC_KEY]
const ROLES: readonly ObjectRole[] = ['secret', 'retail-cbc', 'variant-kbek', 'variant-kbak']

/** How many objects carry a CKA_ID of this key. */
export function countObjects(token: Token, key: KeyEntry): number {
  return handlesOf(token, key).length
}

/** Destroys every object that carries a CKA_ID of this key. */
export function destroyObjects(token: Token, key: KeyEntry): void {
  destroyHandles(token, handlesOf(token, key))
}

/** The objects of this key that pinbridge has made, by their labels: another application's may have the same CKA_ID. */
export function ownHandlesOf(token: Token, key: KeyEntry): Handle[] {
  const { lib, anchor } = token
  return handlesOf(token, key).filter((handle) => {
    const [label] = lib.C_GetAttributeValue(anchor.handle, handle, [{ type: pkcs11.CKA_LABEL }])
    return Buffer.isBuffer(label?.value) && isOwnLabel(label.value.toString('latin1'))
  })
}

/** Whether a CKA_LABEL is one that pinbridge gives. */
export function isOwnLabel(label: string): boolean {
  return /^(?:pinbridge|dev):/.test(label)
}

/** Destroys these objects. */
export function destroyHandles({ lib, anchor }: Token, handles: readonly Handle[]): void {
  for (const handle of handles) lib.C_DestroyObject(anchor.handle, handle)
}

/** Every object that carries a CKA_ID of this key. */
export function handlesOf(token: Token, key: KeyEntry): Handle[] {
  // A key of several objects has one for each; all others have that of the role "secret".
  const ids = new Map(ROLES.map((role) => objectId(key, role)).map((id) => [id.toString('latin1'), id]))
  return [...ids.values()].flatMap((id) => CLASSES.flatMap((each) => findHandles(token.anchor, each, id)))
}

/** Return values by which a token says that it has no such mechanism, key type, curve, length or attribute. */
const CANNOT = new Set<number>([
  CKR.ATTRIBUTE_TYPE_INVALID,
  0x13, // CKR_ATTRIBUTE_VALUE_INVALID
  0x54, // CKR_FUNCTION_NOT_SUPPORTED
  0x62, // CKR_KEY_SIZE_RANGE
  0x63, // CKR_KEY_TYPE_INCONSISTENT
  0x68, // CKR_KEY_FUNCTION_NOT_PERMITTED
  0x70, // CKR_MECHANISM_INVALID
  0x71, // CKR_MECHANISM_PARAM_INVALID
  0xd0, // CKR_TEMPLATE_INCOMPLETE
  0xd1, // CKR_TEMPLATE_INCONSISTENT
  0x130, // CKR_DOMAIN_PARAMS_INVALID
  0x140, // CKR_CURVE_NOT_SUPPORTED
])

/** Whether an error says that the token cannot hold such a key, and not that it is sick. */
export function isBeyondToken(error: unknown): boolean {
  const ckr = ckrOf(error)
  return ckr !== undefined && CANNOT.has(ckr)
}
