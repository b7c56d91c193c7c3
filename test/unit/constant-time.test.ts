/** Bytes are compared in constant time: every comparison of another kind stands here, with why it tells nobody anything. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const ROOT = new URL('../..', import.meta.url).pathname

/** What stops at the first byte that differs. */
const BYTEWISE = /\.equals\(|\bBuffer\.compare\(|\.compare\((?!\))/
/** The last name of a value that one would not want compared as text. */
const NAMED = /(?:[mM]ac|[pP]rw|[tT]ag|[dD]igest|[hH]ash|[cC]ek|[sS]ecret|[sS]ha256|[pP]in)(?:\([^)]*\))?$/
/** What is compared with a constant is not compared with another value. */
const CONSTANT = /^(?:undefined|null|true|false|-?\d.*|['"`].*)$/

/** Whether a line compares two values, one of them by such a name, with an operator. */
function comparesText(line: string): boolean {
  return [...line.matchAll(/(\S+) [!=]== (\S+)/g)].some(([, left, right]) => {
    const sides = [left!.replace(/^[(!]+/, ''), right!.replace(/[,;)}]+$/, '')]
    return sides.some((side) => NAMED.test(side)) && !sides.some((side) => CONSTANT.test(side))
  })
}

/** The comparisons that may take their time, by file: how many at most, and of what. */
const ALLOWED: Readonly<Record<string, readonly [count: number, what: string]>> = {
  'src/audit/verify.ts': [6, 'hashes of records that whoever verifies them can read'],
  'src/audit/writer.ts': [1, 'hashes of records in files that it may read'],
  'src/cli/doctor/service.ts': [2, 'the hash of the configuration file, which is no secret'],
  'src/gateway/routes/docs.ts': [1, 'the ETag of a page that is the same for everybody'],
  'src/hsm/pkcs11/block-cipher.ts': [2, 'what a token made of blocks that are no secret, at its own check'],
  'src/hsm/pkcs11/capabilities.ts': [3, 'what a token makes of published test keys'],
  'src/hsm/pkcs11/key-wrap.ts': [1, 'what a token makes of published test keys'],
  'src/hsm/pkcs11/macs.ts': [1, "the MAC of a constant message, at the token's own check"],
  'src/hsm/pkcs11/pkcs11-hsm.ts': [1, 'an RSA ciphertext with bounds that follow from the public key'],
  'src/migration/beginning.ts': [2, 'the hash of the file that is migrated'],
  'src/rows/open-reader.ts': [1, 'a byte order mark'],
  'src/vault/set-pin-payload.ts': [1, 'whether there is a PRW and a MAC'],
}

function findings(text: string): string[] {
  return text
    .split('\n')
    .filter((line) => !/^\s*(?:\/\/|\*|\/\*)/.test(line) && (BYTEWISE.test(line) || comparesText(line)))
}

it('no comparison of bytes in src stops at the first difference but those that are known', () => {
  const files = globSync('src/**/*.ts', { cwd: ROOT }).filter((path) => path !== 'src/bytes.ts')
  expect(files.length).toBeGreaterThan(100)
  const found = files.flatMap((path) => {
    const lines = findings(readFileSync(join(ROOT, path), 'utf8'))
    return lines.length <= (ALLOWED[path]?.[0] ?? 0) ? [] : [[path, lines]]
  })
  expect(found).toEqual([])
})

it.each([
  '  if (mac.equals(expected)) return true',
  '  return Buffer.compare(given, secret) === 0',
  "  if (mac.toString('hex') === expectedMac) return true",
  '  if (request.prw === made.prw) return true',
  '  return given !== digest',
])('finds %s', (line) => {
  expect(findings(line)).toHaveLength(1)
})
