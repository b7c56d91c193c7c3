import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { gatewayConfig, loadConfig, vaultConfig } from '../../../src/config/config.ts'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const ENDPOINT = 'https://collector.example:4318/v1/traces'
const withTracing = (over: object = {}) => {
  const config = validConfig()
  config.tracing = { endpoint: ENDPOINT, ...over }
  return config
}
const load = (config: Draft) => {
  site.write('pinbridge.yaml', stringify(config))
  return loadConfig(site.file)
}
const problemsOf = (over: object) => site.problemsOf(withTracing(over))

describe('tracing', () => {
  it('is none unless something is written, and is the gateway’s alone', () => {
    expect(load(validConfig()).tracing).toBe(undefined)
    const config = load(withTracing())
    expect(config.tracing).toEqual({ endpoint: ENDPOINT, sampleRatio: 1, tracesPerSecond: 100 })
    expect(gatewayConfig(config).tracing).toEqual(config.tracing)
    expect(vaultConfig(config, config.hsm.tokens[0]!)).not.toHaveProperty('tracing')
  })

  it('takes its files from beside the configuration', () => {
    const { caFile, certificateFile, privateKeyFile } = load(
      withTracing({ caFile: 'tls/ca.pem', certificateFile: 'tls/server.pem', privateKeyFile: 'tls/server-key.pem' }),
    ).tracing!
    expect([caFile, certificateFile, privateKeyFile]).toEqual(
      ['ca', 'server', 'server-key'].map((name) => `${site.directory}/tls/${name}.pem`),
    )
  })

  it.each(['http://127.0.0.1:4318/v1/traces', 'http://[::1]:4318/v1/traces', 'http://localhost/v1/traces', ENDPOINT])(
    'may go to %s',
    (endpoint) => {
      expect(problemsOf({ endpoint })).toEqual([])
    },
  )

  it.each([
    'http://collector.example:4318/v1/traces',
    'http://10.0.0.1:4318/v1/traces',
    'http://127.0.0.1.example/v1/traces',
    'https://collector.example:99999/v1/traces',
    'https://user:CANARY@collector.example/v1/traces',
    'https://collector.example/v1/traces?key=CANARY',
    'https://collector.example',
    'grpc://collector.example/v1',
    'ftp://collector.example/',
  ])('may not go to %s', (endpoint) => {
    const problems = problemsOf({ endpoint })
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(/tracing\.endpoint/)
    expect(problems[0]).not.toContain('CANARY')
  })

  it.each<[object, RegExp]>([
    [{ sampleRatio: 1.5 }, /tracing\.sampleRatio: must be at most 1/],
    [{ sampleRatio: -0.1 }, /tracing\.sampleRatio: must be at least 0/],
    [{ tracesPerSecond: 0 }, /tracing\.tracesPerSecond: must be at least 1/],
    [{ headers: {} }, /tracing\.headers: is not a known member/],
    [{ caFile: 'tls/nothing.pem' }, /tracing\.caFile: does not exist/],
    [{ certificateFile: 'tls/server.pem' }, /needs certificateFile and privateKeyFile, or neither/],
    [{ certificateFile: 'tls/server.pem', privateKeyFile: 'tls/ca.pem' }, /tracing\.privateKeyFile/],
    [
      { endpoint: 'http://127.0.0.1/v1/traces', caFile: 'tls/ca.pem' },
      /caFile: belongs to an endpoint that begins with https:/,
    ],
  ])('refuses %j', (over, sentence) => {
    expect(problemsOf(over).join('\n')).toMatch(sentence)
  })
})
