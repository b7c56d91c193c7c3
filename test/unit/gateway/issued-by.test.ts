import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { createCaMemory } from '../../../src/gateway/issued-by.ts'

/** A connection by the addresses of its ends; TLS makes another object of the same. */
function connection(remotePort: number, localAddress = '10.0.0.1'): Socket & EventEmitter {
  const ends = { remoteAddress: '10.0.0.9', remotePort, localAddress, localPort: 8443 }
  return Object.assign(new EventEmitter(), ends) as unknown as Socket & EventEmitter
}

describe('the memory of the CA that a connection was made under', () => {
  it('knows a connection by its two ends, whatever object stands for it', () => {
    const memory = createCaMemory()
    memory.add(connection(1), 'old')
    memory.add(connection(2), 'new')
    expect([memory.of(connection(1)), memory.of(connection(2))]).toEqual(['old', 'new'])
  })

  it('takes a connection from the same port to another of our addresses for another one', () => {
    const memory = createCaMemory()
    memory.add(connection(1), 'old')
    memory.add(connection(1, '10.0.0.2'), 'new')
    expect(memory.of(connection(1))).toBe('old')
  })

  it('forgets a connection that is closed', () => {
    const memory = createCaMemory()
    const socket = connection(1)
    memory.add(socket, 'old')
    socket.emit('close')
    expect(memory.of(connection(1))).toBeUndefined()
  })
})
