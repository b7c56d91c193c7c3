/** Translates PIN blocks from one zone key and format to another: one decipher call and one encipher call for all of them. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { decodeHex, encodeHex } from '../../bytes.ts'
import { ServiceError } from '../../errors.ts'
import { keyRef } from '../../hsm/key-catalogue.ts'
import { translationVerdict } from '../../pin/translation-policy.ts'
import { MAX_PIN_DIGITS } from '../../pin/pin.ts'
import { SecretScope } from '../../secret.ts'
import { encodePin, layoutOf, panOf } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'

/**
 * Translates one or more PIN blocks, each with its own PAN, between one pair of keys.
 *
 * Each block answers for itself: an invalid one is listed in `rejected` and its place is filled with zeros. Which
 * client may translate to or from SECCOS is checked by the gateway; whether any may, the keys and the matrix are checked here.
 */
export async function translatePinBlocks(
  { hsm, catalogue, seccosTranslation }: VaultContext,
  request: RequestOf<'translatePinBlocks'>,
): Promise<AnswerOf<'translatePinBlocks'>> {
  const { from, to, pans } = request
  const verdict = translationVerdict(from.format, to.format)
  if (verdict === 'forbidden' || (verdict === 'seccos-grant' && !seccosTranslation)) {
    throw new ServiceError('ERR_TRANSLATION_FORBIDDEN')
  }
  const fromKey = catalogue.zoneKey(from, 'in')
  const toKey = catalogue.zoneKey(to, 'out')
  const fromLayout = layoutOf(from.format)
  const toLayout = layoutOf(to.format)
  const blocks = decodeHex(request.pinBlocks)
  if (blocks?.length !== pans.length * fromLayout.blockBytes) throw new ServiceError('ERR_REQUEST_INVALID')

  using secrets = new SecretScope()
  const clear = await hsm.decipherBlocks(fromKey, blocks, secrets)
  const outgoing = secrets.take(pans.length * toLayout.blockBytes)
  const pin = secrets.take(MAX_PIN_DIGITS)
  const rejected: number[] = []
  for (const [i, panText] of pans.entries()) {
    const pan = panOf(panText)
    const clearBlock = clear.subarray(i * fromLayout.blockBytes, (i + 1) * fromLayout.blockBytes)
    const pinDigits = fromLayout.decode({ pinBlock: clearBlock, pan }, pin)
    if (pinDigits === 0) rejected.push(i)
    else (await encodePin(hsm, { pin, pinDigits }, toLayout, pan, secrets)).copy(outgoing, i * toLayout.blockBytes)
  }
  const enciphered = await hsm.encipherBlocks(toKey, outgoing)
  // A rejected place was enciphered as zeros, which would give a known answer under the key.
  for (const i of rejected) enciphered.fill(0, i * toLayout.blockBytes, (i + 1) * toLayout.blockBytes)
  return { format: to.format, key: keyRef(toKey), pinBlocks: encodeHex(enciphered), rejected }
}
