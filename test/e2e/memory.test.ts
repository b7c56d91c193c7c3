/**
 * The promise of SECURITY.md: after any traffic no clear PIN block stands in the gateway's memory, and none in an idle
 * vault's. Looked at from outside, by /proc/PID/mem, with PINs and PANs that no chance repeats.
 */
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parse } from 'yaml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  bytesNeedles,
  halvesNeedles,
  pinNeedles,
  scanMemory,
  summary,
  type Finding,
  type Needle,
} from '../support/memory.ts'
import { flipBit, openEc, sealTo } from '../support/node-jwe.ts'
import { agreed } from '../support/oracles.ts'
import { oracleEncipher, oracleEncode } from '../unit/pin/pin-block-oracle.ts'
import { CHANGE, clearBlock, iso0, newPan, newPin, openIssuer, TO, type Issuer } from './routes/issuer.ts'

const ROUNDS = 25
const BATCH_ITEMS = 10
const IDLE_MS = 500
/** A memory is read in seconds, but not in how many on a machine that does other things as well. */
const SCAN_TIMEOUT_MS = 300_000

let issuer: Issuer
/** Clear PIN blocks and PINs: nowhere, once the vaults are idle. */
const clearPins: Needle[] = []
/** CEKs and shared secrets: as short-lived as the PINs under them. */
const contentKeys: Needle[] = []
/** What was found in each process. */
const found = new Map<string, readonly Finding[]>()
let requests = 0

beforeAll(async () => {
  issuer = await openIssuer()
  for (let round = 0; round < ROUNDS; round++) await Promise.all(mixedTraffic().map((send) => send()))
  await sleep(IDLE_MS)
  // One pass a process: reading a memory takes longer than looking for one secret more.
  const { gateway, vaults } = issuer.service.ready
  found.set('gateway', scanMemory(gateway, [...clearPins, ...contentKeys, ...keyMaterial()]).findings)
  for (const [i, pid] of vaults.entries()) {
    found.set(`vault ${i}`, scanMemory(pid, [...clearPins, ...contentKeys]).findings)
  }
}, SCAN_TIMEOUT_MS)
afterAll(() => issuer.close())

/** How the vaults chose to call the HSM, for the message of a failure. */
function strategies(): string[] {
  const lines = issuer.service.output().split('\n')
  return lines.filter((line) => line.includes('HSM open')).map((line) => /"oaep256".*?,"msg/.exec(line)?.[0] ?? line)
}

/** One card with a PIN of its own, whose every clear form is then looked for. */
function card() {
  const [pin, pan] = [newPin(12), newPan()]
  clearPins.push(
    ...bytesNeedles('clear ISO-0 block', Buffer.from(clearBlock('ISO-0', pin, pan), 'hex')),
    ...bytesNeedles('clear SECCOS block', Buffer.from(clearBlock('SECCOS', pin, pan), 'hex')),
    // The half of a format 4 PIN field that is not random.
    ...bytesNeedles('clear ISO-4 PIN field', Buffer.from(`4c${pin}aa`, 'hex')),
    ...pinNeedles('PIN', pin),
  )
  return { pin, pan, card: { pan, panSequenceNumber: '01', expiry: '3012' } }
}

/** A block of format 4 under zpk-aes; what its first pass makes, bound to no PAN, must be nowhere either. */
function block4(pin: string, pan: string): string {
  const encipher = (hex: string) => agreed(({ ecb }) => ecb('AES', issuer.keys['zpk-aes']!, hex))
  const pinField = oracleEncode('ISO-4', pin, pan, `AA${randomBytes(8).toString('hex')}`)
  clearPins.push(...bytesNeedles('ISO-4 block without its PAN', Buffer.from(encipher(pinField), 'hex')))
  return oracleEncipher('ISO-4', encipher, pinField, pan)
}

function note(what: string, { cek, z }: { cek: Buffer; z: Buffer }): void {
  contentKeys.push(...halvesNeedles(`CEK of ${what}`, cek))
  if (z.length > 0) contentKeys.push(...halvesNeedles(`Z of ${what}`, z))
}

/** Every route once, good and bad, each with its own card; the answer's status is part of the claim that it was reached. */
function mixedTraffic(): (() => Promise<void>)[] {
  const post = async (expected: number, path: string, body: object) => {
    const answer = await issuer.post(path, body)
    requests++
    expect({ path, status: answer.status }).toEqual({ path, status: expected })
    return answer.json
  }
  const set =
    (kid: 'jwe-ec' | 'jwe-rsa', expected: number, spoil = (jwe: string) => jwe) =>
    async () => {
      const { pin, pan, card: onCard } = card()
      const made = sealTo(iso0(pin, pan), issuer.jwk(kid))
      note(`pin/set ${kid}`, made)
      await post(expected, '/v1/pin/set', {
        type: 'ISO0',
        encryptedPinBlock: spoil(made.compact),
        card: onCard,
        to: TO,
      })
    }
  const setSeccos = (expected: number, counter: string) => async () => {
    const { pin, pan, card: onCard } = card()
    const made = sealTo(
      JSON.stringify(issuer.seccos({ pan, panSequenceNumber: '01', pin, ...CHANGE })),
      issuer.jwk('jwe-ec'),
    )
    note('pin/set SECCOS', made)
    await post(expected, '/v1/pin/set', {
      type: '3DES_SECCOS',
      encryptedPinBlock: made.compact,
      card: onCard,
      change: { ...CHANGE, counter },
      to: TO,
      issue: { prw: 'prw', mac: 'pin-mac' },
    })
  }
  const get = (format: 'ISO-0' | 'ISO-1' | 'ISO-3') => async () => {
    const { pin, pan, card: onCard } = card()
    const pinBlock = issuer.block('zpk-in', format, pin, pan)
    const body = { pinBlock, from: { key: 'zpk-in', format }, card: onCard, recipient: issuer.recipient.kid }
    const { encryptedPinBlock } = await post(200, '/v1/pin/get', body)
    note('pin/get', openEc(encryptedPinBlock, issuer.recipient.privateJwk))
  }
  const block = (expected: number, path: string, more: object) => async () => {
    const { pin, pan, card: onCard } = card()
    const from = { key: 'zpk-in', format: 'ISO-0' }
    // Another PAN makes the block invalid only after it was deciphered; this digit of it meets the filler, so it always does.
    const digit = (Number(pan.at(-2)) + 1) % 10
    const shown = expected === 422 ? { ...onCard, pan: `${pan.slice(0, -2)}${digit}${pan.slice(-1)}` } : onCard
    await post(expected, path, { pinBlock: issuer.block('zpk-in', 'ISO-0', pin, pan), from, card: shown, ...more })
  }
  const batch = (from: 'ISO-0' | 'ISO-4', to: { key: string; format: string }) => async () => {
    const items = Array.from({ length: BATCH_ITEMS }, (_, i) => {
      const { pin, pan } = card()
      const pinBlock = from === 'ISO-4' ? block4(pin, pan) : issuer.block('zpk-in', 'ISO-0', pin, pan)
      return { id: String(i), pinBlock, card: { pan } }
    })
    const zone = { key: from === 'ISO-4' ? 'zpk-aes' : 'zpk-in', format: from }
    const answer = await post(200, '/v1/pin-blocks/translate-batch', { from: zone, to, items })
    expect(answer.items.every((item: { code?: string }) => item.code === undefined)).toBe(true)
  }
  return [
    batch('ISO-0', { key: 'zpk-aes', format: 'ISO-4' }),
    batch('ISO-4', { key: 'zpk-out', format: 'ISO-3' }),
    block(200, '/v1/pin-blocks/translate', { to: { key: 'zpk-aes', format: 'ISO-4' } }),
    set('jwe-ec', 200),
    set('jwe-rsa', 200),
    set('jwe-ec', 422, (jwe) => flipBit(jwe, 3)),
    set('jwe-rsa', 422, (jwe) => flipBit(jwe, 4)),
    setSeccos(200, CHANGE.counter),
    setSeccos(422, '0004'),
    get('ISO-0'),
    get('ISO-3'),
    block(200, '/v1/pin-blocks/translate', { to: { key: 'zpk-out', format: 'ISO-3' } }),
    block(422, '/v1/pin-blocks/translate', { to: TO }),
    block(200, '/v1/prw/generate', { key: 'prw', change: CHANGE }),
    block(200, '/v1/prw/generate', { key: 'prw-aes' }),
    block(200, '/v1/prw/verify', { key: 'prw', change: CHANGE, prw: '00'.repeat(8) }),
    block(422, '/v1/prw/verify', { key: 'prw', change: CHANGE, prw: '00'.repeat(8) }),
  ]
}

describe('the scanner', () => {
  /** Holds SHA-256 of what it reads, in all forms; wipes the bytes when told. */
  const HOLDER = `
    const { createHash } = require('node:crypto')
    const held = new Uint8Array(new ArrayBuffer(4096))
    process.stdin.once('data', (seed) => {
      const digest = createHash('sha256').update(seed.subarray(0, 32)).digest()
      held.set(digest, 1000)
      digest.fill(0)
      process.stdin.once('data', () => { held.fill(0); process.stdout.write('2') })
      process.stdout.write('1')
    })`

  it(
    'finds a secret that another process holds, and not once it is wiped',
    async () => {
      const holder = spawn(process.execPath, ['-e', HOLDER], { stdio: ['pipe', 'pipe', 'inherit'] })
      try {
        const seed = randomBytes(32)
        const secret = createHash('sha256').update(seed).digest()
        const needles = [
          ...bytesNeedles('planted', secret.subarray(0, 8)),
          ...pinNeedles('never there', '904817263554'),
        ]
        holder.stdin.write(seed)
        await once(holder.stdout, 'data')
        const held = scanMemory(holder.pid!, needles)
        expect(held.bytes).toBeGreaterThan(0.9 * writtenBytes(holder.pid!))
        // Perhaps more than one: what the digest left on its way stays, which is the reason for this file.
        expect(held.findings.map(({ what }) => what)).toContain('planted')
        expect(held.findings.map(({ what }) => what)).not.toContain('never there')
        holder.stdin.write('wipe')
        await once(holder.stdout, 'data')
        const wiped = scanMemory(holder.pid!, needles).findings
        expect(wiped.length).toBeLessThan(held.findings.length)
      } finally {
        holder.kill()
      }
    },
    SCAN_TIMEOUT_MS,
  )

  it(
    'finds a certificate of the service in its gateway, so it reads the right processes',
    () => {
      const { ca } = issuer.service.setUp
      const line = readFileSync(ca, 'utf8').split('\n')[3]!
      const { findings } = scanMemory(issuer.service.ready.gateway, [{ what: 'CA', bytes: Buffer.from(line) }])
      expect(findings.length).toBeGreaterThan(0)
    },
    SCAN_TIMEOUT_MS,
  )
})

describe('after some hundred requests', () => {
  it('has sent them all', () => {
    expect(requests).toBe(ROUNDS * 17)
    // Every card of them in at least fourteen forms.
    expect(clearPins.length).toBeGreaterThan(ROUNDS * (15 + 2 * BATCH_ITEMS) * 14)
  })

  it('the gateway holds no clear PIN block, no PIN, no CEK, no Z, no key value and not the HSM PIN', () => {
    expect(summary(found.get('gateway')!)).toEqual({})
  })

  it('no idle vault holds a clear PIN block, a PIN, a CEK or a Z', () => {
    const { vaults } = issuer.service.ready
    expect(vaults.length).toBeGreaterThan(0)
    for (const [i] of vaults.entries()) {
      const findings = found.get(`vault ${i}`)!
      expect(
        summary(findings),
        `vault ${i}, ${strategies().join(' ')}, ${JSON.stringify(findings.slice(0, 8))}`,
      ).toEqual({})
    }
  })
})

/** What the kernel says a process has written and still holds in memory. */
function writtenBytes(pid: number): number {
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!
  return Number(kibibytes) * 1024
}

/** The key values and the HSM PIN. */
function keyMaterial(): Needle[] {
  const { pinFile } = parse(readFileSync(issuer.service.setUp.config, 'utf8')).hsm
  const hsmPin = readFileSync(pinFile, 'utf8').trimEnd()
  return [
    { what: 'HSM PIN', bytes: Buffer.from(hsmPin) },
    { what: 'HSM PIN (UTF-16)', bytes: Buffer.from(hsmPin, 'utf16le') },
    ...Object.entries(issuer.keys).flatMap(([id, value]) => bytesNeedles(`key ${id}`, Buffer.from(value, 'hex'))),
  ]
}
