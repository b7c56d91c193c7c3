/** The demo as a newcomer runs it. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../support/service.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const DEMO = new URL('../../scripts/demo.ts', import.meta.url).pathname

const STEPS = [
  'The service is up, with its keys in the HSM',
  'A consumer and a card registered with D1',
  'An access token for D1',
  'Set PIN as ISO0',
  'Get PIN',
  'PIN change counter',
  'Set PIN as 3DES_SECCOS',
  'The same Set PIN again',
  'Get PIN again',
  'PRW generated',
  'PRW verified',
  'A wrong PRW is refused',
  'A tampered JWE is refused',
]

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(() => {
  folder.dispose()
})

const environment = () => ({ PATH: process.env['PATH'] ?? '', TMPDIR: folder.path })

async function runDemo(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const ended = await promisify(execFile)(NODE, [DEMO, ...args], { env: environment(), cwd: '/', timeout: 55_000 })
    return { code: 0, ...ended }
  } catch (error) {
    return error as { code: number; stdout: string; stderr: string }
  }
}

function expectWholeStory({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }): void {
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  const steps = stdout.split('\n').filter((line) => line.startsWith('✓'))
  expect(steps).toEqual(STEPS.map((title, i) => `✓ ${i + 1}. ${title}`))
  expect(stdout).toContain('PIN 4917, the one that was set')
  expect(stdout).toContain('the counter 0003')
  expect(stdout).toContain('reads PIN 805316')
}

/** A symmetric key has 32 hex digits or more, the HSM PIN twelve digits, and a private JWK or PEM says that it is one. */
function expectNoSecret(output: string): void {
  expect(output).not.toMatch(/[0-9A-Fa-f]{32}/)
  expect(output).not.toMatch(/(?<![0-9A-Fa-f])\d{12}(?![0-9A-Fa-f])/)
  expect(output).not.toMatch(/PRIVATE KEY|"d":/)
}

describe('scripts/demo', () => {
  it('plays every step, prints no secret and leaves nothing behind, twice', { timeout: 120_000 }, async () => {
    for (let run = 1; run <= 2; run++) {
      const demo = await runDemo()
      expectWholeStory(demo)
      expectNoSecret(demo.stdout)
      expect(readdirSync(folder.path)).toEqual([])
    }
  })

  it('runs beside another one', async () => {
    const demos = await Promise.all([runDemo(), runDemo()])
    demos.forEach(expectWholeStory)
  })

  it('refuses an option that it does not know', async () => {
    const { code, stdout } = await runDemo('--forever')
    expect(code).toBe(2)
    expect(stdout).toMatch(/^Usage: /)
  })

  it('ends with a sentence and leaves nothing behind when it is interrupted', async () => {
    const child = spawn(NODE, [DEMO], { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('starting the service')) child.kill('SIGTERM')
    })
    expect(await once(child, 'exit')).toEqual([1, null])
    expect(output.trimEnd()).toMatch(/The demo was interrupted\.$/)
    expect(readdirSync(folder.path)).toEqual([])
  })

  const withoutCurl = spawnSync('curl', ['--version']).status !== 0
  it.skipIf(withoutCurl)('--keep: every printed curl line works as it stands, and Ctrl-C ends it all', async () => {
    const child = spawn(NODE, [DEMO, '--keep'], { env: environment(), stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(child, 'exit')
    let output = ''
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`the demo ended:\n${output}`)))
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString()
        if (output.includes('Ctrl-C stops the service')) resolve()
      })
    })
    expectNoSecret(output.replaceAll(/"encryptedPinBlock":"[^"]*"/g, ''))
    const lines = output.split('\n').filter((line) => line.startsWith('curl '))
    expect(lines).toHaveLength(7)
    const answers = lines.map((line) => {
      // Twice, because somebody will.
      const [first, second] = [0, 1].map(() =>
        spawnSync('sh', ['-c', `${line} -w '\\n%{http_code}'`], { encoding: 'utf8' }),
      )
      expect(first!.stdout.slice(-3) + second!.stdout.slice(-3), `${line}\n${first!.stdout}${first!.stderr}`).toBe(
        '200200',
      )
      return JSON.parse(first!.stdout.slice(0, -4))
    })
    expect(answers).toEqual([
      { status: 'alive' },
      { keys: expect.any(Array) },
      { keys: expect.any(Array) },
      { encryptedPinBlock: expect.stringMatching(/^[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/) },
      expect.objectContaining({ format: 'ISO-0', pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/) }),
      { verified: true },
      expect.objectContaining({ format: 'ISO-0', pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/) }),
    ])
    child.kill('SIGINT')
    expect(await ended).toEqual([0, null])
    expect(readdirSync(folder.path)).toEqual([])
  })
})
