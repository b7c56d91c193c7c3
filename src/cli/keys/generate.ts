/** What `keys generate` does: makes a key inside a token and writes it into the configuration. */
import { loadConfig } from '../../config/config.ts'
import { addKeyEntry, expectEditable, inOrder, keyEntryText } from '../../config/edit.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { withToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { certifiedOf, type Certified, type CertifiedOptions } from './certified.ts'
import { generateKey } from './generate-key.ts'
import type { KeyOptions } from './key-options.ts'
import { fullName } from './named-key.ts'
import { plannedKeyOf, type PlannedKey } from './planned-key.ts'

/** What `keys generate` is told besides. */
export interface GenerateOptions extends KeyOptions, CertifiedOptions {
  readonly config: string
  readonly token?: string
  readonly printEntry?: boolean
  readonly json?: boolean
}

/** Generates the key, and prints it. */
export async function generateCommand(options: GenerateOptions): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const planned = plannedKeyOf(options, config, 'generated')
  const certified = certifiedOf(planned, options)
  const entry = await generateInto(config, planned, options, certified)
  if (options.json) process.stdout.write(`${JSON.stringify(entry)}\n`)
  else if (options.printEntry) process.stdout.write(`${keyEntryText(entry)}\n`)
  else process.stdout.write(`${fullName(entry)} ${entry.purpose} ${entry.algorithm} KCV ${entry.kcv} ${entry.state}\n`)
  for (const note of [...notesOn(config, entry, options), ...(certified?.notes() ?? [])])
    process.stderr.write(`${note}\n`)
}

/**
 * Generates a key in the token that is named, and writes its entry unless it is to be printed.
 *
 * @param certified - what the key signs while it is made.
 */
export async function generateInto(
  config: Config,
  planned: PlannedKey,
  { config: path, token, printEntry = false }: Pick<GenerateOptions, 'config' | 'token' | 'printEntry'>,
  certified?: Certified,
): Promise<KeyEntry> {
  if (!printEntry) expectEditable(path)
  return await withToken(config, token, async (opened) => {
    const keep = (entry: KeyEntry): void => {
      const takeBack = certified?.write()
      try {
        if (!printEntry) addKeyEntry(path, entry)
      } catch (error) {
        takeBack?.()
        throw error
      }
    }
    const makePair = certified && ((key: KeyEntry) => certified.makePair(opened, key))
    const made = await withProgress(`generating ${planned.id} in the token`, () =>
      generateKey(opened, planned, profilesOf(config), keep, makePair, certified?.origin),
    )
    return inOrder(made)
  })
}

function notesOn({ hsm: { tokens } }: Config, entry: KeyEntry, { printEntry }: GenerateOptions): string[] {
  const name = fullName(entry)
  return [
    ...(printEntry ? [`The configuration was not written: put this entry into its keys.`] : []),
    ...(tokens.length > 1
      ? [
          `The configuration has ${tokens.length} tokens, and ${name} is in one of them. Have the HSM copy it to the others before ` +
            'the service is to use it: "pinbridge keys list" shows where it is.',
        ]
      : []),
    ...(entry.origin === 'imported'
      ? [`The token keeps no mark of where a copied key was made, so that the entry says "origin: imported".`]
      : []),
    ...(entry.exportable ? [`${name} may leave the token in a key block, until another version takes its place.`] : []),
    ...(entry.state === 'pending'
      ? [`${name} is pending: "pinbridge rotate ${entry.id}" makes it the active one.`]
      : []),
  ]
}
