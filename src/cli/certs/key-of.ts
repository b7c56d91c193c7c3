/** Which key of the catalogue is meant by `ID` or `ID@VERSION`, and what a certificate says it is for. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_NOPERM, EX_USAGE } from '../../exit-codes.ts'
import { isJweKey, isKeyPair, isSigningKey } from '../../hsm/key-pairs.ts'
import { CommandError } from '../command-error.ts'
import { printable } from './printable.ts'
import type { Usage } from './x509.ts'

/**
 * The key pair that is named; without a version the active one, or the only one that is not retired.
 *
 * @throws CommandError that says why it is none.
 */
export function keyPairOf(config: Config, name: string): KeyEntry {
  const [, id = '', version] = /^([^@]*)(?:@([1-9][0-9]{0,3}))?$/.exec(name) ?? []
  const versions = config.keys.filter((key) => key.id === id)
  if (versions.length === 0) throw new CommandError(EX_USAGE, `the configuration has no key ${printable(name)}`)
  const living = versions.filter(({ state }) => state !== 'retired')
  const meant =
    version === undefined
      ? (living.find(({ state }) => state === 'active') ?? (living.length === 1 ? living[0] : undefined))
      : versions.find((key) => key.version === Number(version))
  if (meant === undefined) {
    const there = versions.map((key) => `${id}@${key.version} (${key.state})`).join(', ')
    throw new CommandError(EX_USAGE, `say which version is meant, as ID@VERSION: there is ${there}`)
  }
  if (!isKeyPair(meant)) {
    throw new CommandError(EX_NOPERM, `key ${id} is one secret value and no key pair: it has no certificate`)
  }
  if (meant.state === 'retired') throw new CommandError(EX_NOPERM, `key ${id}@${meant.version} is retired`)
  return meant
}

/** The key that is named, if it signs. */
export function signingKeyOf(config: Config, name: string): KeyEntry {
  const key = keyPairOf(config, name)
  if (key.purpose === 'credential-sign') {
    throw new CommandError(EX_NOPERM, `key ${key.id} signs challenges of IBM Digital Asset Haven and nothing else`)
  }
  if (isSigningKey(key)) return key
  throw new CommandError(
    EX_NOPERM,
    `key ${key.id} deciphers, and so it signs nothing, not even for itself: one key, one purpose.\n` +
      'A new key can prove that it is held while it is made: pinbridge keys generate … --csr FILE --subject NAME.\n' +
      'For this one, a key that signs can issue a certificate: pinbridge certs issue-for.',
  )
}

/** What a certificate says of a key (RFC 5280 section 4.2.1.3): what its one use is called there. */
export function usageOf({ purpose, algorithm }: KeyEntry, tls: Usage['tls']): Usage {
  if (isJweKey({ purpose })) {
    return { keyUsage: algorithm === 'EC-P256' ? 'keyAgreement' : 'keyEncipherment' }
  }
  return { keyUsage: 'digitalSignature', ...(purpose === 'tls-sign' && tls && { tls }) }
}
