/** What `doctor` says of a token's key objects by their names: those with another key's label, and those that nobody knows. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import type { KeyObjectName } from '../../hsm/pkcs11/list-key-objects.ts'
import { objectLabel } from '../../hsm/pkcs11/templates.ts'
import { finding, type Finding } from './finding.ts'

const MOST_STRANGERS = 10

/** Whether a CKA_ID is of one of the objects of this version of a key: `id.vN`, or `id.part.vN` for a further object. */
export function isOf(key: Pick<KeyEntry, 'id' | 'version'>, ckaId: string): boolean {
  const end = `.v${key.version}`
  if (!ckaId.startsWith(key.id) || !ckaId.endsWith(end) || ckaId.length < key.id.length + end.length) return false
  return /^(?:\.[a-z0-9-]+)?$/.test(ckaId.slice(key.id.length, -end.length))
}

/** Objects that carry the label of this key and another CKA_ID: whoever chooses by label takes one for the other. */
export function twinFindings(
  key: KeyEntry,
  objects: readonly KeyObjectName[],
  environment: Config['environment'],
): Finding[] {
  const labels = (['secret', 'retail-cbc'] as const).map((role) => objectLabel(key, role, environment))
  const twins = objects.filter(({ label, id }) => labels.includes(label) && !isOf(key, id))
  if (twins.length === 0) return []
  const ids = twins.map(({ kind, id }) => `${kind} key object ${id || 'without a CKA_ID'}`).join(', ')
  const text = `its label stands on ${ids} too`
  const todo =
    'pinbridge goes by the CKA_ID, others may not: find out what the other object is, and destroy or rename it with the HSM’s own tool'
  return [finding('keys', `key ${key.id} v${key.version}`, 'wrong', text, todo)]
}

/** Key objects that are of no key of the configuration. */
export function strangerFindings(
  keys: readonly Pick<KeyEntry, 'id' | 'version'>[],
  objects: readonly KeyObjectName[],
): Finding[] {
  const unknown = objects
    .filter(({ id }) => !keys.some((key) => isOf(key, id)))
    // A token lists them in any order.
    .sort((a, b) => a.id.localeCompare(b.id) || a.label.localeCompare(b.label))
  // Both halves of a pair carry one name.
  const names = Map.groupBy(unknown, ({ id, label }) => JSON.stringify([id, label]))
  const todo =
    'if it should serve, add it to `keys`; if it was left over, destroy it with the HSM’s own tool; if it is another application’s, leave it'
  const shown = [...names.values()].slice(0, MOST_STRANGERS).map(([first, ...others]) => {
    const { id, label, kind } = first!
    const kinds = [kind, ...others.map((other) => other.kind)].join(' and ')
    const text = `CKA_ID ${id || '(none)'}, CKA_LABEL ${label || '(none)'}: a ${kinds} key that the configuration does not know`
    return finding('keys', 'unknown key', 'note', text, todo)
  })
  const more = names.size - shown.length
  if (more <= 0) return shown
  return [...shown, finding('keys', 'unknown keys', 'note', `${more} more that the configuration does not know`)]
}
