import { mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { identityOf, untilChanged } from '../../../src/supervisor/pin-file.ts'

// The file is looked at every 500 ms, and has to be seen twice alike.
const LOOKED_TWICE_MS = 1700

describe('untilChanged', () => {
  let folder: string
  let file: string

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pin-file-'))
    file = join(folder, 'hsm-pin')
    writeFileSync(file, '1234\n')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  const state = async (changed: Promise<void>) =>
    await Promise.race([changed.then(() => 'changed'), sleep(LOOKED_TWICE_MS).then(() => 'waiting')])

  it('waits while nothing changes, and while the file is only read', async () => {
    const changed = untilChanged(file, identityOf(file))
    expect(await state(changed)).toBe('waiting')
    utimesSync(file, new Date(), new Date(Date.now() + 1000))
    await changed
  })

  it.each([
    ['is written anew with a value of the same length', (path: string) => writeFileSync(path, '4321\n')],
    ['gets another length', (path: string) => writeFileSync(path, '123456\n')],
    [
      'is replaced by another file of the same time and length',
      (path: string) => {
        const at = new Date('2026-01-01')
        writeFileSync(`${path}.new`, '4321\n')
        utimesSync(`${path}.new`, at, at)
        renameSync(`${path}.new`, path)
      },
    ],
  ])('resolves when the file %s', async (_name, change) => {
    const at = new Date('2026-01-01')
    utimesSync(file, at, at)
    const changed = untilChanged(file, identityOf(file))
    await sleep(100)
    change(file)
    expect(await state(changed)).toBe('changed')
  })

  it('waits while the file is not there, and while it is still being written', async () => {
    const changed = untilChanged(file, identityOf(file))
    rmSync(file)
    expect(await state(changed)).toBe('waiting')
    const writing = setInterval(() => writeFileSync(file, String(performance.now())), 50)
    expect(await state(changed)).toBe('waiting')
    clearInterval(writing)
    await changed
  })

  it('notices what was written before it was called', async () => {
    const before = identityOf(file)
    writeFileSync(file, '87654321\n')
    expect(await state(untilChanged(file, before))).toBe('changed')
  })

  it('resolves when a file that was missing comes back', async () => {
    rmSync(file)
    const changed = untilChanged(file, identityOf(file))
    await sleep(100)
    writeFileSync(file, '1234\n')
    expect(await state(changed)).toBe('changed')
  })
})
