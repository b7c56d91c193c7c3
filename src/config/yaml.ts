/**
 * Reads one YAML 1.2 document as plain data: no tags, aliases, anchors, merge keys or directives, and no member twice (M-23).
 *
 * What YAML can do beyond data lets two readers of one file see two policies, so that none of it is allowed.
 */
import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document } from 'yaml'
import type { LineOf, Place } from './problems.ts'

/** A problem of the text itself. */
export interface YamlProblem {
  readonly line: number
  readonly place: Place
  readonly sentence: string
}

/** The data of a document and where it stands; with problems, there is no data to rely on. */
export interface YamlFile {
  readonly data: unknown
  readonly problems: readonly YamlProblem[]
  readonly lineOf: LineOf
}

const TAG = 'has a tag, and tags are not allowed'
// The parser's own messages quote the file; these are all that is said of its errors.
const SENTENCES: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'is written twice',
  TAG_RESOLVE_FAILED: TAG,
  MULTIPLE_DOCS: 'only one YAML document is allowed',
  TAB_AS_INDENT: 'a tab is not allowed as indentation',
  BAD_INDENT: 'the indentation is not valid YAML',
  BAD_DIRECTIVE: 'directives are not allowed',
}

/** Parses `text`; never throws for what stands in it. */
export function parseYaml(text: string): YamlFile {
  try {
    return readDocument(text)
  } catch {
    // The parser is recursive and gives up on absurdly deep nesting with a RangeError.
    const problem = { line: 1, place: [], sentence: 'is not a YAML document that can be read' }
    return { data: undefined, problems: [problem], lineOf: () => undefined }
  }
}

function readDocument(text: string): YamlFile {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, {
    version: '1.2',
    strict: true,
    uniqueKeys: true,
    merge: false,
    prettyErrors: false,
    lineCounter,
  })
  const line = (offset: number): number => lineCounter.linePos(offset).line || 1
  const { places, found } = walk(document)
  const problems = found.map(({ offset, ...problem }) => ({ line: line(offset), ...problem }))
  for (const { code, pos } of [...document.errors, ...document.warnings]) {
    if (code === 'TAG_RESOLVE_FAILED' && found.some(({ sentence }) => sentence === TAG)) continue
    const sentence = SENTENCES[code] ?? 'is not valid YAML'
    problems.push({ line: line(pos[0]), place: places.get(pos[0]) ?? [], sentence })
  }
  const { yaml, tags } = document.directives
  // %YAML 1.1 would make the same text mean something else: yes is true, 010 is eight.
  if (yaml.explicit || Object.keys(tags).length > 1 || (tags['!!'] ?? CORE_TAGS) !== CORE_TAGS) {
    problems.push({ line: 1, place: [], sentence: SENTENCES['BAD_DIRECTIVE']! })
  }
  if (problems.length > 0) return { data: undefined, problems, lineOf: () => undefined }
  return {
    data: document.toJS({ maxAliasCount: 0 }),
    problems,
    lineOf: (place) => {
      const offset = offsetOf(document, place)
      return offset === undefined ? undefined : line(offset)
    },
  }
}

const CORE_TAGS = 'tag:yaml.org,2002:'

interface Walk {
  /** The place of each member, by the offset of its name. */
  readonly places: Map<number, Place>
  readonly found: { readonly offset: number; readonly place: Place; readonly sentence: string }[]
}

/** Looks at every node for what plain data does not have. */
function walk(document: Document.Parsed): Walk {
  const result: Walk = { places: new Map(), found: [] }
  const look = (node: unknown, place: Place): void => {
    const { range, tag, anchor } = (node ?? {}) as { range?: [number]; tag?: string; anchor?: string }
    const report = (sentence: string): void => void result.found.push({ offset: range?.[0] ?? 0, place, sentence })
    if (isAlias(node)) return report('is an alias, and aliases are not allowed')
    if (tag !== undefined) report(TAG)
    if (anchor !== undefined) report('has an anchor, and anchors are not allowed')
    if (isSeq(node)) node.items.forEach((item, i) => look(item, [...place, i]))
    if (!isMap(node)) return
    for (const { key, value } of node.items) {
      // 1 and "1" are two names for YAML and one for JavaScript, where the second would silently win.
      if (!isScalar(key) || typeof key.value !== 'string') {
        look(key, place)
        report('has a member whose name is not text')
        continue
      }
      const member = [...place, key.value]
      if (key.range) result.places.set(key.range[0], member)
      look(key, member)
      look(value, member)
    }
  }
  look(document.contents, [])
  return result
}

/** The offset of a place: of the member's name, or of the list's item. */
function offsetOf(document: Document.Parsed, place: Place): number | undefined {
  let node: unknown = document.contents
  let offset = document.contents?.range[0]
  for (const part of place) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === part)
      if (pair === undefined) break
      offset = (pair.key as { range?: [number] }).range?.[0]
      node = pair.value
    } else if (isSeq(node) && typeof part === 'number' && node.items[part] !== undefined) {
      node = node.items[part]
      offset = (node as { range?: [number] }).range?.[0]
    } else break
  }
  return offset
}
