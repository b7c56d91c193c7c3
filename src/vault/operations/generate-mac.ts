/** Generates the MAC of an enciphered PIN block; nothing is deciphered. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import type { MessageInputs } from '../../pin-change/message.ts'
import type { VaultContext } from '../context.ts'
import { hexBytes, issueMac, requestInputs } from '../profiled-mac.ts'

/** Computes the MAC by the key's profile over the enciphered block as given. */
export async function generateMac(
  { hsm, catalogue }: VaultContext,
  request: RequestOf<'generateMac'>,
): Promise<AnswerOf<'generateMac'>> {
  const macKey = catalogue.generatingKey(request.key, 'pin-mac')
  const { value, ...issued } = await issueMac(hsm, macKey, macInputs(request))
  return { mac: value, ...issued }
}

/** What a MAC request says, as message inputs. */
export function macInputs(request: RequestOf<'generateMac'>): MessageInputs {
  return {
    ...requestInputs(request.card, request.change),
    encipheredPinBlock: hexBytes(request.pinBlock),
    prw: hexBytes(request.prw),
  }
}
