import { defineConfig } from 'vitest/config'
import { TOKEN_KINDS } from './support/tokens.ts'

const common = { pool: 'forks' as const, testTimeout: 60_000, hookTimeout: 60_000 }
/** Of real tokens and processes: one chance among thousands does not stop a release, and is shown at the end of the run. */
const real = { ...common, retry: 1 }

/** What is asked of every token; the rest of test/hsm is about one. */
const EVERY_TOKEN = [
  'credential-keys',
  'generate-keys',
  'key-blocks',
  'key-pairs',
  'operations',
  'sessions.racing',
  'start',
  'translate-pin-blocks',
].map((name) => `test/hsm/${name}.test.ts`)

/** Tests that measure times: nothing else runs beside them. */
const MEASURING = ['test/unit/vault-timing.test.ts']

/** The commands as a person runs them. */
const COMMANDS = ['test/e2e/cli/**/*.test.ts']

/** What callers and operators have of a running service, and what it answers. */
const CALLERS = [
  ...['audit', 'bad-input', 'callers', 'routes'].map((folder) => `test/e2e/${folder}/**/*.test.ts`),
  ...['files', 'rejects', 'resume', 'translation'].map((name) => `test/e2e/migrate/${name}.test.ts`),
  ...['demo', 'pin-tries', 'production', 'tokens'].map((name) => `test/e2e/${name}.test.ts`),
]

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    // By default one core is left to others, which is half of a machine with two.
    maxWorkers: '100%',
    projects: [
      { test: { ...common, name: 'unit', include: ['test/unit/**/*.test.ts'], exclude: MEASURING } },
      { test: { ...common, name: 'measuring', include: MEASURING, fileParallelism: false } },
      { test: { ...common, name: 'kat', include: ['test/kat/**/*.test.ts'] } },
      { test: { ...common, name: 'http', include: ['test/http/**/*.test.ts'] } },
      // Real tokens, real processes: one file after the other, so that no test is measured against another's load.
      ...TOKEN_KINDS.map((token) => ({
        test: {
          ...real,
          name: token === 'softhsm' ? 'hsm' : `hsm-${token}`,
          include: token === 'softhsm' ? ['test/hsm/**/*.test.ts'] : EVERY_TOKEN,
          fileParallelism: false,
          provide: { token },
        },
      })),
      // One person at one token, or one service that is asked: nothing in them depends on what else the machine does.
      { test: { ...real, name: 'cli', include: COMMANDS } },
      { test: { ...real, name: 'callers', include: CALLERS } },
      {
        test: {
          ...real,
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: [...COMMANDS, ...CALLERS],
          fileParallelism: false,
        },
      },
    ],
  },
})
