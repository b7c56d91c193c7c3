/** A further node of the same HSM: it takes over the keys and the rules of the first one, and makes no key. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileProblem } from '../../config/files.ts'
import type { Config } from '../../config/schema.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import { parseYaml } from '../../config/yaml.ts'
import { EX_DATAERR, EX_UNAVAILABLE } from '../../exit-codes.ts'
import { isUsable, KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { CommandError } from '../command-error.ts'
import type { OpenedToken } from '../open-token.ts'
import type { Questions } from './questions.ts'

/** What nodes of one installation have in common; each has its own HSM address, certificate, listeners and audit record. */
const SHARED = ['acceptDefaultProfiles', 'keys', 'profiles', 'd1', 'weakPins', 'authentication', 'clients', 'limits']

/** The members of the other node's configuration that are taken over, as they stand there. */
export type SharedMembers = Readonly<Record<string, unknown>>

/** Asks for the configuration of another node; undefined for the first one. */
export async function askOtherNode(questions: Questions): Promise<SharedMembers | undefined> {
  const answer = await questions.ask({
    name: 'keysOf',
    text: "Configuration file of a node that uses this token's keys already (this is the first: press Enter)",
    help: `Nodes that work together use the same keys. For the first one they are generated; a further one takes over its keys, callers
and limits from a copy of its pinbridge.yaml.`,
    fallback: '',
    problemOf: (answer) => {
      const problem = answer === '' ? undefined : fileProblem(resolve(answer))
      return problem === undefined ? undefined : `this file ${problem}`
    },
  })
  if (answer === '') return undefined
  const { data, problems } = parseYaml(readFileSync(resolve(answer), 'utf8'))
  if (problems.length > 0 || typeof data !== 'object' || data === null || !('keys' in data)) {
    throw new CommandError(EX_DATAERR, `keysOf: ${resolve(answer)} is not a configuration of pinbridge`)
  }
  return Object.fromEntries(Object.entries(data).filter(([name]) => SHARED.includes(name)))
}

/**
 * Holds the keys of a configuration against the token.
 *
 * @throws HsmStartError or CommandError (69) that names each key that is not there, or is another.
 */
export async function expectSameKeys({ maker }: OpenedToken, config: Config): Promise<void> {
  const keys = config.keys.filter(isUsable)
  const catalogue = new KeyCatalogue(keys, profilesOf(config))
  const strangers: string[] = []
  for (const key of keys) {
    if (!(await maker.proves(key, catalogue))) strangers.push(`${key.id} version ${key.version}`)
  }
  if (strangers.length === 0) return
  throw new CommandError(EX_UNAVAILABLE, `the token holds other keys than that node's: ${strangers.join(', ')}`)
}
