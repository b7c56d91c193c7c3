/**
 * How every parser is fuzzed: how many cases, from which seed, and by which damage; first of all what broke it once.
 *
 * The seed is fixed, so that a run says the same of the same code; the long form takes a new one and ten times the cases.
 * fast-check prints seed and path of a failure; `PINBRIDGE_FUZZ_SEED` repeats it.
 */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, vi } from 'vitest'

const FULL = process.env['PINBRIDGE_FULL'] === '1'
const SEED = process.env['PINBRIDGE_FUZZ_SEED'] ?? (FULL ? undefined : '20240229')

if (FULL) vi.setConfig({ testTimeout: 900_000 })

/** The cases of each parser in the short form. */
export const CASES = {
  json: 24_000,
  'jwe-compact': 16_000,
  'jwe-header': 12_000,
  'set-pin-payload': 12_000,
  'pin-block': 20_000,
  pan: 10_000,
  correlation: 6000,
  'key-block': 12_000,
  'bridge-message': 4000,
  'bridge-frame': 2000,
  'csv-rows': 3000,
  'ndjson-rows': 3000,
  yaml: 2000,
  configuration: 600,
} as const

/** A parser that is fuzzed. */
export type Fuzzed = keyof typeof CASES

/** Inputs that a parser was once wrong about, or that are known to break parsers of its kind. */
const CORPUS = JSON.parse(readFileSync(new URL('../../vectors/fuzz-corpus.json', import.meta.url), 'utf8')) as Readonly<
  Record<string, readonly { readonly what: string; readonly base64: string }[]>
>

/** The corpus of one parser; empty where nothing has broken it. */
export function corpusOf(name: Fuzzed): Buffer[] {
  return (CORPUS[name] ?? []).map(({ base64 }) => Buffer.from(base64, 'base64'))
}

/** Every name that the corpus has a list for. */
export const CORPUS_NAMES = Object.keys(CORPUS)

/**
 * Holds `check` against the corpus, then against as many inputs as the table says.
 *
 * @param check - says of an input whether the parser had to take it: an oracle that is hardly ever asked to say yes, or no, is
 *   none, so that either answer is wanted for one input in twenty.
 * @param ofCorpus - makes an input of what stands in the corpus; left out where nothing does.
 */
export async function fuzz<T>(
  name: Fuzzed,
  input: fc.Arbitrary<T>,
  check: (input: T) => 'taken' | 'refused' | Promise<'taken' | 'refused'>,
  ofCorpus?: (bytes: Buffer) => NoInfer<T>,
): Promise<void> {
  const seen = { taken: 0, refused: 0 }
  const property = fc.asyncProperty(input, async (value) => {
    seen[await check(value)]++
  })
  if (ofCorpus) for (const bytes of corpusOf(name)) await check(ofCorpus(bytes))
  await fc.assert(property, {
    numRuns: CASES[name] * (FULL ? 10 : 1),
    ...(SEED !== undefined && { seed: Number(SEED) }),
  })
  expect(Math.min(seen.taken, seen.refused), JSON.stringify(seen)).toBeGreaterThan(CASES[name] / 20)
}

/** One piece of damage. */
type Damage = readonly [kind: number, where: number, length: number, what: Buffer]

/** Valid inputs, mostly spoilt: bits flipped, bytes replaced, stretches cut, repeated or moved, pieces of the grammar put in. */
export function damaged(samples: fc.Arbitrary<Buffer>, pieces: readonly string[]): fc.Arbitrary<Buffer> {
  const piece = fc.oneof(
    fc.constantFrom(...pieces).map((text) => Buffer.from(text, 'latin1')),
    fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes)),
  )
  const damage: fc.Arbitrary<Damage> = fc.tuple(fc.nat(5), fc.nat(100_000), fc.nat(12), piece)
  const damages = fc.oneof(fc.constant([]), { weight: 4, arbitrary: fc.array(damage, { minLength: 1, maxLength: 3 }) })
  return fc.tuple(samples, damages).map(([sample, damages]) => damages.reduce(spoil, sample))
}

function spoil(bytes: Buffer, [kind, place, length, what]: Damage): Buffer {
  const at = place % (bytes.length + 1)
  const [before, stretch, after] = [bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at + length)]
  if (kind === 0) return Buffer.concat([before, what, bytes.subarray(at)])
  if (kind === 1) return Buffer.concat([before, what, after])
  if (kind === 2) return Buffer.concat([before, after])
  if (kind === 3) return Buffer.concat([before, stretch, stretch, after])
  if (kind === 4) return Buffer.concat([after, stretch, before])
  const flipped = Buffer.from(bytes)
  if (at < bytes.length) flipped[at]! ^= 1 << (length % 8)
  return flipped
}

/** One value nearly always, and now and then another. */
export function mostly<T>(usual: T, ...others: readonly T[]): fc.Arbitrary<T> {
  return fc.oneof({ weight: 20, arbitrary: fc.constant(usual) }, fc.constantFrom(...others))
}

/** So many characters of an alphabet. */
export function textOf(alphabet: string, minLength: number, maxLength = minLength): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...alphabet), minLength, maxLength })
}
