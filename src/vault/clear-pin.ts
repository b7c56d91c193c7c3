/** From PIN blocks under a zone key to clear PINs and back; clear values are in slices of the operation's scope. */
import { decodeHex } from '../bytes.ts'
import type { Card, Zone } from '../bridge/contract.ts'
import type { KeyEntry } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Hsm } from '../hsm/hsm.ts'
import { parsePan, type Pan } from '../pan.ts'
import { MAX_PIN_DIGITS, type ClearPin } from '../pin/pin.ts'
import { PIN_BLOCK_FORMATS, type PinBlockFormat } from '../pin/pin-block.ts'
import type { SecretScope } from '../secret.ts'
import type { VaultContext } from './context.ts'
import { decipherPinBlocks, encipherPinBlocks, type PinBlockZone } from './pin-block-cipher.ts'

/** The layout of a format. */
export function layoutOf(format: string): PinBlockFormat {
  const layout = PIN_BLOCK_FORMATS.get(format)
  if (layout === undefined) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  return layout
}

/** The PAN of a request, whose form the contract has checked. */
export function panOf(text: string): Pan {
  const pan = parsePan(text)
  if (pan === undefined) throw new ServiceError('ERR_REQUEST_INVALID')
  return pan
}

/** The bytes of an enciphered PIN block in hex; a length that is not the format's is a malformed request. */
function pinBlockBytes(hex: string, layout: PinBlockFormat): Buffer {
  const bytes = decodeHex(hex)
  if (bytes?.length !== layout.blockBytes) throw new ServiceError('ERR_REQUEST_INVALID')
  return bytes
}

/**
 * Decodes a clear PIN block.
 *
 * @throws ERR_PIN_BLOCK_INVALID for every cause: control, length, digit, filler or PAN.
 */
export function decodePin(clearBlock: Buffer, layout: PinBlockFormat, pan: Pan, secrets: SecretScope): ClearPin {
  const pin = secrets.take(MAX_PIN_DIGITS)
  const pinDigits = layout.decode({ pinBlock: clearBlock, pan }, pin)
  if (pinDigits === 0) throw new ServiceError('ERR_PIN_BLOCK_INVALID')
  return { pin, pinDigits }
}

/** Encodes a PIN into a clear block of this format; random fill comes from the HSM. */
export async function encodePin(
  hsm: Hsm,
  clearPin: ClearPin,
  layout: PinBlockFormat,
  pan: Pan,
  secrets: SecretScope,
): Promise<Buffer> {
  const fill = secrets.take(layout.fillBytes)
  if (fill.length > 0) await hsm.fillRandom(fill)
  const clearBlock = secrets.take(layout.blockBytes)
  layout.encode({ ...clearPin, pan, fill }, clearBlock)
  return clearBlock
}

/** Enciphers one clear PIN block. */
export function encipherPin(hsm: Hsm, zone: PinBlockZone, clearBlock: Buffer, pan: Pan): Promise<Buffer> {
  return encipherPinBlocks(hsm, zone, clearBlock, Buffer.from(pan))
}

/** Deciphers one PIN block and decodes it. */
export async function decipherPin(
  hsm: Hsm,
  input: PinBlockZone & { readonly pinBlockUnderZpk: Buffer; readonly pan: Pan },
  secrets: SecretScope,
): Promise<ClearPin> {
  const { pinBlockUnderZpk, pan } = input
  const clearBlock = await decipherPinBlocks(hsm, input, pinBlockUnderZpk, Buffer.from(pan), secrets)
  return decodePin(clearBlock, input.layout, pan, secrets)
}

/** Deciphers and decodes the PIN block that a request gives under the key of its zone. */
export async function readPin(
  { hsm }: Pick<VaultContext, 'hsm'>,
  key: KeyEntry,
  { pinBlock, from, card }: { readonly pinBlock: string; readonly from: Zone; readonly card: Card },
  secrets: SecretScope,
): Promise<ClearPin> {
  const layout = layoutOf(from.format)
  const pinBlockUnderZpk = pinBlockBytes(pinBlock, layout)
  return await decipherPin(hsm, { pinBlockUnderZpk, key, layout, pan: panOf(card.pan) }, secrets)
}
