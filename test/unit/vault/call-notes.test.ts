import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { timingsIn } from '../../../src/bridge/call-trace.ts'
import { MOST_TRACED_CALLS } from '../../../src/bridge/contract.ts'
import { monotonicMs } from '../../../src/bridge/monotonic-clock.ts'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { ServiceError } from '../../../src/errors.ts'
import type { Hsm } from '../../../src/hsm/hsm.ts'
import { CallNotes } from '../../../src/vault/call-notes.ts'
import { MeasuredHsm, type EndedCall } from '../../../src/vault/measured-hsm.ts'

const KEY = { id: 'zpk-out', version: 3, kcv: 'A1B2C3' } as KeyEntry
const BLOCK = Buffer.from('5C4000001234567899'.slice(0, 16), 'hex')
const call: EndedCall = { call: 'encipherBlocks', key: KEY, calledMs: 1, startedMs: 2, endedMs: 3, outcome: 'ok' }

describe('what a vault notes of a traced request', () => {
  it('lists so many calls and counts the others, in the form of the contract', () => {
    const notes = new CallNotes()
    for (let i = 0; i < MOST_TRACED_CALLS + 5; i++) notes.add(call)
    const { trace } = notes.taken()
    expect(trace.hsmCalls).toHaveLength(MOST_TRACED_CALLS)
    expect(trace.hsmCallsMissing).toBe(5)
    expect(timingsIn(JSON.parse(JSON.stringify(trace)))).toEqual(trace)
    expect(trace.hsmCalls[0]).toEqual({
      call: 'encipherBlocks',
      key: 'zpk-out',
      version: 3,
      calledMs: monotonicMs(1),
      startedMs: monotonicMs(2),
      endedMs: monotonicMs(3),
      outcome: 'ok',
    })
    expect(trace.endedMs).toBeGreaterThanOrEqual(trace.startedMs)
  })

  it('knows its own calls and no other request’s, with the wait for a session, and all of them are counted', async () => {
    const gates: (() => void)[] = []
    const encipherBlocks = () => new Promise<Buffer>((resolve) => gates.push(() => resolve(Buffer.alloc(8))))
    const generateMac = () => Promise.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    const measured = new MeasuredHsm({ encipherBlocks, generateMac } as unknown as Hsm, 1)
    const [first, second]: EndedCall[][] = [[], []]
    const a = measured.watched((ended) => first!.push(ended)).encipherBlocks(KEY, BLOCK)
    const own = measured.watched((ended) => second!.push(ended))
    const b = own.encipherBlocks(KEY, BLOCK)
    await pause(5)
    gates[0]!()
    await a
    gates[1]!()
    await b
    await expect(own.generateMac(KEY, 'AES-CMAC', BLOCK)).rejects.toThrow(ServiceError)

    expect(first!.map(({ call, outcome }) => [call, outcome])).toEqual([['encipherBlocks', 'ok']])
    expect(second!.map(({ call, outcome }) => [call, outcome])).toEqual([
      ['encipherBlocks', 'ok'],
      ['generateMac', 'error'],
    ])
    expect(first![0]!.startedMs).toBe(first![0]!.calledMs)
    // The one session was the other's until then.
    expect(second![0]!.startedMs).toBe(first![0]!.endedMs)
    const { sessions, calls } = measured.takeReport()
    expect(sessions).toEqual({ total: 1, inUse: 1, waiting: 1 })
    expect(calls.map(({ call, outcome, counts }) => [call, outcome, counts.reduce((all, some) => all + some)])).toEqual(
      [
        ['encipherBlocks', 'ok', 2],
        ['generateMac', 'error', 1],
      ],
    )
  })
})
