import { describe, expect, it } from 'vitest'
import { createSubjectHash } from '../../../src/gateway/subject-hash.ts'
import { packPan } from '../../../src/pan.ts'

const pans = (...digits: string[]) => Buffer.concat(digits.map(packPan))
const block = (hex: string) => Buffer.from(hex, 'hex')

describe('createSubjectHash', () => {
  it('gives equal subjects equal hashes, alone or among others, and others different ones', () => {
    const hash = createSubjectHash()
    const all = Array.from({ length: 5000 }, (_, i) => String(400000000000n + BigInt(i)))
    const together = [...hash.cards(pans(...all))]
    expect(new Set(together).size).toBe(all.length)
    for (const i of [0, 1, 17, 4999]) expect(hash.cards(pans(all[i]!))[0]).toBe(together[i])
    expect(together.every((value) => Number.isSafeInteger(value) && value >= 0)).toBe(true)
  })

  it('tells a block under one key from the same block under another, from a card and from its longer twin', () => {
    const hash = createSubjectHash()
    const seen = [
      hash.blocks('zpk-a', block('0102030405060708'), 8)[0],
      hash.blocks('zpk-b', block('0102030405060708'), 8)[0],
      hash.blocks('zpk-c', block('01020304050607080000000000000000'), 16)[0],
      hash.cards(pans('102030405060708'))[0],
      hash.jwe('0102030405060708'),
      hash.jwe('0102030405060709'),
    ]
    expect(new Set(seen).size).toBe(seen.length)
  })

  it('uses all 53 bits, and another key in each process', () => {
    const [a, b] = [createSubjectHash(), createSubjectHash()]
    const many = pans(...Array.from({ length: 200 }, (_, i) => String(400000000000n + BigInt(i))))
    expect([...a.cards(many)].some((value, i) => value === b.cards(many)[i])).toBe(false)
    expect(a.jwe('x')).not.toBe(b.jwe('x'))
    expect(Math.max(...a.cards(many))).toBeGreaterThan(2 ** 52)
    expect([...a.cards(many)].reduce((bits, value) => bits | (value % 2), 0)).toBe(1)
  })
})
