/** What key objects a token holds, by what they are called: for whoever looks for those that no configuration knows. */
import graphene from 'graphene-pk11'
import pkcs11 from 'pkcs11js'
import type { Token } from './module.ts'

/** A key object that is kept in the token. */
export interface KeyObjectName {
  readonly kind: 'secret' | 'private' | 'public'
  /** CKA_ID and CKA_LABEL as text, with a question mark for what cannot be printed. */
  readonly id: string
  readonly label: string
}

const KINDS = [
  ['secret', graphene.ObjectClass.SECRET_KEY],
  ['private', graphene.ObjectClass.PRIVATE_KEY],
  ['public', graphene.ObjectClass.PUBLIC_KEY],
] as const
const MOST_CHARACTERS = 80

/** Lists them by id, since a token keeps no order; whatever of a name cannot be read is empty. */
export function listKeyObjects({ lib, anchor }: Pick<Token, 'lib' | 'anchor'>): KeyObjectName[] {
  const names: KeyObjectName[] = []
  for (const [kind, objectClass] of KINDS) {
    const found = anchor.find({ class: objectClass, token: true })
    for (let i = 0; i < found.length; i++) {
      const { handle } = found.items(i)
      const read = (type: number): string => {
        try {
          const value = lib.C_GetAttributeValue(anchor.handle, handle, [{ type }])[0]?.value
          return Buffer.isBuffer(value) ? printable(value) : ''
        } catch {
          return ''
        }
      }
      names.push({ kind, id: read(pkcs11.CKA_ID), label: read(pkcs11.CKA_LABEL) })
    }
  }
  const textOf = ({ id, kind, label }: KeyObjectName): string => [id, kind, label].join(' ')
  return names.sort((a, b) => (textOf(a) < textOf(b) ? -1 : 1))
}

function printable(value: Buffer): string {
  return value
    .subarray(0, MOST_CHARACTERS)
    .toString('latin1')
    .replace(/[^ -~]/g, '?')
}
