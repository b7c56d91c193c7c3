/** What to do about each thing that can be wrong with a key in a token. */
import type { KeyEntry } from '../../config/schema.ts'

type Advice = (key: KeyEntry) => string

const another = ({ id }: KeyEntry): string =>
  `make a new version (\`pinbridge rotate ${id}\`) and destroy this one once nothing needs it`

/** In the order of trial; the sentences are those of find-key.ts and open-hsm.ts. */
const ADVICE: readonly (readonly [problem: RegExp, advice: Advice])[] = [
  [
    /^0 objects|: 0 objects/,
    ({ origin }) =>
      origin === 'generated'
        ? 'restore the HSM’s backup; a key that was made in the token is nowhere else. Without a backup, make another (`pinbridge keys generate`) and give its public half or value to the other party'
        : 'restore the HSM’s backup, or import the key again (`pinbridge keys import`, or `pinbridge ceremony` from its components)',
  ],
  [
    /objects carry its CKA_ID/,
    ({ kcv }) => `find out which one has the KCV ${kcv.toUpperCase()}, and destroy the others with the HSM’s own tool`,
  ],
  [
    /is a development key/,
    () => 'make production keys in a production token (`pinbridge keys generate`, `keys import`, `ceremony`)',
  ],
  [
    /CKA_LABEL does not name/,
    () =>
      'it was made for another purpose, id or version: correct `purpose`, `id` and `version` in `keys`, or make a key for this purpose',
  ],
  [/CKA_KEY_TYPE|bits long/, () => 'correct `algorithm` in `keys`, or put the key of that algorithm into the token'],
  [
    /CKA_(?:LOCAL|ALWAYS_SENSITIVE|NEVER_EXTRACTABLE) must/,
    (key) =>
      `it was not made in the token: say \`origin: imported\` if that is known and allowed, else ${another(key)}`,
  ],
  [
    /CKA_EXTRACTABLE must be false/,
    (key) => `its value can leave the token: ${another(key)}; say \`exportable: true\` only if it is meant to`,
  ],
  [/CKA_\w+ must be/, (key) => `attributes of a key are for good: ${another(key)}`],
  [
    /tell a key made in it/,
    () => 'use a token that keeps CKA_LOCAL, or say `origin: imported` and prove the origin otherwise',
  ],
  [/public key object is missing/, (key) => `restore the public half from the HSM’s backup, or ${another(key)}`],
  [
    /known answer|KCV/,
    () =>
      'another value than the recorded one stands under this id. Compare the KCV with the other party’s record: import the right key if the token is wrong, correct `kcv` and `check` if the entry is',
  ],
]

/** What to do about it; undefined for a sentence that is not known here. */
export function adviceFor(problem: string, key: KeyEntry): string | undefined {
  return ADVICE.find(([pattern]) => pattern.test(problem))?.[1](key)
}
