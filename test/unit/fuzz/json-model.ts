/**
 * What the strict reader takes, said a second time: JSON.parse, and of the text's tokens the rules that it does not have.
 * Shares nothing with src/json-bytes.ts but RFC 8259.
 */

const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g

/** The text of the bytes, if they are a JSON text that the strict reader must take. */
export function strictJson(bytes: Buffer, maxDepth = 16, maxMembers = Infinity): { value: unknown } | undefined {
  let text: string
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  const open: (Set<string> | undefined)[] = []
  let isName = false
  for (const [token] of text.matchAll(TOKENS)) {
    if (token.startsWith('"') && !(JSON.parse(token) as string).isWellFormed()) return undefined
    if (token === '{' || token === '[') open.push(token === '{' ? new Set() : undefined)
    if (open.length > maxDepth) return undefined
    if (token === '}' || token === ']') open.pop()
    const names = open.at(-1)
    if (isName && names && token.startsWith('"')) {
      const name = JSON.parse(token) as string
      if (name === '__proto__' || names.has(name) || names.size >= maxMembers) return undefined
      names.add(name)
    }
    isName = token === '{' || token === ','
  }
  return { value }
}
