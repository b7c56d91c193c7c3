import { describe, expect, it } from 'vitest'
import { moduleFinding, slotFinding, tokenFindings } from '../../../../src/cli/doctor/token-findings.ts'
import type { TokenDescription } from '../../../../src/hsm/pkcs11/list-tokens.ts'

const NOW_MS = Date.UTC(2026, 10, 23, 12)
const token: TokenDescription = {
  label: 'issuer',
  manufacturer: 'Maker',
  model: 'Model',
  serialNumber: '0123',
  isReady: true,
  pinState: 'untouched',
  isWriteProtected: false,
  hasUserPin: true,
  firmware: '1.2',
  sessions: {},
  memory: {},
  isOfficerPinLow: false,
}
const said = (change: Partial<TokenDescription>) => {
  const { findings, mayLogIn } = tokenFindings({ ...token, ...change }, NOW_MS)
  return { mayLogIn, findings: findings.slice(1).map(({ subject, verdict }) => `${verdict} ${subject}`), all: findings }
}

describe('what doctor says of a token before a login', () => {
  it('is its identity, and no more where nothing is to be said', () => {
    expect(said({})).toMatchObject({ mayLogIn: true, findings: [] })
    expect(said({}).all[0]?.text).toBe('issuer, serial number 0123 (Maker Model, firmware 1.2)')
  })

  it.each([
    ['count-low', true, 'note'],
    ['final-try', false, 'wrong'],
    ['locked', false, 'wrong'],
    ['to-be-changed', false, 'wrong'],
  ] as const)('lets a PIN be tried that is %s: %s', (pinState, mayLogIn, verdict) => {
    expect(said({ pinState })).toMatchObject({ mayLogIn, findings: [`${verdict} PIN tries`] })
  })

  it('has nobody log in to a token without a user PIN, and notes protection and officer', () => {
    expect(said({ hasUserPin: false })).toMatchObject({ mayLogIn: false, findings: ['wrong user PIN'] })
    expect(said({ isWriteProtected: true, isOfficerPinLow: true })).toMatchObject({
      mayLogIn: true,
      findings: ['note write protection', 'note officer PIN'],
    })
  })

  it('counts sessions and bytes where the token does, and notes when few are left', () => {
    expect(said({ sessions: { open: 3, most: 100 }, memory: { free: 50, total: 100 } }).findings).toEqual(['ok room'])
    expect(said({ sessions: { open: 97, most: 100 }, memory: { free: 50, total: 100 } }).findings).toEqual([
      'note room',
    ])
    expect(said({ memory: { free: 9, total: 100 } }).findings).toEqual(['note room'])
  })

  it('compares its clock with this machine’s', () => {
    expect(said({ clockMs: NOW_MS + 60_000 }).findings).toEqual(['ok clock of the token'])
    expect(said({ clockMs: NOW_MS - 61_000 }).findings).toEqual(['wrong clock of the token'])
  })
})

describe('what doctor says of a module', () => {
  it('is what it is, by its own word', () => {
    const { text } = moduleFinding({
      library: 'Library',
      manufacturer: 'Maker',
      version: '2.6',
      cryptoki: '2.40',
      tokens: [],
    })
    expect(text).toBe('Library 2.6 of Maker, PKCS#11 2.40')
  })

  it('is what it shows instead of the token that is looked for', () => {
    const empty = { ...token, label: '', isReady: false }
    expect(slotFinding([token, empty], []).text).toMatch(/the module shows issuer, \(an empty slot, not initialised\)$/)
    expect(slotFinding([], []).text).toMatch(/no token at all$/)
    expect(slotFinding([token, token], [token, { ...token, serialNumber: '' }]).text).toMatch(
      /^2 tokens .*0123, none\)/,
    )
  })
})
