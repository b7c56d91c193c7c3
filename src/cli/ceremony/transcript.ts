/**
 * The record of a ceremony that its participants print and keep: what was done, when, by whom, and what they confirmed; no
 * secret. An HSM key signs it, so that nobody can change a word of it later.
 *
 *     title, facts, an empty line, one line for each thing that happened, an empty line,
 *     `Outcome:` …, `Signed by:` …, `Signature:` …
 *
 * The signature is ECDSA on P-256 with SHA-256 (ES256, 64 bytes r|s, in base64url) over all bytes before the line `Signature:`.
 */
import { verify, type KeyObject } from 'node:crypto'
import { decodeBase64url } from '../../bytes.ts'
import type { KeyEntry } from '../../config/schema.ts'

const TITLE = 'pinbridge key ceremony: transcript'
const LABEL_WIDTH = 16
/** A name that stays within its line: no control characters, no line ends, nothing unseen or that turns the writing direction. */
const NAME = /^(?!\s)[^\p{C}\p{Zl}\p{Zp}\p{DI}]{1,64}(?<!\s)$/u
/** Digits that were typed where they are seen: the shortest part of a component that says something of a key. */
const LIKE_A_COMPONENT = /^(?:[0-9A-Fa-f][\s-]*){16,}$/
const ENDING =
  /\nOutcome: {8}(completed|aborted)\nSigned by: {6}key ([A-Za-z0-9._-]{1,64}) version (\d{1,4}), KCV ([0-9A-F]{10}), .*\nSignature: {6}([A-Za-z0-9_-]+)\n$/

/** How a ceremony ended. */
export type Outcome = 'completed' | 'aborted'

/** The key that signs, as the transcript names it. */
export type SignerName = Pick<KeyEntry, 'id' | 'version' | 'kcv'>

/** What signs a transcript: 64 bytes, r|s. */
export interface TranscriptSigner {
  readonly key: SignerName
  readonly sign: (text: Buffer) => Promise<Buffer>
}

/** A transcript that is being written. */
export class Transcript {
  readonly #now: () => Date
  readonly #facts: string
  readonly #events: string[] = []

  /** @param facts - what is known at the beginning: a label and a value each. */
  constructor(what: string, facts: readonly (readonly [label: string, value: string])[], now: () => Date) {
    this.#now = now
    const lines = [['What', what] as const, ['Begun', timeText(now())] as const, ...facts]
    this.#facts = lines.map(([label, value]) => line(label, value)).join('')
  }

  /** Adds something that happened, or that somebody confirmed; no secret. */
  note(sentence: string): void {
    this.#events.push(`${timeText(this.#now())}  ${oneLine(sentence)}\n`)
  }

  /** The finished text, signed. */
  async signed(outcome: Outcome, { key, sign }: TranscriptSigner): Promise<string> {
    const { id, version, kcv } = key
    const name = `key ${id} version ${version}, KCV ${kcv.toUpperCase()}, ES256 over all bytes before the next line`
    const text = `${this.#body(outcome)}${line('Signed by', name)}`
    return `${text}${line('Signature', (await sign(Buffer.from(text))).toString('base64url'))}`
  }

  /** The finished text where nothing can sign it any more. */
  unsigned(outcome: Outcome, why: string): string {
    return `${this.#body(outcome)}${line('Signature', `none, because ${oneLine(why)}`)}`
  }

  #body(outcome: Outcome): string {
    const rule = '='.repeat(TITLE.length)
    return `${TITLE}\n${rule}\n${this.#facts}\n${this.#events.join('')}\n${line('Outcome', outcome)}`
  }
}

/** What a signed transcript says of itself. */
export interface ParsedTranscript {
  readonly outcome: Outcome
  readonly signer: SignerName
  /** The bytes that the signature is over. */
  readonly signedBytes: Buffer
  readonly signature: Buffer
}

/** Takes a signed transcript apart; undefined if it is none, has no signature, or has something behind it. */
export function parseTranscript(file: Buffer): ParsedTranscript | undefined {
  const text = file.toString('latin1')
  const [, outcome, id, version, kcv, signatureText] = ENDING.exec(text) ?? []
  if (!text.startsWith(`${TITLE}\n`) || outcome === undefined) return undefined
  const signature = decodeBase64url(signatureText!)
  if (signature?.length !== 64) return undefined
  const signedBytes = file.subarray(0, text.lastIndexOf('\n', text.length - 2) + 1)
  return {
    outcome: outcome as Outcome,
    signer: { id: id!, version: Number(version), kcv: kcv! },
    signedBytes,
    signature,
  }
}

/** Whether the signature is that of this public key. */
export function isTranscriptOf({ signedBytes, signature }: ParsedTranscript, publicKey: KeyObject): boolean {
  return verify('sha256', signedBytes, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature)
}

/** What is wrong with a name that is to stand in a transcript; undefined if nothing is. */
export function nameProblem(name: string): string | undefined {
  if (LIKE_A_COMPONENT.test(name))
    return 'these are hex digits, as of a component, and here everybody sees them: a name is asked for'
  return NAME.test(name) ? undefined : 'a name or a role has 1 to 64 letters, digits, spaces and signs'
}

function line(label: string, value: string): string {
  return `${`${label}:`.padEnd(LABEL_WIDTH)}${oneLine(value)}\n`
}

function oneLine(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ').trim()
}

/** A time as people read it, in UTC. */
function timeText(time: Date): string {
  return `${time.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
