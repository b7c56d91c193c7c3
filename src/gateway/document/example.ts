/** What the examples of the OpenAPI document are made of. Nothing in them is real: the PANs are test PANs, and what a key would make is made up. */

/** A request and the answer to it; the keys are those of a development set-up. */
export interface Example {
  /** What the caller wants, in one line. */
  readonly summary: string
  /** Left out where the operation takes no body. */
  readonly request?: object
  readonly answer: object
}

/** The examples of one operation, by name. */
export type Examples = Readonly<Record<string, Example>>

/** The test PAN that card schemes' own documents show. */
export const CARD = { pan: '4111111111111111' } as const
/** With what the shipped PRW and MAC profiles need beside the PAN. */
export const FULL_CARD = { ...CARD, panSequenceNumber: '04', expiry: '3106' } as const
/** Another test PAN. */
export const OTHER_CARD = { pan: '5555555555554444' } as const

/** D1's own example of a PIN change. */
export const CHANGE = { counter: '0003', transactionId: '21430919092023091909' } as const

/** No cipher made these: 8 bytes, and the 16 of ISO format 4. */
export const BLOCK = '0011223344556677'
export const OTHER_BLOCK = '8899AABBCCDDEEFF'
export const AES_BLOCK = `${BLOCK}${OTHER_BLOCK}`
export const PRW = 'A0A1A2A3A4A5A6A7'
export const AES_PRW = `${PRW}A8A9AAABACADAEAF`
export const MAC = 'B0B1B2B3B4B5B6B7'
export const RANDOM_NUMBER = 'C0C1C2C3'

/** Zones of a development set-up. */
export const ZPK_IN = { key: 'zpk-in', format: 'ISO-0' } as const
export const ZPK_OUT = { key: 'zpk-out', format: 'ISO-0' } as const
export const ZPK_AES = { key: 'zpk-aes', format: 'ISO-4' } as const

/** A key as answers name it; an AES key has a KCV of 5 bytes, and so has a key pair. */
export function keyRef(id: string, kcv = 'D0D1D2'): object {
  return { id, version: 1, kcv }
}
export const LONG_KCV = 'D0D1D2D3D4'

/** A JWE in form only: its header, and parts that are empty or zeros. */
export function jweFor(kid: string): string {
  const header = Buffer.from(JSON.stringify({ alg: 'ECDH-ES', enc: 'A256GCM', kid })).toString('base64url')
  return `${header}..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA`
}
