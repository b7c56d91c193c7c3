/** A directory with everything that a configuration names, a valid configuration, and how it is loaded and blamed. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { stringify } from 'yaml'
import { makeDevelopmentCertificates, type DevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { ConfigError, loadConfig } from '../../../src/config/config.ts'

/** What a test changes at will. */

export type Draft = any

export const PRODUCTION = 'production'

/** A point of P-256: the generator (FIPS 186-4 D.1.2.3). */
export const P256_KEY = {
  kty: 'EC',
  crv: 'P-256',
  x: Buffer.from('6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296', 'hex').toString('base64url'),
  y: Buffer.from('4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5', 'hex').toString('base64url'),
}

const PIN_CHECK = { check: 'AABBCC', kcv: 'A1B2C3' }

/** A configuration with every purpose and without a problem. */
export function validConfig(): Draft {
  const key = (id: string, purpose: string, algorithm: string, rest: object) => ({
    id,
    version: 1,
    state: 'active',
    purpose,
    algorithm,
    origin: 'generated',
    ...rest,
  })
  return {
    environment: 'development',
    hsm: { module: './token/module.so', tokenLabel: 'pinbridge', pinFile: 'pin' },
    keys: [
      key('jwe-ec', 'jwe-decrypt', 'EC-P256', {
        d1Profile: 'd1',
        alg: 'ECDH-ES',
        enc: 'A256GCM',
        kid: 'jwe-ec',
        kcv: 'A1B2C3D4E5',
      }),
      key('zpk', 'zone-pin', 'TDEA-128', { direction: 'both', formats: ['ISO-0', 'ISO-1', 'ISO-3'], ...PIN_CHECK }),
      key('zpk-aes', 'zone-pin', 'AES-256', {
        direction: 'out',
        formats: ['ISO-4'],
        kcv: 'A1B2C3D4E5',
        check: 'AABBCCDDEE',
      }),
      key('seccos-pin', 'seccos-pin', 'TDEA-128', { direction: 'in', formats: ['SECCOS'], ...PIN_CHECK }),
      key('prw', 'prw', 'TDEA-192', {
        use: ['verify'],
        profile: 'seccos-3des',
        kcv: 'A1B2C3',
        check: 'AABBCCDDEEFF0011',
      }),
      key('pin-mac', 'pin-mac', 'TDEA-128', {
        use: ['generate', 'verify'],
        profile: 'seccos-3des',
        kcv: 'A1B2C3',
        check: 'AABBCCDDEEFF0011',
        origin: 'imported',
      }),
      key('prw-aes', 'prw', 'AES-128', {
        use: ['generate'],
        profile: 'dk-aes',
        kcv: 'A1B2C3D4E5',
        check: 'AABBCCDDEEFF00112233445566778899',
      }),
      key('audit-mac', 'audit-mac', 'AES-256', { kcv: 'A1B2C3D4E5', check: 'AABBCCDDEEFF00112233445566778899' }),
    ],
    profiles: [macProfile()],
    d1: {
      profiles: [
        {
          id: 'd1',
          types: { ISO0: 'ISO0', '3DES_SECCOS': '3DES_SECCOS' },
          members: { mac: 'macValue' },
          innerKey: 'zpk',
          seccos: { pinKey: 'seccos-pin', prwKey: 'prw', macKey: 'pin-mac' },
        },
      ],
      recipients: [{ kid: 'd1-dev', publicKey: P256_KEY, alg: 'ECDH-ES', enc: 'A256GCM', profile: 'd1' }],
    },
    clients: [
      {
        id: 'cms-adapter',
        dnsName: 'cms.example',
        grants: [{ operations: ['pin/set', 'pin/get'], keys: ['zpk'], formats: ['ISO-0'], recipients: ['d1-dev'] }],
      },
    ],
    listeners: {
      api: {
        host: '127.0.0.1',
        port: 8443,
        certificate: 'tls/server.pem',
        privateKey: 'tls/server-key.pem',
        clientCa: 'tls/ca.pem',
      },
      management: { port: 9443 },
    },
    limits: { guesses: { perCard: 5 } },
    audit: { directory: 'audit', key: 'audit-mac' },
  }
}

/** A small profile of an issuer's own; the message is the block itself. */
export function macProfile(): Draft {
  return {
    id: 'own-mac',
    kind: 'pin-mac',
    algorithm: 'AES-CMAC',
    outputBytes: 8,
    blockBytes: 16,
    fields: [{ source: 'encipheredPinBlock', encoding: 'raw', bytes: 16 }],
    knownAnswers: [
      {
        inputs: { encipheredPinBlock: '00112233445566778899AABBCCDDEEFF' },
        messageHex: '00112233445566778899AABBCCDDEEFF',
        keyHex: '000102030405060708090A0B0C0D0E0F',
        outputHex: '0011223344556677',
      },
    ],
  }
}

/** A directory in which `validConfig` is valid. */
export class Site {
  readonly directory = mkdtempSync(join(tmpdir(), 'pinbridge-config-'))
  readonly file = join(this.directory, 'pinbridge.yaml')
  readonly certificates: DevelopmentCertificates

  private constructor(certificates: DevelopmentCertificates) {
    this.certificates = certificates
    mkdirSync(join(this.directory, 'token'))
    mkdirSync(join(this.directory, 'tls'))
    mkdirSync(join(this.directory, 'audit'), { mode: 0o700 })
    this.write('token/module.so', 'a native module')
    this.write('pin', '1234')
    this.write('tls/ca.pem', certificates.ca)
    this.write('tls/server.pem', certificates.server.certificate)
    this.write('tls/server-key.pem', certificates.server.privateKey)
  }

  static async make(): Promise<Site> {
    return new Site(await makeDevelopmentCertificates({ hosts: ['127.0.0.1'], clients: [] }))
  }

  write(name: string, content: string | Buffer, mode = 0o600): string {
    const path = join(this.directory, name)
    writeFileSync(path, content)
    chmodSync(path, mode)
    return path
  }

  /** The problems of a YAML text, with `FILE` for the file's path. */
  problemsOfText(text: string | Buffer, overrides = {}): string[] {
    this.write('pinbridge.yaml', text)
    try {
      loadConfig(this.file, overrides)
      return []
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError)
      const { message, problems } = error as ConfigError
      expect(message).toBe(problems.join('\n'))
      return problems.map((problem) => problem.replace(this.file, 'FILE'))
    }
  }

  /** The problems of a configuration, without file and line; each line is held against the text of the file. */
  problemsOf(config: Draft, overrides = {}): string[] {
    const text = stringify(config, { lineWidth: 0, aliasDuplicateObjects: false })
    const lines = text.split('\n')
    return this.problemsOfText(text, overrides).map((problem) => {
      const [, number, rest] = /^FILE:(\d+): (.*)$/.exec(problem)!
      expect(lines[Number(number) - 1], problem).toMatch(startOfLine(config, rest!))
      return rest!
    })
  }

  /** The problems after one change to the valid configuration. */
  problemsAfter(change: (config: Draft) => void): string[] {
    const config = validConfig()
    change(config)
    return this.problemsOf(config)
  }

  remove(): void {
    rmSync(this.directory, { recursive: true })
  }
}

/** How the line must begin that a problem points at: with the member's name, or the nearest one that is there. */
function startOfLine(config: Draft, problem: string): RegExp {
  let value = config
  let start = /^\S/
  for (const part of problem.slice(0, problem.indexOf(': ')).match(/[^.[\]"]+/g) ?? []) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) break
    value = value[part]
    start = /^\d+$/.test(part) ? /^\s*- / : new RegExp(`^\\s*(?:- )*"?${part}"?:`)
  }
  return start
}
