import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { iso0Block } from '../../d1/simulator.ts'
import { makeSetUp, pinbridge, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { filesIn, linesOf } from '../../unit/audit/trails.ts'
import { cardAndPin, keyValue, tdea } from '../processes/traffic.ts'

const CALLERS = 8
const ANSWERS_BEFORE_THE_KILL = 150

const folder = temporaryFolder()
afterAll(() => folder.dispose())

/** Translates until the service is gone; which requests were answered 200, by their correlation ids. */
async function translateUntilGone(service: Service, answered: string[], onAnswer: () => void): Promise<void> {
  const zpkIn = keyValue(service, 'zpk-in')
  const caller = async (n: number): Promise<void> => {
    for (let i = 0; ; i++) {
      const { pan, pin } = cardAndPin(n * 10_000 + i)
      const id = `kill-${n}-${i}`
      const body = {
        pinBlock: tdea(zpkIn, iso0Block(pin, pan)),
        from: { key: 'zpk-in', format: 'ISO-0' },
        to: { key: 'zpk-out', format: 'ISO-0' },
        card: { pan },
      }
      try {
        const headers = { 'x-correlation-id': id }
        const { status } = await service.call('POST', '/v1/pin-blocks/translate', body, { headers })
        if (status === 200) answered.push(id)
        onAnswer()
      } catch {
        return
      }
    }
  }
  await Promise.all(Array.from({ length: CALLERS }, (_, n) => caller(n)))
}

it('has the intent and the outcome of every answer, though every process was killed under load', async () => {
  const setUp = await makeSetUp(folder.path, (config) => {
    config.logLevel = 'error'
    config.audit.sealEveryRecords = 50
    config.audit.rotateBytes = 65_536
  })
  const directory = join(setUp.config, '..', 'audit')
  let service = await startService(setUp)
  const answered: string[] = []
  let answers = 0
  await translateUntilGone(service, answered, () => {
    if (++answers !== ANSWERS_BEFORE_THE_KILL) return
    for (const pid of [service.ready.pid, service.ready.gateway, ...service.ready.vaults]) process.kill(pid, 'SIGKILL')
  })
  await service.stop('SIGKILL')
  expect(answered.length).toBeGreaterThanOrEqual(ANSWERS_BEFORE_THE_KILL)

  service = await startService(setUp)
  await service.stop()
  const records = filesIn(directory)
    .flatMap(linesOf)
    .flatMap((line) => (line.startsWith('{"seq"') ? JSON.parse(line) : []))
  const recorded = new Set(records.map(({ kind, correlationId, code }) => `${kind} ${correlationId} ${code}`))
  for (const id of answered) {
    expect([id, recorded.has(`intent ${id} undefined`), recorded.has(`outcome ${id} OK`)]).toEqual([id, true, true])
  }
  const { code, stdout } = await pinbridge([
    'audit',
    'verify',
    '--json',
    '--config',
    setUp.config,
    ...filesIn(directory),
  ])
  const verdict = JSON.parse(stdout)
  expect([code, verdict.broken]).toEqual([0, undefined])
  expect(verdict.sealedTo).toBe(verdict.last.seq - 1)
  expect(verdict.seals).toBeGreaterThan(1)
})
