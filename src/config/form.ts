/** Holds the data of a configuration file against the schema, fills in the defaults, and says in words what does not fit. */
import { Ajv, type ErrorObject } from 'ajv'
import type { Place, Problems } from './problems.ts'
import { ConfigFile, type Config } from './schema.ts'

/** A top-level member of the configuration. */
export type Section = keyof Config

const validate = new Ajv({
  allErrors: true,
  useDefaults: true,
  coerceTypes: false,
  strict: true,
  verbose: true,
}).compile(ConfigFile)

const TYPE_SENTENCES: Readonly<Record<string, string>> = {
  object: 'must be a set of members',
  array: 'must be a list',
  string: 'must be text',
  integer: 'must be a whole number',
  number: 'must be a number',
  boolean: 'must be true or false',
}

/**
 * Reports every member that does not have the form of the schema, and fills defaults into `data`.
 *
 * So that the rules between members can be checked in the same run, a scalar that is missing or of another type is replaced by a
 * stand-in; this matters to nobody else, because `data` is then refused as a whole.
 *
 * @returns the sections whose members are all of the right type: the rules may look at these and no others.
 */
export function checkForm(data: object, problems: Problems): ReadonlySet<Section> {
  const sound = new Set(Object.keys(ConfigFile.properties) as Section[])
  if (validate(data)) return sound
  const errors = validate.errors ?? []
  const mistyped = new Set(errors.filter(({ keyword }) => keyword === 'type').map(({ instancePath }) => instancePath))
  errors.forEach((error, i) => {
    // A union reports each of its members and then itself; a wrong type also breaks the list of permitted values.
    if (error.keyword === 'const' || (error.keyword !== 'type' && mistyped.has(error.instancePath))) return
    const place = placeOf(data, error)
    problems.addMalformed(place, sentenceOf(error))
    if (!repair(data, place, error, `\0${i}`)) sound.delete(place[0] as Section)
  })
  return sound
}

/** The place of an error: of the member that is missing or unknown, else of the value. */
function placeOf(data: object, { instancePath, params }: ErrorObject): Place {
  const place: (string | number)[] = []
  let value: unknown = data
  for (const text of instancePath.split('/').slice(1)) {
    const name = text.replaceAll('~1', '/').replaceAll('~0', '~') // RFC 6901 section 4
    place.push(Array.isArray(value) ? Number(name) : name)
    value = (value as Record<string, unknown>)[name]
  }
  const member: unknown = params['missingProperty'] ?? params['additionalProperty']
  if (typeof member === 'string') place.push(member)
  return place
}

function sentenceOf({ keyword, params, parentSchema, data, instancePath }: ErrorObject): string {
  const { description, anyOf } = parentSchema as { description?: string; anyOf?: { const: unknown }[] }
  switch (keyword) {
    case 'required':
      return 'is missing'
    case 'additionalProperties':
      if (/^\/hsm\/tokens\/\d+\/environment$/.test(instancePath))
        return 'is not a variable that may be set for a PKCS#11 module'
      return 'is not a known member'
    case 'type': {
      if (data === null) return 'is empty'
      const sentence = TYPE_SENTENCES[String(params['type'])] ?? 'has the wrong type'
      const readAs = params['type'] === 'string' ? typeof data : undefined
      if (readAs !== 'number' && readAs !== 'boolean') return sentence
      return `${sentence}: YAML reads it as a ${readAs}, so put it in quotes`
    }
    case 'enum':
      return `must be one of ${(params['allowedValues'] as string[]).join(', ')}`
    case 'anyOf':
      return `must be ${anyOf?.map((option) => option.const).join(' or ')}`
    case 'pattern':
      return description === undefined ? 'does not have the form of this member' : `must be ${description}`
    case 'minimum':
      return `must be at least ${params['limit']}`
    case 'maximum':
      return `must be at most ${params['limit']}`
    case 'minLength':
      return params['limit'] === 1 ? 'is empty' : `must have at least ${params['limit']} characters`
    case 'maxLength':
      return `must have at most ${params['limit']} characters`
    case 'minItems':
    case 'minProperties':
      return 'is empty'
    case 'maxItems':
      return `must have at most ${params['limit']} items`
    case 'uniqueItems':
      return 'has the same item twice'
    default:
      return 'does not have the form of this member'
  }
}

type Members = Record<string | number, unknown>
interface MemberSchema {
  readonly type?: string
  readonly properties?: Record<string | number, MemberSchema>
}

/** Puts a stand-in where a scalar is missing or of another type; false if rules cannot run on what is there. */
function repair(data: object, place: Place, error: ErrorObject, unique: string): boolean {
  if (error.keyword !== 'type' && error.keyword !== 'required') return true
  const name = place.at(-1)
  if (name === undefined) return false
  const parentSchema = error.parentSchema as MemberSchema
  const schema = error.keyword === 'type' ? parentSchema : parentSchema.properties?.[name]
  // The schema's own walk has been here, so that every step exists.
  const parent = place.slice(0, -1).reduce((value: object, part) => (value as Members)[part] as object, data) as Members
  const value = parent[name] ?? undefined
  if (typeof value === 'object') return false
  if (schema?.type === 'boolean') parent[name] = true
  else if (schema?.type === 'integer') parent[name] = Number(value) || 0
  // What YAML read as a number still names the same thing elsewhere in the file; what is missing names nothing.
  else if (schema?.type === 'string') parent[name] = value === undefined ? unique : `${value as number}`
  else return false
  return true
}
