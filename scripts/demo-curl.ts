/** The curl lines of `scripts/demo --keep`: complete, with the paths and ports of this run. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Service } from '../test/support/service.ts'
import type { Leftover } from './demo-steps.ts'

/** Makes the lines, each with what it does; writes the body of pin/set, which is too long to read on a line. */
export function curlLines({ setUp, ready }: Service, folder: string, leftover: Leftover): [string, string][] {
  const setPinFile = join(folder, 'set-pin.json')
  writeFileSync(setPinFile, `${JSON.stringify(leftover.setPin, undefined, 2)}\n`, { mode: 0o600 })
  const { cert, key } = setUp.clients.find(({ id }) => id === 'cms-adapter')!
  const curl = `curl -sS --cacert ${setUp.ca} --cert ${cert} --key ${key}`
  const post = (path: string, body: string): string =>
    `${curl} -H 'content-type: application/json' -d ${body} ${ready.url}${path}`
  const inline = (body: object): string => `'${JSON.stringify(body)}'`
  return [
    ['Is it alive? (the management listener, without TLS)', `curl -sS ${ready.management}/healthz`],
    ['The keys, never a value', `${curl} ${ready.url}/v1/keys`],
    ['The public keys that D1 encrypts to', `${curl} ${ready.url}/v1/jwks`],
    ['Get PIN: the stored PIN block, sealed for D1', post('/v1/pin/get', inline(leftover.getPin))],
    ['A PIN block translated to another zone key', post('/v1/pin-blocks/translate', inline(leftover.translate))],
    ['A PIN verified against its PRW', post('/v1/prw/verify', inline(leftover.verifyPrw))],
    ['Set PIN, with a JWE that D1 made', post('/v1/pin/set', `@${setPinFile}`)],
  ]
}
