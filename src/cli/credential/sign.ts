/** What `credential attest` and `credential assert` do: a key that exists signs its registration, or a challenge. */
import { loadConfig } from '../../config/config.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { EX_NOPERM, EX_UNAVAILABLE } from '../../exit-codes.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { readPublicKey } from '../../hsm/pkcs11/find-key.ts'
import { expectFree } from '../certs/output.ts'
import { refusal } from '../certs/refusal.ts'
import { CommandError } from '../command-error.ts'
import type { SignOptions } from '../credential.ts'
import { fullName, keyNamed } from '../keys/named-key.ts'
import { withToken } from '../open-token.ts'
import { agree, challengeOf } from './challenge.ts'
import {
  assertionClientData,
  assertionOf,
  registrationClientData,
  registrationOf,
  type Assertion,
  type Registration,
  type Sign,
} from './client-data.ts'
import { credIdOf, give } from './output.ts'

/** Prints what registers a key that exists. */
export async function attestCommand(name: string, options: SignOptions): Promise<void> {
  const { config, key } = prepare(name, options)
  const challenge = challengeOf('key.create', options)
  const clientData = registrationClientData(challenge)
  const kind = kindOf(options)
  await agree(
    `Key ${fullName(key)} is to sign its registration as a ${kind} credential:`,
    clientData,
    challenge,
    options,
  )
  await signWith(config, key, options, (publicKey, sign) =>
    registrationOf(kind, credIdOf(publicKey, options), clientData, publicKey, sign),
  )
}

/** Prints what a key answers a challenge with. */
export async function assertCommand(name: string, options: SignOptions): Promise<void> {
  const { config, key } = prepare(name, options)
  const challenge = challengeOf('key.get', options)
  const clientData = assertionClientData(challenge)
  const kind = kindOf(options)
  const what = options.recovery ? 'a recovery, which ends every other credential of the user' : 'a login or an action'
  await agree(`Key ${fullName(key)} is to sign ${what}:`, clientData, challenge, options)
  await signWith(config, key, options, (publicKey, sign) =>
    assertionOf(kind, credIdOf(publicKey, options), clientData, publicKey, sign),
  )
}

const kindOf = ({ recovery }: SignOptions) => (recovery ? 'RecoveryKey' : 'Key')

/** What can be wrong with the command line and the configuration, before anybody is asked. */
function prepare(name: string, { config: path, out }: SignOptions): { config: Config; key: KeyEntry } {
  expectFree(out)
  const config = loadConfig(path, {}, 'keys')
  const key = keyNamed(config, name)
  if (key.purpose !== 'credential-sign') {
    throw new CommandError(
      EX_NOPERM,
      `${fullName(key)} is a ${key.purpose} key, and signs no challenge: one key, one purpose`,
    )
  }
  if (key.state === 'retired') throw new CommandError(EX_NOPERM, `${fullName(key)} is retired`)
  return { config, key }
}

async function signWith(
  config: Config,
  key: KeyEntry,
  options: SignOptions,
  make: (publicKey: PublicKey, sign: Sign) => Promise<Registration | Assertion>,
): Promise<void> {
  await withToken(config, options.token ?? config.hsm.tokens[0]!.name, async (opened) => {
    const { token, maker, settings, throwIfInterrupted } = opened
    const reason = maker.whyUnavailable(key, undefined)
    if (reason !== undefined) {
      throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} cannot serve key ${key.id}: ${reason}`)
    }
    const hsm = await maker.find([key], new KeyCatalogue([key], []))
    // `find` has seen that it is there, and that its KCV is the configuration's.
    const publicKey = readPublicKey(token.lib, token.anchor, key)!
    try {
      const made = await make(publicKey, (message) => hsm.sign(key, message))
      throwIfInterrupted()
      give(key, publicKey, made, options)
    } catch (error) {
      throw error instanceof ServiceError ? refusal(error) : error
    }
  })
}
