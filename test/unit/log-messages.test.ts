/** Each message that the code logs is a constant, and in the list that the records of a running service are held against. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { RECORDS } from '../support/log-records.ts'

const SRC = new URL('../../src', import.meta.url).pathname
const CALL = /\blog\.(?:info|warn|error)\(/g
/** Such a call whose last argument is its message, or which has none: the record of a request. */
const WHOLE_CALL = /\blog\.(?:info|warn|error)\((?:record\)|[^;]*?'([^'\n]+)',?\s*\))/g

it('every message of the code is listed, and every listed one is in the code', () => {
  const code = globSync('**/*.ts', { cwd: SRC }).map((name) => readFileSync(join(SRC, name), 'utf8'))
  const calls = code.flatMap((text) => [...text.matchAll(WHOLE_CALL)].map(([, message]) => message ?? 'request'))
  expect(calls).toHaveLength(code.flatMap((text) => [...text.matchAll(CALL)]).length)
  const listed = Object.values(RECORDS).flatMap((messages) => Object.keys(messages))
  expect([...new Set(calls)].sort()).toEqual([...new Set(listed)].sort())
})
