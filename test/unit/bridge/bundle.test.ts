import { describe, expect, it } from 'vitest'
import {
  addCall,
  hasRoom,
  laneOf,
  rejectBundle,
  removeCall,
  requestOf,
  resolveBundle,
  type Bundle,
  type Call,
} from '../../../src/bridge/bundle.ts'
import type { Operation, RequestOf } from '../../../src/bridge/contract.ts'
import { ServiceError } from '../../../src/errors.ts'
import { answerTo, pair, settled, translation, type Translated, type Translation } from './translations.ts'

/** A call and what becomes of it. */
function callOf(body: RequestOf<Operation>, operation: Operation = 'translatePinBlocks') {
  const { promise, resolve, reject } = Promise.withResolvers<any>()
  promise.catch(() => {})
  const call: Call = { operation, body, resolve, reject, deadline: setTimeout(() => {}, 0) }
  return { call, promise }
}

/** A bundle of these translations, and what becomes of each. */
function bundleOf(bodies: readonly Translation[]) {
  const bundle: Bundle = { lane: 'a lane', calls: new Set(), items: 0 }
  const answers = bodies.map((body) => {
    const { call, promise } = callOf(body)
    addCall(bundle, call)
    return promise
  })
  return { bundle, answers }
}

const laneOfBody = (body: Translation) => laneOf({ operation: 'translatePinBlocks', body })

describe('a lane', () => {
  it('is that of all translations of one pair of keys, whatever their number, PANs and blocks', () => {
    expect(laneOfBody(translation(7))).toBe(laneOfBody(translation(1)))
    expect(laneOfBody(translation(1, { ...pair(), checkOnly: false }))).toBe(laneOfBody(translation(1)))
  })

  it('differs by either key, by either format and by the length of a block', () => {
    const others = [
      pair(),
      pair('in2'),
      pair('in', 'out2'),
      pair('in', 'out', 'ISO-3'),
      pair('in', 'out', 'ISO-0', 'ISO-3'),
      pair('out', 'in'),
      pair('in', 'out', 'ISO-4'),
    ].map((zones) => laneOfBody(translation(1, zones)))
    const short = { ...translation(2), packed: Buffer.alloc(35) }
    const long = { ...translation(1), packed: Buffer.alloc(26) }
    const lanes = [...others, laneOfBody(short), laneOfBody(long)]
    expect(new Set(lanes).size).toBe(lanes.length)
  })

  it('takes no translation with a PRW, no check alone, and no other operation', () => {
    expect(laneOfBody(translation(1, { ...pair(), checkOnly: true }))).toBeUndefined()
    expect(laneOfBody(translation(1, { ...pair(), prw: { key: 'prw', cards: [{}] } }))).toBeUndefined()
    const body = { key: 'pin-mac', pinBlock: '00'.repeat(8) }
    expect(laneOf({ operation: 'generateMac', body })).toBeUndefined()
  })
})

describe('a bundle', () => {
  it('has room for 10 000 blocks and for none more, and has it again when a call leaves', () => {
    const { bundle } = bundleOf([translation(9000)])
    const { call: thousand } = callOf(translation(1000))
    expect(hasRoom(bundle, callOf(translation(1001)).call)).toBe(false)
    expect(hasRoom(bundle, thousand)).toBe(true)
    addCall(bundle, thousand)
    expect(hasRoom(bundle, callOf(translation(1)).call)).toBe(false)
    removeCall(bundle, thousand)
    expect(hasRoom(bundle, callOf(translation(1000)).call)).toBe(true)
    expect([bundle.calls.size, bundle.items]).toEqual([1, 9000])
  })

  it('is one request: all PANs in the order of its calls, then all blocks', () => {
    const bodies = [1, 3, 2].map((items) => ({ ...translation(items), packed: Buffer.alloc(18 * items) }))
    let next = 0
    // Every PAN's bytes are its own number, every block's its number with the high bit set.
    for (const { packed, items } of bodies) {
      for (let i = 0; i < items; i++, next++) {
        packed.fill(next, i * 10, (i + 1) * 10)
        packed.fill(0x80 | next, items * 10 + i * 8, items * 10 + (i + 1) * 8)
      }
    }
    const { bundle } = bundleOf(bodies)
    const { operation, body } = requestOf(bundle)
    const { packed, ...json } = body as Translation
    expect([operation, json]).toEqual(['translatePinBlocks', { ...pair(), items: 6 }])
    const pans = [0, 1, 2, 3, 4, 5].map((n) => Buffer.alloc(10, n))
    const blocks = [0, 1, 2, 3, 4, 5].map((n) => Buffer.alloc(8, 0x80 | n))
    expect(packed).toEqual(Buffer.concat([...pans, ...blocks]))
  })

  it('of one call is that call', () => {
    const body = { key: 'pin-mac', pinBlock: '00'.repeat(8) }
    const { call } = callOf(body, 'generateMac')
    const bundle: Bundle = { lane: undefined, calls: new Set(), items: 0 }
    addCall(bundle, call)
    expect(requestOf(bundle)).toBe(call)
    expect(requestOf(bundle).body).toBe(body)
  })

  it('gives each call its own blocks, and the places of its own that are rejected', async () => {
    const key = { id: 'out', version: 1, kcv: 'A1B2C3' }
    const common = { format: 'ISO-0', key }
    const block = (n: number) => Buffer.alloc(8, n)
    const blocks = (...all: number[]) => Buffer.concat(all.map(block))
    const { bundle, answers } = bundleOf([1, 3, 2, 1].map((items) => translation(items)))
    const answer = { ...common, rejected: [0, 2, 3, 6] } as unknown as Translated
    resolveBundle(bundle, answer, blocks(0, 1, 2, 3, 4, 5, 6))
    expect(await Promise.all(answers)).toEqual([
      { ...common, rejected: [0], packed: blocks(0) },
      { ...common, rejected: [1, 2], packed: blocks(1, 2, 3) },
      { ...common, rejected: [], packed: blocks(4, 5) },
      { ...common, rejected: [0], packed: blocks(6) },
    ])
  })

  it('gives blocks of 16 bytes where they go out in ISO format 4, and PRWs where they were asked for', async () => {
    const key = { id: 'aes', version: 1, kcv: 'A1B2C3D4E5' }
    const body = translation(2, { ...pair('in', 'aes', 'ISO-0', 'ISO-4'), prw: { key: 'prw', cards: [{}, {}] } })
    const { bundle, answers } = bundleOf([body])
    const packed = Buffer.concat([Buffer.alloc(16, 1), Buffer.alloc(16, 2)])
    const answer = { format: 'ISO-4', key, rejected: [1], prws: [{ value: '01' }, null] }
    resolveBundle(bundle, answer, packed)
    expect(await Promise.all(answers)).toEqual([{ ...answer, packed }])
  })

  it('takes no packed bytes for an operation without any', async () => {
    const { call, promise } = callOf({ key: 'pin-mac', pinBlock: '00' }, 'generateMac')
    const bundle: Bundle = { lane: undefined, calls: new Set([call]), items: 1 }
    const answer = { mac: '00', profile: 'p', key: { id: 'k', version: 1, kcv: '00' } }
    resolveBundle(bundle, answer, Buffer.from('c0ffee', 'hex'))
    expect(await promise).toBe(answer)
  })

  it('of any translations splits the answer so that each has what it would have had alone', async () => {
    for (let round = 0; round < 200; round++) {
      const zones = pair('in', 'out', round % 2 ? 'ISO-4' : 'ISO-0', round % 3 ? 'ISO-4' : 'ISO-3')
      const bodies = Array.from({ length: 1 + (round % 20) }, () =>
        translation(1 + Math.floor(Math.random() * 50), zones),
      )
      const { bundle, answers } = bundleOf(bodies)
      const { packed, ...json } = answerTo(requestOf(bundle).body as Translation)
      resolveBundle(bundle, json, packed)
      expect(await Promise.all(answers)).toEqual(bodies.map(answerTo))
    }
  })
})

describe('an answer that does not fit', () => {
  const good = { format: 'ISO-0', key: { id: 'out', version: 1, kcv: 'A1B2C3' }, rejected: [1, 4] }
  const BYTES = 5 * 8

  it.each<[string, object, number?]>([
    ['no blocks', good, 0],
    ['a byte too few', good, BYTES - 1],
    ['a block too few', good, BYTES - 8],
    ['a byte too many', good, BYTES + 1],
    ['a block too many', good, BYTES + 8],
    ['blocks of 16 bytes', good, 2 * BYTES],
    ['blocks in its JSON', { ...good, packed: '0'.repeat(BYTES) }, 0],
    ['no rejected', { ...good, rejected: undefined }],
    ['rejected null', { ...good, rejected: null }],
    ['a rejected place as text', { ...good, rejected: ['1'] }],
    ['a number for rejected', { ...good, rejected: 1 }],
    ['an object for rejected', { ...good, rejected: { length: 0 } }],
    ['a rejected place behind the last', { ...good, rejected: [5] }],
    ['a rejected place before the first', { ...good, rejected: [-1] }],
    ['half a place', { ...good, rejected: [0.5] }],
    ['no number', { ...good, rejected: [null] }],
    ['a place twice', { ...good, rejected: [1, 1] }],
    ['places in descending order', { ...good, rejected: [4, 1] }],
    ['more places than items', { ...good, rejected: [0, 1, 2, 3, 4, 5] }],
    ['nothing', {}],
  ])('is ERR_INTERNAL for every call of the bundle: %s', async (_name, answer, bytes = BYTES) => {
    for (const sizes of [[1, 3, 1], [5]]) {
      const { bundle, answers } = bundleOf(sizes.map((items) => translation(items)))
      resolveBundle(bundle, answer, Buffer.alloc(bytes, 7))
      expect(await Promise.all(answers.map(settled))).toEqual(sizes.map(() => 'ERR_INTERNAL'))
    }
    // The same with what is right, so that it was the fault alone.
    const { bundle, answers } = bundleOf([translation(1), translation(4)])
    resolveBundle(bundle, good, Buffer.alloc(BYTES, 7))
    expect((await Promise.all(answers)).map(({ rejected }) => rejected as number[])).toEqual([[], [0, 3]])
  })

  it.each<[string, unknown]>([
    ['none', undefined],
    ['one too few', [null]],
    ['one too many', [null, null, null]],
  ])('is ERR_INTERNAL: PRWs were asked for, and there are %s', async (_name, prws) => {
    const { bundle, answers } = bundleOf([translation(2, { ...pair(), prw: { key: 'prw', cards: [{}, {}] } })])
    resolveBundle(bundle, { ...good, rejected: [], prws } as unknown as Translated, Buffer.alloc(16))
    expect(await settled(answers[0]!)).toBe('ERR_INTERNAL')
  })
})

describe('a refusal', () => {
  it('goes to every call of the bundle, each with an error of its own, and stops their clocks', async () => {
    const { bundle, answers } = bundleOf([translation(1), translation(2), translation(3)])
    rejectBundle(bundle, 'ERR_HSM_UNAVAILABLE', { ckr: 'CKR_DEVICE_ERROR', method: 'C_Decrypt' })
    const errors = await Promise.all(answers.map((answer) => answer.catch((error: unknown) => error)))
    for (const error of errors) {
      expect(error).toBeInstanceOf(ServiceError)
      expect(error).toMatchObject({
        code: 'ERR_HSM_UNAVAILABLE',
        detail: { ckr: 'CKR_DEVICE_ERROR', method: 'C_Decrypt' },
      })
    }
    expect(new Set(errors).size).toBe(3)
    for (const { deadline } of bundle.calls)
      expect((deadline as unknown as { _destroyed: boolean })._destroyed).toBe(true)
  })
})
