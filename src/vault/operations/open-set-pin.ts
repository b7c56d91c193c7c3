/**
 * pin/set: opens D1's JWE, verifies what it carries, translates the PIN block to the issuer's zone key, and makes the
 * issuer's own PRW and MAC.
 *
 * The JWE key names its D1 profile, and the profile everything else: which types it accepts, the payload's member names,
 * the inner key, and the keys that verify PRW and MAC. The caller chooses none of it.
 */
import type { AnswerOf, RequestOf, Zone } from '../../bridge/contract.ts'
import { encodeHex } from '../../bytes.ts'
import type { D1Profile, KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import type { Hsm } from '../../hsm/hsm.ts'
import type { ProfiledKey } from '../../hsm/key-catalogue.ts'
import { translationVerdict } from '../../pin/translation-policy.ts'
import type { Pan } from '../../pan.ts'
import type { ClearPin } from '../../pin/pin.ts'
import { SecretScope } from '../../secret.ts'
import { decipherPin, decodePin, encipherPin, encodePin, layoutOf, panOf } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { addressJwe, openJwe } from '../open-jwe.ts'
import type { PinBlockZone } from '../pin-block-cipher.ts'
import { issueMac, issuePrw, requestInputs, verifyingKey } from '../profiled-mac.ts'
import { readSetPinPayload, type SetPinPayload } from '../set-pin-payload.ts'

type Request = RequestOf<'openSetPin'>

/** Opens, verifies, translates and issues; if one check fails, nothing is released. */
export async function openSetPin(context: VaultContext, request: Request): Promise<AnswerOf<'openSetPin'>> {
  // Everything that needs no HSM comes first: the JWE's form and key, and each key that the request names.
  const addressed = addressJwe(context, request.encryptedPinBlock, 'jwe-decrypt', request.jweKeys)
  const profile = context.d1Profiles.get(addressed.key.d1Profile ?? '')
  if (profile === undefined) throw new ServiceError('ERR_INTERNAL')
  if (profile.counterOnce && request.change === undefined) throw new ServiceError('ERR_REQUEST_INVALID')
  const source = sourceOf(context, request, profile)
  const target = targetOf(context, request, source.type)
  const pan = panOf(request.card.pan)

  using secrets = new SecretScope()
  const payload = readSetPinPayload(
    await openJwe(context, addressed, secrets),
    source.type,
    profile,
    request.change,
    secrets,
  )
  const { clearPin, usedKeys } =
    source.type === '3DES_SECCOS'
      ? await verifySeccos(context, source, payload, request, pan, secrets)
      : await readIso0(context, source, payload, pan, secrets)
  // After MAC and PRW: before them, a refusal would tell about a Seccos block that whoever calls could have altered.
  if (context.isWeakPin(clearPin)) throw new ServiceError('ERR_PIN_REFUSED')
  return {
    ...(await release(context, target, clearPin, request, pan, secrets)),
    ...(source.type === '3DES_SECCOS' && { verified: { prw: true, mac: true } }),
    usedKeys: [addressed.key, ...usedKeys].map((key) => context.catalogue.refOf(key)),
  }
}

/** What the PIN comes from, with the keys that its D1 profile names: D1 does not say by which version of them. */
type Source =
  | { readonly type: 'ISO0'; readonly innerKeys: readonly KeyEntry[] | undefined }
  | {
      readonly type: '3DES_SECCOS'
      readonly pinKeys: readonly KeyEntry[]
      readonly prwKeys: readonly ProfiledKey[]
      readonly macKeys: readonly ProfiledKey[]
    }

/** The PIN that came, and the versions that it came under. */
interface Proved {
  readonly clearPin: ClearPin
  readonly usedKeys: readonly KeyEntry[]
}

function sourceOf({ catalogue }: VaultContext, request: Request, profile: D1Profile): Source {
  if (request.type === profile.types.ISO0) {
    const { innerKey } = profile
    return { type: 'ISO0', innerKeys: innerKey === undefined ? undefined : catalogue.zoneKeys(innerKey, 'ISO-0') }
  }
  if (request.type !== profile.types['3DES_SECCOS'] || profile.seccos === undefined) {
    throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  }
  if (request.change?.transactionId === undefined) throw new ServiceError('ERR_REQUEST_INVALID')
  const { pinKey, prwKey, macKey } = profile.seccos
  return {
    type: '3DES_SECCOS',
    pinKeys: catalogue.zoneKeys(pinKey, 'SECCOS'),
    prwKeys: catalogue.verifyingKeys(prwKey, 'prw'),
    macKeys: catalogue.verifyingKeys(macKey, 'pin-mac'),
  }
}

/** Where the PIN goes, with the keys that the request names. */
interface Target {
  readonly zone?: PinBlockZone & { readonly format: Zone['format'] }
  readonly prwKey?: ProfiledKey
  readonly macKey?: ProfiledKey
}

function targetOf({ catalogue }: VaultContext, { to, issue }: Request, type: Source['type']): Target {
  if (to === undefined && (issue?.prw === undefined || issue.mac !== undefined)) {
    throw new ServiceError('ERR_REQUEST_INVALID')
  }
  // A SECCOS payload has proved its PAN by MAC and PRW, so it may become a block that is bound to one; SECCOS itself is
  // never what a pin/set gives out.
  const from = type === 'ISO0' ? 'ISO-0' : 'SECCOS'
  if (to && (to.format === 'SECCOS' || translationVerdict(from, to.format) === 'forbidden')) {
    throw new ServiceError('ERR_TRANSLATION_FORBIDDEN')
  }
  return {
    ...(to && { zone: { key: catalogue.zoneKey(to, 'out'), layout: layoutOf(to.format), format: to.format } }),
    ...(issue?.prw !== undefined && { prwKey: catalogue.generatingKey(issue.prw, 'prw') }),
    ...(issue?.mac !== undefined && { macKey: catalogue.generatingKey(issue.mac, 'pin-mac') }),
  }
}

/** Under another version than its own, a block does not show its PAN: one of ten million would. */
async function readIso0(
  { hsm }: VaultContext,
  { innerKeys }: Extract<Source, { type: 'ISO0' }>,
  { pinBlock }: SetPinPayload,
  pan: Pan,
  secrets: SecretScope,
): Promise<Proved> {
  const layout = layoutOf('ISO-0')
  if (innerKeys === undefined) return { clearPin: decodePin(pinBlock, layout, pan, secrets), usedKeys: [] }
  for (const key of innerKeys) {
    const clearPin = await findPin(hsm, { pinBlockUnderZpk: pinBlock, key, layout, pan }, secrets)
    if (clearPin) return { clearPin, usedKeys: [key] }
  }
  throw new ServiceError('ERR_PIN_BLOCK_INVALID')
}

/**
 * The order is the protection: the MAC over the enciphered block, then the block, then the PRW over the PIN in it. The PRW also
 * proves under which version of its key the block is, which shows no PAN.
 */
async function verifySeccos(
  { hsm }: VaultContext,
  { pinKeys, prwKeys, macKeys }: Extract<Source, { type: '3DES_SECCOS' }>,
  { pinBlock, prw, mac }: SetPinPayload,
  request: Request,
  pan: Pan,
  secrets: SecretScope,
): Promise<Proved> {
  if (prw === undefined || mac === undefined) throw new ServiceError('ERR_INTERNAL')
  const inputs = { ...requestInputs(request.card, request.change), encipheredPinBlock: pinBlock, prw }
  const macKey = await verifyingKey(hsm, macKeys, inputs, mac)
  if (macKey === undefined) throw new ServiceError('ERR_PIN_CHANGE_NOT_VERIFIED')
  let isPinBlock = false
  for (const key of pinKeys) {
    const input = { pinBlockUnderZpk: pinBlock, key, layout: layoutOf('SECCOS'), pan }
    const clearPin = await findPin(hsm, input, secrets)
    if (clearPin === undefined) continue
    isPinBlock = true
    const prwKey = await verifyingKey(hsm, prwKeys, { ...inputs, ...clearPin }, prw)
    if (prwKey) return { clearPin, usedKeys: [key, prwKey.key, macKey.key] }
  }
  throw new ServiceError(isPinBlock ? 'ERR_PIN_CHANGE_NOT_VERIFIED' : 'ERR_PIN_BLOCK_INVALID')
}

/** Deciphers and decodes a PIN block under one of the versions that it may be under; undefined if what comes out is none. */
async function findPin(
  hsm: Hsm,
  input: Parameters<typeof decipherPin>[1],
  secrets: SecretScope,
): Promise<ClearPin | undefined> {
  try {
    return await decipherPin(hsm, input, secrets)
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'ERR_PIN_BLOCK_INVALID') return undefined
    throw error
  }
}

async function release(
  { hsm, catalogue }: VaultContext,
  { zone, prwKey, macKey }: Target,
  clearPin: ClearPin,
  request: Request,
  pan: Pan,
  secrets: SecretScope,
): Promise<AnswerOf<'openSetPin'>> {
  const inputs = requestInputs(request.card, request.change)
  const outgoing =
    zone && (await encipherPin(hsm, zone, await encodePin(hsm, clearPin, zone.layout, pan, secrets), pan))
  const prw = prwKey && (await issuePrw(hsm, prwKey, clearPin, inputs))
  const macInputs = {
    ...inputs,
    encipheredPinBlock: outgoing,
    prw: prw && Buffer.from(prw.value, 'hex'),
  }
  const mac = macKey && (await issueMac(hsm, macKey, macInputs))
  return {
    ...(zone && outgoing && { pinBlock: encodeHex(outgoing), format: zone.format, key: catalogue.refOf(zone.key) }),
    ...(prw && { prw }),
    ...(mac && { mac }),
  }
}
