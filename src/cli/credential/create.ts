/** What `credential create` does: makes a credential key in the HSM, and what registers it. */
import { rmSync } from 'node:fs'
import { loadConfig } from '../../config/config.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { ckrOf } from '../../hsm/pkcs11/return-values.ts'
import { publicKeyKcv } from '../../key-block/kcv.ts'
import { expectFree, writeNew } from '../certs/output.ts'
import { CommandError } from '../command-error.ts'
import type { CreateOptions } from '../credential.ts'
import type { Certified } from '../keys/certified.ts'
import { generateInto } from '../keys/generate.ts'
import { fullName, keyNamed } from '../keys/named-key.ts'
import { plannedKeyOf } from '../keys/planned-key.ts'
import type { OpenedToken } from '../open-token.ts'
import { agree, challengeOf } from './challenge.ts'
import { registrationClientData, registrationOf, type Registration, type Sign } from './client-data.ts'
import { credIdOf, give, textOf } from './output.ts'

/** CKR_KEY_NOT_WRAPPABLE and CKR_KEY_SIZE_RANGE with their like: the token wraps, and not such a key. */
const NOT_WRAPPED = new Set<number | undefined>([0x69, 0x6a, 0x68, 0x70, 0x71])

/** Makes the key, writes its entry, and prints what registers it. */
export async function createCommand(options: CreateOptions): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const wrapper = options.wrapKey === undefined ? undefined : wrapperOf(config, options.wrapKey, options)
  const { id, algorithm, expires, out } = options
  const planned = plannedKeyOf(
    { id, algorithm, purpose: 'credential-sign', ...(expires !== undefined && { expires }) },
    config,
    wrapper === undefined ? 'generated' : 'imported',
  )
  const challenge = challengeOf('key.create', options)
  const clientData = registrationClientData(challenge)
  expectFree(out)
  const kind = options.recovery ? 'RecoveryKey' : 'Key'
  await agree(
    `A new key ${fullName(planned)} of ${algorithm} is to sign its registration as a ${kind} credential:`,
    clientData,
    challenge,
    options,
  )

  let made: { publicKey: PublicKey; registration: Registration } | undefined
  const register = async (publicKey: PublicKey, sign: Sign, wrapped?: Buffer): Promise<void> => {
    const registration = await registrationOf(kind, credIdOf(publicKey, options), clientData, publicKey, sign)
    const encryptedPrivateKey = wrapped?.toString('base64')
    made = { publicKey, registration: { ...registration, ...(encryptedPrivateKey && { encryptedPrivateKey }) } }
  }
  const credential: Certified = {
    ...(wrapper && { origin: 'imported' }),
    makePair: (opened, key) =>
      wrapper === undefined ? generate(opened, key, register) : generateWrapped(opened, key, wrapper, register),
    write: () => {
      if (out === undefined) return () => undefined
      writeNew(out, textOf(made!.registration))
      return () => rmSync(out, { force: true })
    },
    notes: () => [],
  }
  const entry = await generateInto(config, planned, options, credential)
  give(entry, made!.publicKey, made!.registration, options, true)
  if (config.hsm.tokens.length > 1) {
    process.stderr.write(
      `The configuration has ${config.hsm.tokens.length} tokens, and ${fullName(entry)} is in one of them: have the HSM copy it to the others.\n`,
    )
  }
}

/** The key that wraps: one whose value somebody else has too. */
function wrapperOf(config: Config, name: string, { recovery }: CreateOptions): KeyEntry {
  if (!recovery)
    throw new CommandError(EX_USAGE, '--wrap-key is for --recovery: the key of any other credential never leaves')
  const key = keyNamed(config, name)
  if (key.purpose !== 'credential-wrap') {
    throw new CommandError(
      EX_NOPERM,
      `${fullName(key)} is a ${key.purpose} key: a credential leaves under a credential-wrap key`,
    )
  }
  if (key.state === 'active') return key
  throw new CommandError(EX_NOPERM, `${fullName(key)} is ${key.state}: nothing new leaves under it`)
}

type Register = (publicKey: PublicKey, sign: Sign, wrapped?: Buffer) => Promise<void>

async function generate({ maker }: OpenedToken, key: KeyEntry, register: Register): Promise<PublicKey> {
  const publicKey = await maker.generateKeyPair(key)
  const entry = { ...key, kcv: publicKeyKcv(publicKey) }
  const hsm = await maker.find([entry], new KeyCatalogue([entry], []))
  await register(publicKey, (message) => hsm.sign(entry, message))
  return publicKey
}

async function generateWrapped(
  { maker, settings }: OpenedToken,
  key: KeyEntry,
  wrapper: KeyEntry,
  register: Register,
): Promise<PublicKey> {
  const reason = maker.whyUnavailable(wrapper, undefined)
  if (reason !== undefined) {
    throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} cannot serve key ${wrapper.id}: ${reason}`)
  }
  if (!(await maker.proves(wrapper, new KeyCatalogue([wrapper], [])))) {
    throw new CommandError(EX_UNAVAILABLE, `key ${wrapper.id}: it does not wrap as its known answer says`)
  }
  try {
    return await maker.generateRecoverablePair(key, wrapper, register)
  } catch (error) {
    if (!NOT_WRAPPED.has(ckrOf(error))) throw error
    throw new CommandError(
      EX_UNAVAILABLE,
      `token ${settings.name} wraps no private key of ${key.algorithm}: take another --algorithm, or leave --wrap-key out`,
    )
  }
}
