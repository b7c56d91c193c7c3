import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { recordLine, sealDigest, sha256 } from '../../../src/audit/record.ts'
import { temporaryFolder } from '../../support/service.ts'
import { filesIn, linesOf, makeSeal, openTrail, request, verify, withLines, writeTrail } from './trails.ts'

const folder = temporaryFolder()
let path: string
let lines: string[]
let other: string[]
beforeAll(async () => {
  const written = await writeTrail(join(folder.path, 'one'), 4)
  path = written[0]!
  lines = linesOf(path)
  other = linesOf((await writeTrail(join(folder.path, 'other'), 4))[0]!)
})
afterAll(() => folder.dispose())

let copies = 0
/** What comes of other lines in the file. */
const verdictOf = (changed: readonly string[]) =>
  verify([withLines(path, join(folder.path, `copy-${copies++}`), changed)])
const brokenAt = async (changed: readonly string[]) => (await verdictOf(changed)).broken

describe('a record that is as it was written', () => {
  it('is proven up to its last mark, which is the one behind the stop', async () => {
    const verdict = await verify([path])
    expect(lines.map((line) => JSON.parse(line).kind)).toEqual([
      'start',
      ...Array.from({ length: 4 }, () => ['intent', 'outcome']).flat(),
      'stop',
      'mark',
      'seal',
    ])
    expect(verdict).toMatchObject({ broken: undefined, files: 1, records: 12, first: 1, seals: 1, sealedTo: 11 })
    expect(verdict).toMatchObject({ withoutOutcome: 0, lost: 0, torn: undefined, last: { seq: 12 } })
  })

  it('has lines that are chained by SHA-256 and spelled in one way', () => {
    lines.forEach((line, i) => {
      expect(JSON.parse(line)).toMatchObject({ seq: i + 1, prev: i === 0 ? '0'.repeat(64) : sha256(lines[i - 1]!) })
      expect(JSON.stringify(JSON.parse(line))).toBe(line)
    })
  })
})

describe('a record that was changed', () => {
  // The last line is the seal, which its MAC holds; the line before it is the mark.
  it('is named, whichever line lost or changed a character', async () => {
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i]!
      for (const at of [2, 10, Math.floor(line.length / 2), line.length - 5]) {
        const changed = `${line.slice(0, at)}${line[at] === '0' ? '1' : '0'}${line.slice(at + 1)}`
        const broken = await brokenAt(lines.with(i, changed))
        expect(broken, `${i} ${at}`).toBeDefined()
        expect([broken!.line, broken!.line + 1], `${i} ${at}`).toContain(i + 1)
      }
    }
  })

  it('is named exactly where a member was edited and the line is still a record', async () => {
    for (const [i, line] of lines.entries()) {
      if (!line.includes('request-')) continue
      const changed = line.replace('request-', 'request+')
      expect(await brokenAt(lines.with(i, changed))).toMatchObject({ line: i + 1, seq: i + 1 })
    }
  })

  it('is named where it is spelled in another way or has a member that no record has', async () => {
    for (const edit of [
      (line: string) => line.replace('{', '{ '),
      (line: string) => line.replace('"kind"', '"unknown":1,"kind"'),
      (line: string) => line.replace('"kind":"intent"', '"kind":"intent","kind":"intent"'),
      (line: string) => line.replace('"seq":4', '"seq":"4"'),
      () => '',
      () => '[]',
    ]) {
      // The last line, so that no link tells.
      expect(await brokenAt([...lines.slice(0, 3), edit(lines[3]!)])).toMatchObject({ line: 4 })
    }
  })

  it('is named where lines were cut out, doubled, moved or put in', async () => {
    for (let i = 0; i < lines.length - 2; i++) {
      expect(await brokenAt(lines.toSpliced(i, 1)), `cut ${i}`).toMatchObject({ line: i + 1 })
      expect(await brokenAt(lines.toSpliced(i, 0, lines[i]!)), `doubled ${i}`).toMatchObject({ line: i + 2 })
      const swapped = lines.with(i, lines[i + 1]!).with(i + 1, lines[i]!)
      expect(await brokenAt(swapped), `swapped ${i}`).toMatchObject({ line: i + 1 })
    }
    expect(await brokenAt(lines.toSpliced(3, 4))).toMatchObject({ line: 4 })
    expect(await brokenAt(lines.toSpliced(3, 0, other[3]!))).toMatchObject({ line: expect.any(Number) })
  })

  it('is named where another record has been put in its place, chained anew or not', async () => {
    for (let i = 0; i < lines.length; i++) expect(await brokenAt(lines.with(i, other[i]!)), String(i)).toBeDefined()
    // Chained anew up to the seal: the seal does not fit.
    const forged = rechained(lines.slice(0, -1).with(3, lines[3]!.replace('request-1', 'request-9')))
    const seal = JSON.parse(lines.at(-1)!)
    const relinked = JSON.stringify({ ...seal, prev: sha256(forged.at(-1)!) })
    expect(await brokenAt([...forged, relinked])).toEqual({
      ...{ file: expect.any(String), line: 12, seq: 12 },
      why: 'it is the seal of another record',
    })
    // And the seal's hash with it: the HSM did not make that.
    const resealed = JSON.stringify({ ...seal, hash: sha256(forged.at(-1)!), prev: sha256(forged.at(-1)!) })
    expect(await brokenAt([...forged, resealed])).toMatchObject({ line: 12, why: 'the HSM did not make this seal' })
  })

  it('is named where a seal is that of another trail, has another time, or another key', async () => {
    const seal = JSON.parse(lines.at(-1)!)
    const last = lines.length - 1
    const { mac } = JSON.parse(other.at(-1)!)
    for (const change of [
      { mac },
      { mac: seal.mac.slice(2) },
      { sealedAtMs: seal.sealedAtMs - 1 },
      { mac: '' },
      { to: 10 },
    ]) {
      expect(await brokenAt(lines.with(last, JSON.stringify({ ...seal, ...change })))).toMatchObject({ line: last + 1 })
    }
    const { why } = (await brokenAt(lines.with(last, JSON.stringify({ ...seal, key: { ...seal.key, id: 'own' } }))))!
    expect(why).toBe('the HSM holds no key own v1 to verify it with')
    for (const change of [
      { key: null },
      { key: undefined },
      { mac: 7 },
      { sealedAtMs: -1 },
      { hash: 'x' },
      { file: 1 },
    ]) {
      expect(await brokenAt(lines.with(last, JSON.stringify({ ...seal, ...change })))).toMatchObject({ line: last + 1 })
    }
  })

  it('is named where the file has another name than the one it was sealed under', async () => {
    const renamed = join(folder.path, 'audit-000000000001-20200101T000000000Z.ndjson')
    writeFileSync(renamed, readFileSync(path))
    expect((await verify([renamed])).broken).toMatchObject({ why: 'it is the seal of another record' })
    const strange = join(folder.path, 'copy.ndjson')
    writeFileSync(strange, readFileSync(path))
    expect((await verify([strange])).broken).toMatchObject({ line: 0 })
  })
})

describe('a record whose seals were taken away', () => {
  const DAY_MS = 86_400_000
  const at = (line: string, timeMs: number) =>
    JSON.stringify({ ...JSON.parse(line), time: new Date(timeMs).toISOString() })
  /** Days pass between the intents. */
  const overDays = () => {
    const startMs = Date.parse(JSON.parse(lines[0]!).time)
    return lines.slice(0, -2).map((line, i) => at(line, startMs + i * DAY_MS))
  }

  it('is told by how long nothing is sealed', async () => {
    const forged = rechained(overDays())
    expect(await verdictOf(forged)).toMatchObject({
      ...{ broken: undefined, seals: 0, sealedTo: undefined },
      unsealedMs: (forged.length - 1) * DAY_MS,
    })
  })

  it('is told also where the times of the first record, or of the last one, were shortened to hide it', async () => {
    const forged = overDays()
    const timeOf = (line: string) => Date.parse(JSON.parse(line).time)
    const [first, last] = [forged[0]!, forged.at(-1)!]
    for (const shortened of [forged.with(0, at(first, timeOf(last))), forged.with(-1, at(last, timeOf(first)))]) {
      expect((await verdictOf(rechained(shortened))).unsealedMs).toBe((forged.length - 2) * DAY_MS)
    }
  })

  it('shows by how much later it was sealed anew, though its first record has the time of that', async () => {
    const nowMs = Date.now()
    const forged = rechained(lines.slice(0, -1).map((line, i) => at(line, i === 0 ? nowMs : nowMs - (20 - i) * DAY_MS)))
    const hash = sha256(forged.at(-1)!)
    const reach = { from: 1, to: forged.length, file: basename(path), hash }
    const seal = { kind: 'seal', ...reach, ...(await makeSeal(sealDigest(reach))) } as const
    const verdict = await verdictOf([...forged, recordLine(seal, forged.length + 1, new Date().toISOString(), hash)])
    expect(verdict).toMatchObject({ broken: undefined, sealedTo: forged.length })
    expect(verdict.longestSealDelayMs).toBeGreaterThanOrEqual(19 * DAY_MS)
  })

  it('is told also where a seal was moved behind what it does not cover, or is there twice', async () => {
    // The record ends with a mark and its seal: what is forged is put between the two, and behind them.
    const forged = overDays()
    const [mark, seal] = lines.slice(-2)
    const renumbered = (from: number, members: readonly string[]) =>
      members.map((line, i) => JSON.stringify({ ...JSON.parse(line), seq: from + i }))
    const between = rechained([...lines.slice(0, -2), mark!, ...renumbered(12, [...forged.slice(1), seal!])])
    expect(await verdictOf(between)).toMatchObject({
      ...{ broken: undefined, seals: 1, sealedTo: 11 },
      unsealedMs: (forged.length - 2) * DAY_MS,
    })
    const twice = rechained([...lines, ...renumbered(13, [...forged.slice(1), seal!])])
    expect((await verdictOf(twice)).broken).toMatchObject({ why: 'it is the seal of another record' })
  })
})

/** Lines chained anew, as whoever holds no key of the HSM can do. */
function rechained(changed: readonly string[]): string[] {
  let prev = '0'.repeat(64)
  return changed.map((line) => {
    const linked = JSON.stringify({ ...JSON.parse(line), prev })
    prev = sha256(linked)
    return linked
  })
}

describe('a record whose end was cut off', () => {
  it('is proven as far as its last seal, and says what is behind it, at every byte of its last lines', async () => {
    const bytes = readFileSync(path)
    const cutLines = process.env['PINBRIDGE_FULL'] === '1' ? 4 : 2
    const from = Buffer.byteLength(`${lines.slice(0, -cutLines).join('\n')}\n`)
    for (let end = from; end < bytes.length; end++) {
      const directory = join(folder.path, 'cut')
      const [copy] = [withLines(path, directory, [])]
      writeFileSync(copy, bytes.subarray(0, end))
      const whole = bytes.subarray(0, end).toString().split('\n').length - 1
      const tornBytes = end - (bytes.subarray(0, end).lastIndexOf('\n') + 1)
      const verdict = await verify([copy])
      expect([end, verdict.broken, verdict.records, verdict.torn?.bytes ?? 0]).toEqual([
        end,
        undefined,
        whole,
        tornBytes,
      ])
      expect(verdict.sealedTo).toBeUndefined()
    }
  })

  it('is broken for whoever knows of a record that was there', async () => {
    const anchors = new Map([[11, sha256(lines[10]!)]])
    expect((await verify([path], anchors)).broken).toBeUndefined()
    const cut = withLines(path, join(folder.path, 'anchored'), lines.slice(0, 9))
    expect((await verify([cut], anchors)).broken).toMatchObject({ why: expect.stringContaining('ends before seq 11') })
    expect((await verify([path], new Map([[5, sha256('another')]]))).broken).toMatchObject({ line: 5, seq: 5 })
  })

  it('is gone on with where a file was begun, and nothing or half a line was written', async () => {
    const bytes = readFileSync(path)
    for (const end of [0, 1, 40]) {
      const directory = join(folder.path, `begun-${end}`)
      writeFileSync(withLines(path, directory, []), bytes.subarray(0, end))
      const files = await writeTrail(directory, 1)
      expect(files).toHaveLength(2)
      expect(await verify(files)).toMatchObject({ broken: undefined, first: 1, records: 6, torn: undefined })
    }
  })

  it('is gone on with after a start that names the torn bytes, wherever the write was cut off', async () => {
    const bytes = readFileSync(path)
    for (let end = bytes.length - 1, i = 0; end > bytes.length - 900; end -= 37, i++) {
      const directory = join(folder.path, `torn-${i}`)
      const copy = withLines(path, directory, [])
      writeFileSync(copy, bytes.subarray(0, end))
      const trail = await openTrail(directory)
      for (const record of request(99)) await trail.append(record)
      await trail.close(5000)
      const files = filesIn(directory)
      expect(files).toHaveLength(2)
      const verdict = await verify(files)
      expect([end, verdict.broken, verdict.torn]).toEqual([end, undefined, undefined])
      expect(verdict.sealedTo).toBe(verdict.last!.seq - 1)
      const start = JSON.parse(linesOf(files[1]!)[0]!)
      expect(start).toMatchObject({ kind: 'start', reason: 'process', after: { seq: start.seq - 1 } })
      // Without the torn bytes, or with others, it is broken.
      if (start.torn === undefined) continue
      for (const changed of [bytes.subarray(0, end - 1), Buffer.concat([bytes.subarray(0, end), Buffer.from('x')])]) {
        writeFileSync(copy, changed)
        expect((await verify(files)).broken, String(end)).toBeDefined()
      }
    }
  })
})

it('is named wherever a byte under a seal is another one', async () => {
  const files = await writeTrail(join(folder.path, 'bytes'), 12, { rotateBytes: 4096, sealEveryRecords: 9 })
  const original = files.map((file) => readFileSync(file))
  // All but the last line, which is a seal: what stands in it beside the MAC and what that holds is sealed by the next one.
  const sealed = original.map((bytes, i) =>
    i < original.length - 1 ? bytes.length : bytes.lastIndexOf('\n', bytes.length - 2) + 1,
  )
  const directory = join(folder.path, 'bytes-changed')
  const copies = files.map((file) => withLines(file, directory, []))
  copies.forEach((copy, i) => writeFileSync(copy, original[i]!))
  const place = fc
    .nat(files.length - 1)
    .chain((file) => fc.tuple(fc.constant(file), fc.nat(sealed[file]! - 1), fc.integer({ min: 1, max: 255 })))
  await fc.assert(
    fc.asyncProperty(place, async ([file, at, difference]) => {
      const changed = Buffer.from(original[file]!)
      changed[at]! ^= difference
      writeFileSync(copies[file]!, changed)
      const { broken } = await verify(copies)
      writeFileSync(copies[file]!, original[file]!)
      const line = changed.subarray(0, at).toString('latin1').split('\n').length
      expect(broken).toBeDefined()
      const named = copies.findIndex((copy) => basename(copy) === broken!.file)
      // Its own line; or the one before it, where the change is in the link.
      const before = line > 1 ? [file, line - 1] : [file - 1, linesOf(files[file - 1] ?? files[0]!).length]
      expect([[file, line], before]).toContainEqual([named, broken!.line])
    }),
    { numRuns: process.env['PINBRIDGE_FULL'] === '1' ? 2000 : 60 },
  )
})

describe('a record of several files', () => {
  let files: string[]
  beforeAll(async () => {
    files = await writeTrail(join(folder.path, 'many'), 40, { rotateBytes: 4096, sealEveryRecords: 7 })
  })

  it('is one chain over their borders, in whatever order they are given', async () => {
    expect(files.length).toBeGreaterThan(4)
    const verdict = await verify(files.toReversed())
    expect(verdict).toMatchObject({ broken: undefined, files: files.length, first: 1, withoutOutcome: 0 })
    expect(verdict.seals).toBeGreaterThan(4)
    expect(verdict.sealedTo).toBe(verdict.last!.seq - 1)
  })

  it('is broken for whoever knows of a record before the files that are given', async () => {
    const [first] = linesOf(files[0]!)
    const anchors = new Map([[1, sha256(first!)]])
    expect((await verify(files, anchors)).broken).toBeUndefined()
    const why = 'the files begin behind seq 1, which is known to have been there'
    expect((await verify(files.slice(2), anchors)).broken).toMatchObject({ line: 1, why })
  })

  it('is proven from a later file on, and says what is not there', async () => {
    const verdict = await verify(files.slice(2))
    expect(verdict.broken).toBeUndefined()
    expect(verdict.first).toBeGreaterThan(10)
    expect(verdict.sealedTo).toBe(verdict.last!.seq - 1)
  })

  it('is broken without one in between, or with the lines of another in its place', async () => {
    expect((await verify(files.toSpliced(2, 1))).broken).toMatchObject({
      line: 1,
      why: expect.stringMatching(/^seq \d+ was/),
    })
    const directory = join(folder.path, 'mixed')
    const mixed = files.map((file, i) => withLines(file, directory, linesOf(files[i === 2 ? 3 : i]!)))
    expect((await verify(mixed)).broken).toMatchObject({ line: 1 })
    const emptied = files.map((file, i) => (i === 2 ? withLines(file, join(folder.path, 'emptied'), []) : file))
    expect((await verify(emptied)).broken).toMatchObject({ line: 1 })
  })

  it('is broken where the first of them holds no records, though the next one is that of another process', async () => {
    const directory = join(folder.path, 'garbled')
    await writeTrail(directory, 1)
    const [first, second] = await writeTrail(directory, 1)
    expect((await verify([first!, second!])).broken).toBeUndefined()
    writeFileSync(first!, `x${readFileSync(first!, 'utf8')}`)
    expect((await verify([first!, second!])).broken).toMatchObject({ file: basename(first!), line: 1 })
    writeFileSync(first!, '')
    expect((await verify([first!, second!])).first).toBeGreaterThan(1)
  })
})
