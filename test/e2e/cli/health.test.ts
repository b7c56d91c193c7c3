import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, pinbridge, startService, temporaryFolder, type Service } from '../../support/service.ts'

const folder = temporaryFolder()
let service: Service
let port: string

beforeAll(async () => {
  service = await startService(await makeSetUp(folder.path))
  port = new URL(service.ready.management).port
})
afterAll(async () => {
  await service.stop()
  folder.dispose()
})

const health = (config: string, ...more: string[]) => pinbridge(['health', '--config', config, ...more])
const DEAD = { code: 1, stdout: '', stderr: 'the service does not answer that it is alive\n' }

/** A configuration of which nothing but the management listener can be read. */
function configOf(name: string, management: object): string {
  const path = join(folder.path, name)
  writeFileSync(path, JSON.stringify({ surprise: 1, listeners: { management } }))
  return path
}

describe('pinbridge health', () => {
  it('exits 0 while the service answers, and 1 once it does not', async () => {
    expect(await health(service.setUp.config, '--management-port', port)).toEqual({ code: 0, stdout: '', stderr: '' })
    const config = configOf('elsewhere.yaml', { host: '127.0.0.1', port: Number(port) })
    expect(await health(config)).toMatchObject({ code: 0 })
    process.kill(service.ready.gateway, 'SIGSTOP')
    try {
      expect(await health(config)).toEqual(DEAD)
    } finally {
      process.kill(service.ready.gateway, 'SIGCONT')
    }
    await service.stop()
    expect(await health(config)).toEqual(DEAD)
  })

  it('exits 78 for a configuration without a management listener, and says nothing of what stands in it', async () => {
    const config = configOf('none.yaml', { host: 'canary-value', port: 'canary-value' })
    const { code, stderr } = await health(config)
    expect([code, stderr]).toEqual([
      78,
      `The configuration cannot be used:\n  ${config}: has no listeners.management with a port\n`,
    ])
  })
})
