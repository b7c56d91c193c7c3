/** What Thales D1 computes: the JWEs of Set PIN and the opening of Get PIN's, with jose and node:crypto alone. */
import { createCipheriv } from 'node:crypto'
import { CompactEncrypt, compactDecrypt, importJWK, type JWK } from 'jose'
import { tdeaCmac, retailMac } from './macs.ts'

/** The development keys that D1 shares with the issuer, hex. */
export interface SharedKeys {
  readonly seccosPin: string
  readonly prw: string
  readonly pinMac: string
}

/** One PIN change as D1 knows it. */
export interface PinChange {
  readonly pan: string
  readonly panSequenceNumber: string
  readonly pin: string
  readonly counter: string
  readonly transactionId: string
}

/** The clear ISO format 0 block of a PIN, hex: `0 L PIN F…` XOR `0000` and the PAN's 12 digits before its check digit. */
export function iso0Block(pin: string, pan: string): string {
  const pinField = BigInt(`0x0${pin.length.toString(16)}${pin.padEnd(14, 'F')}`)
  const panField = BigInt(`0x${pan.slice(0, -1).slice(-12).padStart(16, '0')}`)
  return (pinField ^ panField).toString(16).padStart(16, '0').toUpperCase()
}

/** The PIN in a clear ISO format 0 block. */
export function pinOfIso0Block(block: string, pan: string): string {
  const panField = BigInt(`0x${pan.slice(0, -1).slice(-12).padStart(16, '0')}`)
  const pinField = (BigInt(`0x${block}`) ^ panField).toString(16).padStart(16, '0')
  return pinField.slice(2, 2 + Number.parseInt(pinField[1]!, 16))
}

/** The payload of Set PIN as `ISO0`. */
export function iso0Payload(pin: string, pan: string): object {
  return { pinBlock: iso0Block(pin, pan) }
}

/** The payload of Set PIN as `3DES_SECCOS`: the block under the SECCOS PIN key, its PRW, and the MAC over both. */
export function seccosPayload(change: PinChange, keys: SharedKeys): { pinBlock: string; prw: string; mac: string } {
  const { pan, panSequenceNumber, pin, counter, transactionId } = change
  const clear = Buffer.from(`2${pin.length.toString(16)}${pin.padEnd(14, 'F')}`, 'hex')
  const cipher = createCipheriv('des-ede-ecb', Buffer.from(keys.seccosPin, 'hex'), null).setAutoPadding(false)
  const pinBlock = Buffer.concat([cipher.update(clear), cipher.final()]).toString('hex')
  const length = pin.length.toString(16).padStart(2, '0')
  const prwMessage = `${pan.padStart(20, '0')}${panSequenceNumber}${length}${pin.padEnd(12, 'F')}${counter}`
  const prw = tdeaCmac(keys.prw, prwMessage)
  const mac = retailMac(keys.pinMac, `${pinBlock}${prw}${counter}${transactionId.padStart(20, '0')}`)
  return { pinBlock: pinBlock.toUpperCase(), prw: prw.toUpperCase(), mac: mac.toUpperCase() }
}

/** Seals a payload to the issuer's public key as D1 does: compact, the key's alg, A256GCM, its kid. */
export async function seal(payload: object, publicKey: JWK): Promise<string> {
  const alg = publicKey.alg ?? 'ECDH-ES'
  const header = { alg, enc: 'A256GCM', ...(publicKey.kid !== undefined && { kid: publicKey.kid }) }
  return await new CompactEncrypt(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader(header)
    .encrypt(await importJWK(publicKey, alg))
}

/** Opens the JWE of Get PIN with D1's own private key and returns the PIN in it. */
export async function openPin(jwe: string, privateJwk: JWK, pan: string): Promise<string> {
  const { plaintext } = await compactDecrypt(jwe, await importJWK(privateJwk, 'ECDH-ES'))
  const { pinBlock } = JSON.parse(Buffer.from(plaintext).toString()) as { pinBlock: string }
  return pinOfIso0Block(pinBlock, pan)
}
