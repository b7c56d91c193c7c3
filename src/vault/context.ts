/** What every operation works with: the HSM, the rules of the vault's own configuration, and nothing of a request. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { D1Profile, Recipient, VaultConfig } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Hsm } from '../hsm/hsm.ts'
import type { KeyCatalogue } from '../hsm/key-catalogue.ts'
import { pointOf } from '../hsm/self-test.ts'
import { createWeakPinRule, type IsWeakPin } from '../pin/weak-pin.ts'

/** A recipient of pin/get, its public key in the form that sealing takes. */
export type SealingRecipient = { readonly kid: string; readonly profile: D1Profile } & (
  | { readonly alg: 'ECDH-ES'; readonly publicKey: Buffer }
  | { readonly alg: 'RSA-OAEP-256'; readonly publicKey: KeyObject }
)

export interface VaultContext {
  readonly hsm: Hsm
  readonly catalogue: KeyCatalogue
  readonly d1Profiles: ReadonlyMap<string, D1Profile>
  readonly recipients: ReadonlyMap<string, SealingRecipient>
  /** Whether any client has the grant to translate to or from SECCOS. */
  readonly seccosTranslation: boolean
  /** Whether a new PIN is one that the issuer's policy refuses. */
  readonly isWeakPin: IsWeakPin
}

/** Builds the context of one vault from its configuration; the configuration's rules have been checked. */
export function createContext(config: VaultConfig, hsm: Hsm, catalogue: KeyCatalogue): VaultContext {
  const d1Profiles = new Map(config.d1.profiles.map((profile) => [profile.id, profile]))
  const recipients = new Map(
    config.d1.recipients.map((recipient) => [recipient.kid, sealingRecipient(recipient, d1Profiles)]),
  )
  const isWeakPin = createWeakPinRule(config.weakPins)
  return { hsm, catalogue, d1Profiles, recipients, seccosTranslation: config.seccosTranslation, isWeakPin }
}

function sealingRecipient(recipient: Recipient, d1Profiles: ReadonlyMap<string, D1Profile>): SealingRecipient {
  const profile = d1Profiles.get(recipient.profile)
  if (profile === undefined) throw new ServiceError('ERR_INTERNAL')
  const { kid, publicKey } = recipient
  if (recipient.alg === 'RSA-OAEP-256') {
    return { kid, profile, alg: 'RSA-OAEP-256', publicKey: createPublicKey({ key: publicKey, format: 'jwk' }) }
  }
  const { x = '', y = '' } = publicKey
  return { kid, profile, alg: 'ECDH-ES', publicKey: pointOf({ x, y }) }
}
