import { describe, expect, it } from 'vitest'
import type { Config, TokenConfig } from '../../../src/config/schema.ts'
import type { Logger } from '../../../src/log.ts'
import { Crew } from '../../../src/supervisor/crew.ts'

const token = { name: 'main', pinFile: '/nowhere/pin' } as TokenConfig
/** Whoever starts a process by it fails. */
const config = {} as Config
const log = { child: () => log, info: () => {}, warn: () => {}, error: () => {} } as unknown as Logger

const crewOf = () =>
  new Crew({
    ...{ config: () => config, token, wanted: 1, log },
    ...{ nextVault: () => 1, bridgeSocket: () => undefined, tellGateway: () => {} },
    ...{ onChange: () => {}, onRestart: () => {} },
  })

describe('a crew that was told to stop', () => {
  it('tries nothing out any more: whoever ends meanwhile would cut off a login', async () => {
    const crew = crewOf()
    const before = crew.tryOut(config)
    await expect(before).rejects.toThrow(TypeError)
    crew.stop()
    expect(await crew.tryOut(config)).toEqual({ verdict: 'unknown', problems: [] })
    await crew.gone()
  })
})
