import { spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createLog } from '../../src/log.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const LOG = new URL('../../src/log.ts', import.meta.url).href

/** Runs a script that has `log`, with standard error at `stderr`; resolves with its exit code and standard output. */
function run(script: string, stderr: 'pipe' | number, onPipe?: (chunk: Buffer, close: () => void) => void) {
  const code = `const { createLog } = await import(${JSON.stringify(LOG)}); const log = createLog('test', 'info'); ${script}`
  const child = spawn(NODE, ['--no-warnings', '--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', stderr] })
  let stdout = ''
  child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => onPipe?.(chunk, () => child.stderr?.destroy()))
  return new Promise<{ code: number | null; stdout: string }>((resolve) => {
    child.once('close', (code) => resolve({ code, stdout }))
  })
}

const numbers = (text: string) =>
  text
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { durationMs: number }).durationMs)

describe('createLog', () => {
  it('writes every record whole and in order, also what is logged just before the end', async () => {
    let text = ''
    const script = `
      for (let n = 0; n < 500; n++) log.info({ durationMs: n, problem: 'x'.repeat(n * 20) })
      setImmediate(() => { log.info({ durationMs: 500 }); process.exit(3) })`
    const { code } = await run(script, 'pipe', (chunk) => (text += chunk.toString()))
    expect(code).toBe(3)
    expect(numbers(text)).toEqual(Array.from({ length: 501 }, (_, n) => n))
  })

  it('lets the process go on when nobody reads any more', async () => {
    const script = `
      let n = 0
      const timer = setInterval(() => {
        for (let i = 0; i < 20; i++) log.info({ durationMs: n++ })
        if (n >= 2000) { clearInterval(timer); process.stdout.write('done') }
      }, 1)`
    const { code, stdout } = await run(script, 'pipe', (_chunk, close) => close())
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'done' })
  }, 20_000)

  it('tears no line that several processes write to one file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'log-'))
    const file = openSync(join(folder, 'log'), 'a')
    const script = `let n = 0; const timer = setInterval(() => {
      for (let i = 0; i < 50; i++) log.info({ durationMs: n++ })
      if (n >= 2000) clearInterval(timer)
    }, 1)`
    await Promise.all([1, 2, 3].map(() => run(script, file)))
    closeSync(file)
    const seen = numbers(readFileSync(join(folder, 'log'), 'utf8'))
    rmSync(folder, { recursive: true })
    expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: 6000 }, (_, i) => Math.floor(i / 3)))
  }, 20_000)

  it('writes listed members only, and of an error its class', () => {
    const lines: string[] = []
    const log = createLog('test', 'info', { write: (line) => void lines.push(line) })
    const secret = new TypeError('4000001234567899', { cause: { pan: '4000001234567899' } })
    // As it would come from code that spreads what it does not know.
    const unlisted: object = { vault: 1, pan: '4000001234567899', body: { pin: '1234' }, err: secret }
    log.info(unlisted, 'said')
    log.child({ token: 'a' }).warn(unlisted)
    log.error('said alone')
    log.error(secret as object)
    const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
    const always = { process: 'test', time: expect.any(String) as string }
    const listed = { ...always, vault: 1 }
    expect(records).toEqual([
      { ...listed, level: 30, msg: 'said' },
      { ...listed, level: 40, token: 'a' },
      { ...always, level: 50, msg: 'said alone' },
      { ...always, level: 50, errorType: 'TypeError' },
    ])
  })
})
