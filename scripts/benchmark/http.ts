/** One operation over HTTP: requests made beforehand, sent by the load generator, the answers looked at. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import type { Load, LoadResult } from './load.ts'
import type { Operation } from './operations.ts'
import { endWithUs } from './processes.ts'
import type { Sample } from './results.ts'
import type { BenchService } from './service.ts'

const LOAD_GENERATOR = join(import.meta.dirname, 'load.ts')

/** What is asked, how often and how. */
export interface HttpLoad {
  readonly operation: Operation
  /** In rows, for one that takes several. */
  readonly operations: number
  readonly connections: number
  /** A paced load: so many operations a second, whoever is still unanswered. */
  readonly perSecond?: number
}

/**
 * Asks a service, with requests that nobody has sent before: a block that was seen would be quicker to count than a new one.
 *
 * @throws unless every answer is 200 and those that were kept are right.
 */
export async function measureHttp(
  service: BenchService,
  setUp: DevelopmentSetUp,
  folder: string,
  { operation, operations, connections, perSecond }: HttpLoad,
): Promise<Sample> {
  const { path, rowsPerRequest } = operation
  const requests = operation.makeRequests(Math.ceil(operations / rowsPerRequest))
  const bodies = join(folder, 'bodies.json')
  writeFileSync(bodies, JSON.stringify(requests.bodies), { mode: 0o600 })
  const { cert, key } = setUp.clients.find(({ id }) => id === 'cms-adapter')!
  const load: Load = {
    url: service.url,
    path,
    client: { ca: setUp.ca, cert, key },
    connections: Math.min(connections, requests.bodies.length),
    bodies,
    ...(perSecond !== undefined && { perSecond: perSecond / rowsPerRequest }),
  }
  const generator = fork(LOAD_GENERATOR)
  endWithUs(generator)
  try {
    generator.send(load)
    // Handshakes are over before the clock starts: callers keep their connections.
    await answerOf(generator)
    const before = service.cpuUs()
    generator.send('go')
    const { wallMs, latencyUs, refused, firstRefusal, answers } = (await answerOf(generator)) as LoadResult
    const after = service.cpuUs()
    if (refused > 0) {
      throw new Error(
        `${path}: ${refused} of ${requests.bodies.length} answers are not 200; the first is ${firstRefusal}`,
      )
    }
    for (const [index, answer] of answers) requests.assertAnswer(index, answer)
    return {
      operations: requests.bodies.length * rowsPerRequest,
      wallMs,
      cpuUs: Object.fromEntries(Object.entries(after).map(([kind, us]) => [kind, us - before[kind]!])),
      latencyUs,
      memoryBytes: service.memoryBytes(),
    }
  } finally {
    generator.kill()
    rmSync(bodies)
  }
}

async function answerOf(generator: ChildProcess): Promise<unknown> {
  const [answer] = await Promise.race([
    once(generator, 'message'),
    once(generator, 'exit').then(() => Promise.reject(new Error('the load generator ended'))),
  ])
  return answer
}
