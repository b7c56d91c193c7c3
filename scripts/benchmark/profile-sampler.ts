/**
 * What a profiled process imports before anything of its own: V8's sampling profiler, begun by one SIGUSR2 and ended by the next,
 * which writes the profile into the folder `profiles` beside this file.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'

const INTERVAL_US = 250

let session: Session | undefined

process.on('SIGUSR2', () => {
  if (session === undefined) session = begun()
  else end(session)
})

function begun(): Session {
  const beginning = new Session()
  beginning.connect()
  beginning.post('Profiler.enable')
  beginning.post('Profiler.setSamplingInterval', { interval: INTERVAL_US })
  beginning.post('Profiler.start')
  return beginning
}

function end(ending: Session): void {
  session = undefined
  ending.post('Profiler.stop', (_error, { profile }) => {
    const file = join(import.meta.dirname, 'profiles', String(process.pid))
    // Whoever waits for it sees it when it is whole.
    writeFileSync(`${file}.part`, JSON.stringify(profile))
    renameSync(`${file}.part`, `${file}.json`)
    ending.disconnect()
  })
}
