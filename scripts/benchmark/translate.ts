/** `scripts/bench translate`: PIN blocks from one zone key to another, by every way there is, against the bare PKCS#11 calls. */
import { createMeasureChain } from './hsm-calls.ts'
import { BATCH_CSV, BATCH_JSON, measureHttp, SINGLE } from './http.ts'
import { measureMigration, writeMigrationInput } from './migrate.ts'
import { runRounds, type Limit, type Measured, type Subject } from './rounds.ts'
import { CSV, makeRows, NDJSON } from './rows.ts'
import { startBenchService } from './service.ts'
import { makeSetUp } from '../../test/support/service.ts'

/** The ways that can be asked for. */
export const TRANSLATE_SUBJECTS = ['single', 'batch-json', 'batch-csv', 'migrate-csv', 'migrate-ndjson'] as const

const CHAIN = { from: 'tdea:zpk-in.v1', to: 'tdea:zpk-out.v1' } as const
/** How often the bare calls are made in a round: long enough for the clock, and short beside what they are compared with. */
const SINGLE_CHAINS = 20_000
const BULK_CHAINS = 250
const BULK_BLOCKS = 4096

/** What to measure, and how much of it. */
export interface TranslateOptions {
  readonly rounds: number
  /** Rows of a migrated file; batches take a tenth of it in a round, and single requests a hundredth. */
  readonly rows: number
  readonly only: readonly string[]
  readonly folder: string
  readonly tell: (line: string) => void
}

/** Measures in a folder of its own, with keys that nobody else has. */
export async function benchTranslate({ rounds, rows, only, folder, tell }: TranslateOptions): Promise<Measured> {
  tell('making a token with keys, and starting the service')
  const setUp = await makeSetUp(folder)
  const measureChain = createMeasureChain(setUp.config)
  const one: Limit = {
    title: 'PKCS#11 calls alone, 1 block a call',
    measure: () => measureChain({ ...CHAIN, blocks: 1 }, SINGLE_CHAINS),
  }
  const bulk: Limit = {
    title: `PKCS#11 calls alone, ${BULK_BLOCKS} blocks a call`,
    measure: () => measureChain({ ...CHAIN, blocks: BULK_BLOCKS }, BULK_CHAINS),
  }
  const valueOf = (id: string): string => setUp.keys.find((key) => key.id === id)?.value ?? ''
  const keys = { from: valueOf('zpk-in'), to: valueOf('zpk-out') }
  const service = await startBenchService(setUp, folder)
  try {
    const http = { service, setUp, folder, keys }
    const subjects: Subject[] = [
      {
        id: 'single',
        title: 'one by one over HTTP',
        limit: one,
        floor: 0.3,
        aim: 0.5,
        measure: () => measureHttp(SINGLE, { ...http, rows: rows / 100 }),
      },
      {
        id: 'batch-json',
        title: 'batches over HTTP, JSON',
        limit: bulk,
        floor: 0.15,
        aim: 0.4,
        measure: () => measureHttp(BATCH_JSON, { ...http, rows: rows / 10 }),
      },
      {
        id: 'batch-csv',
        title: 'batches over HTTP, CSV',
        limit: bulk,
        floor: 0.15,
        aim: 0.4,
        measure: () => measureHttp(BATCH_CSV, { ...http, rows: rows / 10 }),
      },
    ]
    const files = [
      { id: 'migrate-csv', form: CSV, floor: 0.4, aim: 0.6 },
      { id: 'migrate-ndjson', form: NDJSON, floor: 0.2, aim: 0.6 },
    ].filter(({ id }) => only.includes(id))
    if (files.length > 0) {
      tell(`writing files of ${rows} rows`)
      const deps = { config: setUp.config, folder }
      const filed = makeRows(rows, keys)
      for (const { id, form, floor, aim } of files) {
        const input = writeMigrationInput(form, filed, folder)
        const measure = () => measureMigration(input, deps)
        subjects.push({ id, title: `migrate, ${form.name}`, limit: bulk, floor, aim, measure })
      }
    }
    const measured = subjects.filter(({ id }) => only.includes(id))
    return await runRounds(measured, rounds, (round) =>
      tell(round === 0 ? 'warming up' : `round ${round} of ${rounds}`),
    )
  } finally {
    await service.stop()
  }
}
