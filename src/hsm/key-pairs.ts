/** Which keys are pairs: their KCV is that of the public half, and their known answer is made with it on the spot. */
import type { KeyEntry } from '../config/schema.ts'

/** Whether a key is a pair. */
export function isKeyPair(key: Pick<KeyEntry, 'purpose'>): boolean {
  return isJweKey(key) || isSigningKey(key)
}

/** Whether JWEs are encrypted to a key: with PINs, or with other data. */
export function isJweKey({ purpose }: Pick<KeyEntry, 'purpose'>): boolean {
  return purpose === 'jwe-decrypt' || purpose === 'jwe-open'
}

/** Whether a key makes signatures, and nothing else. */
export function isSigningKey({ purpose }: Pick<KeyEntry, 'purpose'>): boolean {
  return (
    purpose === 'assertion-sign' ||
    purpose === 'transcript-sign' ||
    purpose === 'tls-sign' ||
    purpose === 'credential-sign'
  )
}

/** Whether a key wraps keys, and does nothing else. */
export function isWrappingKey({ purpose }: Pick<KeyEntry, 'purpose'>): boolean {
  return purpose === 'credential-wrap'
}
