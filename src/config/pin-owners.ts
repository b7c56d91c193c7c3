/** The PIN files that a configuration names, read before it is checked: a process has to know them when it is confined. */
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { listTokens } from './one-token.ts'
import { parseYaml } from './yaml.ts'

/** Each token's name and PIN file, as far as they can be read; what is wrong with a configuration is told when it is loaded. */
export function pinOwnersIn(path: string): { readonly name: string; readonly pinFile: string }[] {
  try {
    const data = parseYaml(readFileSync(path, 'utf8')).data as Record<string, unknown>
    listTokens(data)
    const { tokens } = data['hsm'] as { tokens: { name: string; pinFile: string }[] }
    return tokens.map(({ name, pinFile }) => ({ name, pinFile: resolve(dirname(path), pinFile) }))
  } catch {
    return []
  }
}
