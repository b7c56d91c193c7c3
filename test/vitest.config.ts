import { defineConfig } from 'vitest/config'

const common = { pool: 'forks' as const, testTimeout: 60_000, hookTimeout: 60_000 }

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    projects: [
      { test: { ...common, name: 'unit', include: ['test/unit/**/*.test.ts'] } },
      { test: { ...common, name: 'kat', include: ['test/kat/**/*.test.ts'] } },
      { test: { ...common, name: 'http', include: ['test/http/**/*.test.ts'] } },
      // Real tokens, real processes: one file after the other, so that no test is measured against another's load.
      { test: { ...common, name: 'hsm', include: ['test/hsm/**/*.test.ts'], fileParallelism: false } },
      { test: { ...common, name: 'e2e', include: ['test/e2e/**/*.test.ts'], fileParallelism: false } },
    ],
  },
})
