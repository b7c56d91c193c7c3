/** What people have to do, or to know, before a step of a rotation is taken: it differs with what the key is for. */
import type { KeyEntry } from '../../config/schema.ts'
import { fullName } from '../keys/named-key.ts'
import type { NextStep } from './next-step.ts'

type Purpose = KeyEntry['purpose']

/** Says what the step does, and what has to be true before it is taken. */
export function adviceOn(next: NextStep): string[] {
  if (next.step === 'new') return [...NEW, ...(NEW_OF[next.like.purpose]?.(next.like) ?? [])]
  if (next.step === 'activate') {
    const { pending, active } = next
    return [
      `${fullName(pending)} becomes the active version${active ? `, and ${fullName(active)} is being retired: it makes nothing new, and what it made is still taken` : ''}.`,
      ...(ACTIVATE_OF[pending.purpose]?.(pending) ?? []),
    ]
  }
  const [old] = next.retiring
  return [
    `${next.retiring.map(fullName).join(', ')} will serve nothing any more.`,
    ...(RETIRE_OF[old!.purpose]?.(old!, next.active) ?? []),
  ]
}

const NEW = ['A new version is put beside the active one, as pending: it makes nothing yet, and nobody notices.']

const zonePartner = (key: KeyEntry): string[] => [
  key.exportable
    ? `The other party gets its value: "pinbridge keys export ${fullName(key)}" gives a key block once it is there.`
    : 'The other party needs the same value: it comes from them, or is made together in a ceremony.',
]

const NEW_OF: Partial<Record<Purpose, (key: KeyEntry) => string[]>> = {
  'zone-pin': zonePartner,
  'seccos-pin': zonePartner,
}

const zoneActivation = (key: KeyEntry): string[] => [
  ...(key.direction === 'in' ? [] : ['From now on PIN blocks go out under it: the other party must have it in use.']),
  ...(key.direction === 'out'
    ? []
    : ['PIN blocks that come in are taken under either version: under the old one when the caller names its version.']),
]

const ACTIVATE_OF: Partial<Record<Purpose, (key: KeyEntry) => string[]>> = {
  'jwe-decrypt': (key) => [
    'GET /v1/jwks then gives its public key first, and the old one after it; what is encrypted to either is opened.',
    `Have D1 fetch the set, or give them "pinbridge keys public ${fullName(key)}", and compare the thumbprint by phone.`,
  ],
  'zone-pin': zoneActivation,
  'seccos-pin': zoneActivation,
  prw: () => ['From now on PRWs are made with it; those of the old version are still verified.'],
  'pin-mac': () => [
    'From now on MACs are made with it; whoever verifies them must have it. Those of the old version are still verified.',
  ],
  'limit-hash': () => [
    'PANs then hash to other values: guessing budgets begin anew, and a change counter that was used counts as unused.',
    'A gateway that runs keeps to the old values until it is restarted: restart all nodes one soon after the other.',
  ],
  'key-transport': (key) => [`The other party must have it: key blocks are then written under ${fullName(key)}.`],
  'jwe-open': (key) => [
    'What is encrypted to either version is opened.',
    `Give D1 "pinbridge keys public ${fullName(key)}", and compare the thumbprint by phone: GET /v1/jwks does not give it.`,
  ],
  'assertion-sign': (key) => [
    'From now on assertions are signed with it: D1 must have its public key in use already.',
    `"pinbridge keys public ${fullName(key)}" gives it; compare the thumbprint by phone.`,
  ],
  'transcript-sign': (key) => [
    `Whoever verifies transcripts needs its public key: "pinbridge keys public ${fullName(key)} --format pem".`,
  ],
  'credential-sign': (key) => [
    `It must be registered as a credential of its own before: "pinbridge credential attest ${fullName(key)}".`,
  ],
  'credential-wrap': () => [
    'Recovery credentials then leave under it; those that left before are unwrapped with the old one.',
  ],
  'tls-sign': () => ['It needs a certificate of its own: "pinbridge certs csr" makes the request for it.'],
}

const storedBlocks = (old: KeyEntry, active: KeyEntry): string[] => {
  const format = old.formats?.[0] ?? 'ISO-0'
  return [
    'Nobody may send PIN blocks under it any more, and none may be stored under it. Stored ones are translated by',
    `  pinbridge migrate --from ${fullName(old)}:${format} --to ${active.id}:${format} --in OLD --out NEW`,
  ]
}

const RETIRE_OF: Partial<Record<Purpose, (old: KeyEntry, active: KeyEntry) => string[]>> = {
  'jwe-decrypt': () => [
    'D1 must encrypt to the new kid only, and what was encrypted to the old one must have arrived.',
  ],
  'jwe-open': () => ['D1 must encrypt to the new kid only, and what was encrypted to the old one must have arrived.'],
  'assertion-sign': () => ['D1 takes its public key away: what it signed expires within 15 minutes.'],
  'zone-pin': storedBlocks,
  'seccos-pin': storedBlocks,
  prw: (old) => [
    `Every PRW that ${fullName(old)} made must have been made anew: a PRW is not translated, it is made from the PIN block ("pinbridge migrate --prw").`,
  ],
  'pin-mac': (old) => [`Every MAC that ${fullName(old)} made must have been verified, or be of no use any more.`],
  'audit-mac': (old) => [
    `Seals that ${fullName(old)} made can then not be verified any more: leave it as it is for as long as those records are kept.`,
  ],
  'credential-sign': (old) => [
    `The credential of ${fullName(old)} must have been deactivated in IBM Digital Asset Haven.`,
  ],
  'key-transport': (old) => [`Key blocks under ${fullName(old)} are then not read any more.`],
}
