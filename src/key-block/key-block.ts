/**
 * Key blocks of versions B and D, read and written, and of A and C, read: the steps over header, body and MAC.
 *
 * B and D: KBAK makes a CMAC over header and clear body, which is also the initialisation vector under which KBEK enciphers the
 * body. A and C: KBEK enciphers under the header's first 8 characters, and KBAK makes a CBC-MAC over header and enciphered body,
 * of which 4 bytes are given. The keys are held by the caller.
 *
 * @see ANSI X9.143:2021, 7; ASC X9 TR 31-2018, 5.3 and A.6
 */
import { decodeHex, encodeHex, equalConstantTime } from '../bytes.ts'
import { SecretScope } from '../secret.ts'
import { keyOfBody, layOutBody } from './body.ts'
import { decipherCbc, encipherCbc } from './cbc.ts'
import { cmac } from './cmac.ts'
import type { BlockAlgorithm } from './ecb.ts'
import { cipherBlockBytes, formatHeader, readHeader, type KeyBlockHeader, type VersionId } from './header.ts'
import { KeyBlockError } from './key-block-error.ts'

/** A key block that was read, and not yet opened; nothing of it is secret. */
export interface KeyBlock {
  readonly header: KeyBlockHeader
  /** The header as it was written, which the MAC is over. */
  readonly headerText: string
  readonly encipheredBody: Buffer
  readonly mac: Buffer
}

/** The two keys of a block of version B or D, in slices that the caller wipes. */
export interface BlockKeys {
  readonly algorithm: BlockAlgorithm
  readonly kbek: Buffer
  readonly kbak: Buffer
}

/** What the two variants of a protection key do for a block of version A or C. */
export interface VariantKeys {
  /** Deciphers whole blocks under KBEK in ECB, into `secrets`. */
  decipherBlocks(blocks: Buffer, secrets: SecretScope): Promise<Buffer>
  /** The last block of CBC under KBAK with a zero initialisation vector. */
  lastOfCbc(blocks: Buffer, secrets: SecretScope): Promise<Buffer>
}

const MAC_BYTES: Readonly<Record<VersionId, number>> = { A: 4, B: 8, C: 4, D: 16 }

/**
 * Reads the text of a block: header, enciphered body and MAC, and no character more.
 *
 * @throws KeyBlockError that says which place is wrong.
 */
export function parseKeyBlock(text: string): KeyBlock {
  const { header, blockCharacters, headerCharacters } = readHeader(text)
  if (blockCharacters !== text.length) {
    throw KeyBlockError.form(`its length field says ${blockCharacters} characters, and there are ${text.length}`)
  }
  const rest = text.slice(headerCharacters)
  // Capitals only, so that no two texts are the same block.
  const bytes = /[a-f]/.test(rest) ? undefined : decodeHex(rest)
  if (bytes === undefined) throw KeyBlockError.form('what follows its header is not bytes in capital hex digits')
  const bodyBytes = bytes.length - MAC_BYTES[header.versionId]
  if (bodyBytes <= 0 || bodyBytes % cipherBlockBytes(header.versionId) !== 0) {
    throw KeyBlockError.form('what follows its header is not whole cipher blocks and a MAC')
  }
  return {
    header,
    headerText: text.slice(0, headerCharacters),
    encipheredBody: bytes.subarray(0, bodyBytes),
    mac: bytes.subarray(bodyBytes),
  }
}

/**
 * Opens a block of version B or D.
 *
 * @returns the key, in `secrets`.
 * @throws KeyBlockError, the same for a wrong MAC and a wrong length field.
 */
export function openKeyBlock(block: KeyBlock, { algorithm, kbek, kbak }: BlockKeys, secrets: SecretScope): Buffer {
  const { headerText, encipheredBody, mac } = block
  const body = decipherCbc(algorithm, kbek, mac, encipheredBody, secrets)
  return takeKey(body, mac, cmac(algorithm, kbak, macInput(headerText, body, secrets), secrets), secrets)
}

/**
 * Opens a block of version A or C.
 *
 * @returns the key, in `secrets`.
 * @throws KeyBlockError, as `openKeyBlock` does.
 */
export async function openVariantBlock(block: KeyBlock, keys: VariantKeys, secrets: SecretScope): Promise<Buffer> {
  const { headerText, encipheredBody, mac } = block
  const last = await keys.lastOfCbc(macInput(headerText, encipheredBody, secrets), secrets)
  const body = await keys.decipherBlocks(encipheredBody, secrets)
  const chain = Buffer.concat([Buffer.from(headerText.slice(0, 8), 'ascii'), encipheredBody])
  for (let i = 0; i < body.length; i++) body[i]! ^= chain[i]!
  return takeKey(body, mac, last.subarray(0, mac.length), secrets)
}

function takeKey(body: Buffer, mac: Buffer, expected: Buffer, secrets: SecretScope): Buffer {
  const { key, isRight } = keyOfBody(body, secrets)
  if (!(Number(equalConstantTime(mac, expected)) & Number(isRight))) throw KeyBlockError.refused()
  return key
}

/**
 * Writes a block of version B or D.
 *
 * @param key - not wiped here.
 * @param padding - random bytes, as many as `paddingBytes` says.
 * @throws KeyBlockError if the header is too long.
 */
export function sealKeyBlock(header: KeyBlockHeader, key: Uint8Array, keys: BlockKeys, padding: Uint8Array): string {
  using secrets = new SecretScope()
  const { algorithm, kbek, kbak } = keys
  const body = layOutBody(key, padding, cipherBlockBytes(header.versionId), secrets)
  const headerText = formatHeader(header, 2 * (body.length + MAC_BYTES[header.versionId]))
  const mac = cmac(algorithm, kbak, macInput(headerText, body, secrets), secrets)
  return headerText + encodeHex(encipherCbc(algorithm, kbek, mac, body, secrets)) + encodeHex(mac)
}

function macInput(headerText: string, body: Buffer, secrets: SecretScope): Buffer {
  const input = secrets.take(headerText.length + body.length)
  input.write(headerText, 'ascii')
  input.set(body, headerText.length)
  return input
}
