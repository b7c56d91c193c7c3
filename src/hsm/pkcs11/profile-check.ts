/** Checks PRW and MAC profiles by their known answers: the message always, the output too where the token takes session keys. */
import pkcs11, { type Handle } from 'pkcs11js'
import { decodeHex, equalConstantTime } from '../../bytes.ts'
import type { KeyEntry } from '../../config/schema.ts'
import { retailMacKeyObjects } from '../../key-block/retail-mac-key.ts'
import { checkProfileMessages } from '../../pin-change/known-answers.ts'
import type { Profile } from '../../pin-change/profile.ts'
import { SecretScope } from '../../secret.ts'
import type { Token } from './module.ts'
import { Pkcs11Hsm } from './pkcs11-hsm.ts'
import type { SessionPool } from './session-pool.ts'
import { keyType, type ObjectRole } from './templates.ts'

/** The profiles whose known answers do not come out, in a sentence each. */
export async function knownAnswerProblems(
  token: Token,
  pool: SessionPool,
  profiles: Iterable<Profile>,
): Promise<string[]> {
  const problems: string[] = []
  for (const profile of profiles) {
    const good = checkProfileMessages(profile) && (await outputsMatch(token, pool, profile))
    if (!good) problems.push(`profile ${profile.kind} ${profile.id}: a known answer does not come out`)
  }
  return problems
}

async function outputsMatch(token: Token, pool: SessionPool, profile: Profile): Promise<boolean> {
  for (const answer of profile.knownAnswers) {
    using secrets = new SecretScope()
    const value = decodeHex(answer.keyHex)
    const message = decodeHex(answer.messageHex)
    const expected = decodeHex(answer.outputHex)
    if (value === undefined || message === undefined || expected === undefined) return false
    const key = testKey(profile, value.length)
    const handles = createSessionKey(token, key, profile, value, secrets)
    // This token takes no session keys of this kind: the stored keys' own known answers have to do.
    if (handles === undefined) continue
    try {
      const hsm = new Pkcs11Hsm(token.lib, pool, new Map([[key, { handles, signs: true }]]))
      const output = await hsm.generateMac(key, profile.algorithm, message)
      if (!equalConstantTime(output.subarray(0, profile.outputBytes), expected)) return false
    } catch {
      // It takes the key and cannot compute with it.
      return false
    } finally {
      for (const handle of handles.values()) token.lib.C_DestroyObject(token.anchor.handle, handle)
    }
  }
  return true
}

function testKey(profile: Profile, bytes: number): KeyEntry {
  const cipher = profile.algorithm === 'AES-CMAC' ? 'AES' : 'TDEA'
  return {
    id: 'known-answer',
    version: 1,
    state: 'active',
    purpose: profile.kind,
    algorithm: `${cipher}-${bytes * 8}` as KeyEntry['algorithm'],
    kcv: '',
    origin: 'imported',
  }
}

function createSessionKey(
  token: Token,
  key: KeyEntry,
  profile: Profile,
  value: Buffer,
  secrets: SecretScope,
): Map<ObjectRole, Handle> | undefined {
  const handles = new Map<ObjectRole, Handle>()
  const retail = profile.algorithm === 'ISO-9797-1-ALG-3' ? retailMacKeyObjects(value, secrets) : undefined
  const parts: [ObjectRole, Buffer][] = retail
    ? [
        ['retail-mac', retail.mac],
        ['retail-cbc', retail.cbc],
      ]
    : [['secret', value]]
  try {
    for (const [role, bytes] of parts) {
      const handle = token.lib.C_CreateObject(token.anchor.handle, [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: keyType(key, role) },
        { type: pkcs11.CKA_VALUE, value: bytes },
        { type: retail ? pkcs11.CKA_ENCRYPT : pkcs11.CKA_SIGN, value: true },
      ])
      handles.set(role, handle)
    }
    return handles
  } catch {
    for (const handle of handles.values()) token.lib.C_DestroyObject(token.anchor.handle, handle)
    return undefined
  }
}
