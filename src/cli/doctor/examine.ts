/** Everything that `doctor` looks at, in turn; what is wrong with one thing keeps none of the others from being looked at. */
import { ConfigError, examineConfig, type ExaminedConfig } from '../../config/config.ts'
import { withProgress } from '../terminal/progress.ts'
import { auditFindings } from './audit.ts'
import { certificateFindings } from './certificates.ts'
import { clockFindings } from './clock.ts'
import { configurationFindings, problemFindings } from './configuration.ts'
import { fileFindings } from './files.ts'
import type { Finding } from './finding.ts'
import { processFindings } from './processes.ts'
import { serviceFindings } from './service.ts'
import { tokensFindings } from './tokens.ts'

/** What was found, and whether the configuration itself can be used. */
export interface Examined {
  readonly findings: readonly Finding[]
  readonly isConfigUsable: boolean
}

/**
 * Looks at all of it and changes nothing, but for the memory of a PIN that a token refuses.
 *
 * @param timeoutMs - how long a token may take.
 */
export async function examine(configPath: string, timeoutMs: number, now = new Date()): Promise<Examined> {
  const nowMs = now.getTime()
  let examined: ExaminedConfig
  try {
    examined = examineConfig(configPath)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const findings = [...problemFindings(error.problems), ...(await processFindings(undefined))]
    return { findings, isConfigUsable: false }
  }
  const tokens = await tokensFindings(examined, nowMs, timeoutMs)
  const others = await withProgress('looking at files, processes and the clock', async () => [
    ...certificateFindings(examined, now),
    ...fileFindings(configPath, examined),
    ...(await auditFindings(examined)),
    ...(await processFindings(examined)),
    ...(await clockFindings([configPath], nowMs)),
    ...(await serviceFindings(configPath, examined)),
  ])
  return {
    findings: [...configurationFindings(examined), ...tokens, ...others],
    isConfigUsable: examined.problems.length === 0,
  }
}
