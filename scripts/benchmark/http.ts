/** Translation over HTTP as a subject: requests made beforehand, sent by the load generator, the answers looked at. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import type { Load, LoadResult } from './load.ts'
import type { Sample } from './rounds.ts'
import { blockOf, CSV, makeRows, panOf, type RowKeys, type Rows } from './rows.ts'
import type { BenchService } from './service.ts'

const LOAD_GENERATOR = join(import.meta.dirname, 'load.ts')
const ZONES = { from: { key: 'zpk-in', format: 'ISO-0' }, to: { key: 'zpk-out', format: 'ISO-0' } }

/** One way to ask for translations. */
export interface HttpForm {
  readonly path: string
  readonly contentType: string
  readonly rowsPerRequest: number
  readonly connections: number
  /** The body that asks for the rows from `start` to `end`. */
  readonly body: (rows: Rows, start: number, end: number) => string
  /** The outgoing blocks of an answer. */
  readonly blocksOf: (answer: string) => string[]
}

/** One PIN block a request. */
export const SINGLE: HttpForm = {
  path: '/v1/pin-blocks/translate',
  contentType: 'application/json',
  rowsPerRequest: 1,
  connections: 64,
  body: (rows, row) =>
    JSON.stringify({ pinBlock: blockOf(rows.blocksUnderFrom, row), ...ZONES, card: { pan: panOf(rows, row) } }),
  blocksOf: (answer) => [JSON.parse(answer).pinBlock],
}

/** A full batch as JSON. */
export const BATCH_JSON: HttpForm = {
  path: '/v1/pin-blocks/translate-batch',
  contentType: 'application/json',
  rowsPerRequest: 10_000,
  connections: 4,
  body: (rows, start, end) => {
    const items: object[] = []
    for (let row = start; row < end; row++) {
      items.push({ id: String(row + 1), pinBlock: blockOf(rows.blocksUnderFrom, row), card: { pan: panOf(rows, row) } })
    }
    return JSON.stringify({ ...ZONES, items })
  },
  blocksOf: (answer) => JSON.parse(answer).items.map(({ pinBlock }: { pinBlock: string }) => pinBlock),
}

/** A full batch whose items are rows of CSV. */
export const BATCH_CSV: HttpForm = {
  ...BATCH_JSON,
  body: (rows, start, end) => {
    let text = CSV.head
    for (let row = start; row < end; row++) {
      text += CSV.line(row + 1, panOf(rows, row), blockOf(rows.blocksUnderFrom, row))
    }
    return JSON.stringify({ ...ZONES, rows: text })
  },
  blocksOf: (answer) => {
    const [head = '', ...lines] = (JSON.parse(answer).rows as string).trimEnd().split(/\r?\n/)
    const column = head.split(',').indexOf('pinBlock')
    return lines.map((line) => line.split(',')[column] ?? '')
  },
}

/** What is measured, and with what. */
export interface HttpDeps {
  readonly service: BenchService
  readonly setUp: DevelopmentSetUp
  readonly folder: string
  readonly keys: RowKeys
  readonly rows: number
}

/**
 * Measures one form once, with rows of its own: a block that was seen before would be quicker to count than a new one.
 *
 * @throws unless every answer is 200 and the first one is right.
 */
export async function measureHttp(
  form: HttpForm,
  { service, setUp, folder, keys, rows: count }: HttpDeps,
): Promise<Sample> {
  const requests = Math.ceil(count / form.rowsPerRequest)
  const rows = makeRows(requests * form.rowsPerRequest, keys)
  const startOf = (request: number): number => request * form.rowsPerRequest
  const bodies = join(folder, 'bodies.json')
  const texts = Array.from({ length: requests }, (_, i) => form.body(rows, startOf(i), startOf(i + 1)))
  writeFileSync(bodies, JSON.stringify(texts))

  const { cert, key } = setUp.clients.find(({ id }) => id === 'cms-adapter')!
  const { path, contentType, connections } = form
  const client = { ca: setUp.ca, cert, key }
  const load: Load = { url: service.ready.url, path, contentType, client, connections, bodies }
  const generator = fork(LOAD_GENERATOR, { execPath: process.execPath })
  try {
    generator.send(load)
    // Handshakes are over before the clock starts: callers keep their connections.
    await answerOf(generator)
    const before = service.cpuUs()
    generator.send('go')
    const result = (await answerOf(generator)) as LoadResult
    const after = service.cpuUs()
    assertRight(form, rows, result)
    return {
      rows: rows.count,
      wallMs: result.wallMs,
      cpuUs: {
        supervisor: after.supervisor - before.supervisor,
        gateway: after.gateway - before.gateway,
        vaults: after.vaults - before.vaults,
      },
    }
  } finally {
    generator.kill()
  }
}

async function answerOf(generator: ReturnType<typeof fork>): Promise<unknown> {
  const [answer] = await Promise.race([
    once(generator, 'message'),
    once(generator, 'exit').then(() => Promise.reject(new Error('the load generator ended'))),
  ])
  return answer
}

function assertRight(form: HttpForm, rows: Rows, { answers, succeeded, firstAnswer }: LoadResult): void {
  if (succeeded !== answers) {
    throw new Error(
      `${form.path}: ${answers - succeeded} of ${answers} answers are not 200; the first body is answered with ${firstAnswer.slice(0, 500)}`,
    )
  }
  const blocks = form.blocksOf(firstAnswer)
  const wrong = blocks.findIndex((block, row) => block !== blockOf(rows.blocksUnderTo, row))
  if (blocks.length !== form.rowsPerRequest || wrong >= 0) throw new Error(`${form.path}: the first answer is wrong`)
}
