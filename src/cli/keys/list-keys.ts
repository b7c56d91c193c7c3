/** What `keys list` does: sets the configuration's keys beside the objects that each token holds. */
import { loadConfig } from '../../config/config.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { isKeyPair } from '../../hsm/key-pairs.ts'
import { isOwnLabel } from '../../hsm/pkcs11/key-objects.ts'
import { listKeyObjects, type KeyObjectName } from '../../hsm/pkcs11/list-key-objects.ts'
import { isOf } from '../doctor/key-objects.ts'
import { withToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { columnsOf } from './columns.ts'

/** What is where, as `--json` prints it. */
interface Inventory {
  readonly keys: readonly (KeyEntry & { readonly tokens: Readonly<Record<string, Presence>> })[]
  readonly unknown: readonly (KeyObjectName & { readonly token: string })[]
  readonly sameLabel: readonly { readonly token: string; readonly label: string; readonly objects: number }[]
}

/** Whether a token holds a key: once is right. */
type Presence = 'yes' | 'missing' | 'no public half' | `${number} objects`

/** Prints the table, or JSON. */
export async function listKeysCommand(options: {
  readonly config: string
  readonly token?: string
  readonly json?: boolean
}): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const names = options.token === undefined ? config.hsm.tokens.map(({ name }) => name) : [options.token]
  const held = new Map<string, readonly KeyObjectName[]>()
  for (const name of names) {
    held.set(
      name,
      await withProgress(`reading the token ${name}`, () =>
        withToken(config, name, ({ token }) => Promise.resolve(listKeyObjects(token))),
      ),
    )
  }
  const inventory = inventoryOf(config, held)
  process.stdout.write(options.json ? `${JSON.stringify(inventory)}\n` : textOf(inventory, names))
}

function inventoryOf({ keys }: Config, held: ReadonlyMap<string, readonly KeyObjectName[]>): Inventory {
  const tokens = [...held]
  return {
    keys: keys.map((key) => ({
      ...key,
      tokens: Object.fromEntries(tokens.map(([name, objects]) => [name, presenceOf(key, objects)])),
    })),
    unknown: tokens.flatMap(([token, objects]) =>
      objects
        .filter(({ id, label }) => isOwnLabel(label) && !keys.some((key) => isOf(key, id)))
        .map((object) => ({ token, ...object })),
    ),
    sameLabel: tokens.flatMap(([token, objects]) =>
      [...Map.groupBy(objects, ({ kind, label }) => `${kind} ${label}`).values()]
        .filter((same) => same.length > 1 && same[0]!.label !== '')
        .map((same) => ({ token, label: same[0]!.label, objects: same.length })),
    ),
  }
}

function presenceOf(key: KeyEntry, objects: readonly KeyObjectName[]): Presence {
  const count = (kind: KeyObjectName['kind']): number =>
    objects.filter((object) => object.kind === kind && object.id === `${key.id}.v${key.version}`).length
  const found = count(isKeyPair(key) ? 'private' : 'secret')
  if (found === 0) return 'missing'
  if (found > 1) return `${found} objects`
  return isKeyPair(key) && count('public') === 0 ? 'no public half' : 'yes'
}

const HEADINGS = ['KEY', 'STATE', 'PURPOSE', 'USE', 'ALGORITHM', 'KCV', 'CREATED', 'EXPIRES', 'IN THE TOKEN']

function textOf({ keys, unknown, sameLabel }: Inventory, names: readonly string[]): string {
  const rows = keys.map((key) => [
    `${key.id}@${key.version}`,
    key.state,
    key.purpose,
    [key.direction, ...(key.use ?? []), key.exportable && 'exportable'].filter(Boolean).join(' ') || '-',
    key.algorithm,
    key.kcv.toUpperCase(),
    key.created ?? '-',
    key.expires ?? '-',
    names.length === 1 ? key.tokens[names[0]!]! : names.map((name) => `${name}: ${key.tokens[name]!}`).join(', '),
  ])
  const strangers = unknown.map(
    ({ token, kind, label, id }) => `  ${label} (${kind} key, CKA_ID ${id || 'none'}) in ${token}\n`,
  )
  const twins = sameLabel.map(({ token, label, objects }) => `  ${label}: ${objects} objects in ${token}\n`)
  return [
    columnsOf(HEADINGS, rows),
    ...(strangers.length > 0 ? ['\nIn the token, and not in the configuration:\n', ...strangers] : []),
    ...(twins.length > 0
      ? ['\nTwo objects with one label, of which people may take one for the other:\n', ...twins]
      : []),
  ].join('')
}
