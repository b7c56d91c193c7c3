import { execFileSync } from 'node:child_process'
import {
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { parseRecord, sha256, type NewRecord } from '../../../src/audit/record.ts'
import { temporaryFolder } from '../../support/service.ts'
import { filesIn, KEY, linesOf, makeSeal, openTrail, request, verify, writeTrail } from './trails.ts'

const folder = temporaryFolder()
afterAll(() => folder.dispose())
const linkOf = (path: string): string | undefined => {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}
/** A torn line has none. */
const nameOf = (record: NewRecord | undefined) =>
  record && 'requestId' in record ? `${record.kind} ${record.requestId}` : 'another'
const kinds = (path: string) => linesOf(path).map((line) => JSON.parse(line).kind)

describe('a trail', () => {
  it('has what was appended on the disk when it says so, each in its order, from many at once', async () => {
    const directory = join(folder.path, 'many')
    const trail = await openTrail(directory)
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 300 }, async (_, n) => {
        const [intent, outcome] = request(n)
        await trail.append(intent)
        expect(linesOf(filesIn(directory)[0]!).some((line) => line.includes(`"request-${n}"`))).toBe(true)
        order.push(n)
        await trail.append(outcome)
      }),
    )
    await trail.close(5000)
    expect(order).toEqual(Array.from({ length: 300 }, (_, n) => n))
    expect(await verify(filesIn(directory))).toMatchObject({ broken: undefined, withoutOutcome: 0, sealedTo: 603 })
  })

  it('writes what comes in one moment, or while it writes, at one blow', async () => {
    const directory = join(folder.path, 'grouped')
    const trail = await openTrail(directory)
    const handle = await open(filesIn(directory)[0]!)
    const write = vi.spyOn(Object.getPrototypeOf(handle) as typeof handle, 'write')
    await handle.close()
    const together = (first: number) => Array.from({ length: 100 }, (_, n) => trail.append(request(first + n)[0]))
    const before = together(0)
    // By then the first are on their way.
    await new Promise(setImmediate)
    await Promise.all([...before, ...together(100), ...together(200)])
    expect(write).toHaveBeenCalledTimes(2)
    write.mockRestore()
    await trail.close(1000)
    expect((await verify(filesIn(directory))).broken).toBeUndefined()
  })

  it('makes files that are open to its user alone', async () => {
    for (const file of await writeTrail(join(folder.path, 'modes'), 1)) expect(statSync(file).mode & 0o777).toBe(0o600)
  })

  it('writes through to the disk, and to the end of the file alone', async () => {
    const directory = join(folder.path, 'flags')
    const trail = await openTrail(directory)
    const path = filesIn(directory)[0]!
    const fd = readdirSync('/proc/self/fd').find((each) => linkOf(`/proc/self/fd/${each}`) === path)
    const flags = Number(`0o${/^flags:\s+(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]}`)
    const wanted = constants.O_DSYNC | constants.O_APPEND | constants.O_WRONLY
    expect(flags & wanted).toBe(wanted)
    await trail.close(1000)
  })

  it('goes on with one chain from process to process, and says which one ended without a stop', async () => {
    const directory = join(folder.path, 'processes')
    await writeTrail(directory, 2)
    const killed = await openTrail(directory)
    await killed.append(request(5)[0])
    await writeTrail(directory, 1)
    const files = filesIn(directory)
    expect(files.map(kinds).map((each) => each[0])).toEqual(['start', 'start', 'start'])
    expect(await verify(files)).toMatchObject({ broken: undefined, files: 3, withoutOutcome: 1, torn: undefined })
  })
})

describe('a seal', () => {
  it('is made after so many records', async () => {
    const directory = join(folder.path, 'every')
    const trail = await openTrail(directory, { sealEveryRecords: 10 })
    for (let n = 0; n < 20; n++) for (const record of request(n)) await trail.append(record)
    await trail.close(5000)
    const verdict = await verify(filesIn(directory))
    expect(verdict.broken).toBeUndefined()
    expect(verdict.seals).toBeGreaterThanOrEqual(3)
  })

  it('is made in every file that follows a full one', async () => {
    const files = await writeTrail(join(folder.path, 'rotated'), 40, { rotateBytes: 4096 })
    expect(files.length).toBeGreaterThan(4)
    for (const file of files.slice(1)) expect(kinds(file)).toContain('seal')
  })

  it('covers what a process that was killed left unsealed, though nothing follows', async () => {
    const directory = join(folder.path, 'left')
    const killed = await openTrail(directory)
    await killed.append(request(1)[0])
    const next = await openTrail(directory, { sealEveryMs: 20 })
    await vi.waitFor(() => expect(next.events).toEqual(['sealed 4']), 10_000)
    expect(await verify(filesIn(directory))).toMatchObject({ broken: undefined, sealedTo: 4, unsealedMs: 0 })
    await next.close(1000)
  })

  it('is made after so long, and not where nothing has happened since', async () => {
    const trail = await openTrail(join(folder.path, 'interval'), { sealEveryMs: 20 })
    await trail.append(request(1)[0])
    await vi.waitFor(() => expect(trail.status().unsealed).toBe(0), 10_000)
    const seals = trail.events.length
    expect(seals).toBeGreaterThan(0)
    expect(trail.status().unsealedSinceMs).toBe(undefined)
    await pause(100)
    expect(trail.events).toHaveLength(seals)
    await trail.close(5000)
  })

  it('waits for an HSM that is not there, and records go on meanwhile', async () => {
    const directory = join(folder.path, 'no-hsm')
    let isThere = false
    const trail = await openTrail(directory, { sealEveryRecords: 2 }, async (digest) => {
      if (!isThere) throw new Error('no vault')
      return await makeSeal(digest)
    })
    const first = trail.status().unsealedSinceMs
    expect(first).toBeLessThanOrEqual(Date.now())
    for (let n = 0; n < 10; n++) for (const record of request(n)) await trail.append(record)
    expect(trail.events).toEqual([])
    // Since its first record, however many have come.
    expect(trail.status()).toMatchObject({ isWritable: true, unsealed: 21, unsealedSinceMs: first })
    isThere = true
    await vi.waitFor(() => expect(trail.events.length).toBeGreaterThan(0), 10_000)
    await trail.close(5000)
    expect(await verify(filesIn(directory))).toMatchObject({ broken: undefined, withoutOutcome: 0 })
  })

  it('leaves what came while it was made, and that counts from then on', async () => {
    let seal = () => {}
    const isAsked = Promise.withResolvers<undefined>()
    const trail = await openTrail(join(folder.path, 'meanwhile'), { sealEveryRecords: 2 }, async (digest) => {
      isAsked.resolve(undefined)
      await new Promise<void>((resolve) => (seal = resolve))
      return await makeSeal(digest)
    })
    const first = trail.status().unsealedSinceMs!
    await pause(5)
    await trail.append(request(1)[0])
    await isAsked.promise
    await pause(5)
    await trail.append(request(2)[0])
    expect(trail.status()).toMatchObject({ unsealed: 3, unsealedSinceMs: first })
    seal()
    await vi.waitFor(() => expect(trail.status().unsealed).toBe(1), 10_000)
    expect(trail.status().unsealedSinceMs).toBeGreaterThan(first)
    await trail.close(50)
  })

  it('is not waited for at the end for longer than told', async () => {
    const directory = join(folder.path, 'impatient')
    const trail = await openTrail(directory, {}, () => Promise.reject(new Error('no vault')))
    await trail.append(request(1)[0])
    await trail.close(50)
    expect(kinds(filesIn(directory)[0]!)).toEqual(['start', 'intent', 'stop', 'mark'])
    // The next process seals what this one could not.
    await writeTrail(directory, 1)
    const verdict = await verify(filesIn(directory))
    expect([verdict.broken, verdict.sealedTo]).toEqual([undefined, verdict.last!.seq - 1])
  })

  it('names its key', async () => {
    const [file] = await writeTrail(join(folder.path, 'key'), 1)
    expect(JSON.parse(linesOf(file!).at(-1)!)).toMatchObject({ kind: 'seal', from: 1, to: 5, key: KEY })
  })
})

describe('a trail that cannot be written', () => {
  const until = (trail: Awaited<ReturnType<typeof openTrail>>, isWritable: boolean) =>
    vi.waitFor(() => expect(trail.status().isWritable).toBe(isWritable), 10_000)

  it('refuses, where the directory is gone; once it is back, the chain goes on', async () => {
    const directory = join(folder.path, 'gone')
    const trail = await openTrail(directory)
    await trail.append(request(1)[0])
    const aside = join(folder.path, 'aside')
    execFileSync('cp', ['-r', directory, aside])
    rmSync(directory, { recursive: true })
    await vi.waitFor(() => expect(trail.append(request(2)[0])).rejects.toThrow('cannot be written'), 10_000)
    expect(trail.status()).toMatchObject({ isWritable: false, refuses: true })
    expect(trail.events).toEqual(['ENOENT'])
    renameSync(aside, directory)
    await until(trail, true)
    expect(trail.events.slice(0, 2)).toEqual(['ENOENT', 'writable'])
    for (const record of request(3)) await trail.append(record)
    await trail.close(5000)
    const verdict = await verify(filesIn(directory))
    // What went into the removed file in between is missing, and that shows.
    const start = JSON.parse(linesOf(filesIn(directory)[1]!)[0]!)
    expect(start).toMatchObject({ kind: 'start', reason: 'writable-again' })
    expect(verdict.broken === undefined).toBe(start.seq === 3)
  })

  it('refuses, where a copy has taken the place of the directory, and goes on in that', async () => {
    const directory = join(folder.path, 'moved')
    const aside = join(folder.path, 'moved-aside')
    const trail = await openTrail(directory)
    await trail.append(request(1)[0])
    renameSync(directory, aside)
    execFileSync('cp', ['-r', aside, directory])
    await vi.waitFor(() => expect(trail.append(request(2)[0])).rejects.toThrow('cannot be written'), 10_000)
    await until(trail, true)
    for (const record of request(3)) await trail.append(record)
    await trail.close(1000)
    const written = kinds(filesIn(directory)[1]!)
    expect([written[0], written.filter((kind) => kind === 'outcome')]).toEqual(['start', ['outcome']])
  })

  it('does not go on after records that somebody else has put in the place of its own', async () => {
    const directory = join(folder.path, 'forged')
    const trail = await openTrail(directory)
    for (const record of request(1)) await trail.append(record)
    const [path] = filesIn(directory)
    const [start, intent, outcome] = linesOf(path!)
    const forgedIntent = intent!.replaceAll('request-1', 'request-7')
    const forgedOutcome = JSON.stringify({
      ...JSON.parse(outcome!),
      requestId: 'request-7',
      prev: sha256(forgedIntent),
    })
    // More than there were, and a whole chain.
    const forged = [start!, forgedIntent, forgedOutcome]
    for (let seq = 4; seq < 100; seq++) {
      forged.push(JSON.stringify({ ...JSON.parse(forgedIntent), seq, prev: sha256(forged.at(-1)!) }))
    }
    writeFileSync(join(folder.path, 'forgery'), `${forged.join('\n')}\n`, { mode: 0o600 })
    renameSync(join(folder.path, 'forgery'), path!)
    expect((await verify(filesIn(directory))).broken).toBeUndefined()
    await vi.waitFor(() => expect(trail.append(request(2)[0])).rejects.toThrow('cannot be written'), 10_000)
    await until(trail, true)
    for (const record of request(3)) await trail.append(record)
    await trail.close(1000)
    expect((await verify(filesIn(directory))).broken).toBeDefined()
  })

  it('refuses, where the disk keeps a write for ten seconds; once it lets go of it, the chain goes on', async () => {
    const directory = join(folder.path, 'hangs')
    const trail = await openTrail(directory)
    const file = await open(filesIn(directory)[0]!)
    const handle = Object.getPrototypeOf(file) as Awaited<ReturnType<typeof open>>
    await file.close()
    let letGo = () => {}
    const held = new Promise<void>((resolve) => (letGo = resolve))
    const writes = vi.spyOn(handle, 'write').mockImplementationOnce(async function (this: typeof file, ...written) {
      await held
      return this.write(...written)
    })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const under = trail.append(request(1)[0])
    while (writes.mock.calls.length === 0) await new Promise(setImmediate)
    const behind = trail.append(request(2)[0])
    vi.advanceTimersByTime(10_000)
    vi.useRealTimers()
    await expect(under).rejects.toThrow('cannot be written')
    await expect(behind).rejects.toThrow('cannot be written')
    await expect(trail.append(request(3)[0])).rejects.toThrow('cannot be written')
    expect([trail.status().isWritable, trail.events]).toEqual([false, ['ETIMEDOUT']])
    letGo()
    await until(trail, true)
    writes.mockRestore()
    for (const record of request(4)) await trail.append(record)
    await trail.close(5000)
    expect(await verify(filesIn(directory))).toMatchObject({ broken: undefined, files: 2, withoutOutcome: 1 })
  })

  it('refuses, where the disk is full; once there is room, the chain goes on, and what was told is there', async (context) => {
    const disk = join(folder.path, 'disk')
    mkdirSync(disk)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', disk], { stdio: 'ignore' })
    } catch {
      context.skip('a file system of its own takes root; the e2e suite has the limit of a file in its place')
    }
    try {
      const directory = join(disk, 'audit')
      const trail = await openTrail(directory)
      const ballast = join(disk, 'ballast')
      writeFileSync(ballast, Buffer.alloc(32_768))
      const told: string[] = []
      const callers = Array.from({ length: 8 }, async (_, caller) => {
        for (let i = 0; ; i++) {
          for (const record of request(1000 * caller + i)) {
            try {
              await trail.append(record)
            } catch {
              return
            }
            told.push(nameOf(record))
          }
        }
      })
      await Promise.all(callers)
      expect(told.length).toBeGreaterThan(callers.length)
      expect(trail.events).toEqual(['ENOSPC'])
      expect(trail.status()).toMatchObject({ isWritable: false, refuses: true })
      // Until there is room, each new try leaves nothing behind.
      await pause(1500)
      expect(readdirSync(directory)).toHaveLength(1)
      rmSync(ballast)
      await until(trail, true)
      for (const record of request(9999)) await trail.append(record)
      await trail.close(5000)
      const files = filesIn(directory)
      const verdict = await verify(files)
      expect([verdict.broken, verdict.sealedTo]).toEqual([undefined, verdict.last!.seq - 1])
      const written = new Set(files.flatMap((file) => linesOf(file)).map((line) => nameOf(parseRecord(line))))
      expect(told.filter((name) => !written.has(name))).toEqual([])
    } finally {
      execFileSync('umount', ['-l', disk])
    }
  })

  it('refuses from the start, where there is no directory, until there is one', async () => {
    const directory = join(folder.path, 'late')
    const trail = await openTrail(directory)
    await trail.close(1000)
    rmSync(directory, { recursive: true })
    writeFileSync(directory, 'no directory')
    const late = await openTrail(join(folder.path, 'late-too'))
    await late.close(1000)
    const { createAuditTrail } = await import('../../../src/audit/trail.ts')
    const events: string[] = []
    const again = createAuditTrail(
      { directory, rotateBytes: 4096, whenUnwritable: 'refuse', sealEveryMs: 10_000, sealEveryRecords: 10 },
      makeSeal,
      { onUnwritable: (code) => events.push(code), onWritable: () => events.push('writable'), onSeal: () => {} },
    )
    await again.start()
    expect(events).toEqual(['ENOTDIR'])
    await expect(again.append(request(1)[0])).rejects.toThrow('cannot be written')
    rmSync(directory)
    mkdirSync(directory)
    await vi.waitFor(() => expect(events).toEqual(['ENOTDIR', 'writable']), 10_000)
    await again.append(request(1)[0])
    await again.close(1000)
    expect((await verify(filesIn(directory))).broken).toBeUndefined()
    expect(readdirSync(directory)).toHaveLength(1)
  })

  it('goes on where it is told to, counts what is lost, and says so once it can', async () => {
    const directory = join(folder.path, 'lossy')
    const trail = await openTrail(directory, { whenUnwritable: 'log' })
    await trail.append(request(1)[0])
    const aside = join(folder.path, 'lossy-aside')
    execFileSync('cp', ['-r', directory, aside])
    rmSync(directory, { recursive: true })
    await vi.waitFor(async () => {
      await trail.append(request(2)[0])
      expect(trail.status().lost).toBeGreaterThan(0)
    }, 10_000)
    await trail.append(request(2)[1])
    const { lost } = trail.status()
    mkdirSync(directory)
    await until(trail, true)
    for (const record of request(3)) await trail.append(record)
    await trail.close(5000)
    expect(await verify(filesIn(directory))).toMatchObject({ broken: undefined, lost })
  })
})
