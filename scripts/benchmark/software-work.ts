/** The operations for a library: requests and files that are made ready, answered, and then looked at. */
import { strict as assert } from 'node:assert'
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { createOperations, FROM, TO, type Operation } from './operations.ts'
import { pointOf } from './plain-jwe.ts'
import { createRoutes, type Route } from './plain-routes.ts'
import type { OperationId } from './results.ts'
import { CSV_HEAD, csvOf, makeRows } from './rows.ts'
import { HOLDERS, type SoftwareId } from './software-holders.ts'

/** So many requests differ, then they come again: to make one can take longer than to answer it. */
const DIFFERENT_REQUESTS = 200
const DIFFERENT_BATCHES = 2
const CHUNK_CHARACTERS = 64 * 1024

/** Keys for JWEs of its own, since an HSM does not tell its private ones. */
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

/** Work that is ready to be done. */
export interface Work {
  /** Rows of batch and migrate. */
  readonly operations: number
  /** Does this part of it, 1 for all. */
  readonly run: (part: number) => Promise<void>
  /** @throws unless what came of the last run, of all of it, is right. */
  readonly check: () => void
}

/** Makes the work of an operation ready; the files of a migration stand in `folder`. */
export function prepareWork(
  subject: SoftwareId,
  operation: OperationId,
  operations: number,
  setUp: DevelopmentSetUp,
  folder: string,
): Work {
  const holder = HOLDERS[subject]({
    tdea: new Map(setUp.keys.map(({ id, value = '' }) => [id, value])),
    ec: Buffer.from(ec.privateKey.export({ format: 'jwk' }).d!, 'base64url'),
    rsa: rsa.privateKey,
  })
  const algs = new Map([
    ['jwe-ec', 'ECDH-ES'],
    ['jwe-rsa', 'RSA-OAEP-256'],
  ])
  const keys = setUp.keys.map(({ id, kcv }) => ({ id, kcv, version: 1, alg: algs.get(id) }))
  const recipients = setUp.recipients.map(({ kid, privateJwk }) => ({ kid, publicKey: pointOf(privateJwk as any) }))
  const routes = createRoutes(holder, keys, recipients)
  if (operation === 'migrate') return prepareMigration(operations, setUp, routes['/v1/pin-blocks/translate']!, folder)
  const jwks = [
    { ...(ec.publicKey.export({ format: 'jwk' }) as object), kid: 'jwe-ec' },
    { ...(rsa.publicKey.export({ format: 'jwk' }) as object), kid: 'jwe-rsa' },
  ]
  return prepareRequests(operations, createOperations(setUp, jwks)[operation], routes)
}

function prepareRequests(
  operations: number,
  { path, rowsPerRequest, makeRequests }: Operation,
  routes: Readonly<Record<string, Route>>,
): Work {
  const { answer } = routes[path]!
  const count = Math.ceil(operations / rowsPerRequest)
  const different = Math.min(count, rowsPerRequest === 1 ? DIFFERENT_REQUESTS : DIFFERENT_BATCHES)
  const { bodies, assertAnswer } = makeRequests(different)
  const answers: string[] = []
  return {
    operations: count * rowsPerRequest,
    run: async (part) => {
      for (let i = 0; i < count * part; i++) {
        const index = i % different
        answers[index] = JSON.stringify(answer(JSON.parse(bodies[index]!)))
      }
    },
    check: () => bodies.forEach((_, index) => assertAnswer(index, answers[index]!)),
  }
}

/** A file of CSV into another, line by line. */
function prepareMigration(operations: number, setUp: DevelopmentSetUp, { answer }: Route, folder: string): Work {
  const valueOf = (id: string): string => setUp.keys.find((key) => key.id === id)!.value!
  const rows = makeRows(operations, { from: valueOf('zpk-in'), to: valueOf('zpk-out') })
  const [input, output] = [join(folder, 'software-in.csv'), join(folder, 'software-out.csv')]
  writeFileSync(input, CSV_HEAD + csvOf(rows, rows.blocksUnderFrom, 0, operations))

  const translateLine = (line: string): string => {
    const [id, pan, pinBlock] = line.split(',')
    const { pinBlock: translated } = answer({ pinBlock, from: FROM, to: TO, card: { pan } })
    return `${id},${pan},${translated}\n`
  }
  return {
    operations,
    run: async (part) => {
      const [from, to] = [await open(input), await open(output, 'w')]
      let text = CSV_HEAD
      let left = operations * part
      for await (const line of from.readLines({ start: CSV_HEAD.length })) {
        if (left-- <= 0) break
        text += translateLine(line)
        if (text.length < CHUNK_CHARACTERS) continue
        await to.write(text)
        text = ''
      }
      await to.write(text)
      await to.close()
    },
    check: () =>
      assert.ok(readFileSync(output, 'latin1') === CSV_HEAD + csvOf(rows, rows.blocksUnderTo, 0, operations)),
  }
}
