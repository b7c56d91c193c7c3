/** Audit trails in folders of their own, sealed by a software key whose MACs are an oracle's. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { sealDigest, type NewRecord, type SealMembers } from '../../../src/audit/record.ts'
import { sealMessage } from '../../../src/audit/seal-message.ts'
import { createAuditTrail, type TrailSettings } from '../../../src/audit/trail.ts'
import { verifyFiles, type Anchors, type Verdict } from '../../../src/audit/verify.ts'
import { agreed } from '../../support/oracles.ts'

const SEAL_KEY = '000102030405060708090A0B0C0D0E0F'
export const KEY = { id: 'audit-mac', version: 1, kcv: '0011223344' }

const macOf = (digest: string, sealedAtMs: number): string =>
  agreed((oracle) => oracle.cmac('AES', SEAL_KEY, sealMessage(digest, sealedAtMs).toString('hex'))).toUpperCase()

/** Makes the seal of a digest, as a vault does. */
export async function makeSeal(digest: string): Promise<Pick<SealMembers, 'mac' | 'sealedAtMs' | 'key'>> {
  const sealedAtMs = Date.now()
  return { mac: macOf(digest, sealedAtMs), sealedAtMs, key: KEY }
}

const isSealRight = async (seal: SealMembers): Promise<boolean | undefined> =>
  seal.key.id === KEY.id ? macOf(sealDigest(seal), seal.sealedAtMs) === seal.mac : undefined

/** A trail that seals when it is closed, unless told otherwise; it has begun. */
export async function openTrail(directory: string, settings: Partial<TrailSettings> = {}, seal = makeSeal) {
  mkdirSync(directory, { recursive: true })
  const events: string[] = []
  const trail = createAuditTrail(
    {
      directory,
      rotateBytes: 1_000_000,
      whenUnwritable: 'refuse',
      sealEveryMs: 3_600_000,
      sealEveryRecords: 1_000_000,
      ...settings,
    },
    seal,
    {
      onUnwritable: (code) => events.push(code),
      onWritable: () => events.push('writable'),
      onSeal: ({ seq }) => events.push(`sealed ${seq}`),
    },
  )
  await trail.start()
  return { ...trail, events }
}

/** The intent and the outcome of the n-th request. */
export function request(n: number): [NewRecord, NewRecord] {
  const members = {
    requestId: `request-${n}`,
    correlationId: `correlation-${n}`,
    client: n % 2 === 0 ? 'even' : 'odd',
    operation: 'pin-blocks/translate',
    keys: [{ id: 'zpk-in', version: 1, kcv: 'A1B2C3' }],
    translation: { from: 'ISO-0', to: 'ISO-3' },
    card: String(n).padStart(32, '0'),
  }
  return [
    { kind: 'intent', ...members },
    { kind: 'outcome', ...members, code: 'OK', vaults: [{ token: 'hsm-a', vault: 1 }] },
  ]
}

/** A finished trail of so many requests. */
export async function writeTrail(directory: string, requests: number, settings: Partial<TrailSettings> = {}) {
  const trail = await openTrail(directory, settings)
  for (let n = 0; n < requests; n++) for (const record of request(n)) await trail.append(record)
  await trail.close(5000)
  return filesIn(directory)
}

/** The files of a directory, in their order. */
export function filesIn(directory: string): string[] {
  return readdirSync(directory)
    .sort()
    .map((name) => join(directory, name))
}

/** Their lines. */
export function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1)
}

/** A copy of a file under its name in another directory, with other lines. */
export function withLines(path: string, directory: string, lines: readonly string[]): string {
  mkdirSync(directory, { recursive: true })
  const copy = join(directory, basename(path))
  writeFileSync(copy, lines.map((line) => `${line}\n`).join(''))
  return copy
}

/** Verifies files under the software key. */
export function verify(paths: readonly string[], anchors?: Anchors): Promise<Verdict> {
  return verifyFiles(paths, isSealRight, anchors)
}
