/** What a vault tells the gateway of itself, for readyz and metrics. */
import type { Channel } from '../bridge/channel.ts'
import type { StatusMessage } from '../bridge/contract.ts'
import type { MeasuredHsm } from './measured-hsm.ts'

const REPORT_EVERY_MS = 1_000

/**
 * Reports at once and then every second.
 *
 * @param selfTestPassedMs - when every key last gave its known answer, on the clock of performance.now().
 * @returns reports once more, for the end, so that no call is left uncounted.
 */
export function reportStatus(channel: Channel, hsm: MeasuredHsm, selfTestPassedMs: () => number): () => void {
  const report = (): void => {
    const selfTestAgeMs = performance.now() - selfTestPassedMs()
    channel.send({ status: { selfTestAgeMs, ...hsm.takeReport() } } satisfies StatusMessage)
  }
  report()
  setInterval(report, REPORT_EVERY_MS)
  return report
}
