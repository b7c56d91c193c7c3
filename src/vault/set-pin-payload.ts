/** The decrypted payload of a pin/set, read as bytes: its members' names come from the D1 profile, its values never become strings. */
import { decodeHexBytes, equalConstantTime } from '../bytes.ts'
import type { Change } from '../bridge/contract.ts'
import type { D1Profile } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import { readMembers, type JsonMember } from '../json-bytes.ts'
import type { SecretScope } from '../secret.ts'

const BLOCK_BYTES = 8
const PRW_AND_MAC_BYTES = 8

/** The values of a payload, in slices of the operation's scope; `pinBlock` is clear or enciphered as the type says. */
export interface SetPinPayload {
  readonly pinBlock: Buffer
  readonly prw?: Buffer
  readonly mac?: Buffer
}

/**
 * Reads a payload of the given type.
 *
 * `type` stands outside the JWE and proves nothing: an ISO0 payload that carries a PRW or a MAC is a relabelled one, and a
 * 3DES_SECCOS payload must carry both. Unknown members are ignored, a repeated one is refused.
 *
 * @param payload - authenticated bytes in `secrets`.
 * @throws ERR_JWE_PAYLOAD_INVALID if a member is missing, not hex or of another length; ERR_PIN_CHANGE_NOT_VERIFIED if it
 * carries a counter or transaction id other than the change's.
 */
export function readSetPinPayload(
  payload: Buffer,
  type: 'ISO0' | '3DES_SECCOS',
  profile: D1Profile,
  change: Change | undefined,
  secrets: SecretScope,
): SetPinPayload {
  const members = readMembers(payload)
  if (members === undefined) throw new ServiceError('ERR_JWE_PAYLOAD_INVALID')
  const names = profile.members
  const hasPrw = members.has(names.prw)
  const hasMac = members.has(names.mac)
  const seccos = type === '3DES_SECCOS'
  if (hasPrw !== seccos || hasMac !== seccos) throw new ServiceError('ERR_JWE_PAYLOAD_INVALID')

  const pinBlock = hexMember(members.get(names.pinBlock), BLOCK_BYTES, secrets)
  const signed = seccos && {
    prw: hexMember(members.get(names.prw), PRW_AND_MAC_BYTES, secrets),
    mac: hexMember(members.get(names.mac), PRW_AND_MAC_BYTES, secrets),
  }
  requireSame(members.get(names.counter), change?.counter)
  requireSame(members.get(names.transactionId), change?.transactionId)
  return { pinBlock, ...signed }
}

function hexMember(member: JsonMember | undefined, bytes: number, secrets: SecretScope): Buffer {
  const value = secrets.take(bytes)
  if (member?.kind !== 'string' || !decodeHexBytes(member.bytes, value)) {
    throw new ServiceError('ERR_JWE_PAYLOAD_INVALID')
  }
  return value
}

/** An optional member that is there must say what the request says, or the payload belongs to another change. */
function requireSame(member: JsonMember | undefined, expected: string | undefined): void {
  if (member === undefined) return
  if (member.kind !== 'string' || member.escaped) throw new ServiceError('ERR_JWE_PAYLOAD_INVALID')
  if (expected === undefined || !equalConstantTime(member.bytes, Buffer.from(expected))) {
    throw new ServiceError('ERR_PIN_CHANGE_NOT_VERIFIED')
  }
}
