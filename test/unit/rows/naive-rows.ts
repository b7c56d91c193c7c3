/** What the row readers are measured by: naive, over strings, and sharing nothing with them but the specification. */
import { packedOf, type ReadLine } from './read-rows.ts'

/** RFC 4180 with regular expressions over strings, a line a row. */
export function naiveCsv(file: Buffer, blockDigits = 16): ReadLine[] {
  const text = file.toString('latin1')
  const mark = text.startsWith('\xef\xbb\xbf') ? 3 : 0
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
  const seen = new Set<string>()
  let names: string[] | undefined
  return lines.map((line, i) => {
    const body = (i === 0 ? line.slice(mark) : line).replace(/\r?\n$/, '')
    const isLast = i === lines.length - 1
    const plain = { line, id: '' }
    const field = '(?:"(?:[^"\\n]|"")*"|[^",\\r\\n]*)'
    const fields = new RegExp(`^${field}(?:,${field})*$`).test(body)
      ? [...`,${body}`.matchAll(new RegExp(`,(${field})`, 'g'))].map((match) => match[1]!)
      : []
    const values = fields.map((each) => (each.startsWith('"') ? each.slice(1, -1).replaceAll('""', '"') : each))
    if (i === 0 && ['id', 'pan', 'pinBlock'].some((name) => values.includes(name))) {
      names = values
      return { fate: 'header', ...plain }
    }
    names ??= ['id', 'pan', 'pinBlock']
    if (body === '' && isLast) return { fate: 'carried', ...plain }
    const value = (name: string) => values[names!.indexOf(name)] ?? ''
    const [id, pan, block] = [value('id'), value('pan'), value('pinBlock')]
    const isUtf8 = Buffer.from(Buffer.from(id, 'latin1').toString('utf8'), 'utf8').equals(Buffer.from(id, 'latin1'))
    if (values.length !== names.length || id === '' || !isUtf8) return { fate: 'rowMalformed', ...plain }
    const read = { line, id: fields[names.indexOf('id')]! }
    const isNew = !seen.has(id)
    seen.add(id)
    if (!/^[1-9]\d{11,18}$/.test(pan)) return { fate: 'panInvalid', ...read }
    if (!new RegExp(`^[0-9A-Fa-f]{${blockDigits}}$`).test(block)) return { fate: 'pinBlockMalformed', ...read }
    if (!isNew) return { fate: 'idDuplicate', ...read }
    return { fate: 'item', ...read, packed: packedOf(pan, block) }
  })
}

/** The names of a JSON text's objects, each with the path to its object: found by tokens, because JSON.parse drops repeats. */
function repeatsAName(text: string): boolean {
  const objects: (Set<string> | undefined)[] = []
  let isName = false
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '{') objects.push(new Set())
    if (token === '[') objects.push(undefined)
    if (token === '}' || token === ']') objects.pop()
    if (token === '{' || token === ',') {
      isName = objects.at(-1) !== undefined
      continue
    }
    if (isName && token.startsWith('"')) {
      const name = JSON.parse(token)
      if (objects.at(-1)!.has(name) || name === '__proto__') return true
      objects.at(-1)!.add(name)
    }
    isName = false
  }
  return false
}

/** JSON.parse and regular expressions over strings. */
export function naiveNdjson(file: Buffer): ReadLine[] {
  const text = file.toString('latin1')
  const lines = text.match(/[^\n]*\n|[^\n]+$/g) ?? []
  const seen = new Set<string>()
  return lines.map((line, i) => {
    const body = Buffer.from(i === 0 ? line.replace(/^\xef\xbb\xbf/, '') : line, 'latin1')
    const plain = { line, id: '' }
    if (/^[ \t\r\n]*$/.test(body.toString('latin1')) && i === lines.length - 1) return { fate: 'carried', ...plain }
    const malformed = { fate: 'rowMalformed', ...plain }
    let row: any
    try {
      const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
      row = JSON.parse(utf8)
      if (repeatsAName(utf8) || Array.isArray(row) || row === null) return malformed
    } catch {
      return malformed
    }
    const { id, pan, pinBlock } = row
    if (typeof pan !== 'string' || typeof pinBlock !== 'string') return malformed
    // A number is an id by how it is spelled: 1.0 is not one.
    const spelled =
      /"(?:id|\\u0069d|i\\u0064)"\s*:\s*("(?:[^"\\]|\\.)*"|[^\s,}\]]+)/.exec(body.toString('latin1'))?.[1] ?? ''
    if (typeof id === 'number' ? !/^-?(?:0|[1-9]\d*)$/.test(spelled) : typeof id !== 'string' || id === '')
      return malformed
    const read = { line, id: spelled }
    const key = typeof id === 'number' ? spelled : id
    const isNew = !seen.has(key)
    seen.add(key)
    // Digits are spelled as digits.
    const isEscaped = (name: string) => new RegExp(`"${name}"\\s*:\\s*"[^"]*\\\\`).test(body.toString('latin1'))
    if (!/^[1-9]\d{11,18}$/.test(pan) || isEscaped('pan')) return { fate: 'panInvalid', ...read }
    if (!/^[0-9A-Fa-f]{16}$/.test(pinBlock) || isEscaped('pinBlock')) return { fate: 'pinBlockMalformed', ...read }
    if (!isNew) return { fate: 'idDuplicate', ...read }
    return { fate: 'item', ...read, packed: packedOf(pan, pinBlock) }
  })
}
