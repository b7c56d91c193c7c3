import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { makeBridgeFolder } from '../../../src/supervisor/bridge-folder.ts'
import { temporaryFolder } from '../../support/service.ts'

describe('the folder of the bridge socket', () => {
  let folder: ReturnType<typeof temporaryFolder>
  /** No process has this number: Linux gives none above 4 194 304. */
  const dead = 4_194_305

  beforeEach(() => {
    folder = temporaryFolder()
    vi.stubEnv('TMPDIR', folder.path)
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    folder.dispose()
  })

  it('is a new one each time, closed to everybody else', () => {
    const [first, second] = [makeBridgeFolder(), makeBridgeFolder()]
    expect(first).not.toBe(second)
    expect(statSync(first).mode & 0o777).toBe(0o700)
    expect(readdirSync(folder.path)).toHaveLength(2)
  })

  it('takes the place of those that killed processes left, and of nothing else', () => {
    const names = [
      `pinbridge-${process.pid}-abcDEF`,
      `pinbridge-${dead}-abcDEFG`,
      `pinbridge-test-${dead}`,
      'pinbridge-abcDEF',
    ]
    for (const name of [...names, `pinbridge-${dead}-abcDEF`]) mkdirSync(join(folder.path, name))
    writeFileSync(join(folder.path, `pinbridge-${dead}-abcDEF`, 'bridge-1.sock'), '')
    writeFileSync(join(folder.path, `pinbridge-${dead}-aFile1`), '')
    symlinkSync(join(folder.path, names[0]!), join(folder.path, `pinbridge-${dead}-aLink1`))
    makeBridgeFolder()
    const left = readdirSync(folder.path)
    for (const name of [...names, `pinbridge-${dead}-aFile1`, `pinbridge-${dead}-aLink1`]) expect(left).toContain(name)
    expect(left).not.toContain(`pinbridge-${dead}-abcDEF`)
    expect(left).toHaveLength(7)
  })

  it('leaves alone what belongs to another user', (context) => {
    if (process.getuid!() !== 0) context.skip('only root can give a folder away')
    const other = join(folder.path, `pinbridge-${dead}-abcDEF`)
    mkdirSync(other)
    chmodSync(folder.path, 0o711)
    spawnSync('chown', ['64101', other])
    makeBridgeFolder()
    expect(readdirSync(folder.path)).toHaveLength(2)
  })
})
