/** A real service for a test: `pinbridge init --dev` in a temporary folder, `pinbridge serve` on free ports, mTLS clients. */
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Agent, request, type Dispatcher } from 'undici'
import { parse, stringify } from 'yaml'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import type { ReadyLine } from '../../src/supervisor/supervisor.ts'
import { assertDocumented } from './documented.ts'
import type { TestToken, TokenMembers } from './tokens.ts'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const CLI = new URL('../../dist/cli/main.js', import.meta.url).pathname
const START_MS = 30_000
/** Nobody's. */
const UNPRIVILEGED_UID = 64_100

/** What a command printed, and how it ended. */
export interface CommandResult {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/**
 * Runs the built `pinbridge` command to its end.
 *
 * @param uid - as whom, if not as this process's user; only root can say.
 */
export async function pinbridge(
  args: readonly string[],
  env: Record<string, string> = {},
  uid?: number,
): Promise<CommandResult> {
  const user = uid === undefined ? {} : { uid, gid: uid }
  const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: START_MS, ...user }
  try {
    return { code: 0, ...(await promisify(execFile)(NODE, [CLI, ...args], options)) }
  } catch (error) {
    const failed = error as { code?: unknown; stdout?: string; stderr?: string }
    if (typeof failed.code !== 'number') throw error
    return { code: failed.code, stdout: failed.stdout ?? '', stderr: failed.stderr ?? '' }
  }
}

/** A folder that `dispose` removes. */
export function temporaryFolder(): { path: string; dispose: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'pinbridge-test-'))
  return { path, dispose: () => rmSync(path, { recursive: true, force: true }) }
}

/**
 * Gives a folder to a user who is not root, whom production wants.
 *
 * @returns the user's number; undefined where this process is not root's, and is such a user itself.
 */
export function giveToUnprivileged(path: string): number | undefined {
  if (process.getuid?.() !== 0) return undefined
  execFileSync('chown', ['-R', `${UNPRIVILEGED_UID}:${UNPRIVILEGED_UID}`, path])
  return UNPRIVILEGED_UID
}

/**
 * Makes a development set-up and, if asked, edits its configuration before it is used.
 *
 * @param token - where the keys are made; left out, in a SoftHSM token that is part of the set-up.
 */
export async function makeSetUp(
  folder: string,
  edit?: (config: any) => void,
  token?: TestToken,
): Promise<DevelopmentSetUp> {
  const made = await pinbridge([
    'init',
    '--dev',
    '--dir',
    join(folder, 'dev'),
    '--json',
    ...(token ? initOptions(token.members) : []),
  ])
  if (made.code !== 0) throw new Error(`init failed: ${made.stderr}`)
  const setUp = JSON.parse(made.stdout) as DevelopmentSetUp
  if (edit) editConfig(setUp.config, edit)
  return setUp
}

/** What `pinbridge init` is told of a token that is there. */
export function initOptions({
  module,
  tokenLabel,
  pinFile,
  environment,
  libraryParameters,
  socket,
}: TokenMembers): string[] {
  return [
    ...['--module', module, '--token-label', tokenLabel, '--pin-file', pinFile],
    ...(libraryParameters === undefined ? [] : ['--library-parameters', libraryParameters]),
    ...(socket === undefined ? [] : ['--socket', socket]),
    ...Object.entries(environment).flatMap(([name, value]) => ['--environment', `${name}=${value}`]),
  ]
}

/** Edits a configuration file in place. */
export function editConfig(path: string, edit: (config: any) => void): void {
  const config = parse(readFileSync(path, 'utf8'))
  edit(config)
  writeFileSync(path, stringify(config, { aliasDuplicateObjects: false }))
}

/** An answer with its body read and, if it is JSON, parsed. */
export interface Answer {
  readonly status: number
  readonly headers: Dispatcher.ResponseData['headers']
  readonly text: string
  readonly json: any
}

/** A running service. */
export interface Service {
  readonly setUp: DevelopmentSetUp
  readonly ready: ReadyLine
  readonly process: ChildProcess
  /** All that it wrote on standard output and standard error. */
  readonly output: () => string
  /** Calls the API as a configured client, cms-adapter unless told; an answer that the OpenAPI document does not have is thrown. */
  readonly call: (method: string, path: string, body?: unknown, options?: CallOptions) => Promise<Answer>
  /** Calls the management listener. */
  readonly manage: (path: string) => Promise<Answer>
  readonly stop: (signal?: NodeJS.Signals) => Promise<number | null>
}

export interface CallOptions {
  readonly client?: string
  readonly headers?: Record<string, string>
}

/**
 * Starts `pinbridge serve` and waits until it says that it is ready.
 *
 * @param uid - as whom, as in `pinbridge`.
 */
export async function startService(setUp: DevelopmentSetUp, uid?: number): Promise<Service> {
  const child = spawn(NODE, [CLI, 'serve', '--config', setUp.config, '--port', '0', '--management-port', '0'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '' },
    ...(uid !== undefined && { uid, gid: uid }),
  })
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const ready = await new Promise<ReadyLine>((resolve, reject) => {
    const fail = (why: string) => {
      child.kill('SIGKILL')
      reject(new Error(`the service did not get ready (${why}):\n${output}`))
    }
    const timer = setTimeout(() => fail('time'), START_MS)
    child.once('exit', (code) => fail(`exit ${code}`))
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const line = output.split('\n').find((text) => text.startsWith('{"event":"ready"'))
      if (!line) return
      clearTimeout(timer)
      resolve(JSON.parse(line) as ReadyLine)
    })
  })
  const agents = new Map(
    setUp.clients.map(({ id, cert, key }) => [
      id,
      new Agent({ connect: { ca: readFileSync(setUp.ca), cert: readFileSync(cert), key: readFileSync(key) } }),
    ]),
  )
  const management = new Agent()

  const send = async (dispatcher: Agent, url: string, method: string, body: unknown, headers = {}): Promise<Answer> => {
    const answer = await request(url, {
      dispatcher,
      method: method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? null : typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
    })
    const text = await answer.body.text()
    const isJson = /json/.test(String(answer.headers['content-type']))
    return { status: answer.statusCode, headers: answer.headers, text, json: isJson ? JSON.parse(text) : undefined }
  }
  return {
    setUp,
    ready,
    process: child,
    output: () => output,
    call: async (method, path, body, { client = 'cms-adapter', headers } = {}) => {
      const answer = await send(agents.get(client)!, `${ready.url}${path}`, method, body, headers)
      await assertDocumented(method, path, answer)
      return answer
    },
    manage: (path) => send(management, `${ready.management}${path}`, 'GET', undefined),
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
        child.kill(signal)
        await ended
      }
      await Promise.all([...agents.values(), management].map((agent) => agent.destroy()))
      return child.exitCode
    },
  }
}
