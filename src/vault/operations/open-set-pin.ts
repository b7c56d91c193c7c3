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
import { keyRef, type ProfiledKey } from '../../hsm/key-catalogue.ts'
import { translationVerdict } from '../../pin/translation-policy.ts'
import type { Pan } from '../../pan.ts'
import type { ClearPin } from '../../pin/pin.ts'
import { SecretScope } from '../../secret.ts'
import { decipherPin, decodePin, encipherPin, encodePin, layoutOf, panOf } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { addressJwe, openJwe } from '../open-jwe.ts'
import type { PinBlockZone } from '../pin-block-cipher.ts'
import { issueMac, issuePrw, requestInputs, verifies } from '../profiled-mac.ts'
import { readSetPinPayload, type SetPinPayload } from '../set-pin-payload.ts'

type Request = RequestOf<'openSetPin'>

/** Opens, verifies, translates and issues; if one check fails, nothing is released. */
export async function openSetPin(context: VaultContext, request: Request): Promise<AnswerOf<'openSetPin'>> {
  // Everything that needs no HSM comes first: the JWE's form and key, and each key that the request names.
  const addressed = addressJwe(context, request.encryptedPinBlock, request.jweKeys)
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
  const clearPin =
    source.type === '3DES_SECCOS'
      ? await verifySeccos(context, source, payload, request, pan, secrets)
      : await readIso0(context, source, payload, pan, secrets)
  // After MAC and PRW: before them, a refusal would tell about a Seccos block that whoever calls could have altered.
  if (context.isWeakPin(clearPin)) throw new ServiceError('ERR_PIN_REFUSED')
  return {
    ...(await release(context, target, clearPin, request, pan, secrets)),
    ...(source.type === '3DES_SECCOS' && { verified: { prw: true, mac: true } }),
    usedKeys: [addressed.key, ...keysOf(source)].map(keyRef),
  }
}

/** What the PIN comes from, with the keys that its D1 profile names. */
type Source =
  | { readonly type: 'ISO0'; readonly innerKey: KeyEntry | undefined }
  | {
      readonly type: '3DES_SECCOS'
      readonly pinKey: KeyEntry
      readonly prwKey: ProfiledKey
      readonly macKey: ProfiledKey
    }

function keysOf(source: Source): KeyEntry[] {
  if (source.type === 'ISO0') return source.innerKey ? [source.innerKey] : []
  return [source.pinKey, source.prwKey.key, source.macKey.key]
}

function sourceOf({ catalogue }: VaultContext, request: Request, profile: D1Profile): Source {
  if (request.type === profile.types.ISO0) {
    const { innerKey } = profile
    if (innerKey === undefined) return { type: 'ISO0', innerKey }
    return { type: 'ISO0', innerKey: catalogue.zoneKey({ key: innerKey, format: 'ISO-0' }, 'in') }
  }
  if (request.type !== profile.types['3DES_SECCOS'] || profile.seccos === undefined) {
    throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  }
  if (request.change?.transactionId === undefined) throw new ServiceError('ERR_REQUEST_INVALID')
  const { pinKey, prwKey, macKey } = profile.seccos
  return {
    type: '3DES_SECCOS',
    pinKey: catalogue.zoneKey({ key: pinKey, format: 'SECCOS' }, 'in'),
    prwKey: catalogue.profiledKey(prwKey, 'prw', 'verify'),
    macKey: catalogue.profiledKey(macKey, 'pin-mac', 'verify'),
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
    ...(issue?.prw !== undefined && { prwKey: catalogue.profiledKey(issue.prw, 'prw', 'generate') }),
    ...(issue?.mac !== undefined && { macKey: catalogue.profiledKey(issue.mac, 'pin-mac', 'generate') }),
  }
}

async function readIso0(
  { hsm }: VaultContext,
  { innerKey }: Extract<Source, { type: 'ISO0' }>,
  { pinBlock }: SetPinPayload,
  pan: Pan,
  secrets: SecretScope,
): Promise<ClearPin> {
  const layout = layoutOf('ISO-0')
  if (innerKey === undefined) return decodePin(pinBlock, layout, pan, secrets)
  return await decipherPin(hsm, { pinBlockUnderZpk: pinBlock, key: innerKey, layout, pan }, secrets)
}

/** The order is the protection: the MAC over the enciphered block, then the block, then the PRW over the PIN in it. */
async function verifySeccos(
  { hsm }: VaultContext,
  { pinKey, prwKey, macKey }: Extract<Source, { type: '3DES_SECCOS' }>,
  { pinBlock, prw, mac }: SetPinPayload,
  request: Request,
  pan: Pan,
  secrets: SecretScope,
): Promise<ClearPin> {
  if (prw === undefined || mac === undefined) throw new ServiceError('ERR_INTERNAL')
  const inputs = { ...requestInputs(request.card, request.change), encipheredPinBlock: pinBlock, prw }
  if (!(await verifies(hsm, macKey, inputs, mac))) throw new ServiceError('ERR_PIN_CHANGE_NOT_VERIFIED')
  const input = { pinBlockUnderZpk: pinBlock, key: pinKey, layout: layoutOf('SECCOS'), pan }
  const clearPin = await decipherPin(hsm, input, secrets)
  if (!(await verifies(hsm, prwKey, { ...inputs, ...clearPin }, prw))) {
    throw new ServiceError('ERR_PIN_CHANGE_NOT_VERIFIED')
  }
  return clearPin
}

async function release(
  { hsm }: VaultContext,
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
    ...(zone && outgoing && { pinBlock: encodeHex(outgoing), format: zone.format, key: keyRef(zone.key) }),
    ...(prw && { prw }),
    ...(mac && { mac }),
  }
}
