/** What every operation works with: the HSM, the rules of the vault's own configuration, and nothing of a request. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { D1Profile, Recipient, VaultConfig } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Hsm } from '../hsm/hsm.ts'
import type { KeyCatalogue } from '../hsm/key-catalogue.ts'
import { pointOf } from '../hsm/self-test.ts'
import { createWeakPinRule, type IsWeakPin } from '../pin/weak-pin.ts'

/** A recipient, its public key in the form that sealing takes. */
export type SealingRecipient = { readonly kid: string } & (
  | { readonly alg: 'ECDH-ES'; readonly publicKey: Buffer }
  | { readonly alg: 'RSA-OAEP-256'; readonly publicKey: KeyObject }
)

/** A recipient of pin/get, with the names that its PIN blocks go by. */
export type PinRecipient = SealingRecipient & { readonly profile: D1Profile }

/** What D1's payloads call the things that no data may hold, unless a D1 profile says otherwise. */
const PIN_MEMBERS = ['pin', 'pinBlock', 'encryptedPinBlock', 'prw', 'mac'] as const

export interface VaultContext {
  readonly hsm: Hsm
  readonly catalogue: KeyCatalogue
  readonly d1Profiles: ReadonlyMap<string, D1Profile>
  /** Whoever PINs are sealed for. */
  readonly recipients: ReadonlyMap<string, PinRecipient>
  /** Whoever data are sealed for; none of them is among the others. */
  readonly dataRecipients: ReadonlyMap<string, SealingRecipient>
  /** Whether a member of this name makes a payload one of a PIN, in any D1 profile. */
  readonly isPinMember: (name: string) => boolean
  /** Whether any client has the grant to translate to or from SECCOS. */
  readonly seccosTranslation: boolean
  /** Whether a new PIN is one that the issuer's policy refuses. */
  readonly isWeakPin: IsWeakPin
}

/** Builds the context of one vault from its configuration; the configuration's rules have been checked. */
export function createContext(config: VaultConfig, hsm: Hsm, catalogue: KeyCatalogue): VaultContext {
  const d1Profiles = new Map(config.d1.profiles.map((profile) => [profile.id, profile]))
  const recipients = new Map(
    config.d1.recipients
      .filter(({ use }) => use === 'pin')
      .map((recipient) => [recipient.kid, pinRecipient(recipient, d1Profiles)]),
  )
  const dataRecipients = new Map(
    config.d1.recipients
      .filter(({ use }) => use === 'data')
      .map((recipient) => [recipient.kid, sealingRecipient(recipient)]),
  )
  const named = config.d1.profiles.flatMap(({ members: { pinBlock, prw, mac } }) => [pinBlock, prw, mac])
  const pinMembers = new Set([...PIN_MEMBERS, ...named].map(bareName))
  const isPinMember = (name: string) => pinMembers.has(bareName(name))
  const isWeakPin = createWeakPinRule(config.weakPins)
  const { seccosTranslation } = config
  return { hsm, catalogue, d1Profiles, recipients, dataRecipients, isPinMember, seccosTranslation, isWeakPin }
}

/** A name as its letters and digits in lower case: PinBlock and pin_block are pinBlock too. */
function bareName(name: string): string {
  return name.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, '')
}

function pinRecipient(recipient: Recipient, d1Profiles: ReadonlyMap<string, D1Profile>): PinRecipient {
  const profile = d1Profiles.get(recipient.profile ?? '')
  if (profile === undefined) throw new ServiceError('ERR_INTERNAL')
  return { ...sealingRecipient(recipient), profile }
}

function sealingRecipient({ kid, alg, publicKey }: Recipient): SealingRecipient {
  if (alg === 'RSA-OAEP-256') return { kid, alg, publicKey: createPublicKey({ key: publicKey, format: 'jwk' }) }
  const { x = '', y = '' } = publicKey
  return { kid, alg: 'ECDH-ES', publicKey: pointOf({ x, y }) }
}
