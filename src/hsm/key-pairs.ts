/** Which keys are pairs: their KCV is that of the public half, and their known answer is made with it on the spot. */
import type { KeyEntry } from '../config/schema.ts'

/** Whether a key is a pair. */
export function isKeyPair(key: Pick<KeyEntry, 'purpose'>): boolean {
  return key.purpose === 'jwe-decrypt' || isSigningKey(key)
}

/** Whether a key makes signatures, and nothing else. */
export function isSigningKey({ purpose }: Pick<KeyEntry, 'purpose'>): boolean {
  return purpose === 'transcript-sign' || purpose === 'tls-sign'
}
