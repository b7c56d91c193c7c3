import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ServiceError } from '../../../src/errors.ts'
import { packPan, panDigits, panText, parsePan } from '../../../src/pan.ts'
import { PIN_BLOCK_FORMATS } from '../../../src/pin/pin-block.ts'
import { SecretScope } from '../../../src/secret.ts'
import { readSetPinPayload } from '../../../src/vault/set-pin-payload.ts'
import { ORACLE_FORMATS, oracleDecode, oracleEncode } from '../pin/pin-block-oracle.ts'
import { damaged, fuzz, mostly, textOf } from './fuzz.ts'
import { strictJson } from './json-model.ts'

const HEX = '0123456789ABCDEF'
const pan = fc.tuple(textOf('123456789', 1), textOf('0123456789', 11, 18)).map(([first, others]) => first + others)
const FILLERS = { 'ISO-0': 'F', 'ISO-1': HEX, 'ISO-3': 'ABCDEF', 'ISO-4': 'A', SECCOS: 'F' } as const

describe('PIN blocks', () => {
  it('of every format are read as the oracle reads them, valid, near to it, and of any length', async () => {
    const near = fc.constantFrom(...ORACLE_FORMATS).chain((format) =>
      fc
        .tuple(
          textOf('0123456789', 4, 12),
          pan,
          textOf(FILLERS[format], 14),
          textOf(HEX, 16),
          fc.nat(31),
          textOf(HEX, 1),
          fc.nat(3),
        )
        .map(([pin, pan, filler, random, at, nibble, damage]) => {
          const block = oracleEncode(format, pin, pan, filler.slice(0, 14 - pin.length) + random)
          const nibbleAt = at % block.length
          // One of four is as it should be, two have a nibble replaced, and one is of another length.
          if (damage === 3) return { format, pan, block: block.slice(0, 2 * (nibbleAt >> 1)) }
          return {
            format,
            pan,
            block: damage === 0 ? block : block.slice(0, nibbleAt) + nibble + block.slice(nibbleAt + 1),
          }
        }),
    )
    const any = fc
      .tuple(fc.constantFrom(...ORACLE_FORMATS), pan, fc.uint8Array({ maxLength: 17 }))
      .map(([format, pan, bytes]) => ({ format, pan, block: Buffer.from(bytes).toString('hex').toUpperCase() }))
    await fuzz('pin-block', fc.oneof({ weight: 5, arbitrary: near }, any), ({ format, pan, block }) => {
      const digits = Buffer.alloc(12, 0xff)
      const length = PIN_BLOCK_FORMATS.get(format)!.decode(
        { pinBlock: Buffer.from(block, 'hex'), pan: parsePan(pan)! },
        digits,
      )
      const pin = oracleDecode(format, block, pan)
      expect([...digits]).toEqual([...(pin ?? '').padEnd(12, '0')].map(Number))
      expect(length).toBe(pin?.length ?? 0)
      return pin === undefined ? 'refused' : 'taken'
    })
  })
})

describe('PANs', () => {
  const isPan = (text: string) =>
    text.length >= 12 &&
    text.length <= 19 &&
    text[0] !== '0' &&
    Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)).every((code) => code >= 48 && code <= 57)

  it('are taken exactly if they are 12 to 19 digits with no leading 0, and packed nibbles exactly if they are such digits', () =>
    fuzz(
      'pan',
      fc.tuple(
        fc.oneof(
          damaged(
            pan.map((text) => Buffer.from(text)),
            ['0', ' ', '\n', '-', '\0', 'A', '\xb2', '\xd9\xa1'],
          ).map((bytes) => bytes.toString()),
          fc.string({ maxLength: 20 }),
        ),
        fc.oneof(
          fc.uint8Array({ minLength: 10, maxLength: 10 }),
          textOf('0123456789', 0, 20).map((text) => packPan(text)),
          textOf(`0000${HEX}`, 20).map((text) => Buffer.from(text, 'hex')),
        ),
      ),
      ([text, packed]) => {
        const taken = parsePan(text)
        expect(taken && panText(taken)).toBe(isPan(text) ? text : undefined)
        const nibbles = Buffer.from(packed).toString('hex').replace(/^0+/, '')
        expect(panDigits(packed)).toBe(isPan(nibbles) ? nibbles.length : 0)
        return isPan(text) ? 'taken' : 'refused'
      },
    ))
})

describe('pin/set payloads', () => {
  const MEMBERS = { pinBlock: 'pinBlock', prw: 'prw', mac: 'mac', counter: 'counter', transactionId: 'transactionId' }
  const profile = { id: 'd1', types: { ISO0: 'ISO0' }, members: MEMBERS, hexCase: 'upper', counterOnce: false } as const
  const CHANGE = { counter: '0003', transactionId: 'tx-1' }
  const isBlock = (value: unknown): value is string => typeof value === 'string' && /^[0-9A-Fa-f]{16}$/.test(value)

  /** The contract's words, over what JSON.parse reads. */
  function expected(bytes: Buffer, type: string): object {
    const invalid = { code: 'ERR_JWE_PAYLOAD_INVALID' }
    const members = strictJson(bytes)?.value as Record<string, unknown> | undefined
    if (typeof members !== 'object' || members === null || Array.isArray(members)) return invalid
    const isSeccos = type === '3DES_SECCOS'
    const secret = isSeccos ? ['pinBlock', 'prw', 'mac'] : ['pinBlock']
    if (['prw', 'mac'].some((name) => Object.hasOwn(members, name) !== isSeccos)) return invalid
    // A secret is read as bytes, so that its digits must be spelled as digits.
    const spelled = (name: string) => new RegExp(`"${name}"\\s*:\\s*"[0-9A-Fa-f]{16}"`).test(bytes.toString())
    if (!secret.every((name) => isBlock(members[name]) && spelled(name))) return invalid
    for (const name of ['counter', 'transactionId'] as const) {
      if (!Object.hasOwn(members, name)) continue
      const isPlain = new RegExp(`"${name}"\\s*:\\s*"[^"\\\\]*"`).test(bytes.toString())
      if (typeof members[name] !== 'string' || !isPlain) return invalid
      if (members[name] !== CHANGE[name]) return { code: 'ERR_PIN_CHANGE_NOT_VERIFIED' }
    }
    return Object.fromEntries(secret.map((name) => [name, (members[name] as string).toLowerCase()]))
  }

  it('are read as the contract says, and refused with its two codes and no other', () => {
    const block = fc.oneof(
      { weight: 16, arbitrary: textOf('0123456789abcdefABCDEF', 16) },
      textOf(`${HEX}g`, 14, 18),
      fc.jsonValue({ maxDepth: 1 }),
    )
    const payload = fc
      .record(
        {
          pinBlock: block,
          prw: block,
          mac: block,
          counter: mostly<unknown>('0003', '0004', 3),
          transactionId: mostly('tx-1', ''),
          other: fc.jsonValue({ maxDepth: 1 }),
        },
        { requiredKeys: ['pinBlock'] },
      )
      .map((members) => Buffer.from(JSON.stringify(members)))
    const input = fc.oneof(
      { weight: 2, arbitrary: payload },
      damaged(payload, ['"prw":"', '"pinBlock":', '"', '{', '}', ',', '\\u0030', '\xff', '0']),
    )
    return fuzz(
      'set-pin-payload',
      fc.tuple(input, fc.constantFrom('ISO0' as const, '3DES_SECCOS' as const)),
      ([bytes, type]) => {
        // A spelling with escapes is refused where it is a secret and allowed elsewhere; the model tells only plain names.
        if (/"(?:[^"\\]|\\.)*\\[^"]*"\s*:/.test(bytes.toString())) return 'refused'
        const wanted = expected(bytes, type)
        using secrets = new SecretScope()
        let got: unknown
        try {
          const read = readSetPinPayload(Buffer.from(bytes), type, profile, CHANGE, secrets)
          got = Object.fromEntries(
            Object.entries(read).map(([name, value]: [string, Buffer]) => [name, value.toString('hex')]),
          )
        } catch (error) {
          if (!(error instanceof ServiceError)) throw error
          got = { code: error.code }
        }
        expect(got).toEqual(wanted)
        return Object.hasOwn(wanted, 'code') ? 'refused' : 'taken'
      },
      (bytes): [Buffer, 'ISO0'] => [bytes, 'ISO0'],
    )
  })
})
