import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { challengeOf } from '../../../src/cli/credential/challenge.ts'
import type { CommandError } from '../../../src/cli/command-error.ts'
import { temporaryFolder } from '../../support/service.ts'

const folder = temporaryFolder()
afterAll(() => folder.dispose())

const origin = 'https://app.bank.example'
const challenge = 'Y2gtNzloaHQtbXJlb2stOGFwOHFtMmVpZWZ0amxhZw'
const file = (text: string): string => {
  const path = join(folder.path, 'challenge')
  writeFileSync(path, text)
  return path
}
const refusalOf = (work: () => unknown): CommandError => {
  try {
    work()
  } catch (error) {
    return error as CommandError
  }
  throw new Error('it was taken')
}

describe('a challenge', () => {
  it('is taken as it came, from the command line or from a file', () => {
    expect(challengeOf('key.create', { challenge, origin })).toEqual({ challenge, origin })
    for (const end of ['', '\n', '\r\n']) {
      const challengeFile = file(`${challenge}${end}`)
      expect(challengeOf('key.create', { challengeFile, origin: false })).toEqual({ challenge, origin: undefined })
    }
    expect(challengeOf('key.get', { challenge })).toEqual({ challenge, origin: undefined })
  })

  it.each([
    ['base64 with padding', `${'A'.repeat(43)}=`, 'is not base64url'],
    ['the other alphabet', `+/${'A'.repeat(42)}`, 'is not base64url'],
    ['JSON', `{"challenge":"${challenge}"}`, 'is not base64url'],
    ['a second line', `${challenge}\n${challenge}`, 'is not base64url'],
    ['a space before it', ` ${challenge}`, 'is not base64url'],
    ['a last character with bits that name no byte', `${'A'.repeat(42)}B`, 'is not base64url'],
    ['a length that no bytes have', 'A'.repeat(41), 'is not base64url'],
    ['nothing', '', 'has 0 characters, and must have 22 to 1024'],
    ['15 bytes', 'A'.repeat(20), 'has 20 characters'],
    ['more than any challenge', 'A'.repeat(1026), 'has 1026 characters'],
  ])('that is %s is refused', (_, text, sentence) => {
    for (const given of [{ challenge: text }, { challengeFile: file(text) }]) {
      const { exitCode, message } = refusalOf(() => challengeOf('key.create', { ...given, origin }))
      expect([exitCode, message]).toEqual([65, expect.stringContaining(sentence)])
    }
  })

  it('of a recovery is as long as new credentials are', () => {
    const long = Buffer.alloc(6000).toString('base64url')
    expect(challengeOf('key.get', { challenge: long }).challenge).toBe(long)
    expect(refusalOf(() => challengeOf('key.get', { challenge: 'A'.repeat(65_537) })).exitCode).toBe(65)
  })

  it('is asked for once', () => {
    expect(refusalOf(() => challengeOf('key.create', { origin })).exitCode).toBe(64)
    expect(refusalOf(() => challengeOf('key.create', { origin, challenge, challengeFile: '-' })).exitCode).toBe(64)
    const { exitCode, message } = refusalOf(() => challengeOf('key.get', { challengeFile: join(folder.path, 'none') }))
    expect([exitCode, message]).toEqual([66, expect.stringContaining('ENOENT')])
  })
})

describe('an origin', () => {
  it.each(['https://app.bank.example', 'https://app.bank.example:8443', 'https://[::1]'])('is taken: %s', (text) => {
    expect(challengeOf('key.create', { challenge, origin: text }).origin).toBe(text)
  })

  it.each([
    'http://app.bank.example',
    'https://app.bank.example/',
    'https://app.bank.example/path',
    'https://app.bank.example:443',
    'https://APP.bank.example',
    'https://user@app.bank.example',
    'app.bank.example',
    'https://',
    '',
  ])('is refused: %s', (text) => {
    const { exitCode, message } = refusalOf(() => challengeOf('key.create', { challenge, origin: text }))
    expect([exitCode, message]).toEqual([64, expect.stringContaining('--origin: https://')])
  })

  it('is needed for a registration, or said to be left out', () => {
    const { exitCode, message } = refusalOf(() => challengeOf('key.create', { challenge }))
    expect([exitCode, message]).toEqual([64, expect.stringContaining('--no-origin')])
  })
})
