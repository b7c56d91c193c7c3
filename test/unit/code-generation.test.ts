import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const MODULE = new URL('../../src/code-generation.ts', import.meta.url).href

/** Every way of the language to make code of text; each gives 1 if it is open. */
const WAYS = {
  constructor: "new Function('return 1')()",
  'called constructor': "Function('return 1')()",
  'constructor of a function': "(() => {}).constructor('return 1')()",
  'constructor of a constructor': "({}).constructor.constructor('return 1')()",
  'prototype of functions': "Object.getPrototypeOf(() => {}).constructor('return 1')()",
  'asynchronous functions': "(async () => {}).constructor('return 1')() && 1",
  generators: "(function* () {}).constructor('return 1')() && 1",
  'asynchronous generators': "(async function* () {}).constructor('return 1')() && 1",
  'extended constructor': "new (class extends Function {})('return 1')()",
  reflection: "Reflect.construct(Function, ['return 1'])()",
  eval: "eval('1')",
  'eval from outside': "(0, eval)('1')",
  WebAssembly: 'new WebAssembly.Module(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])) && 1',
}

/** Tries every way, in a process of its own: what is taken away does not come back. */
function open(before: string): string[] {
  const tries = Object.entries(WAYS).map(([name, way]) => `try { if (${way} === 1) open.push('${name}') } catch {}`)
  const after =
    'console.log(JSON.stringify({ open, kinds: [(() => {}) instanceof Function, (async () => {}).constructor.name] }))'
  const code = `const open = []\n${before}\n${tries.join('\n')}\n${after}`
  const printed = execFileSync(NODE, ['--input-type=module', '-e', code], { encoding: 'utf8' })
  const { open: found, kinds } = JSON.parse(printed)
  // Who asks what kind of function one is hears the truth.
  expect(kinds).toEqual([true, 'AsyncFunction'])
  return found
}

describe('once code generation is forbidden', () => {
  it('no text becomes code by any way of the language', () => {
    expect(open('')).toEqual(Object.keys(WAYS))
    expect(open(`;(await import('${MODULE}')).forbidCodeGeneration()`)).toEqual([])
  })

  it('nothing gives the ways back', () => {
    const tries = [
      'globalThis.Function = (() => {}).constructor',
      "Object.defineProperty(globalThis, 'eval', { value: (text) => text })",
      "Object.defineProperty(Function.prototype, 'constructor', { value: () => () => 1 })",
    ].map((attempt) => `try { ${attempt} } catch {}`)
    expect(open(`;(await import('${MODULE}')).forbidCodeGeneration()\n${tries.join('\n')}`)).toEqual([])
  })
})
