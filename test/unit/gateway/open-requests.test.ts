import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { createOpenRequests } from '../../../src/gateway/client-errors.ts'

const requestOn = (socket: Duplex) => ({ socket }) as unknown as IncomingMessage

describe('the open requests', () => {
  it('are settled when there are none, also before the first', async () => {
    await createOpenRequests().settled()
  })

  it('are settled once the last of every connection has ended, and not before', async () => {
    const open = createOpenRequests()
    const [one, other] = [new Duplex(), new Duplex()]
    const requests = [requestOn(one), requestOn(one), requestOn(other)]
    for (const request of requests) open.add(request)
    let settled = 0
    for (let i = 0; i < 2; i++) void open.settled().then(() => settled++)
    for (const request of requests) {
      await turn()
      expect(settled).toBe(0)
      open.remove(request)
      // Said twice of one request, it counts once.
      open.remove(request)
    }
    await turn()
    expect([settled, open.on(one), open.on(other)]).toEqual([2, [], []])
  })
})
