/** A gateway that traces nothing loads nothing for it. */
import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'

const NODE = new URL('../../../node_modules/.bin/node', import.meta.url).pathname
const fileOf = (name: string) => new URL(`../../../src/gateway/${name}`, import.meta.url).href

/** The packages of OpenTelemetry that are loaded with a file. */
function loadedWith(name: string): string[] {
  const program = `
    import { registerHooks } from 'node:module'
    const found = new Set()
    registerHooks({ resolve: (name, context, next) => {
      if (name.startsWith('@opentelemetry/')) found.add(name)
      return next(name, context)
    } })
    await import(${JSON.stringify(fileOf(name))})
    process.stdout.write([...found].join(' '), () => process.exit(0))`
  const args = ['--no-warnings', '--input-type=module', '--eval', program]
  return execFileSync(NODE, args, { encoding: 'utf8' }).split(' ').filter(Boolean)
}

describe('the packages for traces', () => {
  it('are loaded with tracing, and not with the gateway', () => {
    expect(loadedWith('tracing/tracing.ts')).toContain('@opentelemetry/sdk-trace')
    // The metrics' own look at traces, which has no code in it but types and stand-ins.
    expect(loadedWith('main.ts')).toEqual(['@opentelemetry/api'])
  })
})
