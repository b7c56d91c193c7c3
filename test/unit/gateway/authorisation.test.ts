import { describe, expect, it } from 'vitest'
import { coveringGrants, type Grant, type Needs } from '../../../src/gateway/authorisation.ts'

const grant = (members: Partial<Grant>): Grant => ({
  operations: ['pin/get'],
  keys: ['a', 'b'],
  formats: ['ISO-0'],
  recipients: ['d1'],
  ...members,
})
const covered = (grants: Grant[], needs: Partial<Needs>) =>
  coveringGrants(
    { id: 'x', dnsName: 'x', grants },
    { operation: 'pin/get', keys: ['a'], formats: ['ISO-0'], recipient: 'd1', ...needs },
  ).length

describe('coveringGrants', () => {
  it('is empty for a client without grants, and for empty grants', () => {
    expect(covered([], {})).toBe(0)
    expect(covered([grant({ keys: [], formats: [], recipients: [] })], {})).toBe(0)
  })

  it('needs the operation, every key, every format and the recipient', () => {
    expect(covered([grant({})], {})).toBe(1)
    expect(covered([grant({})], { operation: 'pin/set' })).toBe(0)
    expect(covered([grant({})], { keys: ['a', 'b'] })).toBe(1)
    expect(covered([grant({})], { keys: ['a', 'c'] })).toBe(0)
    expect(covered([grant({})], { formats: ['ISO-0', 'ISO-3'] })).toBe(0)
    expect(covered([grant({})], { recipient: 'other' })).toBe(0)
  })

  it('does not add up two grants that each cover half', () => {
    expect(covered([grant({ keys: ['a'] }), grant({ keys: ['c'] })], { keys: ['a', 'c'] })).toBe(0)
  })

  it('asks nothing of what a request does not name', () => {
    expect(covered([grant({})], { keys: ['a', undefined], formats: [undefined] })).toBe(1)
  })
})
