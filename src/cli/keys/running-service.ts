/** Asks the service that runs with a configuration file whether it has taken the file over as it stands now. */
import { setTimeout as sleep } from 'node:timers/promises'
import { managementAddressIn } from '../../config/management-address.ts'
import { configurationHash, readinessOf } from '../readiness.ts'
import { withProgress } from '../terminal/progress.ts'

const ASK_EVERY_MS = 500
/** A reload opens each token on trial and replaces every vault; after so long something is wrong. */
const PATIENCE_MS = 120_000

/** Where a running service stands with the file. */
export type TakenOver =
  /** Nothing answers at the management address of the file. */
  | 'not-running'
  /** By every process of it. */
  | 'yes'
  /** It looked at the file, and goes on with what it had. */
  | 'refused'
  /** Not yet, or not by every vault. */
  | 'no'

/** Asks once. */
export async function isTakenOver(configPath: string, managementPort?: number): Promise<TakenOver> {
  const { host, port } = managementAddressIn(configPath)
  const readiness = await readinessOf(host, managementPort ?? port)
  if (readiness === undefined) return 'not-running'
  const { inUse, refused, renewing } = readiness.configuration ?? { inUse: '', renewing: 0 }
  const file = configurationHash(configPath)
  if (inUse === file) return renewing === 0 ? 'yes' : 'no'
  return refused === file ? 'refused' : 'no'
}

/** Waits until the running service has taken the file over, or has refused it, or nothing answers. */
export async function untilTakenOver(configPath: string, managementPort?: number): Promise<TakenOver> {
  return await withProgress('waiting until the running service has taken the configuration over', async () => {
    const end = performance.now() + PATIENCE_MS
    for (;;) {
      const answer = await isTakenOver(configPath, managementPort)
      if (answer !== 'no' || performance.now() > end) return answer
      await sleep(ASK_EVERY_MS)
    }
  })
}

/** What a person is told of it. */
export function saidOf(answer: TakenOver): string {
  switch (answer) {
    case 'yes':
      return 'The running service has taken the configuration over.'
    case 'refused':
      return 'The running service has refused the new configuration and goes on with the old one: its log says why.'
    case 'no':
      return 'The running service has not taken the configuration over yet: its log says why; SIGHUP has it look again.'
    case 'not-running':
      return 'No service answers at the management address of this configuration: where one runs by it, it takes it over by itself, or at SIGHUP.'
  }
}
