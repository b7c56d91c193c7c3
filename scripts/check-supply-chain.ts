/**
 * Checks what pinbridge is made of: exact versions, a lock file that is in step and names what each package must hash to, licences that
 * are allowed, and no install script but the one native module's. And that the check sees: planted violations have to be found (M-26).
 */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '..')
const KINDS = ['dependencies', 'devDependencies', 'optionalDependencies'] as const
const EXACT = /^\d+\.\d+\.\d+$/

/** The one native module: it is compiled, and nothing else of any package runs when it is installed. */
const MAY_RUN_SCRIPTS = new Set(['pkcs11js'])
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall']

/** Permissive, and asking for no more than to be named. */
const LICENCES = new Set(['MIT', 'ISC', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'BlueOak-1.0.0'])
/** What is never shipped may ask for more. */
const DEVELOPMENT_LICENCES = new Set([...LICENCES, 'MPL-2.0', 'Python-2.0', 'PSF-2.0'])

/**
 * Packages that name no licence, and are taken all the same: by the publisher of an interface, to be installed by whoever implements
 * it. Tests hold our signatures against them; they are never shipped, and nothing of them is copied.
 */
const WITHOUT_LICENCE = new Set(['@dfns/sdk', '@dfns/sdk-keysigner'])

interface Manifest {
  name?: string
  version?: string
  license?: string
  scripts?: Record<string, string>
  allowScripts?: Record<string, boolean>
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

interface Locked extends Manifest {
  integrity?: string
  resolved?: string
  dev?: boolean
  optional?: boolean
  devOptional?: boolean
  hasInstallScript?: boolean
}

interface Tree {
  readonly manifest: Manifest
  readonly lock: { lockfileVersion: number; packages: Record<string, Locked> }
  /** What npm is told in this checkout. */
  readonly npmrc: string
  /** The package.json of an installed package, by its place in the lock file; undefined if it is not installed. */
  readonly installed: (place: string) => Manifest | undefined
}

/** Every problem of a tree, a sentence each. */
function problemsOf({ manifest, lock, npmrc, installed }: Tree): string[] {
  const problems: string[] = []
  const root = lock.packages['']
  if (lock.lockfileVersion !== 3 || root === undefined) return ['package-lock.json: is not of version 3']
  for (const kind of KINDS) {
    const wanted = manifest[kind] ?? {}
    for (const [name, version] of Object.entries(wanted)) {
      if (!EXACT.test(version)) problems.push(`package.json: ${name} is not of one exact version`)
      const locked = lock.packages[`node_modules/${name}`]?.version
      if (locked !== version)
        problems.push(`package-lock.json: has ${name} ${locked}, and package.json wants ${version}`)
    }
    if (!sameMembers(wanted, root[kind] ?? {})) problems.push(`package-lock.json: its ${kind} are not package.json's`)
  }
  if (!/^ignore-scripts=true$/m.test(npmrc)) problems.push('.npmrc: lets packages run their install scripts')
  for (const [name, allowed] of Object.entries(manifest.allowScripts ?? {})) {
    if (allowed && !MAY_RUN_SCRIPTS.has(name)) problems.push(`package.json: lets ${name} run its install script`)
  }
  for (const [place, locked] of Object.entries(lock.packages)) {
    if (place === '') continue
    const name = place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length)
    if (!/^sha512-[A-Za-z0-9+/]{86}==$/.test(locked.integrity ?? ''))
      problems.push(`${place}: has no SHA-512 in the lock file`)
    // Whoever installs has a registry of their own.
    if (locked.resolved !== undefined) problems.push(`${place}: names where it was downloaded`)
    const isDevelopment = locked.dev === true
    const isUnlicensed = isDevelopment && WITHOUT_LICENCE.has(name)
    if (!isUnlicensed && !isAllowed(locked.license, isDevelopment))
      problems.push(`${place}: has the licence ${locked.license}`)
    if (locked.hasInstallScript === true && !MAY_RUN_SCRIPTS.has(name)) problems.push(`${place}: has an install script`)
    const own = installed(place)
    if (own === undefined) {
      // Of other platforms.
      if (locked.optional !== true && locked.devOptional !== true) problems.push(`${place}: is not installed`)
      continue
    }
    if (own.version !== locked.version)
      problems.push(`${place}: is installed as ${own.version}, and locked as ${locked.version}`)
    if (!isUnlicensed && !isAllowed(licenceOf(own), isDevelopment))
      problems.push(`${place}: says its licence is ${licenceOf(own)}`)
    const scripts = INSTALL_SCRIPTS.filter((script) => own.scripts?.[script] !== undefined)
    if (scripts.length > 0 && !MAY_RUN_SCRIPTS.has(name)) problems.push(`${place}: runs ${scripts.join(', ')}`)
  }
  return problems
}

/** Whether one of the licences to choose from is allowed. */
function isAllowed(licence: string | undefined, isDevelopment: boolean): boolean {
  const allowed = isDevelopment ? DEVELOPMENT_LICENCES : LICENCES
  return (licence ?? '')
    .replace(/^\((.*)\)$/, '$1')
    .split(' OR ')
    .some((each) => allowed.has(each))
}

/** Old packages have an object, or a list of them. */
function licenceOf(manifest: Manifest & { licenses?: readonly { type: string }[] }): string | undefined {
  const { license, licenses } = manifest as {
    license?: string | { type: string }
    licenses?: readonly { type: string }[]
  }
  if (typeof license === 'object') return license.type
  return license ?? licenses?.map(({ type }) => type).join(' OR ')
}

function sameMembers(a: Record<string, string>, b: Record<string, string>): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name])
}

function readJson(path: string): any {
  return JSON.parse(readFileSync(path, 'utf8'))
}

/** What must be found, each by what it is said of. */
const PLANTED: readonly (readonly [
  string,
  (tree: { manifest: Manifest; npmrc: string; packages: Record<string, Locked> }) => void,
])[] = [
  [
    'package.json: fastify is not of one exact version',
    ({ manifest }) => (manifest.dependencies!['fastify'] = '^5.0.0'),
  ],
  [
    "package-lock.json: its dependencies are not package.json's",
    ({ manifest }) => (manifest.dependencies!['left'] = '1.0.0'),
  ],
  ['.npmrc: lets packages run', (tree) => (tree.npmrc = 'ignore-scripts=false')],
  ['package.json: lets fastify run its install script', ({ manifest }) => (manifest.allowScripts!['fastify'] = true)],
  ['node_modules/fastify: has no SHA-512', ({ packages }) => delete packages['node_modules/fastify']!.integrity],
  [
    'node_modules/fastify: names where',
    ({ packages }) => (packages['node_modules/fastify']!.resolved = 'https://example'),
  ],
  [
    'node_modules/fastify: has the licence AGPL-3.0',
    ({ packages }) => (packages['node_modules/fastify']!.license = 'AGPL-3.0'),
  ],
  [
    'node_modules/fastify: has an install script',
    ({ packages }) => (packages['node_modules/fastify']!.hasInstallScript = true),
  ],
  ['node_modules/@dfns/sdk: has the licence', ({ packages }) => delete packages['node_modules/@dfns/sdk']!.dev],
  ['node_modules/fastify: is installed as', ({ packages }) => (packages['node_modules/fastify']!.version = '0.0.1')],
  [
    'node_modules/left: is not installed',
    ({ packages }) => (packages['node_modules/left'] = { version: '1.0.0', license: 'MIT' }),
  ],
]

const manifest: Manifest = readJson(join(ROOT, 'package.json'))
const lock = readJson(join(ROOT, 'package-lock.json')) as Tree['lock']
const read = new Map<string, Manifest | undefined>()
const installed = (place: string): Manifest | undefined => {
  const path = join(ROOT, place, 'package.json')
  if (!read.has(place)) read.set(place, existsSync(path) ? (readJson(path) as Manifest) : undefined)
  return read.get(place)
}

const npmrc = readFileSync(join(ROOT, '.npmrc'), 'utf8')

const problems = problemsOf({ manifest, lock, npmrc, installed })
for (const problem of problems) process.stderr.write(`${problem}\n`)
for (const [sentence, plant] of PLANTED) {
  const copy = structuredClone({ manifest, lock })
  const tree = { manifest: copy.manifest, npmrc, packages: copy.lock.packages }
  plant(tree)
  if (problemsOf({ ...copy, npmrc: tree.npmrc, installed }).some((problem) => problem.startsWith(sentence))) continue
  process.stderr.write(`the check of the supply chain is blind: planted, and not found: ${sentence}\n`)
  process.exitCode = 1
}
if (problems.length > 0) process.exitCode = 1
