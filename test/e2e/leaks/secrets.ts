/** The secrets of one service and of one card, each in every form in which a careless line would give it away. */
import { readFileSync } from 'node:fs'
import { connect } from 'node:tls'
import { parse } from 'yaml'
import { bytesCanary, digitsCanary, textCanary, type Canary } from '../../support/canaries.ts'
import type { MadeJwe } from '../../support/node-jwe.ts'
import type { Service } from '../../support/service.ts'
import { clearBlock, newPan, newPin, type Issuer } from '../routes/issuer.ts'

/** What is looked for, and the card whose PIN it is. */
export interface Secrets {
  readonly pin: string
  readonly pan: string
  /** A clear block, hex, that does not decode, and that an error might be tempted to show. */
  readonly badClear: string
  readonly canaries: Canary[]
  /** Notes the content key of a JWE, which is a secret as long as the PIN under it is; returns the JWE. */
  readonly jwe: (made: Pick<MadeJwe, 'compact' | 'cek' | 'z'>) => string
}

/** Makes a card, and notes its secrets and those of the service. */
export function secretsOf(issuer: Pick<Issuer, 'service' | 'keys'>): Secrets {
  const [pin, pan] = [`9${newPin(11)}`, newPan(19)]
  const badClear = `5C${pin}FF`
  const canaries = [
    digitsCanary('PIN', pin),
    digitsCanary('PAN', pan),
    bytesCanary('clear ISO-0 block', Buffer.from(clearBlock('ISO-0', pin, pan), 'hex')),
    bytesCanary('clear SECCOS block', Buffer.from(clearBlock('SECCOS', pin, pan), 'hex')),
    bytesCanary('bad clear block', Buffer.from(badClear, 'hex')),
    textCanary('HSM PIN', hsmPin(issuer.service.setUp.config)),
    ...Object.entries(issuer.keys).map(([id, value]) => bytesCanary(`key ${id}`, Buffer.from(value, 'hex'))),
  ]
  return {
    pin,
    pan,
    badClear,
    canaries,
    jwe: ({ compact, cek, z }) => {
      if (cek.length > 0) canaries.push(bytesCanary('CEK', cek))
      if (z.length > 0) canaries.push(bytesCanary('Z', z))
      return compact
    },
  }
}

/** The HSM PIN that a configuration names. */
export function hsmPin(configPath: string): string {
  return readFileSync(parse(readFileSync(configPath, 'utf8')).hsm.pinFile, 'utf8').trimEnd()
}

/** Writes bytes that need not be a request to the API as cms-adapter; all that comes back until the service hangs up. */
export function sendRaw({ setUp, ready }: Pick<Service, 'setUp' | 'ready'>, text: string): Promise<string> {
  const { cert, key } = setUp.clients[0]!
  const identity = { ca: readFileSync(setUp.ca), cert: readFileSync(cert), key: readFileSync(key) }
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(ready.url).port), ...identity }, () => {
      socket.write(text)
    })
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
    socket.on('error', () => {})
    socket.on('close', () => resolve(answer))
  })
}
