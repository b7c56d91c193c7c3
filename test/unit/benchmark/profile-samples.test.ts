/** A profile's samples in the stages that they belong to. */
import type { Profiler } from 'node:inspector'
import { describe, expect, it } from 'vitest'
import { stageOf, stagesOf } from '../../../scripts/benchmark/profile-samples.ts'

const frame = (fn: string, file = '') => ({ fn, file })
const BINDING = frame('', '/x/node_modules/pkcs11js/index.js')
const LAYER = frame('obj.<computed>', '/x/node_modules/pkcs11js/index.js')
const DECRYPT = frame('decrypt', '/x/dist/hsm/pkcs11/calls.js')
const RESERVE = frame('reserve', '/x/dist/gateway/guess-limits.js')
const HMAC = frame('hmac', '/x/dist/gateway/subject-hash.js')
const WRITE = frame('handleWriteReq', 'node:internal/stream_base_commons')

describe('stageOf', () => {
  it.each([
    ['an Init', 'vault', [frame('PKCS11'), BINDING, DECRYPT], 'HSM: C_DecryptInit'],
    ['the operation', 'vault', [frame('PKCS11'), BINDING, LAYER, DECRYPT], 'HSM: C_Decrypt'],
    ['a call that has no name', 'vault', [BINDING, frame('login', '/x/dist/hsm/pkcs11/module.js')], 'HSM: other'],
    ["the adapter's own work", 'vault', [DECRYPT], 'HSM, our side of the calls'],
    ['node:crypto', 'gateway', [frame('digest', 'node:internal/crypto/hash'), HMAC, RESERVE], 'limits'],
    [
      'a hash for a record',
      'gateway',
      [HMAC, frame('card', '/x/dist/gateway/subject-hash.js'), frame('membersOf', '/x/dist/gateway/audited.js')],
      'audit',
    ],
    [
      'an answer',
      'gateway',
      [frame('writeUtf8String'), WRITE, frame('end', 'node:_http_outgoing')],
      'TLS out and sending',
    ],
    [
      'a message',
      'gateway',
      [frame('writeBuffer'), WRITE, frame('send', '/x/dist/bridge/channel.js')],
      'bridge, sending',
    ],
    ['a stack that nobody knows', 'gateway', [frame('emit', 'node:events')], 'unattributed'],
    ['nothing', 'vault', [frame('(idle)')], '(idle)'],
  ] as const)('knows %s', (_name, role, stack, stage) => {
    expect(stageOf(stack, role)).toBe(stage)
  })
})

describe('stagesOf', () => {
  const node = (id: number, functionName: string, url: string, children: number[]): Profiler.ProfileNode => ({
    id,
    callFrame: { functionName, url, scriptId: '', lineNumber: 0, columnNumber: 0 },
    children,
  })
  const profile: Profiler.Profile = {
    nodes: [
      node(1, '(root)', '', [2, 4]),
      node(2, 'reserve', RESERVE.file, [3]),
      node(3, 'digest', 'node:internal/crypto/hash', []),
      node(4, '(idle)', '', []),
    ],
    startTime: 100,
    endTime: 150,
    samples: [3, 3, 2, 4, 3],
    timeDeltas: [0, 10, 10, 10, 10],
  }

  it('counts what was busy between two moments, a native function for who called it', () => {
    expect([...stagesOf([profile], 'gateway', 105, 135)]).toEqual([['limits', 2]])
  })
})
