/** What `doctor` says of each key of the configuration, and of keys in the token that it does not know. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import { listKeyObjects, type KeyObjectName } from '../../hsm/pkcs11/list-key-objects.ts'
import type { KeyProblem, OpenHsm } from '../../hsm/pkcs11/open-hsm.ts'
import { finding, type Finding } from './finding.ts'
import { adviceFor } from './key-advice.ts'
import { ageText, agoText, expiryFindings } from './key-dates.ts'
import { isOf, strangerFindings, twinFindings } from './key-objects.ts'

/** What is known of the keys once the token is open. */
export interface KeyEvidence {
  readonly open: Pick<OpenHsm, 'keys' | 'unavailable' | 'token'>
  readonly problems: readonly KeyProblem[]
  readonly keys: readonly KeyEntry[]
  readonly otherKeys: readonly Pick<KeyEntry, 'id' | 'version'>[]
  readonly environment: Config['environment']
  readonly nowMs: number
}

/** All of it. */
export function keyFindings(evidence: KeyEvidence): Finding[] {
  const { keys, otherKeys, open, nowMs, environment } = evidence
  const objects = listKeyObjects(open.token)
  return [
    ...emptinessFindings(evidence),
    ...keys.flatMap((key) => [
      ...ownFindings(evidence, key, objects),
      ...twinFindings(key, objects, environment),
      ...(key.state === 'retired' ? [] : expiryFindings(key, nowMs)),
    ]),
    ...rotationFindings(keys, nowMs),
    ...strangerFindings([...keys, ...otherKeys], objects),
  ]
}

/** How a key's problem is worded where no object of it is in the token. */
const IS_MISSING = /: 0 objects carry its CKA_ID/

function emptinessFindings({ keys, problems }: KeyEvidence): Finding[] {
  const expected = keys.filter(({ state }) => state !== 'retired')
  const missing = new Set(problems.filter(({ sentence }) => IS_MISSING.test(sentence)).map(({ key }) => key))
  if (expected.length === 0 || missing.size < expected.length) return []
  const text = `the token holds none of the ${expected.length} keys of the configuration`
  const todo =
    'see that it is the right token, and that nobody initialised it anew; then restore the HSM’s backup, or make and import the keys (`pinbridge keys --help`)'
  return [finding('keys', 'all keys', 'wrong', text, todo)]
}

function ownFindings(
  { open, problems, nowMs }: KeyEvidence,
  key: KeyEntry,
  objects: readonly KeyObjectName[],
): readonly Finding[] {
  const { purpose, algorithm, state, kcv } = key
  const subject = `key ${key.id} v${key.version}`
  const text = `${purpose}, ${algorithm}, KCV ${kcv.toUpperCase()}, ${state}`
  const own = problems.filter((problem) => problem.key === key)
  if (own.length > 0) {
    return problemsOf(own).map(({ sentence }) => {
      const problem = sentence.replace(`key ${key.id}: `, '')
      return finding('keys', subject, 'wrong', `${text}: ${plain(problem, key)}`, adviceFor(problem, key))
    })
  }
  const reason = open.unavailable.get(key)?.reason
  if (reason !== undefined) {
    const todo = 'use a token that can do it, or leave the key out of this configuration'
    return [finding('keys', subject, 'wrong', `${text}: unavailable, ${reason}`, todo)]
  }
  if (open.keys.includes(key)) {
    const right = `${text}: found once, attributes and known answer right${ageText(key, nowMs)}`
    if (!key.exportable) return [finding('keys', subject, 'ok', right)]
    const todo = `once the other party has it, end that: \`pinbridge keys export ${key.id}@${key.version} --final\` with its last export`
    return [finding('keys', subject, 'note', `${right}; exportable: its value may leave the token, wrapped`, todo)]
  }
  const isLeft = objects.some(({ id }) => isOf(key, id))
  const todo = isLeft
    ? `destroy it when nothing needs it any more: \`pinbridge keys destroy ${key.id}@${key.version}\``
    : undefined
  const left = isLeft ? 'its objects are still in the token' : 'not in the token any more'
  return [finding('keys', subject, 'note', `${text}: not in use, ${left}`, todo)]
}

/** Where the private half of a pair is missing, nothing more is said of its public one. */
function problemsOf(problems: readonly KeyProblem[]): readonly KeyProblem[] {
  const isMissing = problems.some(({ sentence }) => IS_MISSING.test(sentence))
  return isMissing ? problems.filter(({ sentence }) => !sentence.includes('public key object')) : problems
}

/** What the log says in the words of PKCS#11, for whoever looks after the keys. */
function plain(problem: string, { id, version }: KeyEntry): string {
  const [, name = id, count] = /^(?:key (\S+): )?(\d+) objects carry its CKA_ID/.exec(problem) ?? []
  if (count === undefined) return problem
  const ckaId = `${name}.v${version}`
  if (count === '0') return `it is not in the token (no key has the CKA_ID ${ckaId})`
  return `it is in the token ${count} times (CKA_ID ${ckaId}), and nobody can tell which is meant`
}

function rotationFindings(keys: readonly KeyEntry[], nowMs: number): Finding[] {
  return [...Map.groupBy(keys, ({ id }) => id)].flatMap(([id, versions]) => {
    const pending = versions.filter(({ state }) => state === 'pending')
    const retiring = versions.filter(({ state }) => state === 'retiring')
    if (pending.length + retiring.length === 0) return []
    const said = [...pending, ...retiring].map(({ version, state }) => `v${version} is ${state}`).join(', ')
    const newest = versions.toSorted((a, b) => b.version - a.version)[0]!
    const since =
      newest.created === undefined
        ? ''
        : `; v${newest.version} was made on ${newest.created} (${agoText(newest.created, nowMs)})`
    const todo = `finish it: \`pinbridge rotate ${id} --status\` says where it stands and what comes next`
    return [finding('keys', `rotation of ${id}`, 'note', `not finished: ${said}${since}`, todo)]
  })
}
