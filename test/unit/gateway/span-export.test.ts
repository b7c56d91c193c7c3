/** The way to a collector: what a collector that is slow, hostile or gone may cost. */
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { MOST_PENDING_SPANS, openSpanExport } from '../../../src/gateway/tracing/export-spans.ts'
import type { Span } from '../../../src/gateway/tracing/spans.ts'
import { startCollector, type Manner } from '../../support/otlp-collector.ts'

const span = (n = 1): Span => ({
  traceId: n.toString(16).padStart(32, '0'),
  spanId: n.toString(16).padStart(16, '0'),
  parentSpanId: undefined,
  name: 'POST /v1/pin/set',
  kind: 'server',
  startMs: 1000,
  endMs: 1001.5,
  attributes: { 'http.response.status_code': 200, 'pinbridge.queue.wait_ms': 0.25, 'url.scheme': 'https' },
  isError: false,
  links: [],
})

/** An export with everything that it says of itself. */
function open(endpoint: string) {
  const log: object[] = []
  const counted = { exported: 0, dropped: 0 }
  const write = (record: object | string) => void log.push(typeof record === 'string' ? {} : record)
  const spanExport = openSpanExport(
    { endpoint, sampleRatio: 1, tracesPerSecond: 100 },
    {
      environment: 'development',
      log: { info: write, error: write },
      metrics: { spans: (outcome, count) => (counted[outcome] += count) },
    },
  )
  return { ...spanExport, log, counted }
}

async function until(isSo: () => boolean): Promise<void> {
  const began = performance.now()
  while (!isSo()) {
    if (performance.now() - began > 25_000) throw new Error('not so in time')
    await pause(20)
  }
}

describe.concurrent('the way of spans to a collector', () => {
  it('brings a span as it is: ids, times in ns, attributes by their types', async () => {
    const collector = await startCollector()
    const out = open(collector.url)
    out.add([span(0xabc)])
    await out.close()
    await collector.close()
    expect(out.counted).toEqual({ exported: 1, dropped: 0 })
    expect(out.log).toEqual([])
    const [got] = collector.spans
    expect(got).toMatchObject({
      traceId: `${'0'.repeat(29)}abc`,
      spanId: `${'0'.repeat(13)}abc`,
      parentSpanId: '',
      kind: 2,
      status: 0,
      attributes: { 'http.response.status_code': 200, 'pinbridge.queue.wait_ms': 0.25, 'url.scheme': 'https' },
    })
    expect(got!.endNs - got!.startNs).toBe(1_500_000n)
  })

  it('keeps so many spans and no more for a collector that says nothing, and drops the others at once', async () => {
    const collector = await startCollector()
    collector.manner = 'hang'
    const out = open(collector.url)
    for (let n = 0; n < 10 * MOST_PENDING_SPANS; n++) out.add([span(n + 1)])
    expect(out.counted).toEqual({ exported: 0, dropped: 9 * MOST_PENDING_SPANS })
    // A trace comes whole or not at all, also where a part of it would have room.
    await until(() => out.counted.dropped > 9 * MOST_PENDING_SPANS)
    expect(out.log).toEqual([{ event: 'tracing', reason: 'timeout', status: undefined }])
    collector.manner = 'take'
    await until(() => out.counted.exported > 0)
    expect(out.log.slice(1)).toEqual([{ event: 'tracing' }])
    await out.close()
    await collector.close()
    expect(out.counted.exported + out.counted.dropped).toBe(10 * MOST_PENDING_SPANS)
  })

  it('takes all spans of a request or none', async () => {
    const collector = await startCollector()
    collector.manner = 'hang'
    const out = open(collector.url)
    for (let n = 0; n < MOST_PENDING_SPANS - 2; n++) out.add([span(n + 1)])
    out.add([span(1), span(2), span(3)])
    expect(out.counted.dropped).toBe(3)
    out.add([span(1), span(2)])
    expect(out.counted.dropped).toBe(3)
    await out.close()
    await collector.close()
  })

  it.each([
    ['refuse', { event: 'tracing', reason: 'refused', status: 400 }],
    ['busy', { event: 'tracing', reason: 'refused', status: undefined }],
    ['flood', { event: 'tracing', reason: 'connection', status: undefined }],
    // No look at whether something comes, but at whether it ends.
    ['drip', { event: 'tracing', reason: 'timeout', status: undefined }],
  ] satisfies [Manner, object][])(
    'drops what a collector answers with %s, says so once, and tries again',
    async (manner, said) => {
      const collector = await startCollector()
      collector.manner = manner
      const out = open(collector.url)
      out.add([span(1)])
      await until(() => out.counted.dropped === 1)
      out.add([span(2)])
      await until(() => out.counted.dropped === 2)
      expect(out.log).toEqual([said])
      collector.manner = 'take'
      out.add([span(3)])
      await until(() => out.counted.exported === 1)
      expect(out.log).toEqual([said, { event: 'tracing' }])
      await out.close()
      await collector.close()
    },
  )

  it('counts what a collector refuses of a batch that it takes', async () => {
    const collector = await startCollector()
    collector.manner = 'take-some'
    const out = open(collector.url)
    out.add([span(1), span(2), span(3)])
    await out.close()
    await collector.close()
    expect(out.counted).toEqual({ exported: 2, dropped: 1 })
    expect(out.log).toEqual([{ event: 'tracing', reason: 'refused', status: undefined }])
  })

  it('drops what no collector is there for, and says so once', async () => {
    const { url, close } = await startCollector()
    await close()
    const out = open(url)
    out.add([span(1)])
    await until(() => out.counted.dropped === 1)
    out.add([span(2)])
    await until(() => out.counted.dropped === 2)
    expect(out.log).toEqual([{ event: 'tracing', reason: 'connection', status: undefined }])
    await out.close()
  })

  it('ends soon although the collector says nothing', async () => {
    const collector = await startCollector()
    collector.manner = 'hang'
    const out = open(collector.url)
    out.add([span(1)])
    await out.close()
    // The export has not ended, and nobody waited for that.
    expect(out.counted).toEqual({ exported: 0, dropped: 0 })
    await collector.close()
  })
})
