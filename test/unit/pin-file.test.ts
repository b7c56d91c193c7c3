import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { identityOf, isRefused, readPin, refusalPath, rememberRefusal, untilChanged } from '../../src/pin-file.ts'

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
    const changed = untilChanged({ name: 'token', pinFile: file }, identityOf(file))
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
    const changed = untilChanged({ name: 'token', pinFile: file }, identityOf(file))
    await sleep(100)
    change(file)
    expect(await state(changed)).toBe('changed')
  })

  it('waits while the file is not there, and while it is still being written', async () => {
    const changed = untilChanged({ name: 'token', pinFile: file }, identityOf(file))
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
    expect(await state(untilChanged({ name: 'token', pinFile: file }, before))).toBe('changed')
  })

  it('resolves when a file that was missing comes back', async () => {
    rmSync(file)
    const changed = untilChanged({ name: 'token', pinFile: file }, identityOf(file))
    await sleep(100)
    writeFileSync(file, '1234\n')
    expect(await state(changed)).toBe('changed')
  })
})

describe('a refusal', () => {
  let folder: string
  let left: { name: string; pinFile: string }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pin-file-'))
    left = { name: 'left', pinFile: join(folder, 'hsm-pin') }
    writeFileSync(left.pinFile, '1234\n')
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('holds for the PIN that was read and for the token that refused it, until the file changes', () => {
    const { pin, identity } = readPin(left.pinFile)
    expect([pin, isRefused(left)]).toEqual(['1234', false])
    expect(rememberRefusal(left, identity)).toBe(true)
    expect(isRefused(left)).toBe(true)
    expect(isRefused({ ...left, name: 'right' })).toBe(false)
    writeFileSync(left.pinFile, '4321\n')
    expect(isRefused(left)).toBe(false)
  })

  it('is that of the file that was read, though another stands there when it is written down', () => {
    const { identity } = readPin(left.pinFile)
    writeFileSync(left.pinFile, '12345\n')
    rememberRefusal(left, identity)
    expect(isRefused(left)).toBe(false)
  })

  it('holds no PIN, and is closed to others', () => {
    rememberRefusal(left, readPin(left.pinFile).identity)
    expect(readFileSync(refusalPath(left), 'utf8')).toMatch(/^\d+:\d+:5:\d+$/)
    expect(statSync(refusalPath(left)).mode & 0o777).toBe(0o600)
  })

  it('ends when somebody removes it, and not before', async () => {
    rememberRefusal(left, identityOf(left.pinFile))
    const changed = untilChanged(left, identityOf(left.pinFile)).then(() => 'changed')
    expect(await Promise.race([changed, sleep(LOOKED_TWICE_MS).then(() => 'waiting')])).toBe('waiting')
    rmSync(refusalPath(left))
    expect(await changed).toBe('changed')
  })

  it('that could not be written holds until the file changes', async () => {
    const owner = { ...left, name: 'no/such/folder' }
    expect(rememberRefusal(owner, identityOf(left.pinFile))).toBe(false)
    const changed = untilChanged(owner, identityOf(left.pinFile)).then(() => 'changed')
    expect(await Promise.race([changed, sleep(LOOKED_TWICE_MS).then(() => 'waiting')])).toBe('waiting')
    writeFileSync(left.pinFile, '123456\n')
    expect(await changed).toBe('changed')
  })
})
