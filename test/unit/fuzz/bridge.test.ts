import { PassThrough } from 'node:stream'
import type { Socket } from 'node:net'
import fc from 'fast-check'
import { Check } from 'typebox/value'
import { describe, expect, it } from 'vitest'
import { Channel } from '../../../src/bridge/channel.ts'
import { REQUESTS, type Operation } from '../../../src/bridge/contract.ts'
import { ERROR_TITLES } from '../../../src/errors.ts'
import { readCorrelation, traceIdOf } from '../../../src/gateway/correlation.ts'
import type { VaultContext } from '../../../src/vault/context.ts'
import { createAnswerer } from '../../../src/vault/serve.ts'
import { damaged, fuzz, mostly, textOf } from './fuzz.ts'

describe('messages to a vault', () => {
  const PAN = '4000001234567899'
  const from = { key: 'zpk-in', format: 'ISO-0' }
  const BODIES: Readonly<Record<string, object>> = {
    openSetPin: {
      type: 'ISO0',
      encryptedPinBlock: 'e30.e30.e30.e30.e30',
      jweKeys: ['jwe-ec'],
      card: { pan: PAN },
      to: { key: 'zpk-out', format: 'ISO-0' },
    },
    sealGetPin: { pinBlock: '0123456789ABCDEF', from, card: { pan: PAN }, recipient: 'd1-dev' },
    translatePinBlocks: { from, to: { key: 'zpk-out', format: 'ISO-3' }, items: 1 },
    generatePrw: { pinBlock: '0123456789ABCDEF', from, card: { pan: PAN }, change: { counter: '0003' }, key: 'prw' },
    makeD1Assertion: { key: 'assertion', lifetimeS: 300 },
    sealData: { recipient: 'd1-data-dev', payload: { pan: PAN, exp: '1231' } },
    openData: { jwe: 'e30.e30.e30.e30.e30', openKeys: ['jwe-open'] },
    verifyMac: { key: 'pin-mac', pinBlock: '0123456789ABCDEF', mac: '01234567' },
  }
  /** A vault whose every part fails in a way that no caller may see. */
  const broken = new Proxy({} as VaultContext, {
    get: () => {
      throw new TypeError('CANARY')
    },
  })

  it('are answered by an error of the closed set, and as requests refused exactly if they do not keep the contract', async () => {
    const answer = createAnswerer(broken)
    const operation = fc.constantFrom(
      ...Object.keys(BODIES),
      ...Object.keys(REQUESTS),
      '__proto__',
      'constructor',
      '',
      1,
    )
    const junk = fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.constantFrom('', '__proto__', '0'.repeat(70), 'ISO-0', -1, 1e9, 10_001, null, undefined),
    )
    /** A body of the operation with one of its members, at any depth, replaced or added. */
    const spoilt = (name: unknown) =>
      fc.tuple(fc.nat(12), junk, fc.boolean()).map(([at, value, isWhole]) => {
        const body = structuredClone(Object.hasOwn(BODIES, String(name)) ? BODIES[String(name)] : {}) as Record<
          string,
          any
        >
        if (isWhole) return body
        const places: [Record<string, any>, string][] = []
        const walk = (node: Record<string, any>): void => {
          for (const member of [...Object.keys(node), 'added']) {
            places.push([node, member])
            if (typeof node[member] === 'object' && node[member] !== null) walk(node[member] as Record<string, any>)
          }
        }
        walk(body)
        const [node, member] = places[at % places.length]!
        node[member] = value
        return body
      })
    const message = fc.oneof(
      {
        weight: 6,
        arbitrary: operation.chain((operation) =>
          fc.record({
            id: fc.constantFrom(1, 1, 1, '1', null),
            operation: fc.constant(operation),
            body: spoilt(operation),
          }),
        ),
      },
      fc.jsonValue({ maxDepth: 2 }),
    )
    await fuzz('bridge-message', fc.tuple(message, fc.uint8Array({ maxLength: 30 })), async ([raw, bytes]) => {
      const message = JSON.parse(JSON.stringify(raw))
      const packed = Buffer.from(bytes)
      const reply = await answer(message, packed)
      const isRequest = typeof message?.id === 'number' && typeof message.operation === 'string'
      if (!isRequest) {
        expect(reply).toBeUndefined()
        return 'refused'
      }
      const { code } = reply!.message as { code?: string }
      expect(Object.keys(ERROR_TITLES)).toContain(code)
      expect(JSON.stringify(reply)).not.toContain('CANARY')
      const schema = Object.hasOwn(REQUESTS, message.operation) ? REQUESTS[message.operation as Operation] : undefined
      const keeps = schema !== undefined && Check(schema, message.body)
      if (!keeps) expect(code).toBe('ERR_REQUEST_INVALID')
      return keeps ? 'taken' : 'refused'
    })
  })
})

describe('frames of the bridge', () => {
  /** The layout's own words. */
  function naive(bytes: Buffer): { messages: unknown[]; isClosed: boolean } {
    const messages: unknown[] = []
    for (let at = 0; at + 4 <= bytes.length;) {
      const length = bytes.readUInt32BE(at)
      if (length < 4 || length > 2 * 1024 * 1024) return { messages, isClosed: true }
      if (at + 4 + length > bytes.length) break
      const json = bytes.subarray(at + 8, at + 4 + length)
      const jsonLength = bytes.readUInt32BE(at + 4)
      try {
        if (jsonLength > json.length) return { messages, isClosed: true }
        messages.push([JSON.parse(json.toString('utf8', 0, jsonLength)), json.subarray(jsonLength).toString('hex')])
      } catch {
        return { messages, isClosed: true }
      }
      at += 4 + length
    }
    return { messages, isClosed: false }
  }

  // The JSON's length may lie: of a byte of what is packed, or beyond the frame.
  const lie = mostly(0, 1, -1, 10, 2 ** 31)
  const frame = fc
    .tuple(fc.jsonValue({ maxDepth: 1 }), fc.uint8Array({ maxLength: 9 }), lie)
    .map(([value, packed, more]) => {
      const json = Buffer.from(JSON.stringify(value))
      const head = Buffer.alloc(8)
      head.writeUInt32BE(4 + json.length + packed.length)
      head.writeUInt32BE(json.length + more, 4)
      return Buffer.concat([head, json, packed])
    })

  it('are read as their layout says, however they are cut, or end the connection', async () => {
    const stream = damaged(
      fc.array(frame, { maxLength: 4 }).map((frames) => Buffer.concat(frames)),
      ['\0', '\0\0\0\x04', '\0\0\0\x05', '\xff', '{}', '\0\0\0'],
    )
    await fuzz('bridge-frame', fc.tuple(stream, fc.array(fc.nat(200), { maxLength: 4 })), async ([bytes, cuts]) => {
      const socket = new PassThrough()
      const messages: unknown[] = []
      new Channel(socket as unknown as Socket, (message, packed) => messages.push([message, packed.toString('hex')]))
      const ends = [...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length].sort((a, b) => a - b)
      let from = 0
      for (const to of ends) {
        if (!socket.destroyed) socket.write(bytes.subarray(from, to))
        from = to
        await new Promise((resolve) => setImmediate(resolve))
      }
      const expected = naive(bytes)
      expect(messages).toEqual(expected.messages)
      expect(socket.destroyed).toBe(expected.isClosed)
      socket.destroy()
      return expected.isClosed ? 'refused' : 'taken'
    })
  })
})

describe('correlation headers', () => {
  const only = (text: string, alphabet: string) => [...text].every((character) => alphabet.includes(character))
  const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
  const ID = `${LETTERS}${LETTERS.toUpperCase()}0123456789_-. `
  const isId = (text: string) => text.length >= 1 && text.length <= 64 && only(text, ID)

  /** W3C Trace Context section 3.2.2, field by field. */
  function isTrace(text: string): boolean {
    const fields = text.split('-')
    const [version, traceId, parentId] = fields
    return (
      fields.map(({ length }) => length).join() === '2,32,16,2' &&
      fields.every((field) => only(field, '0123456789abcdef')) &&
      version !== 'ff' &&
      traceId !== '0'.repeat(32) &&
      parentId !== '0'.repeat(16)
    )
  }

  const idOf = (digits: number) =>
    fc.oneof({ weight: 6, arbitrary: textOf('0123456789abcdef', digits) }, textOf('0', digits))
  const trace = fc
    .tuple(textOf('0f', 2), idOf(32), idOf(16), textOf('01', 2))
    .map((fields) => Buffer.from(fields.join('-')))
  const PIECES = [
    '-',
    '--',
    'F',
    'g',
    ',',
    ' ',
    '\n',
    '\r\n',
    '\0',
    '<',
    '0'.repeat(32),
    '0'.repeat(16),
    'a'.repeat(60),
  ]
  const text = (good: fc.Arbitrary<Buffer>) => damaged(good, PIECES).map((bytes) => bytes.toString('latin1'))

  it('are taken over exactly if they have their form', () =>
    fuzz(
      'correlation',
      fc.tuple(text(textOf(ID, 1, 66).map((id) => Buffer.from(id))), text(trace)),
      ([id, traceparent]) => {
        const got = readCorrelation({ 'x-correlation-id': id, traceparent })
        expect(got).toEqual({
          correlationId: isId(id) ? id : undefined,
          correlationIdMalformed: !isId(id),
          traceparent: isTrace(traceparent) ? traceparent : undefined,
        })
        expect(traceIdOf(traceparent)).toBe(isTrace(traceparent) ? traceparent.split('-')[1] : undefined)
        return isId(id) && isTrace(traceparent) ? 'taken' : 'refused'
      },
    ))
})
