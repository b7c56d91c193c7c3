/**
 * Proves files of the audit record: every line is a record, each is chained to the one before, over the borders of files and the
 * ends of processes, and the seals are those of the HSM.
 *
 * What stands behind the last seal is chained and not yet proven: whoever can write the files could have written it.
 */
import { createHash, type Hash } from 'node:crypto'
import { basename } from 'node:path'
import { firstSeqOf } from './files.ts'
import { readLines } from './lines.ts'
import {
  NO_RECORD,
  parseRecord,
  sha256,
  type AuditRecord,
  type Place,
  type SealMembers,
  type TornLine,
} from './record.ts'

/** Asks the HSM whether a seal is right; undefined if it has not the key. */
export type IsSealRight = (seal: SealMembers) => Promise<boolean | undefined>

/** The first record that is not as it was written, or not there. */
export interface Broken {
  readonly file: string
  readonly line: number
  readonly seq?: number | undefined
  readonly why: string
}

/** What was found. */
export interface Verdict {
  readonly broken: Broken | undefined
  readonly files: number
  readonly records: number
  /** The first and the last seq; what was before the first is not in these files. */
  readonly first: number | undefined
  readonly last: Place | undefined
  readonly seals: number
  /** The last record that a seal covers; behind it, records are chained only. */
  readonly sealedTo: number | undefined
  /** The first record behind it that is no seal; undefined if there is none. */
  readonly unsealedFrom: number | undefined
  /** From the earliest of them to the latest: more than seals are apart, if seals were taken away. */
  readonly unsealedMs: number
  /** How long after a record its seal was made, at most: a record that was made anew shows here. */
  readonly longestSealDelayMs: number
  /** Operations whose outcome was not recorded, because the process ended first or is at work. */
  readonly withoutOutcome: number
  /** Operations that went on unrecorded, as far as records say so. */
  readonly lost: number
  /** A cut-off write at the very end, which the next start will name. */
  readonly torn: TornLine | undefined
}

/** A record that is known from elsewhere to have been there: its seq and the hash of its line. */
export type Anchors = ReadonlyMap<number, string>

/** Verifies files, in the order of their names; stops at the first record that is broken. */
export async function verifyFiles(
  paths: readonly string[],
  isSealRight: IsSealRight,
  anchors: Anchors = new Map(),
): Promise<Verdict> {
  const verifier = new Verifier(isSealRight, anchors)
  const byName = [...paths].sort((a, b) => (basename(a) < basename(b) ? -1 : 1))
  try {
    for (const path of byName) await verifier.readFile(path)
    verifier.end()
  } catch (error) {
    if (!(error instanceof BrokenError)) throw error
    return { ...verifier.verdict, broken: error.broken }
  }
  return verifier.verdict
}

class BrokenError extends Error {
  readonly broken: Broken

  constructor(broken: Broken) {
    super(broken.why)
    this.broken = broken
  }
}

/** Bytes that are no record, until a start record names them. */
interface TornBytes extends TornLine {
  readonly line: number
  readonly holdsWholeLine: boolean
}

/** Records from one on, and the times in them: not of the first and the last alone, which whoever forges would see to. */
interface Stretch {
  readonly seq: number
  readonly earliestMs: number
  readonly latestMs: number
}

class Verifier {
  readonly #isSealRight: IsSealRight
  readonly #anchors: Anchors
  #file = ''
  #line = 0
  #files = 0
  #records = 0
  #first: number | undefined
  #last: (Place & { readonly line: number }) | undefined
  #torn: TornBytes[] = []
  /** The one mark that the next seal can be of: another one is made only once this is sealed, or never will be. */
  #mark: Place | undefined
  #seals = 0
  #sealedTo: number | undefined
  /** The records that no seal covers, and those that a seal of the mark would not cover. */
  #unsealed: Stretch | undefined
  #behindMark: Stretch | undefined
  #longestSealDelayMs = 0
  readonly #open = new Set<string>()
  #withoutOutcome = 0
  #lost = 0

  constructor(isSealRight: IsSealRight, anchors: Anchors) {
    this.#isSealRight = isSealRight
    this.#anchors = anchors
  }

  get verdict(): Verdict {
    const torn = this.#torn.at(-1)
    return {
      broken: undefined,
      files: this.#files,
      records: this.#records,
      first: this.#first,
      last: this.#last && placeOf(this.#last),
      seals: this.#seals,
      sealedTo: this.#sealedTo,
      unsealedFrom: this.#unsealed?.seq,
      unsealedMs: this.#unsealed ? this.#unsealed.latestMs - this.#unsealed.earliestMs : 0,
      longestSealDelayMs: this.#longestSealDelayMs,
      withoutOutcome: this.#withoutOutcome + this.#open.size,
      lost: this.#lost,
      torn: torn && tornLineOf(torn),
    }
  }

  async readFile(path: string): Promise<void> {
    this.#file = basename(path)
    this.#line = 0
    this.#files++
    const firstSeq = firstSeqOf(this.#file)
    if (Number.isNaN(firstSeq)) this.#fail('is not the name of an audit file, and seals hold the name')
    let torn: { readonly hash: Hash; readonly line: number; bytes: number; holdsWholeLine: boolean } | undefined
    for await (const { bytes, isWhole } of readLines(path)) {
      this.#line++
      const record = torn || !isWhole ? undefined : parseRecord(bytes.toString('utf8'))
      if (record) {
        if (this.#line === 1 && record.seq !== firstSeq)
          this.#fail('the name of the file has another first seq', record)
        await this.#take(record, sha256(bytes))
        continue
      }
      torn ??= { hash: createHash('sha256'), line: this.#line, bytes: 0, holdsWholeLine: false }
      torn.hash.update(bytes)
      if (isWhole) torn.hash.update('\n')
      torn.bytes += bytes.length + Number(isWhole)
      torn.holdsWholeLine ||= isWhole
    }
    if (torn === undefined) return
    const { hash, ...rest } = torn
    this.#torn.push({ ...rest, file: this.#file, hash: hash.digest('hex').toUpperCase() })
  }

  /** Says what only the end can show. */
  end(): void {
    const noRecord = this.#torn.find(({ holdsWholeLine }, i) => holdsWholeLine || i < this.#torn.length - 1)
    if (noRecord) this.#failTorn(noRecord)
    for (const seq of this.#anchors.keys()) {
      if (this.#last === undefined || seq > this.#last.seq) {
        this.#fail(`the record ends before seq ${seq}, which is known to have been there`)
      }
    }
  }

  async #take(record: AuditRecord, hash: string): Promise<void> {
    this.#checkLink(record)
    const anchor = this.#anchors.get(record.seq)
    if (anchor !== undefined && anchor !== hash)
      this.#fail('it is not the record that is known to have been here', record)
    if (this.#first === undefined) this.#begin(record)
    const place = { seq: record.seq, hash, file: this.#file }
    this.#last = { ...place, line: this.#line }
    this.#records++
    // A seal need not be sealed itself, or there would be no end of it.
    if (record.kind === 'seal') {
      await this.#takeSeal(record)
      return
    }
    this.#unsealed = withRecord(this.#unsealed, record)
    this.#behindMark = withRecord(this.#behindMark, record)
    if (record.kind === 'mark') {
      this.#mark = place
      this.#behindMark = undefined
    } else if (record.kind === 'intent') this.#open.add(record.requestId)
    else if (record.kind === 'outcome') this.#open.delete(record.requestId)
    else if (record.kind === 'start') this.#takeStart(record)
  }

  /** What is known to have been there and is not among these files cannot be looked at, and is not passed over. */
  #begin(record: AuditRecord): void {
    this.#first = record.seq
    for (const seq of this.#anchors.keys()) {
      if (seq < record.seq) this.#fail(`the files begin behind seq ${seq}, which is known to have been there`, record)
    }
  }

  #checkLink(record: AuditRecord): void {
    const last = this.#last
    const isNext = last === undefined || record.seq === last.seq + 1
    if (this.#torn[0] && !(isNext && record.kind === 'start')) this.#failTorn(this.#torn[0])
    if (last === undefined) {
      if (record.seq === 1 && record.prev !== NO_RECORD) this.#fail('nothing can be before the first record', record)
      if (record.seq !== 1 && record.prev === NO_RECORD) this.#fail('only the first record has none before it', record)
      return
    }
    if (!isNext) this.#fail(`seq ${last.seq + 1} was expected here`, record)
    if (record.prev !== last.hash) {
      const why = 'it was changed, or the link to it in the next record'
      throw new BrokenError({ file: last.file, line: last.line, seq: last.seq, why })
    }
  }

  #takeStart(record: AuditRecord & { readonly kind: 'start' }): void {
    const seen = this.#torn.map(tornLineOf)
    const named = record.torn ?? []
    // What was torn before the first of these files cannot be looked at.
    const due = this.#records > 1 ? named : named.slice(named.length - seen.length)
    if (JSON.stringify(due) !== JSON.stringify(seen)) {
      if (this.#torn[0]) this.#failTorn(this.#torn[0])
      this.#fail('it names torn bytes that are not there', record)
    }
    this.#torn = []
    this.#lost += record.lost ?? 0
    this.#withoutOutcome += this.#open.size
    this.#open.clear()
  }

  async #takeSeal(seal: AuditRecord & { readonly kind: 'seal' }): Promise<void> {
    const mark = this.#mark
    const isBefore = seal.to < (this.#first ?? 0)
    const isOfMark = mark?.seq === seal.to && mark.hash === seal.hash && mark.file === seal.file
    if (!(isBefore || isOfMark) || firstSeqOf(seal.file) !== seal.from) {
      this.#fail('it is the seal of another record', seal)
    }
    const isRight = await this.#isSealRight(seal)
    if (isRight === undefined)
      this.#fail(`the HSM holds no key ${seal.key.id} v${seal.key.version} to verify it with`, seal)
    if (!isRight) this.#fail('the HSM did not make this seal', seal)
    this.#seals++
    if (isBefore) return
    this.#sealedTo = seal.to
    this.#longestSealDelayMs = Math.max(this.#longestSealDelayMs, seal.sealedAtMs - this.#unsealed!.earliestMs)
    this.#unsealed = this.#behindMark
    this.#mark = undefined
  }

  #fail(why: string, record?: Pick<AuditRecord, 'seq'>): never {
    throw new BrokenError({ file: this.#file, line: this.#line, seq: record?.seq, why })
  }

  #failTorn({ file, line }: TornBytes): never {
    throw new BrokenError({ file, line, why: 'this is no record, and no start record names it as cut off' })
  }
}

function withRecord(stretch: Stretch | undefined, { seq, time }: AuditRecord): Stretch {
  const timeMs = Date.parse(time)
  return {
    seq: stretch?.seq ?? seq,
    earliestMs: Math.min(timeMs, stretch?.earliestMs ?? timeMs),
    latestMs: Math.max(timeMs, stretch?.latestMs ?? timeMs),
  }
}

function placeOf({ seq, hash, file }: Place): Place {
  return { seq, hash, file }
}

function tornLineOf({ file, bytes, hash }: TornLine): TornLine {
  return { file, bytes, hash }
}
