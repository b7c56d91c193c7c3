/**
 * Changes the list of keys in the text of a configuration, and not a byte of the rest: whoever wrote the file knows it by its
 * comments and its layout.
 */
import { isDeepStrictEqual } from 'node:util'
import { isMap, isScalar, isSeq, parse, parseDocument, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml'
import type { KeyEntry } from './schema.ts'

/** One change of the list; a member that is given as undefined is taken out. */
export type KeyChange =
  | { readonly kind: 'add'; readonly entry: KeyEntry }
  | { readonly kind: 'change'; readonly at: number; readonly members: Readonly<Partial<KeyEntry>> }
  | { readonly kind: 'remove'; readonly at: number }

/**
 * Applies one change to the text.
 *
 * @returns the new text; undefined if the list is laid out in a way that this cannot keep, which is found by reading it again.
 */
export function changeKeyList(text: string, change: KeyChange): string | undefined {
  const list = keyListIn(text)
  if (list === undefined) return undefined
  const splice = spliceOf(text, list, change)
  if (splice === undefined) return undefined
  const changed = text.slice(0, splice.from) + splice.text + text.slice(splice.to)
  return isDeepStrictEqual(dataOf(changed), expected(text, change)) ? changed : undefined
}

/** Writes an entry as it would stand in a list, for a person to paste. */
export function keyEntryText(entry: Readonly<Partial<KeyEntry>>): string {
  return blockItem(entry, '  ', '\n').trimEnd()
}

/** What stands in the place of some of the text. */
interface Splice {
  readonly from: number
  readonly to: number
  readonly text: string
}

function keyListIn(text: string): YAMLSeq<Node> | undefined {
  const list = parseDocument(text, { version: '1.2', keepSourceTokens: true }).get('keys', true)
  return isSeq<Node>(list) && list.range ? list : undefined
}

function dataOf(text: string): unknown {
  try {
    return parse(text, { version: '1.2', maxAliasCount: 0 })
  } catch {
    return undefined
  }
}

/** The data as they have to be after the change. */
function expected(text: string, change: KeyChange): unknown {
  const data = dataOf(text) as { readonly keys: readonly Readonly<Record<string, unknown>>[] }
  if (change.kind === 'add') return { ...data, keys: [...data.keys, written(change.entry)] }
  if (change.kind === 'remove') {
    const keys = data.keys.toSpliced(change.at, 1)
    // YAML reads a block list without an item as null.
    return { ...data, keys: keys.length === 0 && !keyListIn(text)?.flow ? null : keys }
  }
  const members = written({ ...data.keys[change.at], ...change.members })
  return { ...data, keys: data.keys.with(change.at, members) }
}

function written(members: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}

function spliceOf(text: string, list: YAMLSeq<Node>, change: KeyChange): Splice | undefined {
  if (change.kind === 'add')
    return list.flow ? flowAddition(text, list, change.entry) : addition(text, list, change.entry)
  const item = list.items[change.at]
  if (change.kind === 'remove') return list.flow ? flowRemoval(list, change.at) : removal(text, list, change.at)
  if (!isMap<Node, Node>(item)) return undefined
  // From the last member on, because each splice moves what stands behind it; all of them are one.
  const from = item.range![0]
  const to = endOf(item)
  const splices = Object.entries(change.members).flatMap(([name, value]) => memberSplice(text, item, name, value) ?? [])
  let part = text.slice(from, to)
  for (const splice of splices.toSorted((a, b) => b.from - a.from)) {
    part = part.slice(0, splice.from - from) + splice.text + part.slice(splice.to - from)
  }
  return { from, to, text: part }
}

/** Where the last character of a value stands: the range of a block collection reaches over what follows. */
function endOf(node: Node): number {
  if (isMap<Node, Node | null>(node) && !node.flow) {
    const last = node.items.at(-1)
    if (last) return endOf(last.value ?? last.key)
  }
  if (isSeq<Node>(node) && !node.flow && node.items.length > 0) return endOf(node.items.at(-1)!)
  return node.range![1]
}

/** The end of the line that a value ends in, comment and all; behind its newline if it holds that itself. */
function lineEnd(text: string, at: number): number {
  if (text[at - 1] === '\n') return at
  const end = text.indexOf('\n', at)
  return end < 0 ? text.length : end + 1
}

function newlineOf(text: string): string {
  return text.includes('\r\n') ? '\r\n' : '\n'
}

function addition(text: string, list: YAMLSeq<Node>, entry: KeyEntry): Splice | undefined {
  const last = list.items.at(-1)
  if (last === undefined) return undefined
  const newline = newlineOf(text)
  const at = lineEnd(text, endOf(last))
  const indent = ' '.repeat((list.srcToken as { indent?: number } | undefined)?.indent ?? 2)
  const item =
    isMap(last) && last.flow
      ? `${indent}- ${flowMap(entry, isJson(last))}${newline}`
      : blockItem(entry, indent, newline)
  return { from: at, to: at, text: text[at - 1] === '\n' ? item : `${newline}${item}` }
}

function flowAddition(text: string, list: YAMLSeq<Node>, entry: KeyEntry): Splice {
  const [first, last] = [list.items[0], list.items.at(-1)]
  if (first === undefined || last === undefined) {
    const at = list.range![0] + 1
    return { from: at, to: at, text: flowMap(entry, false) }
  }
  // An item that begins its line has the next begin one too.
  const lead = /(?:^|\n)([ \t]*)$/.exec(text.slice(0, last.range![0]))?.[1]
  const separator = lead === undefined ? ', ' : `,${newlineOf(text)}${lead}`
  const at = last.range![1]
  return { from: at, to: at, text: `${separator}${flowMap(entry, isMap(first) && isJson(first))}` }
}

/** Whole lines; comments above the entry stay, because they may be about more than it. */
function removal(text: string, list: YAMLSeq<Node>, at: number): Splice | undefined {
  const token = list.srcToken
  if (token?.type !== 'block-seq') return undefined
  const mark = token.items.flatMap(({ start }) => start.filter(({ type }) => type === 'seq-item-ind'))[at]
  if (mark === undefined) return undefined
  return { from: text.lastIndexOf('\n', mark.offset) + 1, to: lineEnd(text, endOf(list.items[at]!)), text: '' }
}

function flowRemoval({ items }: YAMLSeq<Node>, at: number): Splice {
  const item = items[at]!.range!
  const next = items[at + 1]
  if (next) return { from: item[0], to: next.range![0], text: '' }
  return { from: at === 0 ? item[0] : items[at - 1]!.range![1], to: item[1], text: '' }
}

/** Puts a value in a member's place, takes the member out, or puts a new one behind the last. */
function memberSplice(text: string, item: YAMLMap<Node, Node>, name: string, value: unknown): Splice | undefined {
  const i = item.items.findIndex(({ key }) => isScalar(key) && key.value === name)
  const pair = item.items[i]
  const json = isJson(item)
  if (pair?.value && value !== undefined) {
    return { from: pair.value.range![0], to: endOf(pair.value), text: valueText(name, value, json) }
  }
  if (pair) return value === undefined ? memberRemoval(text, item, i) : undefined
  if (value === undefined) return undefined
  const at = endOf(item.items.at(-1)!.value!)
  const member = `${json ? JSON.stringify(name) : name}: ${valueText(name, value, json)}`
  if (item.flow) return { from: at, to: at, text: `, ${member}` }
  const indent = ' '.repeat(columnOf(text, item.items[0]!.key.range![0]))
  return { from: at, to: at, text: `${newlineOf(text)}${indent}${member}` }
}

function memberRemoval(text: string, { items, flow }: YAMLMap<Node, Node>, at: number): Splice {
  const startOf = ({ key }: Pair<Node, Node | null>): number => key.range![0]
  const next = items[at + 1]
  // The next member takes the place of this one, which may stand behind the dash.
  if (next) return { from: startOf(items[at]!), to: startOf(next), text: '' }
  const end = endOf(items[at]!.value!)
  const before = items[at - 1]
  if (before === undefined) return { from: startOf(items[at]!), to: end, text: '' }
  return { from: flow ? endOf(before.value!) : text.lastIndexOf('\n', startOf(items[at]!)), to: end, text: '' }
}

function columnOf(text: string, at: number): number {
  return at - (text.lastIndexOf('\n', at - 1) + 1)
}

/** JSON is YAML too, and stays JSON. */
function isJson(item: YAMLMap): boolean {
  const key = item.items[0]?.key
  return Boolean(item.flow) && isScalar(key) && key.type === 'QUOTE_DOUBLE'
}

function blockItem(entry: Readonly<Partial<KeyEntry>>, indent: string, newline: string): string {
  return Object.entries(written(entry))
    .map(([name, value], i) => `${indent}${i === 0 ? '- ' : '  '}${name}: ${valueText(name, value, false)}${newline}`)
    .join('')
}

function flowMap(entry: KeyEntry, json: boolean): string {
  const members = Object.entries(written(entry)).map(
    ([name, value]) => `${json ? JSON.stringify(name) : name}: ${valueText(name, value, json)}`,
  )
  return `{ ${members.join(', ')} }`
}

/** What YAML, or whoever reads it, may take for a number or a day is quoted. */
const QUOTED: readonly string[] = ['kcv', 'check', 'created', 'expires']

function valueText(name: string, value: unknown, json: boolean): string {
  if (Array.isArray(value)) return `[${value.map((each) => valueText('', each, json)).join(', ')}]`
  if (typeof value !== 'string') return JSON.stringify(value)
  const isPlain = /^[A-Za-z][A-Za-z0-9._-]*$/.test(value) && parse(value) === value
  return isPlain && !json && !QUOTED.includes(name) ? value : JSON.stringify(value)
}
