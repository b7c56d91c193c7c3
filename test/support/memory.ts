/**
 * Looks through the memory of a running process from outside, by /proc/PID/maps and /proc/PID/mem, for many secrets at once.
 *
 * Every page that the process may have written is read, the libraries' and SoftHSM's too; a file mapped without the right to
 * write holds only what is in the file. It needs the right to trace the process and throws without.
 */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

/** Something that must not be in a memory. */
export interface Needle {
  /** What it is, for a report; never the value. */
  readonly what: string
  /** At least 6 bytes, or chance would find it. */
  readonly bytes: Buffer
}

/** A place where a needle was found. */
export interface Finding {
  readonly what: string
  /** The mapping: a file, [heap], [stack] or anonymous, and its permissions. */
  readonly where: string
  /** The offset in that mapping, and the mapping's size, in hex: thread stacks are used from their end. */
  readonly place: string
  /** The bytes around it, for whoever looks for its origin; printable ones as they are. */
  readonly around: string
}

const CHUNK_BYTES = 16 << 20
const PAGE_BYTES = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }))
const PAGEMAP_ENTRY_BYTES = 8
const MIN_NEEDLE_BYTES = 6
const CONTEXT_BYTES = 48
/** Kernel mappings that cannot be read by this way. */
const UNREADABLE = new Set(['[vvar]', '[vsyscall]', '[vvar_vclock]'])

/** Finds every place of every needle in the memory of a process. */
export function scanMemory(pid: number, needles: readonly Needle[]): { findings: Finding[]; bytes: number } {
  const index = new NeedleIndex(needles)
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r')
  const findings: Finding[] = []
  let total = 0
  try {
    for (const { start, end, where } of readableMappings(pid)) {
      for (const run of touchedRuns(pagemap, start, end)) {
        for (let at = run.start; at < run.end; at += CHUNK_BYTES) {
          // Chunks overlap, so that nothing hides across two.
          const bytes = readAt(memory, at, Math.min(run.end - at, CHUNK_BYTES + index.longest - 1))
          total += Math.min(bytes.length, CHUNK_BYTES)
          index.search(bytes, (needle, offset) => {
            if (offset >= CHUNK_BYTES) return
            const place = `${(at - start + offset).toString(16)} of ${(end - start).toString(16)}`
            findings.push({ what: needle.what, where, place, around: surroundings(bytes, offset, needle) })
          })
        }
      }
    }
  } finally {
    closeSync(memory)
    closeSync(pagemap)
  }
  return { findings, bytes: total }
}

/** How often each kind of secret was found in each kind of mapping, for a message. */
export function summary(findings: readonly Finding[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { what, where } of findings) counts[`${what} in ${where}`] = (counts[`${what} in ${where}`] ?? 0) + 1
  return counts
}

/** The forms in which bytes may lie in a memory: as they are, and as hex of either case, one or two bytes a character. */
export function bytesNeedles(what: string, bytes: Buffer): Needle[] {
  const lower = bytes.toString('hex')
  const forms: [string, string][] = [
    ['lower', lower],
    ['upper', lower.toUpperCase()],
  ]
  return [
    { what, bytes },
    ...forms.flatMap(([letters, text]) => [
      { what: `${what} (${letters} hex)`, bytes: Buffer.from(text, 'latin1') },
      { what: `${what} (${letters} hex, UTF-16)`, bytes: Buffer.from(text, 'utf16le') },
    ]),
  ]
}

/** The forms of a PIN of 12 digits: one digit a byte, packed, and as text. */
export function pinNeedles(what: string, pin: string): Needle[] {
  return [
    { what: `${what} (digits)`, bytes: Buffer.from([...pin].map(Number)) },
    { what: `${what} (BCD)`, bytes: Buffer.from(pin, 'hex') },
    { what: `${what} (ASCII)`, bytes: Buffer.from(pin, 'latin1') },
    { what: `${what} (UTF-16)`, bytes: Buffer.from(pin, 'utf16le') },
  ]
}

/** Long secrets by halves: free() overwrites the first bytes of what it gives back, and a half is as bad as the whole. */
export function halvesNeedles(what: string, bytes: Buffer): Needle[] {
  const half = bytes.length >> 1
  return [
    { what: `${what} (first half)`, bytes: bytes.subarray(0, half) },
    { what: `${what} (second half)`, bytes: bytes.subarray(half) },
  ]
}

/** Many needles, found in one pass: a bitmap over a hash of their first six bytes decides where it is worth comparing. */
class NeedleIndex {
  readonly longest: number
  readonly #mayStart = new Uint8Array(1 << 24)
  readonly #byStart = new Map<number, Needle[]>()

  constructor(needles: readonly Needle[]) {
    if (needles.length === 0) throw new Error('nothing to look for')
    for (const needle of needles) {
      const { bytes, what } = needle
      if (bytes.length < MIN_NEEDLE_BYTES) throw new Error(`${what} is too short to look for`)
      const start = hash(bytes.readUIntBE(0, 3), bytes.readUIntBE(3, 3))
      this.#mayStart[start] = 1
      this.#byStart.set(start, [...(this.#byStart.get(start) ?? []), needle])
    }
    this.longest = Math.max(...needles.map(({ bytes }) => bytes.length))
  }

  search(bytes: Buffer, found: (needle: Needle, offset: number) => void): void {
    if (bytes.length < MIN_NEEDLE_BYTES) return
    let first = bytes.readUInt16BE(0)
    let second = bytes.readUIntBE(2, 3)
    for (let at = 0; at + MIN_NEEDLE_BYTES <= bytes.length; at++) {
      first = ((first << 8) | (second >> 16)) & 0xffffff
      second = ((second << 8) | bytes[at + 5]!) & 0xffffff
      const start = hash(first, second)
      if (this.#mayStart[start] === 0) continue
      for (const needle of this.#byStart.get(start)!) {
        if (bytes.subarray(at, at + needle.bytes.length).equals(needle.bytes)) found(needle, at)
      }
    }
  }
}

/** 24 bits of six bytes, given as two numbers of three. */
function hash(first: number, second: number): number {
  return (Math.imul(first, 0x9e3779b1) ^ Math.imul(second, 0x85ebca6b)) >>> 8
}

function* readableMappings(pid: number): Generator<{ start: number; end: number; where: string }> {
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').trim().split('\n')) {
    const [, start, end, permissions, inode, name] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ (\d+) *(.*)$/.exec(line)!
    if (!permissions!.startsWith('r') || UNREADABLE.has(name!)) continue
    if (permissions![1] !== 'w' && inode !== '0') continue
    yield {
      start: Number.parseInt(start!, 16),
      end: Number.parseInt(end!, 16),
      where: `${name || 'anonymous'} ${permissions}`,
    }
  }
}

/** The runs of pages that are in memory or swapped out; the others were never written, and there are many on thread stacks. */
function* touchedRuns(pagemap: number, start: number, end: number): Generator<{ start: number; end: number }> {
  const pages = (end - start) / PAGE_BYTES
  const entries = Buffer.alloc(pages * PAGEMAP_ENTRY_BYTES)
  readSync(pagemap, entries, 0, entries.length, (start / PAGE_BYTES) * PAGEMAP_ENTRY_BYTES)
  // proc_pid_pagemap(5): bit 63 is "present in RAM", bit 62 "in swap"; entries are little-endian.
  const isTouched = (page: number) => page < pages && (entries[(page + 1) * PAGEMAP_ENTRY_BYTES - 1]! & 0xc0) !== 0
  for (let page = 0; page < pages; page++) {
    if (!isTouched(page)) continue
    const first = page
    while (isTouched(page)) page++
    yield { start: start + first * PAGE_BYTES, end: start + page * PAGE_BYTES }
  }
}

/** As many bytes as can be read; a mapping that went away since the list was made reads as none. */
function readAt(memory: number, address: number, bytes: number): Buffer {
  const target = Buffer.allocUnsafeSlow(bytes)
  let got = 0
  while (got < bytes) {
    try {
      const read = readSync(memory, target, got, bytes - got, address + got)
      if (read === 0) break
      got += read
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EIO') break
      throw error
    }
  }
  return target.subarray(0, got)
}

function surroundings(bytes: Buffer, offset: number, needle: Needle): string {
  const around = bytes.subarray(Math.max(0, offset - CONTEXT_BYTES), offset + needle.bytes.length + CONTEXT_BYTES)
  return around.toString('latin1').replace(/[^\x20-\x7e]/g, '.')
}
