/** `scripts/bench --profile`: what a request costs in each stage of the gateway and the vaults, and where it waits. */
import { setTimeout as sleep } from 'node:timers/promises'
import { makeSetUp, temporaryFolder } from '../../test/support/service.ts'
import { createHsm } from './hsms.ts'
import { measureHttp } from './http.ts'
import { createOperations, type Operation } from './operations.ts'
import { stagesOf, type StageSamples } from './profile-samples.ts'
import { HARDENING_OFF, startProfiled, type ProfiledService, type Role, type ThreadTimes } from './profile-service.ts'
import { UNATTRIBUTED } from './profile-stages.ts'
import { readWaits, waitedBetween } from './profile-waits.ts'
import type { OperationId } from './results.ts'
import type { BenchService } from './service.ts'
import { readJwks } from './subjects.ts'
import { figure, percent, textOf, type Table } from './table.ts'

const CONNECTIONS = 64
const FIRST_REQUESTS = 500
/** V8 compiles on and on for some ten thousand requests; that is no part of what a request costs. */
const WARM_UP_S = 8
const MEASURED_S = 5
/** A vault tells once a second what its calls took. */
const REPORTED_WITHIN_MS = 1_200

/** What the threads of one kind of process have used, and when that was read on the machine's monotonic clock. */
interface Reading {
  readonly atUs: number
  readonly gateway: ThreadTimes
  readonly vault: ThreadTimes
}

/** One load, between two readings. */
interface Load {
  readonly requests: number
  readonly wallMs: number
  readonly p50Us: number
  readonly before: Reading
  readonly after: Reading
}

type RunLoad = (requests: number) => Promise<Load>

/** Profiles operations one after the other, and prints the tables of each; `migrate`, which is a command, has none. */
export async function profile(operations: readonly OperationId[]): Promise<void> {
  const folder = temporaryFolder()
  process.once('exit', folder.dispose)
  const print = (line: string): void => void process.stdout.write(`${line}\n`)
  const setUp = await makeSetUp(folder.path)
  const service = await startProfiled(createHsm(setUp.config, 0, folder.path).config, folder.path)
  const known = createOperations(setUp, await readJwks(setUp, service))
  print(`${HARDENING_OFF}\n`)
  for (const id of operations.filter((one) => one !== 'migrate')) {
    process.stderr.write(`bench: profiling ${id}\n`)
    const operation = known[id]
    const run: RunLoad = (requests) =>
      runLoad(service, operation, requests, (bench, count) =>
        measureHttp(bench, setUp, folder.path, { operation, operations: count, connections: CONNECTIONS }),
      )
    for (const table of await profileOne(id, service, run)) print(`${textOf(table).join('\n')}\n`)
  }
  await service.stop()
}

/** Measures without the profiler, then samples: its own work is in the shares, and not in the microseconds. */
async function profileOne(id: OperationId, service: ProfiledService, run: RunLoad): Promise<Table[]> {
  const inSeconds = (seconds: number, { requests, wallMs }: Load): number =>
    Math.ceil((requests * seconds * 1000) / wallMs)
  const warm = await run(inSeconds(WARM_UP_S, await run(FIRST_REQUESTS)))
  const count = inSeconds(MEASURED_S, warm)
  await sleep(REPORTED_WITHIN_MS)
  const before = await readWaits(service.management)
  const measured = await run(count)
  await sleep(REPORTED_WITHIN_MS)
  const waits = waitedBetween(before, await readWaits(service.management))
  await service.begin()
  const sampled = await run(count)
  const profiles = await service.end()
  const samplesOf = (role: Role): StageSamples =>
    stagesOf(profiles[role], role, sampled.before.atUs, sampled.after.atUs)
  const waitedFor = (role: Role): number => perRequest(measured, (reading) => reading[role].waitedUs)
  return [
    stageTable(id, 'gateway', measured, samplesOf('gateway')),
    stageTable(id, 'vault', measured, samplesOf('vault')),
    {
      id: `profile-${id}-waits`,
      title: `${id}: where a request waits`,
      head: ['for', 'µs'],
      rows: [
        ...waits.map(({ what, us }) => [what, figure(us)]),
        ['the gateway, for a core', figure(waitedFor('gateway'))],
        ['the vaults, for a core', figure(waitedFor('vault'))],
        ['the caller, at the median', figure(measured.p50Us)],
      ],
      notes: ['Wall time of a request, on average; the lines are parts of each other and do not add up.'],
    },
  ]
}

function stageTable(id: OperationId, role: Role, measured: Load, samples: StageSamples): Table {
  const all = [...samples.values()].reduce((sum, count) => sum + count, 0)
  const threadUs = (kind: keyof ThreadTimes['cpuUs']): number =>
    perRequest(measured, (reading) => reading[role].cpuUs[kind])
  const [mainUs, v8Us, libuvUs] = [threadUs('main'), threadUs('v8'), threadUs('libuv')]
  const totalUs = mainUs + v8Us + libuvUs
  const row = (stage: string, us: number): string[] => [stage, figure(us), percent(us / totalUs)]
  const known = [...samples].filter(([stage]) => stage !== UNATTRIBUTED).sort(([, a], [, b]) => b - a)
  const stages = [...known, [UNATTRIBUTED, samples.get(UNATTRIBUTED) ?? 0] as const]
  return {
    id: `profile-${id}-${role}`,
    title: `${id}: CPU time of a request in the ${role === 'vault' ? 'vaults' : role}`,
    head: ['stage', 'µs', 'share'],
    rows: [
      ...stages.map(([stage, count]) => row(stage, (mainUs * count) / all)),
      row("V8's threads: compiling, collecting", v8Us),
      row("libuv's threads: writing files, slow calls", libuvUs),
      row('all', totalUs),
    ],
    notes: [
      `Shares by ${all} samples of the main thread${role === 'vault' ? 's' : ''}; microseconds by the kernel's count of ${measured.requests} requests without the profiler, ${figure((measured.requests * 1000) / measured.wallMs)} a second.`,
    ],
  }
}

function perRequest({ requests, before, after }: Load, of: (reading: Reading) => number): number {
  return (of(after) - of(before)) / requests
}

/** Runs a load between two readings: whoever measures it asks for them by `cpuUs`, when the handshakes are over and at the end. */
async function runLoad(
  service: ProfiledService,
  { rowsPerRequest }: Operation,
  requests: number,
  measure: (bench: BenchService, operations: number) => ReturnType<typeof measureHttp>,
): Promise<Load> {
  const readings: Reading[] = []
  const read = (): Reading => ({
    atUs: Number(process.hrtime.bigint() / 1000n),
    gateway: service.times('gateway'),
    vault: service.times('vault'),
  })
  const bench: BenchService = {
    url: service.url,
    cpuUs: () => {
      readings.push(read())
      return {}
    },
    memoryBytes: () => ({}),
    stop: service.stop,
  }
  const { wallMs, latencyUs } = await measure(bench, requests * rowsPerRequest)
  const [before, after] = readings
  return { requests, wallMs, p50Us: latencyUs!.p50, before: before!, after: after! }
}
