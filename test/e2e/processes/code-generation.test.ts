import { fork, spawn, type ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gatewayConfig, loadConfig, vaultConfig } from '../../../src/config/config.ts'
import type { Config } from '../../../src/config/schema.ts'
import { makeSetUp, temporaryFolder } from '../../support/service.ts'

const DIST = new URL('../../../dist/', import.meta.url).pathname

/** Tries to make code of text when the process begins, and each time that it says something to its supervisor. */
const PRELOAD = `
const tell = process.send.bind(process)
const canGenerate = () => {
  try { return new Function('return true')() } catch (error) { return error.name }
}
tell({ at: 'begin', canGenerate: canGenerate() })
process.send = (message, ...rest) => {
  tell({ at: message.type, canGenerate: canGenerate() })
  return tell(message, ...rest)
}
`

/** Adds to the ready line whether the supervisor can make code of text. */
const SUPERVISOR_PRELOAD = `
const write = process.stdout.write.bind(process.stdout)
process.stdout.write = (line) => {
  let canGenerate
  try { canGenerate = new Function('return true')() } catch (error) { canGenerate = error.name }
  return write(JSON.stringify({ ...JSON.parse(line), canGenerate }) + '\\n')
}
`

describe('once they have started', () => {
  const folder = temporaryFolder()
  let path: string
  let config: Config
  let child: ChildProcess | undefined

  beforeAll(async () => {
    path = (await makeSetUp(folder.path)).config
    config = loadConfig(path, { port: 0, managementPort: 0 })
    writeFileSync(join(folder.path, 'preload.mjs'), PRELOAD)
  })
  afterAll(() => {
    child?.kill('SIGKILL')
    folder.dispose()
  })

  /** Starts a process and waits until it has said this; returns whether it could make code of text at each word. */
  async function untilSaid(entry: string, command: object, type: string, env: Record<string, string> = {}) {
    const execArgv = ['--import', join(folder.path, 'preload.mjs')]
    const started = fork(join(DIST, entry), [], { execArgv, env, stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    child = started
    const found: Record<string, unknown> = {}
    await new Promise<void>((resolve, reject) => {
      started.on('exit', (code) => reject(new Error(`${entry} ended with ${code}`)))
      started.on('message', (message: any) => {
        if (message.at !== undefined) found[message.at] = message.canGenerate
        if (message.at === 'begin') started.send(command)
        if (message.type === type) resolve()
      })
    })
    started.removeAllListeners('exit').kill('SIGKILL')
    return found
  }

  it('the gateway makes no code of text', async () => {
    const bridge = { path: join(folder.path, 'bridge.sock') }
    const command = { type: 'start', config: gatewayConfig(config), bridge }
    expect(await untilSaid('gateway/main.js', command, 'listening')).toMatchObject({
      begin: true,
      listening: 'EvalError',
    })
  })

  it('the supervisor makes no code of text', async () => {
    const preload = join(folder.path, 'supervisor.mjs')
    writeFileSync(preload, SUPERVISOR_PRELOAD)
    const args = ['serve', '--config', path, '--port', '0', '--management-port', '0']
    const supervisor = spawn(process.execPath, [join(DIST, 'cli/main.js'), ...args], {
      env: { PATH: process.env['PATH'] ?? '', NODE_OPTIONS: `--import ${preload}` },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    child = supervisor
    const [line] = (await once(supervisor.stdout, 'data')) as [Buffer]
    const ended = once(supervisor, 'exit')
    supervisor.kill()
    expect(await ended).toEqual([0, null])
    expect(JSON.parse(line.toString())).toMatchObject({ event: 'ready', canGenerate: 'EvalError' })
  })

  it('a vault makes no code of text', async () => {
    const bridge = join(folder.path, 'vault.sock')
    const server = createServer(() => {})
    await new Promise<void>((resolve) => server.listen(bridge, resolve))
    const [token] = config.hsm.tokens
    const command = {
      type: 'start',
      vault: 1,
      config: vaultConfig(config, token!),
      bridge: { path: bridge },
      secret: '00',
    }
    const found = await untilSaid('vault/main.js', command, 'opened', token!.environment)
    server.close()
    expect(found).toEqual({ begin: true, opened: 'EvalError' })
  })
})
