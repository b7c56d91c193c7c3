/**
 * The same work without an HSM: the routes of the plain service over a library that is given the keys' values, in one process and
 * without HTTP, from the JSON of a request to that of its answer.
 *
 * Usage: node software.ts node-crypto|node-forge OPERATION COUNT SETUP_FILE
 *   COUNT       how often; rows of batch, rounded up to whole requests, and of migrate
 *   SETUP_FILE  what `pinbridge init --dev --json` printed; the files of a migration stand beside it
 *
 * Prints a Sample as JSON. Ends with 2 and the reason where the library cannot do the operation.
 */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import type { OperationId, Sample } from './results.ts'
import { LEFT_OUT, type SoftwareId } from './software-holders.ts'
import { prepareWork, type Work } from './software-work.ts'

/** So much of the work is done before the clock starts, so that it is compiled. */
const WARM_UP = 0.2

const [subject, operation, count, setUpFile] = process.argv.slice(2) as [SoftwareId, OperationId, string, string]
const whyLeftOut = LEFT_OUT[`${subject}:${operation}`]
if (whyLeftOut === undefined) {
  const setUp = JSON.parse(readFileSync(setUpFile, 'utf8'))
  const work = prepareWork(subject, operation, Number(count), setUp, dirname(setUpFile))
  process.stdout.write(`${JSON.stringify(await measure(work))}\n`)
} else {
  process.stderr.write(`${operation} by ${subject} is left out: ${whyLeftOut}\n`)
  process.exitCode = 2
}

async function measure({ operations, run, check }: Work): Promise<Sample> {
  await run(WARM_UP)
  const cpuBefore = process.cpuUsage()
  const startedAtMs = performance.now()
  await run(1)
  const wallMs = performance.now() - startedAtMs
  const { user, system } = process.cpuUsage(cpuBefore)
  check()
  return { operations, wallMs, cpuUs: { program: user + system } }
}
