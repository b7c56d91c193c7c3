/** The HSM's own limit: hsm-calls.c, which makes the PKCS#11 calls that an operation needs and nothing else of it. */
import { execFileSync, spawn } from 'node:child_process'
import { hash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parse } from 'yaml'
import type { OperationId, Sample } from './results.ts'

const CODE = join(import.meta.dirname, 'hsm-calls.c')
const MODULES = join(import.meta.dirname, '../../node_modules')

/** How much is done, and by how many. */
export interface HsmCallsOptions {
  /** Each makes one call after the other, so that no more calls than these are under way. */
  readonly processes: 1 | 2
  /** Of all processes together: of batch and migrate rows, up to whole requests or chunks of each process. */
  readonly operations: number
}

/** Makes the calls of an operation; CPU time is the sum of the processes, wall time that of the slowest. */
export type RunHsmCalls = (operation: OperationId, options: HsmCallsOptions) => Promise<Sample>

/** What one process prints. */
interface Counted {
  readonly operations: number
  readonly cpuUs: number
  readonly wallUs: number
}

/** Makes the calls on the token of a configuration file. */
export function createHsmCalls(configFile: string): RunHsmCalls {
  const program = builtProgram()
  const { hsm } = parse(readFileSync(configFile, 'utf8'))
  return async (operation, { processes, operations }) => {
    const args = [hsm.module, hsm.tokenLabel, hsm.pinFile, operation, String(Math.ceil(operations / processes))]
    const ready: (() => Promise<Counted>)[] = []
    // One after the other: SoftHSM may lose its token while two processes open it.
    for (let i = 0; i < processes; i++) ready.push(await prepare(program, args, hsm.environment))
    const counted = await Promise.all(ready.map((run) => run()))
    const sumOf = (member: keyof Counted): number => counted.reduce((sum, one) => sum + one[member], 0)
    return {
      operations: sumOf('operations'),
      wallMs: Math.max(...counted.map(({ wallUs }) => wallUs)) / 1000,
      cpuUs: { 'hsm-calls': sumOf('cpuUs') },
    }
  }
}

/** Starts a process; what comes back has it make its calls, which it waits for. */
async function prepare(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<() => Promise<Counted>> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env })
  const ended = once(child, 'exit')
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error('hsm-calls ended before its time; it has said why')
    return value
  }
  await next()
  return async () => {
    child.stdin.end('go\n')
    const counted = JSON.parse(await next()) as Counted
    await ended
    return counted
  }
}

/** The built program: gcc compiles it once, into a file named by the code's content. */
function builtProgram(): string {
  const built = join(MODULES, `.pinbridge-hsm-calls-${hash('sha256', readFileSync(CODE)).slice(0, 16)}`)
  if (existsSync(built)) return built
  const unfinished = `${built}.${process.pid}`
  const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', `-I${join(MODULES, 'pkcs11js/includes')}`]
  execFileSync('gcc', [...flags, '-o', unfinished, CODE, '-ldl'])
  renameSync(unfinished, built)
  return built
}
