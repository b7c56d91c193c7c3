import { afterEach, describe, expect, it } from 'vitest'
import { request } from 'undici'
import type { VaultStatus } from '../../src/bridge/vault-pool.ts'
import type { Status } from '../../src/gateway/status.ts'
import { start, statusOf, type Harness } from './harness.ts'

let http: Harness
let status: Status
afterEach(() => http.close())

const begin = async (first: Status = statusOf()) => {
  status = first
  http = await start({ status: () => status })
}
const manage = async (path: string) => {
  const answer = await request(`${http.managementUrl}${path}`)
  return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() }
}
const sessions = { total: 4, inUse: 1, waiting: 2 }
const vault = (over: Partial<VaultStatus>): VaultStatus => ({ ...statusOf().vaults[0]!, ...over })

describe('the management listener', () => {
  it('says that the process lives, whatever the HSM does, and has no route of the API', async () => {
    await begin(statusOf({ reason: 'no-vault', vaults: [] }))
    expect(await manage('/healthz')).toMatchObject({ status: 200, text: '{"status":"alive"}' })
    expect((await manage('/nowhere')).text).toContain('ERR_NOT_FOUND')
    expect((await manage('/v1/keys')).status).toBe(404)
  })

  it('says at /readyz that it is ready, and how each vault and token is', async () => {
    await begin(
      statusOf({
        vaults: [
          vault({ id: 7, inFlight: 2, selfTestAgeMs: 1234.56, sessions }),
          vault({ id: 8, state: 'draining', sessions: undefined }),
        ],
        queued: 3,
        tokens: [
          { name: 'hsm-a', state: 'serving', wanted: 2, serving: 1 },
          { name: 'hsm-b', state: 'pin-refused', wanted: 2, serving: 0 },
        ],
      }),
    )
    const { status: code, text } = await manage('/readyz')
    expect(code).toBe(200)
    expect(JSON.parse(text)).toEqual({
      ready: true,
      vaults: [
        {
          id: 7,
          token: 'hsm-a',
          state: 'ready',
          inFlight: 2,
          selfTestAgeMs: 1235,
          sessions: { total: 4, inUse: 1, waiting: 2 },
        },
        { id: 8, token: 'hsm-a', state: 'draining', inFlight: 0, selfTestAgeMs: 0 },
      ],
      queued: 3,
      tokens: [
        { name: 'hsm-a', state: 'serving', wanted: 2, serving: 1 },
        { name: 'hsm-b', state: 'pin-refused', wanted: 2, serving: 0 },
      ],
    })
  })

  it.each(['stopping', 'no-vault', 'self-test-overdue', 'overloaded'] as const)(
    'answers 503 at /readyz with the reason %s, and the rest as ever',
    async (reason) => {
      await begin(statusOf({ reason, queued: 5 }))
      const { status: code, text } = await manage('/readyz')
      expect(code).toBe(503)
      expect(JSON.parse(text)).toMatchObject({ ready: false, reason, vaults: [{ id: 1 }], queued: 5 })
      expect((await manage('/healthz')).status).toBe(200)
      expect((await manage('/metrics')).text).toMatch(/^pinbridge_ready 0$/m)
    },
  )

  it('gives gauges of tokens, vaults, sessions, queue, mode and process', async () => {
    const second = { ...sessions, inUse: 4, waiting: 5 }
    await begin(
      statusOf({
        vaults: [
          vault({ id: 1, inFlight: 1, selfTestAgeMs: 2500, sessions }),
          vault({ id: 2, inFlight: 2, selfTestAgeMs: 9000, sessions: second }),
          vault({ id: 3, state: 'draining', selfTestAgeMs: 100, sessions: undefined }),
          vault({ id: 4, token: 'hsm-b', inFlight: 4, selfTestAgeMs: 500, sessions: { ...sessions, total: 16 } }),
        ],
        queued: 7,
        tokens: [
          { name: 'hsm-a', state: 'serving', wanted: 2, serving: 2 },
          { name: 'hsm-b', state: 'serving', wanted: 3, serving: 1 },
          { name: 'hsm-c', state: 'absent', wanted: 1, serving: 0 },
        ],
      }),
    )
    const beforeMs = Date.now()
    const { text, headers } = await manage('/metrics')
    const afterMs = Date.now()
    expect(headers['content-type']).toMatch(/^text\/plain/)
    const lines = new Set(text.split('\n'))
    for (const line of [
      'pinbridge_ready 1',
      'pinbridge_token_state{token="hsm-a",state="serving"} 1',
      'pinbridge_token_state{token="hsm-a",state="absent"} 0',
      'pinbridge_token_state{token="hsm-c",state="serving"} 0',
      'pinbridge_token_state{token="hsm-c",state="absent"} 1',
      'pinbridge_vaults_wanted{token="hsm-b"} 3',
      'pinbridge_vaults{token="hsm-a",state="ready"} 2',
      'pinbridge_vaults{token="hsm-a",state="draining"} 1',
      'pinbridge_vaults{token="hsm-b",state="ready"} 1',
      'pinbridge_vaults{token="hsm-b",state="draining"} 0',
      'pinbridge_vaults{token="hsm-c",state="ready"} 0',
      'pinbridge_hsm_sessions{token="hsm-a"} 8',
      'pinbridge_hsm_sessions{token="hsm-b"} 16',
      'pinbridge_hsm_sessions_in_use{token="hsm-a"} 5',
      'pinbridge_hsm_calls_waiting{token="hsm-a"} 7',
      'pinbridge_requests_in_flight 7',
      'pinbridge_queue_length 7',
      'pinbridge_development_mode 1',
    ]) {
      expect(lines, line).toContain(line)
    }
    for (const [token, ageMs] of [
      ['hsm-a', 9000],
      ['hsm-b', 500],
    ] as const) {
      const line = new RegExp(`^pinbridge_self_test_success_timestamp_seconds\\{token="${token}"\\} (.+)$`, 'm')
      const atMs = Number(line.exec(text)?.[1]) * 1000
      expect(atMs).toBeGreaterThanOrEqual(beforeMs - ageMs - 1)
      expect(atMs).toBeLessThanOrEqual(afterMs - ageMs + 1)
    }
    expect(text).toContain('process_resident_memory_bytes')
    // A vault's number has no end, so that it is no label.
    expect(text).not.toMatch(/\bvault="/)
  })

  it('forgets tokens and vaults that are gone, and gives no restarts before the supervisor has said how many', async () => {
    await begin(statusOf({ vaults: [vault({ selfTestAgeMs: 1000, sessions })] }))
    expect((await manage('/metrics')).text).not.toContain('pinbridge_vault_restarts_total{')
    const none = { ended: 0, overdue: 0, unhealthy: 0, recycled: 0, 'start-failed': 0, 'start-timeout': 0 }
    status = statusOf({ vaults: [], tokens: [], restarts: { ...none, 'gateway-lost': 0, ended: 2, recycled: 31 } })
    const first = await manage('/metrics')
    expect(first.text).toContain('pinbridge_vault_restarts_total{cause="ended"} 2\n')
    expect(first.text).toContain('pinbridge_vault_restarts_total{cause="recycled"} 31\n')
    expect(first.text).toContain('pinbridge_vault_restarts_total{cause="gateway-lost"} 0\n')
    // Counters go on, for whoever adds them up.
    expect(first.text.replaceAll(/^pinbridge_hsm_call_duration_.*$/gm, '')).not.toContain('hsm-a')
    // Asked for twice, it counts once.
    expect((await manage('/metrics')).text).toContain('pinbridge_vault_restarts_total{cause="ended"} 2\n')
  })

  it('gives every metric of its own a help text and a type', async () => {
    await begin()
    const { text } = await manage('/metrics')
    const named = new Set(
      [...text.matchAll(/^(pinbridge_\w+?)(?:_bucket|_sum|_count)?(?:\{| )/gm)].map(([, name]) => name),
    )
    const helped = new Set([...text.matchAll(/^# HELP (pinbridge_\w+) \S.*\n# TYPE \1 \w+$/gm)].map(([, name]) => name))
    expect(named.size).toBeGreaterThan(8)
    for (const name of named) expect(helped).toContain(name)
  })
})
