/** What a process no longer needs once it has started: making code of text. Until then, validators of schemas are compiled (M-25). */

/**
 * Takes eval, the constructors of every kind of function, and WebAssembly away from this process. They cannot be had back.
 *
 * What is taken are the language's own ways, which a text that reaches `constructor.constructor` would go. Code that already
 * runs here still has node:vm.
 */
export function forbidCodeGeneration(): void {
  const samples = [function () {}, function* () {}, async function () {}, async function* () {}] as const
  for (const sample of samples) {
    const prototype: object = Object.getPrototypeOf(sample) as object
    const { name } = prototype.constructor
    const refuse = refusal(name)
    // Of the same prototype and name, so that whoever asks what kind of function one is hears the same as before.
    Object.defineProperty(refuse, 'prototype', { value: prototype })
    Object.defineProperty(prototype, 'constructor', { value: refuse, writable: false, configurable: false })
    if (name === 'Function') take('Function', refuse)
  }
  take('eval', refusal('eval'))
  delete (globalThis as { WebAssembly?: unknown }).WebAssembly
}

function refusal(name: string): () => never {
  const refuse = function (): never {
    throw new EvalError('no code is made of text once the process has started')
  }
  return Object.defineProperty(refuse, 'name', { value: name })
}

function take(name: 'Function' | 'eval', value: () => never): void {
  Object.defineProperty(globalThis, name, { value, writable: false, configurable: false })
}
