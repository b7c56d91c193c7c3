/** Translates PIN blocks from one zone key and format to another: one decipher call and one encipher call for all of them. */
import type { AnswerOf, RequestOf, RowPrw } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import type { Hsm } from '../../hsm/hsm.ts'
import type { ProfiledKey } from '../../hsm/key-catalogue.ts'
import { PAN_BYTES, panDigits, panText, type Pan } from '../../pan.ts'
import { MAX_PIN_DIGITS, type ClearPin } from '../../pin/pin.ts'
import type { PinBlockFormat } from '../../pin/pin-block.ts'
import { translationVerdict } from '../../pin/translation-policy.ts'
import { SecretScope } from '../../secret.ts'
import { layoutOf } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { decipherPinBlocks, encipherPinBlocks, type PinBlockZone } from '../pin-block-cipher.ts'
import { issuePrw, requestInputs } from '../profiled-mac.ts'

type Request = RequestOf<'translatePinBlocks'>

/**
 * Translates one or more PIN blocks, each with its own PAN, between one pair of keys.
 *
 * Each block answers for itself: an invalid one is listed in `rejected` and its place is filled with zeros. Which
 * client may translate to or from SECCOS is checked by the gateway; whether any may, the keys and the matrix are checked here.
 */
export async function translatePinBlocks(
  context: VaultContext,
  request: Request,
): Promise<AnswerOf<'translatePinBlocks'>> {
  const { from, to, prwKey } = keysOf(context, request)
  const { hsm, catalogue } = context
  const { items, packed } = request
  if (packed.length !== items * (PAN_BYTES + from.layout.blockBytes)) throw new ServiceError('ERR_REQUEST_INVALID')
  const pans = packed.subarray(0, items * PAN_BYTES)

  for (let at = 0; at < pans.length; at += PAN_BYTES) {
    if (panDigits(pans.subarray(at, at + PAN_BYTES)) === 0) throw new ServiceError('ERR_REQUEST_INVALID')
  }

  using secrets = new SecretScope()
  const clear = await decipherPinBlocks(hsm, from, packed.subarray(pans.length), pans, secrets)
  const fills = secrets.take(request.checkOnly ? 0 : items * to.layout.fillBytes)
  if (fills.length > 0) await hsm.fillRandom(fills)
  const outgoing = secrets.take(items * to.layout.blockBytes)
  const rejected = reencode(from.layout, to.layout, { clear, pans, fills }, outgoing, secrets)
  const prws = prwKey && (await rowPrws(context, prwKey, from.layout, { clear, pans }, request, secrets))
  const answer = {
    format: request.to.format,
    key: catalogue.refOf(to.key),
    rejected,
    ...(prws && { prws }),
    usedKeys: [catalogue.refOf(from.key)],
  }
  const valid = items - rejected.length
  if (request.checkOnly || valid === 0) return { ...answer, packed: Buffer.alloc(items * to.layout.blockBytes) }
  const enciphered = await encipherPinBlocks(
    hsm,
    to,
    outgoing.subarray(0, valid * to.layout.blockBytes),
    withoutRejected(pans, rejected),
  )
  return { ...answer, packed: withGaps(enciphered, rejected, items, to.layout.blockBytes) }
}

/** Clear PIN blocks, and what stands beside them: n rows of each. */
interface ClearRows {
  readonly clear: Buffer
  readonly pans: Buffer
}

/**
 * Decodes every row and encodes the valid ones into `outgoing`, one behind the other.
 *
 * Apart from what waits for the HSM, so that it is compiled for what it is: a loop over bytes.
 *
 * @returns the places of the rows that are invalid.
 */
function reencode(
  from: PinBlockFormat,
  to: PinBlockFormat,
  rows: ClearRows & { readonly fills: Buffer },
  outgoing: Buffer,
  secrets: SecretScope,
): number[] {
  // One place for each that every row passes through: a view of its own for every row would cost more than all the rest.
  const pan = Buffer.alloc(PAN_BYTES) as Uint8Array as Pan
  const incoming = { pinBlock: secrets.take(from.blockBytes), pan }
  const pin = secrets.take(MAX_PIN_DIGITS)
  const encoded = { pin, pinDigits: 0, pan, fill: secrets.take(to.fillBytes) }
  const target = secrets.take(to.blockBytes)
  const rejected: number[] = []
  const items = rows.pans.length / PAN_BYTES
  for (let i = 0; i < items; i++) {
    read(pan, rows.pans, i)
    read(incoming.pinBlock, rows.clear, i)
    encoded.pinDigits = from.decode(incoming, pin)
    if (encoded.pinDigits === 0) {
      rejected.push(i)
      continue
    }
    read(encoded.fill, rows.fills, i)
    to.encode(encoded, target)
    write(target, outgoing, i - rejected.length)
  }
  return rejected
}

interface Keys {
  readonly from: PinBlockZone
  readonly to: PinBlockZone
  readonly prwKey: ProfiledKey | undefined
}

/** The keys of a request, once the policy permits it; everything here comes before the HSM. */
function keysOf({ catalogue, seccosTranslation }: VaultContext, { from, to, items, prw }: Request): Keys {
  const verdict = translationVerdict(from.format, to.format)
  if (verdict === 'forbidden' || (verdict === 'seccos-grant' && !seccosTranslation)) {
    throw new ServiceError('ERR_TRANSLATION_FORBIDDEN')
  }
  const keys = {
    from: { key: catalogue.zoneKey(from, 'in'), layout: layoutOf(from.format) },
    to: { key: catalogue.zoneKey(to, 'out'), layout: layoutOf(to.format) },
    prwKey: prw && catalogue.generatingKey(prw.key, 'prw'),
  }
  if (prw && prw.cards.length !== items) throw new ServiceError('ERR_REQUEST_INVALID')
  return keys
}

/** Each row's PRW; null if its block is invalid, or it lacks a field that the profile needs or has one that does not fit. */
async function rowPrws(
  { hsm }: VaultContext,
  prwKey: ProfiledKey,
  from: PinBlockFormat,
  { clear, pans }: ClearRows,
  { items, prw }: Request,
  secrets: SecretScope,
): Promise<(RowPrw | null)[]> {
  const pan = Buffer.alloc(PAN_BYTES) as Uint8Array as Pan
  const incoming = { pinBlock: secrets.take(from.blockBytes), pan }
  const pin = secrets.take(MAX_PIN_DIGITS)
  const prws: (RowPrw | null)[] = []
  for (let i = 0; i < items; i++) {
    read(pan, pans, i)
    read(incoming.pinBlock, clear, i)
    const pinDigits = from.decode(incoming, pin)
    const { counter, ...card } = prw?.cards[i] ?? {}
    const inputs = requestInputs({ pan: panText(pan), ...card }, counter === undefined ? undefined : { counter })
    prws.push(pinDigits === 0 ? null : await rowPrw(hsm, prwKey, { pin, pinDigits }, inputs))
  }
  return prws
}

async function rowPrw(
  hsm: Hsm,
  prwKey: ProfiledKey,
  clearPin: ClearPin,
  inputs: ReturnType<typeof requestInputs>,
): Promise<RowPrw | null> {
  try {
    const { value, randomNumber } = await issuePrw(hsm, prwKey, clearPin, inputs)
    return { value, ...(randomNumber !== undefined && { randomNumber }) }
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'ERR_REQUEST_INVALID') return null
    throw error
  }
}

/** Copies row `row` of `rows` into `place`, a row long. */
function read(place: Uint8Array, rows: Uint8Array, row: number): void {
  const bytes = place.length
  for (let i = 0, from = row * bytes; i < bytes; i++, from++) place[i] = rows[from]!
}

/** Copies `place`, a row long, to row `row` of `rows`. */
function write(place: Uint8Array, rows: Uint8Array, row: number): void {
  const bytes = place.length
  for (let i = 0, to = row * bytes; i < bytes; i++, to++) rows[to] = place[i]!
}

/** The PANs of the items that were not rejected. */
function withoutRejected(pans: Buffer, rejected: readonly number[]): Buffer {
  if (rejected.length === 0) return pans
  let from = 0
  const kept: Buffer[] = []
  for (const row of rejected) {
    kept.push(pans.subarray(from, row * PAN_BYTES))
    from = (row + 1) * PAN_BYTES
  }
  return Buffer.concat([...kept, pans.subarray(from)])
}

/** The blocks of all items: those that were enciphered in their order, and zeros where one was rejected. */
function withGaps(enciphered: Buffer, rejected: readonly number[], items: number, blockBytes: number): Buffer {
  if (rejected.length === 0) return enciphered
  const blocks = Buffer.alloc(items * blockBytes)
  let from = 0
  let next = 0
  for (let i = 0; i < items; i++) {
    if (rejected[next] === i) next++
    else {
      enciphered.copy(blocks, i * blockBytes, from, from + blockBytes)
      from += blockBytes
    }
  }
  return blocks
}
