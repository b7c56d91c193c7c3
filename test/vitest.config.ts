import { defineConfig } from 'vitest/config'
import { TOKEN_KINDS } from './support/tokens.ts'

const common = { pool: 'forks' as const, testTimeout: 60_000, hookTimeout: 60_000 }

/** What is asked of every token; the rest of test/hsm is about one. */
const EVERY_TOKEN = ['operations', 'sessions.racing', 'start', 'translate-pin-blocks'].map(
  (name) => `test/hsm/${name}.test.ts`,
)

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    projects: [
      { test: { ...common, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      { test: { ...common, name: 'kat', include: ['test/kat/**/*.test.ts'] } },
      { test: { ...common, name: 'http', include: ['test/http/**/*.test.ts'] } },
      // Real tokens, real processes: one file after the other, so that no test is measured against another's load.
      ...TOKEN_KINDS.map((token) => ({
        test: {
          ...common,
          name: token === 'softhsm' ? 'hsm' : `hsm-${token}`,
          include: token === 'softhsm' ? ['test/hsm/**/*.test.ts'] : EVERY_TOKEN,
          fileParallelism: false,
          provide: { token },
        },
      })),
      { test: { ...common, name: 'e2e', include: ['test/e2e/**/*.test.ts'], fileParallelism: false } },
    ],
  },
})
