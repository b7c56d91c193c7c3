/** What `doctor` and the process that looks at one token for it say to each other. */
import type { Config, KeyEntry, TokenConfig } from '../../config/schema.ts'
import type { Finding } from './finding.ts'

/** What the process is told, once. */
export interface Examination {
  readonly token: TokenConfig
  readonly environment: Config['environment']
  readonly keys: readonly KeyEntry[]
  /** Keys whose entries are wrong, so that only their objects are known. */
  readonly otherKeys: readonly Pick<KeyEntry, 'id' | 'version'>[]
  readonly profiles: Config['profiles']
  /** Nobody logs in: only what the token shows to everybody is looked at. */
  readonly withoutLogin: boolean
  readonly nowMs: number
}

/** What it says: what it begins to do, what it found, that the token refused the PIN of a file in this state, that it has ended. */
export type Report =
  | { readonly type: 'step'; readonly step: string }
  | { readonly type: 'finding'; readonly finding: Finding }
  | { readonly type: 'refused'; readonly pinIdentity: string }
  | { readonly type: 'done' }
