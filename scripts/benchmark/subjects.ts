/** All subjects at work on one set-up: services at each HSM latency that is asked for, programs when their turn comes. */
import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { promisify } from 'node:util'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import type { NodeJwk } from '../../test/support/node-jwe.ts'
import { makeSetUp } from '../../test/support/service.ts'
import { createHsmCalls, type RunHsmCalls } from './hsm-calls.ts'
import { createHsm, type BenchHsm } from './hsms.ts'
import { measureHttp } from './http.ts'
import { measureMigration, writeMigrationInput, type MigrationInput } from './migrate.ts'
import { createOperations, type HttpOperationId } from './operations.ts'
import { endWithUs } from './processes.ts'
import type { CellId, Sample } from './results.ts'
import type { Measure } from './rounds.ts'
import { startPinbridge, startPlain, type BenchService } from './service.ts'

const SOFTWARE = join(import.meta.dirname, 'software.ts')

/** Subjects that can be measured. */
export interface Subjects {
  readonly measure: Measure
  readonly close: () => Promise<void>
}

/** What is at work at one HSM latency. */
interface Site {
  readonly hsm: BenchHsm
  readonly runHsmCalls: RunHsmCalls
  readonly pinbridge: BenchService
  readonly plain: BenchService
}

/** How much of it there is to be. */
export interface SubjectOptions {
  readonly hsmLatenciesMs: readonly number[]
  /** Rows of the file that is migrated; 0 if none is. */
  readonly migrationRows: number
}

/** Makes the set-up in a folder that is empty, and starts the services. */
export async function openSubjects(folder: string, options: SubjectOptions): Promise<Subjects> {
  const setUp = await makeSetUp(folder)
  const setUpFile = join(folder, 'set-up.json')
  writeFileSync(setUpFile, JSON.stringify(setUp), { mode: 0o600 })
  const sites = new Map<number, Site>()
  // One after the other: SoftHSM may lose its token while two processes open it.
  for (const latencyMs of options.hsmLatenciesMs) sites.set(latencyMs, await openSite(setUp, latencyMs, folder))
  const operations = createOperations(setUp, await readJwks(setUp, [...sites.values()][0]!.pinbridge))
  const valueOf = (id: string): string => setUp.keys.find((key) => key.id === id)!.value!
  const input: MigrationInput | undefined =
    options.migrationRows === 0
      ? undefined
      : writeMigrationInput(options.migrationRows, { from: valueOf('zpk-in'), to: valueOf('zpk-out') }, folder)

  const measure = async (cell: CellId, count: number, perSecond?: number): Promise<Sample> => {
    const { subject, operation, concurrency } = cell
    const site = sites.get(cell.hsmLatencyMs)!
    switch (subject) {
      case 'hsm-calls':
        return site.runHsmCalls(operation, { processes: concurrency === 1 ? 1 : 2, operations: count })
      case 'node-crypto':
      case 'node-forge':
        return runSoftware(subject, operation, count, setUpFile)
      case 'plain':
      case 'pinbridge':
        if (operation === 'migrate') return measureMigration(input!, setUp.config, folder)
        return measureHttp(site[subject], setUp, folder, {
          operation: operations[operation satisfies HttpOperationId],
          operations: count,
          connections: concurrency,
          ...(perSecond !== undefined && { perSecond }),
        })
    }
  }
  const close = async (): Promise<void> => {
    for (const { pinbridge, plain, hsm } of sites.values()) {
      await Promise.all([pinbridge.stop(), plain.stop()])
      hsm.close()
    }
  }
  return { measure, close }
}

async function openSite({ config }: DevelopmentSetUp, latencyMs: number, folder: string): Promise<Site> {
  const hsm = createHsm(config, latencyMs, folder)
  const log = (name: string): string => join(folder, `${name}-${latencyMs}ms.log`)
  return {
    hsm,
    runHsmCalls: createHsmCalls(hsm.config),
    pinbridge: await startPinbridge(hsm.config, log('pinbridge')),
    plain: await startPlain(hsm.config, log('plain')),
  }
}

/** The public keys that JWEs are made for. */
export function readJwks({ ca, clients }: DevelopmentSetUp, { url }: Pick<BenchService, 'url'>): Promise<NodeJwk[]> {
  const [client] = clients
  const files = { ca: readFileSync(ca), cert: readFileSync(client!.cert), key: readFileSync(client!.key) }
  return new Promise((resolve, reject) => {
    request(`${url}/v1/jwks`, { ...files, agent: false }, (answer) => {
      json(answer).then((jwks) => resolve((jwks as { keys: NodeJwk[] }).keys), reject)
    })
      .once('error', reject)
      .end()
  })
}

async function runSoftware(
  library: 'node-crypto' | 'node-forge',
  operation: CellId['operation'],
  count: number,
  setUpFile: string,
): Promise<Sample> {
  const args = [SOFTWARE, library, operation, String(count), setUpFile]
  const made = promisify(execFile)(process.execPath, args)
  endWithUs(made.child)
  return JSON.parse((await made).stdout) as Sample
}
