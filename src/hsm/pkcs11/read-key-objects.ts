/** Reads back the attributes of a key's objects, as the token has them: for people, nothing is decided by it. */
import graphene from 'graphene-pk11'
import pkcs11 from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { findHandles } from './find-key.ts'
import type { Token } from './module.ts'
import { objectId, type ObjectRole } from './templates.ts'

/** One object and its attributes by name; what the token does not tell is left out. */
export interface ReadObject {
  readonly kind: 'secret' | 'private' | 'public'
  readonly ckaId: string
  readonly label: string
  readonly flags: Readonly<Record<string, boolean>>
}

const KINDS = [
  ['secret', graphene.ObjectClass.SECRET_KEY],
  ['private', graphene.ObjectClass.PRIVATE_KEY],
  ['public', graphene.ObjectClass.PUBLIC_KEY],
] as const

const ROLES: readonly ObjectRole[] = ['secret', 'retail-cbc', 'variant-kbek', 'variant-kbak']

const FLAGS: readonly (readonly [name: string, type: number])[] = [
  ['CKA_TOKEN', pkcs11.CKA_TOKEN],
  ['CKA_PRIVATE', pkcs11.CKA_PRIVATE],
  ['CKA_MODIFIABLE', pkcs11.CKA_MODIFIABLE],
  ['CKA_SENSITIVE', pkcs11.CKA_SENSITIVE],
  ['CKA_EXTRACTABLE', pkcs11.CKA_EXTRACTABLE],
  ['CKA_LOCAL', pkcs11.CKA_LOCAL],
  ['CKA_ALWAYS_SENSITIVE', pkcs11.CKA_ALWAYS_SENSITIVE],
  ['CKA_NEVER_EXTRACTABLE', pkcs11.CKA_NEVER_EXTRACTABLE],
  ['CKA_ENCRYPT', pkcs11.CKA_ENCRYPT],
  ['CKA_DECRYPT', pkcs11.CKA_DECRYPT],
  ['CKA_SIGN', pkcs11.CKA_SIGN],
  ['CKA_VERIFY', pkcs11.CKA_VERIFY],
  ['CKA_DERIVE', pkcs11.CKA_DERIVE],
  ['CKA_WRAP', pkcs11.CKA_WRAP],
  ['CKA_UNWRAP', pkcs11.CKA_UNWRAP],
]

/** Every object of the key. */
export function readKeyObjects({ lib, anchor }: Pick<Token, 'lib' | 'anchor'>, key: KeyEntry): ReadObject[] {
  return ROLES.flatMap((role) => {
    const id = objectId(key, role)
    return KINDS.flatMap(([kind, objectClass]) =>
      findHandles(anchor, objectClass, id).map((handle): ReadObject => {
        const read = (type: number): Buffer | undefined => {
          try {
            const value = lib.C_GetAttributeValue(anchor.handle, handle, [{ type }])[0]?.value
            return Buffer.isBuffer(value) ? value : undefined
          } catch {
            return undefined
          }
        }
        const flags = FLAGS.flatMap(([name, type]) => {
          const value = read(type)
          return value?.length === 1 ? [[name, value[0] !== 0] as const] : []
        })
        const label =
          read(pkcs11.CKA_LABEL)
            ?.toString('latin1')
            .replace(/[^ -~]/g, '?') ?? ''
        return { kind, ckaId: id.toString('latin1'), label, flags: Object.fromEntries(flags) }
      }),
    )
  })
}
