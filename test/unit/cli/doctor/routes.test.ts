import { describe, expect, it } from 'vitest'
import { routesOf, unservedRoutes } from '../../../../src/cli/doctor/routes.ts'
import type { KeyEntry } from '../../../../src/config/schema.ts'

const key = (id: string, members: Partial<KeyEntry>) => ({ id, ...members }) as KeyEntry
const zoneIn = key('in', { purpose: 'zone-pin', direction: 'in', formats: ['ISO-0', 'ISO-3'] })
const zoneAes = key('aes', { purpose: 'zone-pin', direction: 'both', formats: ['ISO-4'], migrate: true })

describe('the routes that a key serves', () => {
  it('are those of its purpose, direction, formats and uses', () => {
    expect(routesOf(key('ec', { purpose: 'jwe-decrypt', alg: 'ECDH-ES' }))).toEqual(['pin/set with ECDH-ES'])
    expect(routesOf(key('open', { purpose: 'jwe-open', alg: 'RSA-OAEP-256' }))).toEqual(['jwe/open with RSA-OAEP-256'])
    expect(routesOf(key('sign', { purpose: 'assertion-sign' }))).toEqual(['d1/assertion'])
    expect(routesOf(zoneIn).every((route) => / from ISO-[03]$/.test(route))).toBe(true)
    expect(routesOf(zoneIn)).not.toContain('migrate from ISO-0')
    expect(routesOf(zoneAes)).toEqual(
      expect.arrayContaining(['translate from ISO-4', 'migrate to ISO-4', 'pin/set to ISO-4', 'pin/get from ISO-4']),
    )
    expect(routesOf(key('mac', { purpose: 'pin-mac', use: ['verify'], profile: 'dk-aes' }))).toEqual([
      'mac/verify with dk-aes',
    ])
  })

  it('are not served once no other key serves them', () => {
    const other = key('other', { purpose: 'zone-pin', direction: 'in', formats: ['ISO-4'] })
    const unserved = unservedRoutes([other, zoneIn], [zoneAes])
    expect([...unserved.keys()].sort()).toEqual([
      'migrate from ISO-4',
      'migrate to ISO-4',
      'pin/set to ISO-4',
      'translate to ISO-4',
      'translate-batch to ISO-4',
    ])
    expect(unserved.get('pin/set to ISO-4')).toEqual(['aes'])
    expect(unservedRoutes([zoneAes], [])).toEqual(new Map())
  })
})
