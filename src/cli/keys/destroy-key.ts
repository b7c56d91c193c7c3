/** What `keys destroy` does: removes every object of a key from every token, and its entry from the configuration. */
import { loadConfig } from '../../config/config.ts'
import { changeKeyEntry, expectEditable, removeKeyEntry } from '../../config/edit.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { destroyHandles, isOwnLabel, ownHandlesOf } from '../../hsm/pkcs11/key-objects.ts'
import { listKeyObjects } from '../../hsm/pkcs11/list-key-objects.ts'
import { nameOf } from '../../hsm/pkcs11/return-values.ts'
import { CommandError } from '../command-error.ts'
import { isOf } from '../doctor/key-objects.ts'
import { withToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { openTerminal } from '../terminal/terminal.ts'
import { fullName, keyNamed, parseKeyName } from './named-key.ts'
import { saidOf, untilTakenOver } from './running-service.ts'

/** What `keys destroy` is told. */
export interface DestroyOptions {
  readonly config: string
  readonly managementPort?: number
  readonly json?: boolean
}

/** How many objects a token held, and holds no more. */
interface Destroyed {
  readonly token: string
  readonly objects: number
}

/** Destroys the key after its name was typed again. */
export async function destroyKeyCommand(name: string, options: DestroyOptions): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const { id, version } = parseKeyName(name)
  if (version === undefined) throw new CommandError(EX_USAGE, 'say which version is to be destroyed, as ID@VERSION')
  const isKnown = config.keys.some((key) => key.id === id && key.version === version)
  if (!isKnown) {
    await destroyUnknown(config, { id, version }, options)
    return
  }
  const key = keyNamed(config, name)
  if (key.state !== 'retired' && key.state !== 'pending') {
    throw new CommandError(
      EX_NOPERM,
      `${fullName(key)} is ${key.state}, and only a retired or a pending key is destroyed: "pinbridge rotate ${id}" or ` +
        `"pinbridge keys retire ${fullName(key)}" takes it out of use`,
    )
  }
  expectEditable(options.config)
  await expectNotRunningWithIt(options)
  await confirm(key, `${key.purpose}, KCV ${key.kcv.toUpperCase()}`)
  // A service that runs looks for pending keys, and must have let go of this one before it is gone.
  if (key.state === 'pending') {
    changeKeyEntry(options.config, key, { state: 'retired' })
    const answer = await untilTakenOver(options.config, options.managementPort)
    if (answer === 'refused' || answer === 'no') {
      throw new CommandError(EX_NOPERM, `${saidOf(answer)} ${fullName(key)} is retired, and nothing was destroyed.`)
    }
  }
  const destroyed = await destroyEverywhere(config, key)
  removeKeyEntry(options.config, { id, version, state: 'retired' })
  print({ id, version, kcv: key.kcv.toUpperCase() }, destroyed, options)
}

async function expectNotRunningWithIt({ config, managementPort }: DestroyOptions): Promise<void> {
  const answer = await untilTakenOver(config, managementPort)
  if (answer === 'yes') return
  if (answer === 'not-running') {
    process.stderr.write(
      'No service answers at the management address of this configuration. If one uses this token, make sure that it runs by this configuration.\n',
    )
    return
  }
  throw new CommandError(EX_NOPERM, `${saidOf(answer)} It may still use the key, so that nothing was destroyed.`)
}

/** Objects of ours that no configuration knows, as a command that was killed may leave them. */
async function destroyUnknown(
  config: Config,
  named: Pick<KeyEntry, 'id' | 'version'>,
  options: DestroyOptions,
): Promise<void> {
  // A service that has refused the configuration goes on with an earlier one, which may name the key.
  await expectNotRunningWithIt(options)
  const found: string[] = []
  for (const { name } of config.hsm.tokens) {
    await withToken(config, name, ({ token }) => {
      const own = listKeyObjects(token).filter(({ id, label }) => isOf(named, id) && isOwnLabel(label))
      found.push(...own.map(({ label }) => `${label} in ${name}`))
      return Promise.resolve()
    })
  }
  if (found.length === 0) {
    throw new CommandError(EX_USAGE, `neither the configuration nor a token has a key ${fullName(named)}`)
  }
  await confirm(named, `${found.join(', ')}; this configuration does not know it, and another one may`)
  print(named, await destroyEverywhere(config, named as KeyEntry), options)
}

async function confirm(key: Pick<KeyEntry, 'id' | 'version'>, what: string): Promise<void> {
  const terminal = openTerminal()
  try {
    await terminal.confirmByTyping(
      `${fullName(key)} (${what}) is to be destroyed. Nothing brings it back, unless there is a backup of the token.`,
      fullName(key),
    )
  } finally {
    terminal.close()
  }
}

async function destroyEverywhere(config: Config, key: KeyEntry): Promise<Destroyed[]> {
  const destroyed: Destroyed[] = []
  for (const { name } of config.hsm.tokens) {
    const { objects, problem } = await destroyIn(config, name, key)
    if (problem !== undefined) {
      const done = destroyed.map((each) => each.token).join(', ') || 'no other token'
      throw new CommandError(
        EX_UNAVAILABLE,
        `token ${name} has not destroyed ${fullName(key)} (${problem}); it is gone from ${done}. ` +
          'Its entry stays in the configuration as retired: try again once the token can be written.',
      )
    }
    destroyed.push({ token: name, objects })
  }
  return destroyed
}

/**
 * Destroys the objects of a key in one token, which is asked again afterwards: one that keeps an object has not destroyed it.
 *
 * @returns how many there were, and why they are not gone, if so.
 */
export async function destroyIn(
  config: Config,
  name: string | undefined,
  key: KeyEntry,
): Promise<{ readonly objects: number; readonly problem?: string }> {
  return await withProgress(`destroying ${fullName(key)}`, () =>
    withToken(config, name, ({ token }) => {
      const handles = ownHandlesOf(token, key)
      let problem = 'objects of it are still there'
      try {
        destroyHandles(token, handles)
      } catch (error) {
        problem = nameOf(error)
      }
      const isGone = ownHandlesOf(token, key).length === 0
      return Promise.resolve({ objects: handles.length, ...(!isGone && { problem }) })
    }),
  )
}

function print(
  key: Pick<KeyEntry, 'id' | 'version'> & { readonly kcv?: string },
  destroyed: readonly Destroyed[],
  { json }: DestroyOptions,
): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ ...key, destroyed })}\n`)
    return
  }
  const where = destroyed.map(({ token, objects }) => `${objects} ${objects === 1 ? 'object' : 'objects'} in ${token}`)
  const kcv = key.kcv === undefined ? '' : ` KCV ${key.kcv}`
  process.stdout.write(`${fullName(key)}${kcv} is destroyed: ${where.join(', ')}\n`)
}
