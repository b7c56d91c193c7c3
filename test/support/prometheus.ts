/** A real Prometheus of a test's own, on a port of this machine and in a folder of its own, and its tool. */
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { stringify } from 'yaml'

/** Where scripts/setup-tokens.sh puts both programs; a machine that has them installed need not have them there. */
const UNPACKED = new URL('../../node_modules/.pinbridge-prometheus', import.meta.url).pathname
const START_MS = 30_000

function programOf(name: 'prometheus' | 'promtool'): string {
  const path = join(UNPACKED, name)
  return existsSync(path) ? path : name
}

/** Runs promtool to its end, with `input` on its standard input; what it printed on both ways out, and how it ended. */
export async function promtool(
  args: readonly string[],
  input = '',
): Promise<{ readonly code: number; readonly output: string }> {
  const running = promisify(execFile)(programOf('promtool'), args, { maxBuffer: 16 * 1024 * 1024 })
  running.child.stdin?.end(input)
  try {
    const { stdout, stderr } = await running
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string }
    if (typeof code !== 'number') throw error
    return { code, output: `${stdout}${stderr}` }
  }
}

/** One element of a vector: its labels, and its value at one moment. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** A running server. */
export interface TestPrometheus {
  /** Asks for an instant vector, or a scalar as one sample without labels. */
  readonly query: (expression: string) => Promise<Sample[]>
  /** What any path of its HTTP API answers in `data`. */
  readonly ask: (path: string) => Promise<any>
  readonly dispose: () => Promise<void>
}

/**
 * Starts a server that asks `targets` once a second, as the job pinbridge, and waits until it serves.
 *
 * @param ruleFiles - evaluated once a second as well.
 */
export async function startPrometheus(
  targets: readonly string[],
  ruleFiles: readonly string[] = [],
): Promise<TestPrometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'pinbridge-prometheus-'))
  const config = join(folder, 'prometheus.yml')
  const scrape = { job_name: 'pinbridge', static_configs: [{ targets }] }
  const global = { scrape_interval: '1s', evaluation_interval: '1s' }
  writeFileSync(config, stringify({ global, rule_files: ruleFiles, scrape_configs: [scrape] }))
  const child = spawn(
    programOf('prometheus'),
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      '--web.listen-address=127.0.0.1:0',
      '--log.format=json',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const dispose = async (): Promise<void> => {
    await end(child)
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    const address = await listeningAt(child)
    const ask = async (path: string): Promise<any> => {
      const answer = await fetch(`http://${address}${path}`)
      const { status, data, error } = (await answer.json()) as { status: string; data?: unknown; error?: string }
      if (status !== 'success') throw new Error(`${path}: ${error}`)
      return data
    }
    const query = async (expression: string): Promise<Sample[]> => {
      const { resultType, result } = await ask(`/api/v1/query?${new URLSearchParams({ query: expression }).toString()}`)
      if (resultType === 'scalar') return [{ labels: {}, value: Number(result[1]) }]
      return result.map(({ metric, value }: any) => ({ labels: metric, value: Number(value[1]) }))
    }
    return { query, ask, dispose }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** The address that it says it has: nobody can take a port that it chose itself. It answers once it says that it is ready. */
async function listeningAt(child: ChildProcess): Promise<string> {
  let text = ''
  return new Promise<string>((resolve, reject) => {
    const fail = () => reject(new Error(`prometheus did not start:\n${text}`))
    const timer = setTimeout(fail, START_MS)
    child.once('error', fail)
    child.once('exit', fail)
    child.stderr?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const address = /"address":"(127\.0\.0\.1:[1-9]\d*)"/.exec(text)?.[1]
      if (address === undefined || !text.includes('Server is ready to receive web requests')) return
      clearTimeout(timer)
      resolve(address)
    })
  })
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}
