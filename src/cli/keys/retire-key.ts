/** What `keys retire` does: takes a key out of use, in the configuration. The token keeps it until `keys destroy`. */
import { loadConfig } from '../../config/config.ts'
import { changeKeyEntry, expectEditable } from '../../config/edit.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_NOPERM, EX_UNAVAILABLE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'
import { openTerminal } from '../terminal/terminal.ts'
import { isLastOfItsKind, usesOf } from './key-uses.ts'
import { fullName, keyNamed } from './named-key.ts'
import { saidOf, untilTakenOver } from './running-service.ts'

/** Retires the key after its name was typed again. */
export async function retireKeyCommand(
  name: string,
  options: { readonly config: string; readonly managementPort?: number; readonly json?: boolean },
): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const key = keyNamed(config, name)
  expectUnused(config, key)
  expectEditable(options.config)
  const terminal = openTerminal()
  try {
    await terminal.confirmByTyping(consequencesOf(key), fullName(key))
  } finally {
    terminal.close()
  }
  const { id, version, kcv, state } = key
  changeKeyEntry(options.config, key, { state: 'retired' })
  const answer = await untilTakenOver(options.config, options.managementPort)
  if (answer === 'refused') {
    changeKeyEntry(options.config, { id, version, state: 'retired' }, { state })
    throw new CommandError(
      EX_UNAVAILABLE,
      `${saidOf(answer)} That was taken back: ${fullName(key)} is ${state}, as it was.`,
    )
  }
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ id, version, kcv: kcv.toUpperCase(), state: 'retired' })}\n`
      : `${fullName(key)} KCV ${kcv.toUpperCase()} is retired\n`,
  )
  process.stderr.write(`${saidOf(answer)}\n`)
}

function expectUnused(config: Config, key: KeyEntry): void {
  const name = fullName(key)
  if (key.state === 'retired') throw new CommandError(EX_NOPERM, `${name} is retired already`)
  if (key.state !== 'active') return
  const uses = usesOf(config, key)
  if (isLastOfItsKind(config, key))
    uses.push(`it is the only active ${key.purpose} key${key.alg ? ` of ${key.alg}` : ''}`)
  if (uses.length === 0) return
  throw new CommandError(
    EX_NOPERM,
    `${name} is in use, and is left as it is:\n${uses.map((use) => `  ${use}\n`).join('')}` +
      `To put another version in its place: pinbridge rotate ${key.id}`,
  )
}

function consequencesOf({ id, version, purpose, kcv, state }: KeyEntry): string {
  const lost: Partial<Record<KeyEntry['purpose'], string>> = {
    'jwe-decrypt': 'What D1 encrypts to it will not be opened any more.',
    'zone-pin': 'PIN blocks under it will not be deciphered any more.',
    'seccos-pin': 'PIN blocks under it will not be deciphered any more.',
    prw: 'PRWs that it made will not be verified any more.',
    'pin-mac': 'MACs that it made will not be verified any more.',
    'audit-mac':
      'Seals that it made in the audit record cannot be verified once it is destroyed: keep it as long as the record.',
    'key-transport': 'Key blocks under it will not be read any more.',
    'jwe-open': 'What D1 encrypts to it will not be opened any more.',
    'assertion-sign': 'It will sign no more assertions; have D1 take its public key away.',
    'credential-sign': 'It will sign no more challenges: have the credential deactivated in IBM Digital Asset Haven.',
    'credential-wrap': 'No more recovery credentials will leave under it; keep its components as long as one that did.',
    'transcript-sign': 'It will sign no more transcripts; those that it signed are verified with its public key.',
  }
  return [`${id}@${version} (${purpose}, KCV ${kcv.toUpperCase()}, ${state}) is to be retired.`, lost[purpose] ?? '']
    .filter(Boolean)
    .join(' ')
}
