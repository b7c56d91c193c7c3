/** Makes the objects of a catalogued key in the token: key pairs inside it, development values by import. */
import { Buffer } from 'node:buffer'
import pkcs11, { type Template } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { retailMacKeyObjects } from '../../key-block/retail-mac-key.ts'
import type { Profile } from '../../pin-change/profile.ts'
import { SecretScope } from '../../secret.ts'
import type { PublicKey } from '../hsm.ts'
import { readPublicKey } from './find-key.ts'
import type { Token } from './module.ts'
import { isTruncated } from './open-hsm.ts'
import { keyType, objectRoles, publicKeyTemplate, storedKeyTemplate, usageOf, type ObjectRole } from './templates.ts'

type Environment = 'development' | 'production'

/** Generates a JWE key pair inside the token; returns its public half. */
export function generateKeyPair(token: Token, key: KeyEntry, environment: Environment): PublicKey {
  const mechanism = key.algorithm === 'EC-P256' ? pkcs11.CKM_EC_KEY_PAIR_GEN : pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
  const privateTemplate = storedKeyTemplate(key, 'private', usageOf(key, 'private', false), environment)
  token.lib.C_GenerateKeyPair(token.anchor.handle, { mechanism }, publicKeyTemplate(key, environment), privateTemplate)
  const publicKey = readPublicKey(token.lib, token.anchor, key)
  if (publicKey === undefined) throw new Error('internal error: the token does not show the key it generated')
  return publicKey
}

/**
 * Imports a symmetric key value; a retail MAC key becomes its two objects.
 *
 * @param value - the clear key; not wiped here, its owner does.
 */
export function importSecretKey(
  token: Token,
  key: KeyEntry,
  profile: Profile | undefined,
  value: Buffer,
  environment: Environment,
): void {
  using secrets = new SecretScope()
  for (const role of objectRoles(key, profile?.algorithm)) {
    const usage = usageOf(key, role, isTruncated(profile))
    const template: Template = [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: keyType(key, role) },
      { type: pkcs11.CKA_VALUE, value: valueOf(role, value, secrets) },
      ...storedKeyTemplate(key, role, usage, environment),
    ]
    token.lib.C_CreateObject(token.anchor.handle, template)
  }
}

function valueOf(role: ObjectRole, value: Buffer, secrets: SecretScope): Buffer {
  if (role === 'retail-mac') return retailMacKeyObjects(value, secrets).mac
  if (role === 'retail-cbc') return retailMacKeyObjects(value, secrets).cbc
  return value
}
