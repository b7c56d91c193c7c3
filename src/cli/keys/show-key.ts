/** What `keys show` does: prints what the configuration says of a key, and what the token says of its objects. */
import { loadConfig } from '../../config/config.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_UNAVAILABLE } from '../../exit-codes.ts'
import { HsmStartError } from '../../hsm/hsm.ts'
import { KeyCatalogue, kidOf } from '../../hsm/key-catalogue.ts'
import { isKeyPair } from '../../hsm/key-pairs.ts'
import { readPublicKey } from '../../hsm/pkcs11/find-key.ts'
import { readKeyObjects, type ReadObject } from '../../hsm/pkcs11/read-key-objects.ts'
import { jwkThumbprint } from '../../key-block/kcv.ts'
import { withToken, type OpenedToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { fullName, keyNamed } from './named-key.ts'

/** A key in one token. */
interface InToken {
  readonly token: string
  readonly objects: readonly ReadObject[]
  readonly thumbprint?: string
  readonly kid?: string
  /** What is wrong with it; empty if it is as the configuration says. */
  readonly problems: readonly string[]
}

/** Prints the key; the exit code is 69 if a token does not hold it as the configuration says. */
export async function showKeyCommand(
  name: string,
  options: { readonly config: string; readonly token?: string; readonly json?: boolean },
): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const key = keyNamed(config, name)
  const tokens: InToken[] = []
  for (const each of config.hsm.tokens) {
    if (options.token !== undefined && options.token !== each.name) continue
    tokens.push(
      await withProgress(`reading ${fullName(key)} in ${each.name}`, () =>
        withToken(config, each.name, (opened) => lookAt(config, key, opened)),
      ),
    )
  }
  process.stdout.write(options.json ? `${JSON.stringify({ ...key, tokens })}\n` : textOf(key, tokens))
  if (tokens.some(({ problems }) => problems.length > 0)) process.exitCode = EX_UNAVAILABLE
}

async function lookAt(config: Config, key: KeyEntry, { token, maker, settings }: OpenedToken): Promise<InToken> {
  const publicKey = isKeyPair(key) ? readPublicKey(token.lib, token.anchor, key) : undefined
  return {
    token: settings.name,
    objects: readKeyObjects(token, key),
    ...(publicKey && { thumbprint: jwkThumbprint(publicKey), kid: kidOf(key, publicKey) }),
    problems: await problemsOf(config, key, maker),
  }
}

async function problemsOf(config: Config, key: KeyEntry, maker: OpenedToken['maker']): Promise<readonly string[]> {
  // A retired key is not looked for by the service, and is looked at here as it was when it served.
  const served: KeyEntry = { ...key, state: 'active' }
  const catalogue = new KeyCatalogue([served], profilesOf(config))
  const lacking = maker.whyUnavailable(served, catalogue.macFormOf(served))
  if (lacking !== undefined) return [`this token cannot serve it: ${lacking}`]
  try {
    return (await maker.proves(served, catalogue))
      ? []
      : [`key ${key.id}: it does not compute as its KCV and known answer say`]
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    return error.problems
  }
}

function textOf(key: KeyEntry, tokens: readonly InToken[]): string {
  const { id, version, ...members } = key
  const width = Math.max(...Object.keys(members).map((name) => name.length)) + 2
  const lines = Object.entries(members).map(([name, value]) => `  ${name.padEnd(width)}${String(value)}`)
  return `${[`${id}@${version}`, ...lines, ...tokens.flatMap(tokenLines)].join('\n')}\n`
}

function tokenLines({ token, objects, thumbprint, kid, problems }: InToken): string[] {
  return [
    '',
    `in token ${token}: ${objects.length === 0 ? 'missing' : objects.length === 1 ? '1 object' : `${objects.length} objects`}`,
    ...(thumbprint === undefined ? [] : [`  kid         ${kid}`, `  thumbprint  ${thumbprint}`]),
    ...objects.flatMap(({ kind, label, flags }) => [
      `  ${kind} key "${label}"`,
      `    true:  ${namesOf(flags, true)}`,
      `    false: ${namesOf(flags, false)}`,
    ]),
    ...(problems.length === 0
      ? ['  right: attributes, KCV and known answer are as the configuration says']
      : problems.map((problem) => `  WRONG: ${problem}`)),
  ]
}

function namesOf(flags: Readonly<Record<string, boolean>>, value: boolean): string {
  const names = Object.keys(flags).filter((name) => flags[name] === value)
  return names.length === 0 ? 'none' : names.join(' ')
}
