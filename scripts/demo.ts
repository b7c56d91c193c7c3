/**
 * The demo: a token with keys and a service that live for one run, and Thales D1's PIN calls played against them.
 *
 * Ends with 0 if every step went as it should, with 1 if not, with 2 if it was called wrongly.
 */
import { join } from 'node:path'
import { makeSetUp, startService, temporaryFolder, type Service } from '../test/support/service.ts'
import { curlLines } from './demo-curl.ts'
import { playSteps, Unexpected, type Leftover } from './demo-steps.ts'

const USAGE = 'Usage: scripts/demo [--keep]   (--keep leaves the service running and prints curl lines)'

const print = (line = ''): void => void process.stdout.write(`${line}\n`)

const args = process.argv.slice(2)
const wrong = args.find((arg) => arg !== '--keep')
if (wrong !== undefined) {
  print(USAGE)
  process.exitCode = wrong === '--help' ? 0 : 2
} else {
  process.exitCode = await demo(args.includes('--keep'))
}

async function demo(keep: boolean): Promise<number> {
  const folder = temporaryFolder()
  const state = { isInterrupted: false, isKept: false }
  const interrupted = new Promise<'interrupted'>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        state.isInterrupted = true
        resolve('interrupted')
      })
    }
  })

  let started: Promise<Service> | undefined
  const run = async (): Promise<void> => {
    print("pinbridge demo: Thales D1's calls through a CMS adapter and the real service, with SoftHSM as the HSM.")
    print(
      'Everything is made for this run: the card and the PINs are invented, the keys are random and are thrown away.',
    )
    print()
    print('Making a token with keys, certificates and a configuration, and starting the service …')
    const setUp = await makeSetUp(folder.path)
    if (state.isInterrupted) return
    started = startService(setUp)
    const service = await started
    let steps = 0
    const leftover = await playSteps(service, folder.path, (title, ...proof) => {
      print(`✓ ${++steps}. ${title}`)
      for (const line of proof) print(`     ${line}`)
    })
    print()
    print(`All ${steps} steps went as they should.`)
    state.isKept = keep
    if (keep) await keepRunning(service, folder.path, leftover, interrupted)
  }

  const running = run()
  try {
    const end = await Promise.race([running, interrupted])
    if (end !== 'interrupted' || state.isKept) return 0
    print('The demo was interrupted.')
    return 1
  } catch (error) {
    const sentence = error instanceof Error ? error.message : String(error)
    print()
    print(
      error instanceof Unexpected ? `✗ Not as it should be: ${sentence}.` : `✗ The demo could not go on: ${sentence}`,
    )
    return 1
  } finally {
    await started?.then(
      (service) => service.stop(),
      () => {},
    )
    // Interrupted, it ends now for want of a service.
    await running.catch(() => {})
    folder.dispose()
  }
}

/** Leaves the service running in the foreground until Ctrl-C, so that it cannot be forgotten. */
async function keepRunning(
  service: Service,
  folder: string,
  leftover: Leftover,
  interrupted: Promise<unknown>,
): Promise<void> {
  const ended = new Promise<never>((_resolve, reject) => {
    service.process.once('exit', () => reject(new Error('the service ended by itself')))
  })
  print()
  print('The service goes on. In another terminal, as they stand:')
  for (const [title, line] of curlLines(service, folder, leftover)) {
    print()
    print(`# ${title}`)
    print(line)
  }
  print()
  print(`Configuration and keys are in ${join(folder, 'dev')}. Ctrl-C stops the service and removes them.`)
  await Promise.race([interrupted, ended])
}
