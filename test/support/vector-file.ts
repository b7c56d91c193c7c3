/** Reads a vector file of Wycheproof's shape, and refuses one that a runner would pass over in part or in whole. */
import { readFileSync } from 'node:fs'
import { Type, type Static, type TProperties } from 'typebox'
import { Check } from 'typebox/value'

const strict = { additionalProperties: false } as const
const text = Type.String()
const hex = Type.String({ pattern: '^(?:[0-9a-f]{2})*$' })

const Source = Type.Object(
  { name: text, version: text, url: text, section: text, licence: text, retrieved: Type.String({ format: 'date' }) },
  strict,
)

const Test = <P extends TProperties>(properties: P) =>
  Type.Object(
    {
      tcId: Type.Integer({ minimum: 1 }),
      comment: text,
      flags: Type.Optional(Type.Array(text)),
      key: hex,
      result: Type.Enum(['valid', 'invalid']),
      ...properties,
    },
    strict,
  )

const VectorFile = <G extends TProperties, T extends TProperties>(group: G, test: T) =>
  Type.Object(
    {
      algorithm: text,
      numberOfTests: Type.Integer({ minimum: 1 }),
      source: Source,
      notes: Type.Optional(Type.Record(text, Type.Object({ bugType: text, description: text }, strict))),
      testGroups: Type.Array(
        Type.Object(
          { type: text, source: Type.Optional(text), ...group, tests: Type.Array(Test(test), { minItems: 1 }) },
          strict,
        ),
        { minItems: 1 },
      ),
    },
    strict,
  )

/** A file of MACs; `padding` is that of ISO 9797-1. */
export const MacVectors = VectorFile(
  {
    keySize: Type.Integer(),
    tagSize: Type.Optional(Type.Integer()),
    padding: Type.Optional(Type.Union([Type.Literal(1), Type.Literal(2)])),
  },
  { msg: hex, tag: hex },
)
export type MacVectors = Static<typeof MacVectors>

/** A file of key check values. */
export const KcvVectors = VectorFile({ algorithm: Type.Enum(['TDEA', 'AES']) }, { kcv: hex })
export type KcvVectors = Static<typeof KcvVectors>

/** A file of key blocks: `key` is the protection key, `wrapped` what a block carries, empty for one that is refused. */
export const KeyBlockVectors = VectorFile(
  {},
  {
    wrapped: hex,
    block: text,
    kcv: Type.Optional(Type.String({ pattern: '^[0-9A-F]{6,10}$' })),
    padding: Type.Optional(hex),
    problem: Type.Optional(Type.Enum(['form', 'refused'])),
  },
)
export type KeyBlockVectors = Static<typeof KeyBlockVectors>

type VectorSchema = typeof MacVectors | typeof KcvVectors | typeof KeyBlockVectors

/** Checks a parsed vector file; throws on an unknown member, a wrong count, a repeated tcId or an unknown flag. */
export function checkVectors<S extends VectorSchema>(schema: S, file: unknown): Static<S> {
  if (!Check(schema, file)) throw new Error('the vector file does not have the form of its schema')
  const { numberOfTests, notes, testGroups } = file as MacVectors | KcvVectors | KeyBlockVectors
  const tests = testGroups.flatMap((group) => group.tests.map(({ tcId, flags }) => ({ tcId, flags })))
  if (tests.length !== numberOfTests) throw new Error('numberOfTests is wrong')
  if (new Set(tests.map(({ tcId }) => tcId)).size !== tests.length) throw new Error('a tcId is repeated')
  for (const flag of tests.flatMap(({ flags }) => flags ?? [])) {
    if (notes === undefined || !Object.hasOwn(notes, flag)) throw new Error('a flag has no note')
  }
  return file
}

/** Reads test/vectors/`name`. */
export function readVectors<S extends VectorSchema>(schema: S, name: string): Static<S> {
  return checkVectors(schema, JSON.parse(readFileSync(new URL(`../vectors/${name}`, import.meta.url), 'utf8')))
}
