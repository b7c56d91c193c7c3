import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { ERROR_TITLES } from '../../../src/errors.ts'
import { ERROR_CODES } from '../../../src/client/openapi.ts'

const ROOT = join(import.meta.dirname, '../../..')

it('is what its command makes of the routes', () => {
  const file = readFileSync(join(ROOT, 'src/client/openapi.ts'), 'utf8')
  const [, script] = /^\/\/ Generated from the OpenAPI document by: node (\S+) src\/client\/openapi\.ts\n/.exec(file)!
  const made = execFileSync(process.execPath, [join(ROOT, script!)], { encoding: 'utf8' })
  expect(made, `run: node_modules/.bin/node ${script} src/client/openapi.ts`).toBe(file)
})

it('has every code of the service', () => {
  expect([...ERROR_CODES].sort()).toEqual(Object.keys(ERROR_TITLES).sort())
})
