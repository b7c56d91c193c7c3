import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ChunkReader } from '../../../src/migration/chunk-reader.ts'
import type { Source } from '../../../src/migration/source.ts'
import { linesOf } from '../rows/read-rows.ts'

const PAN = '4000001234567899'
const BLOCK = '0123456789ABCDEF'
const row = (i: number, more = '') => `${i}${more},${PAN},${BLOCK}\n`
const LONG = 'x'.repeat(200_000)

/** A source that gives as many bytes at a time as it is told. */
function sourceOf(file: Buffer, sizes: () => number): Source {
  let at = 0
  return {
    size: file.length,
    identity: undefined,
    read: async (target, place, bytes) => {
      const count = file.copy(target, place, at, at + Math.min(bytes, sizes()))
      at += count
      return count
    },
    isUnchanged: async () => true,
    cancel: () => {},
    close: async () => {},
  }
}

/** Every chunk: where it ends, its first line, the digest up to there, and its lines. */
async function chunksOf(file: Buffer, sizes: () => number, cardFields?: readonly []) {
  const reader = new ChunkReader(sourceOf(file, sizes), 'ISO-0', { cardFields, newNames: [] })
  const found = []
  // Two in turn, as a pipeline has more than one.
  const chunks = [reader.makeChunk(), reader.makeChunk()]
  for (let i = 0; ; i++) {
    const chunk = chunks[i % 2]!
    if (!(await reader.next(chunk))) return found
    const { firstLine, end, batch } = chunk
    found.push({ firstLine, end, digest: chunk.digest.copy().digest('hex'), lines: linesOf(batch) })
  }
}

describe('ChunkReader', () => {
  it('cuts a file at the same places, however it arrives, and gives the digest up to each', async () => {
    const rows = Array.from({ length: 20_000 }, (_, i) =>
      row(i, i % 1000 === 7 ? LONG : i % 50 === 3 ? 'y'.repeat(1000) : ''),
    )
    const file = Buffer.from(rows.join(''))
    const whole = await chunksOf(file, () => Infinity)
    let line = 1
    for (const { firstLine, end, digest, lines } of whole) {
      expect(firstLine).toBe(line)
      line += lines.length
      expect(lines.length).toBeLessThanOrEqual(8000)
      expect(digest).toBe(createHash('sha256').update(file.subarray(0, end)).digest('hex'))
    }
    expect(line).toBe(20_001)
    expect(whole.at(-1)!.end).toBe(file.length)
    expect(whole.length).toBeGreaterThanOrEqual(3)
    expect(whole.flatMap(({ lines }) => lines).filter(({ fate }) => fate === 'rowMalformed')).toHaveLength(20)
    const fates = (chunks: typeof whole) =>
      chunks.map(({ lines, ...rest }) => ({ ...rest, fates: lines.map(({ fate, id }) => `${fate} ${id}`) }))
    await fc.assert(
      fc.asyncProperty(
        fc.infiniteStream(fc.oneof(fc.integer({ min: 1, max: 300_000 }), fc.constant(65_536))),
        async (sizes) => {
          expect(fates(await chunksOf(file, () => sizes.next().value as number))).toEqual(fates(whole))
        },
      ),
      { numRuns: 15 },
    )
  })

  it('reads a file a byte at a time', async () => {
    const file = Buffer.from(`\ufeffid,pan,pinBlock\r\n${row(1)}${row(1)}\n`)
    const [chunk] = await chunksOf(file, () => 1)
    expect(chunk!.lines.map(({ fate }) => fate)).toEqual(['header', 'item', 'idDuplicate', 'carried'])
  })

  it('ends a chunk after 8000 lines, after 256 where PRWs are made, and with the line that reaches a mebibyte', async () => {
    const file = Buffer.from(`id,pan,pinBlock\n${Array.from({ length: 10_000 }, (_, i) => row(i)).join('')}`)
    expect((await chunksOf(file, () => Infinity)).map(({ lines }) => lines.length)).toEqual([8000, 2001])
    expect((await chunksOf(file, () => Infinity, []))[0]!.lines).toHaveLength(256)
    const wide = Buffer.from(Array.from({ length: 100 }, (_, i) => row(i, 'z'.repeat(50_000))).join(''))
    const [first] = await chunksOf(wide, () => Infinity)
    expect(first!.end).toBeGreaterThanOrEqual(1024 * 1024)
    expect(first!.end).toBeLessThan(1024 * 1024 + 51_000)
  })

  it('reads over a line of many megabytes and keeps nothing of it', async () => {
    const file = Buffer.from(`${row(1)}${'7'.repeat(20_000_000)}\n${row(2)}${'8'.repeat(3_000_000)}`)
    const chunks = await chunksOf(file, () => Infinity)
    const lines = chunks.flatMap((chunk) => chunk.lines)
    expect(lines.map(({ fate, line }) => [fate, line.length])).toEqual([
      ['item', row(1).length],
      ['rowMalformed', 0],
      ['item', row(2).length],
      ['rowMalformed', 0],
    ])
    expect(chunks.at(-1)!.end).toBe(file.length)
    expect(chunks.at(-1)!.digest).toBe(createHash('sha256').update(file).digest('hex'))
  })

  it('tells two rows of one id in one chunk, and not in two', async () => {
    const rows = Array.from({ length: 7999 }, (_, i) => row(i + 10))
    const file = Buffer.from(`${row(1)}${rows.join('')}${row(1)}${row(2)}${row(2)}`)
    const [, second] = await chunksOf(file, () => Infinity)
    expect(second!.lines.map(({ fate }) => fate)).toEqual(['item', 'item', 'idDuplicate'])
  })
})
