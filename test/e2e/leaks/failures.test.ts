/**
 * The same secrets while things fail: the HSM errs, hangs, crashes and is gone, the queue is full, the gateway is killed.
 * Nothing of them in the log, in an answer, in a core file, in the gateway's memory, or in a vault's once it is idle.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findCanaries } from '../../support/canaries.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { bytesNeedles, halvesNeedles, pinNeedles, scanMemory, summary, type Needle } from '../../support/memory.ts'
import { sealEc, type NodeJwk } from '../../support/node-jwe.ts'
import { pinbridge, temporaryFolder } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'
import { childrenOf, until } from '../processes/processes.ts'
import { clearBlock, newPin, openIssuer, TO, type Issuer } from '../routes/issuer.ts'
import { hsmPin, secretsOf, type Secrets } from './secrets.ts'

const HSM_MS = 1000
const CKR_DEVICE_ERROR = 0x30
const CKR_DEVICE_REMOVED = 0x32
const AT_ONCE = 40
const IDLE_MS = 500
const RECOVERY_MS = 60_000
const SCAN_TIMEOUT_MS = 300_000

const folder = temporaryFolder()
const shim = new Shim(folder.path)
let issuer: Issuer
let secrets: Secrets
/** The public half of the key that data are encrypted to. */
let openJwk: NodeJwk
const answers: string[] = []
const needles: Needle[] = []
const codes: Record<string, Set<string>> = {}
/** What was found in the memories of gateway and vaults. */
const found: Record<string, Record<string, number>> = {}
/** The same of a vault in the midst of its work. */
let foundAtWork: string[] = []
/** Whether this machine writes core files where a process works, and not elsewhere or nowhere. */
let writesCores = false
const coresBefore = coreFiles(process.cwd())

beforeAll(async () => {
  // What is started from here on may write a core file of any size.
  spawnSync('prlimit', ['--pid', String(process.pid), '--core=unlimited'])
  spawnSync('sh', ['-c', 'kill -SEGV $$'], { cwd: folder.path })
  writesCores = coreFiles(folder.path).length > 0
  issuer = await openIssuer((config) => {
    config.hsm.vaults = 2
    config.logLevel = 'debug'
    Object.assign(config.limits, { hsmMs: HSM_MS, queue: 5, inFlightPerVault: 2 })
    shim.insert(config.hsm)
  })
  secrets = secretsOf(issuer)
  const { stdout } = await pinbridge(['keys', 'public', 'jwe-open', '--config', issuer.service.setUp.config])
  openJwk = JSON.parse(stdout)
  await everyFailure()
  await sleep(IDLE_MS)
  lookAtGateway('gateway after another')
  for (const [i, pid] of vaults().entries()) found[`vault ${i}`] = summary(scanMemory(pid, needles).findings)
}, SCAN_TIMEOUT_MS)
afterAll(async () => {
  await issuer?.close()
  shim.close()
  folder.dispose()
})

const gateway = () => childrenOf(issuer.service.ready.pid).gateways[0]!
const vaults = () => childrenOf(issuer.service.ready.pid).vaults

function lookAtGateway(name: string): void {
  const keys = Object.entries(issuer.keys).map(([id, value]) => bytesNeedles(`key ${id}`, Buffer.from(value, 'hex')))
  const pin = { what: 'HSM PIN', bytes: Buffer.from(hsmPin(issuer.service.setUp.config)) }
  found[name] = summary(scanMemory(gateway(), [...needles, ...keys.flat(), pin]).findings)
}

/** Every kind of operation on the one card, each with a clear block of its own; also a block that is none. */
async function ask(what: string): Promise<void> {
  const { pin, pan, badClear } = secrets
  const card = { pan, panSequenceNumber: '01', expiry: '3012' }
  const from = { key: 'zpk-in', format: 'ISO-3' }
  const clear = () => {
    const block = clearBlock('ISO-3', pin, pan)
    needles.push(...bytesNeedles('clear ISO-3 block', Buffer.from(block, 'hex')))
    return block
  }
  const pinBlock = () => issuer.encipher('zpk-in', clear())
  const made = sealEc(JSON.stringify({ pinBlock: clearBlock('ISO-0', pin, pan) }), issuer.jwk('jwe-ec'))
  const data = sealEc('{"state":"ACTIVE"}', openJwk)
  for (const { cek, z } of [made, data]) needles.push(...halvesNeedles('CEK', cek), ...halvesNeedles('Z', z))
  const bodies: Record<string, object> = {
    '/v1/pin/set': { type: 'ISO0', encryptedPinBlock: secrets.jwe(made), card, to: TO },
    '/v1/pin/get': { pinBlock: pinBlock(), from, card, recipient: issuer.recipient.kid },
    '/v1/pin-blocks/translate': { pinBlock: pinBlock(), from, to: TO, card },
    '/v1/pin-blocks/translate-batch': { from, to: TO, items: [{ id: '1', pinBlock: pinBlock(), card }] },
    '/v1/prw/generate': { pinBlock: pinBlock(), from, card, key: 'prw-aes' },
    '/v1/jwe/open': { jwe: secrets.jwe(data) },
    '/v1/mac/generate': { key: 'pin-mac-aes', pinBlock: `${pinBlock()}${newPin(16)}`, card },
  }
  const bad = { ...bodies['/v1/pin-blocks/translate'], pinBlock: issuer.encipher('zpk-in', badClear) }
  await Promise.all(
    [...Object.entries(bodies), ['/v1/pin-blocks/translate', bad] as const].map(async ([path, body]) => {
      // A gateway that is killed answers nothing.
      const answer = await issuer.post(path, body).catch(() => undefined)
      if (answer !== undefined) answers.push(JSON.stringify([answer.status, answer.headers, answer.text]))
      const code = answer === undefined ? 'no answer' : (answer.json.code ?? String(answer.status))
      ;(codes[what] ??= new Set()).add(code)
    }),
  )
}

async function recovered(gone: readonly number[] = []): Promise<void> {
  shim.clear()
  const areReady = async () => {
    const pids = vaults()
    const status = await issuer.service.manage('/readyz').catch(() => undefined)
    const ready = status?.json.vaults.filter(({ state }: any) => state === 'ready') ?? []
    return ready.length === 2 && pids.length === 2 && !pids.some((pid) => gone.includes(pid))
  }
  await until('two ready vaults, none of those that are lost', areReady, RECOVERY_MS)
}

async function everyFailure(): Promise<void> {
  needles.push(
    ...pinNeedles('PIN', secrets.pin),
    ...bytesNeedles('clear ISO-0 block', Buffer.from(clearBlock('ISO-0', secrets.pin, secrets.pan), 'hex')),
    ...bytesNeedles('bad clear block', Buffer.from(secrets.badClear, 'hex')),
  )
  await ask('nothing')

  shim.inject({ function: 'C_Encrypt', kind: 'return', value: CKR_DEVICE_ERROR, times: 4 })
  shim.inject({ function: 'C_Decrypt', kind: 'return', value: CKR_DEVICE_ERROR, times: 4 })
  await ask('errors')
  shim.inject({ function: 'C_Decrypt', kind: 'flip', value: 0, times: 4 })
  shim.inject({ function: 'C_Encrypt', kind: 'flip', value: 0, times: 4 })
  await ask('wrong answers')
  await recovered()

  const [crashing, hanging] = vaults()
  shim.inject({ function: 'C_Encrypt', kind: 'crash', process: crashing!, times: 1 })
  shim.inject({ function: 'C_Encrypt', kind: 'hang', process: hanging!, times: 1 })
  await Promise.all(Array.from({ length: AT_ONCE }, () => ask('a crash, a hang and a full queue')))
  await recovered([crashing!, hanging!])

  const removed = vaults()
  shim.inject({ function: '*', kind: 'return', value: CKR_DEVICE_REMOVED })
  await ask('no HSM')
  await recovered(removed)

  const held = vaults()
  const hangs = held.map((process) => shim.inject({ function: 'C_Encrypt', kind: 'hang', process }))
  // The supervisor would end vaults that hang, and they are to be looked at.
  process.kill(issuer.service.ready.pid, 'SIGSTOP')
  try {
    const unanswered = ask('the gateway is killed')
    await until('a vault that is held at its work', () => hangs.some((hang) => hang.hits() > 0))
    foundAtWork = held.flatMap((pid) => scanMemory(pid, needles).findings.map(({ what }) => what))
    lookAtGateway('gateway')
    const last = ask('the gateway is killed')
    // As a crash of its own would end it.
    process.kill(gateway(), 'SIGSEGV')
    await Promise.all([unanswered, last])
  } finally {
    process.kill(issuer.service.ready.pid, 'SIGCONT')
  }
  await recovered(held)
  await ask('afterwards')
}

describe('failures with secrets on the way', () => {
  it('came to pass, each of them', () => {
    const seen = Object.fromEntries(Object.entries(codes).map(([what, names]) => [what, [...names].sort()]))
    expect(seen['nothing']).toEqual(['200', 'ERR_PIN_BLOCK_INVALID'])
    expect(seen['errors']).toContain('ERR_HSM_UNAVAILABLE')
    expect(seen['wrong answers']).toContain('ERR_HSM_UNAVAILABLE')
    expect(seen['a crash, a hang and a full queue']).toEqual(
      expect.arrayContaining(['ERR_HSM_BUSY', 'ERR_HSM_UNAVAILABLE']),
    )
    expect(seen['no HSM']).toEqual(['ERR_HSM_UNAVAILABLE'])
    // Of which some had been answered by then, and the last not.
    expect(seen['the gateway is killed']).toContain('no answer')
    expect(seen['afterwards']).toEqual(['200', 'ERR_PIN_BLOCK_INVALID'])
  })

  it('leave nothing in the log, which holds listed members only', () => {
    expect(issuer.service.output()).toContain('"cause":"overdue"')
    expect(findCanaries(issuer.service.output(), secrets.canaries)).toEqual([])
    expect(strangersInLog(issuer.service.output())).toEqual([])
  })

  it('leave nothing in an answer', () => {
    expect(answers.filter((answer) => findCanaries(answer, secrets.canaries).length > 0)).toEqual([])
  })

  it('leave nothing in the memory of the gateway, or of a vault that is idle', () => {
    // The search finds what a vault has while it works.
    expect(foundAtWork.join()).toMatch(/clear|PIN|CEK/)
    expect(found).toEqual({ gateway: {}, 'gateway after another': {}, 'vault 0': {}, 'vault 1': {} })
  })

  it('leave no core file of the vault that crashed, and none of the gateway', (context) => {
    if (!writesCores) context.skip('this machine writes no core file beside a process that crashes')
    const written = coreFiles(process.cwd()).filter((name) => !coresBefore.includes(name))
    for (const name of written) rmSync(name)
    expect(written).toEqual([])
  })
})

/** The kernel's own names for them (core(5)). */
function coreFiles(directory: string): string[] {
  return readdirSync(directory).filter((name) => /^core(?:\.\d+)?$/.test(name))
}
