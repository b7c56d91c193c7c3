import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { certificateFindings } from '../../../../src/cli/doctor/certificates.ts'
import { makeDevelopmentCertificates } from '../../../../src/cli/development/certificates.ts'
import type { ExaminedConfig } from '../../../../src/config/config.ts'

const DAY_MS = 86_400_000
const folder = mkdtempSync(join(tmpdir(), 'pinbridge-doctor-'))
let examined: ExaminedConfig

beforeAll(async () => {
  const { server, ca } = await makeDevelopmentCertificates({ hosts: ['localhost'], clients: [] })
  const [certificate, clientCa] = [join(folder, 'server.pem'), join(folder, 'ca.pem')]
  writeFileSync(certificate, server.certificate)
  writeFileSync(clientCa, ca)
  const config = { listeners: { api: { certificate, clientCa } }, limits: {}, authentication: {}, keys: [] }
  examined = { config, isWellFormed: () => true } as unknown as ExaminedConfig
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const inDays = (days: number) =>
  certificateFindings(examined, new Date(Date.now() + days * DAY_MS)).map(({ subject, verdict, text }) => ({
    subject,
    verdict,
    text,
  }))

describe('what doctor says of certificates', () => {
  it('is right while their last day is far, a note in the last thirty days, and wrong once they have expired', () => {
    expect(inDays(0).map(({ verdict }) => verdict)).toEqual(['ok', 'ok'])
    expect(inDays(340).map(({ verdict }) => verdict)).toEqual(['note', 'note'])
    expect(inDays(340).find(({ subject }) => subject === 'server certificate')?.text).toMatch(/in 2[3-5] days$/)
    expect(inDays(366).map(({ verdict }) => verdict)).toEqual(['wrong', 'wrong'])
  })

  it('is nothing where the configuration does not say where they are', () => {
    expect(certificateFindings({ ...examined, isWellFormed: () => false }, new Date())).toEqual([])
  })
})
