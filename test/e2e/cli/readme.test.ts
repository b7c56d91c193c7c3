/**
 * README as a newcomer follows it: its blocks are run in their order, on one development set-up, and each is either run here, run by a test that
 * is named, or listed with the reason why no test runs it. A block that is not listed fails.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { auditCommand } from '../../../src/cli/audit.ts'
import { ceremonyCommand } from '../../../src/cli/ceremony.ts'
import { certsCommand } from '../../../src/cli/certs/certs.ts'
import { credentialCommand } from '../../../src/cli/credential.ts'
import { doctorCommand } from '../../../src/cli/doctor.ts'
import { healthCommand } from '../../../src/cli/health.ts'
import { initCommand } from '../../../src/cli/init.ts'
import { keysCommand } from '../../../src/cli/keys.ts'
import { migrateCommand } from '../../../src/cli/migrate.ts'
import { rotateCommand } from '../../../src/cli/rotate.ts'
import { serveCommand } from '../../../src/cli/serve.ts'
import { examineConfig } from '../../../src/config/config.ts'
import { freePort } from '../../support/free-port.ts'
import { buildManifests } from '../../support/manifests.ts'
import { editConfig, temporaryFolder } from '../../support/service.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const CLI = join(ROOT, 'dist/cli/main.js')

/** A fenced block: the heading that it stands under, its language and its text. */
interface Block {
  readonly section: string
  readonly language: string
  readonly text: string
  readonly isRunbook: boolean
}

const BLOCKS = blocksOf(README)

/** What is done with a block. */
type Treatment =
  | ((text: string) => Promise<void> | void)
  /** A test that runs it. */
  | { readonly runIn: string }
  | { readonly notRun: string }

const COMMANDS = [
  auditCommand(),
  ceremonyCommand(),
  certsCommand(),
  credentialCommand(),
  doctorCommand(),
  healthCommand(),
  initCommand(),
  keysCommand(),
  migrateCommand(),
  rotateCommand(),
  serveCommand(),
]

const NO_ENGINE = 'no container engine here; scripts/test-image builds and runs the same image without one'
const DIALOGUE = { runIn: 'test/e2e/cli/ceremony.test.ts' }
const DRAWING = { notRun: 'a drawing' }

/** By heading, in the order of the page; blocks of the runbook have a test of their own. */
const TREATMENTS: Readonly<Record<string, readonly Treatment[]>> = {
  'Try it': [{ runIn: 'test/e2e/demo.test.ts' }],
  'One call': [startTheService, translate, looksLikeTheAnswer],
  'The client': [{ runIn: 'test/e2e/callers/client.test.ts' }],
  'Registering consumers and cards': [isTakenByTheConfiguration, register],
  Processes: [DRAWING],
  'Readiness and metrics': [looksLikeReadyz],
  Callers: [isTakenByTheConfiguration],
  Configuration: [isAWholeConfiguration],
  'More than one HSM': [isTakenByTheConfiguration],
  'PRW and MAC profiles': [isTakenByTheConfiguration],
  'Weak PINs': [isTakenByTheConfiguration],
  'Several nodes': [isTakenByTheConfiguration],
  'The audit record': [isTakenByTheConfiguration],
  'Running it': [isTakenByTheConfiguration],
  'In a container': [{ notRun: NO_ENGINE }, { notRun: NO_ENGINE }, { notRun: NO_ENGINE }],
  'In Kubernetes': [
    isAKustomization,
    { notRun: 'no cluster here; test/unit/deploy and test/e2e/callers/kubernetes-pod.test.ts do without one' },
    { notRun: 'a formula' },
    asksAPod,
  ],
  'Migrating stored PIN blocks': [migrate],
  Ceremonies: [DIALOGUE],
  'Key blocks': [{ runIn: 'test/e2e/cli/key-blocks.test.ts' }],
  'Credentials for IBM Digital Asset Haven': [{ runIn: 'test/e2e/cli/credential.test.ts' }],
}

const folder = temporaryFolder()
const home = folder.path
const config = join(home, '.demo/dev/pinbridge.yaml')
let ports: { readonly api: number; readonly management: number }
let service: ChildProcess | undefined
let answer: any

beforeAll(async () => {
  ports = { api: await freePort(), management: await freePort() }
  // What stands for a checkout that is set up: setting it up is what `scripts/demo` is for.
  mkdirSync(join(home, 'scripts'))
  writeFileSync(join(home, 'scripts/pinbridge'), `#!/bin/sh\nexec ${process.execPath} ${CLI} "$@"\n`, { mode: 0o755 })
})
afterAll(async () => {
  if (service?.exitCode === null) {
    const ended = new Promise((resolve) => service!.once('exit', resolve))
    service.kill('SIGTERM')
    await ended
  }
  folder.dispose()
})

describe('every block of README', () => {
  const blocks = BLOCKS.filter(({ isRunbook }) => !isRunbook)

  it('is listed here, and none is that is not there', () => {
    const counts = (names: readonly string[]) =>
      Object.fromEntries(names.toSorted().map((name) => [name, names.filter((each) => each === name).length]))
    const listed = Object.entries(TREATMENTS).flatMap(([section, treatments]) => treatments.map(() => section))
    expect(counts(blocks.map(({ section }) => section))).toEqual(counts(listed))
    for (const treatment of Object.values(TREATMENTS).flat()) {
      if ('runIn' in treatment) expect(existsSync(join(ROOT, treatment.runIn))).toBe(true)
    }
  })

  for (const [section, treatments] of Object.entries(TREATMENTS)) {
    const texts = blocks.filter((block) => block.section === section).map(({ text }) => text)
    treatments.forEach((treatment, i) => {
      if (typeof treatment !== 'function') return
      it(`does what it says: ${section}, ${i + 1}`, { timeout: 60_000 }, () => treatment(texts[i]!))
    })
  }
})

it('every command of README has the options that it is given there', () => {
  const lines = BLOCKS.filter(({ language }) => language === 'sh')
    .flatMap(({ text }) => text.replaceAll(/\\\n\s*/g, '').split('\n'))
    .flatMap((line) => /^(?:scripts\/)?pinbridge (.*)$/.exec(line)?.[1] ?? [])
  // What a check value is made of begins with the same word.
  const inline = [...README.matchAll(/`(?:scripts\/)?pinbridge (?!key check)([a-z][^`]*)`/g)].map(([, text]) => text!)
  expect(lines.length).toBeGreaterThan(40)
  for (const line of [...lines, ...inline]) expect([line, unknownOptions(line)]).toEqual([line, []])
  expect(unknownOptions('keys generate --id x --no-such')).toEqual(['--no-such'])
})

it('a group of commands that is given a wrong option ends as README says: 1 or 64', { timeout: 60_000 }, async () => {
  const sentence = /^A wrong option is answered .*$/m.exec(README)![0]
  const [, ones] = /exit code 1 by (.*?), 64 by the others/.exec(sentence)!
  const namesOfOne = [...ones!.matchAll(/`(\w+)`/g)].map(([, name]) => name!)
  const groups = COMMANDS.filter(({ commands }) => commands.length > 0).map((group) => group.name())
  expect(groups.length).toBeGreaterThan(4)
  const ended = groups.map(async (name) => {
    const child = spawn(process.execPath, [CLI, name, '--no-such'], { stdio: 'ignore' })
    const [code] = (await once(child, 'exit')) as [number]
    return [name, code]
  })
  expect(await Promise.all(ended)).toEqual(groups.map((name) => [name, namesOfOne.includes(name) ? 1 : 64]))
})

it('every link within README leads somewhere', () => {
  const prose = README.replaceAll(/^```[\s\S]*?^```/gm, '')
  const anchors = new Set([...prose.matchAll(/^#+ (.+)$/gm)].map(([, title]) => anchorOf(title!)))
  for (const [, anchor] of prose.matchAll(/\]\(#([^)]*)\)/g)) expect(anchors).toContain(anchor)
  for (const [, path] of prose.matchAll(/\]\(([^#)][^):]*)\)/g))
    expect([path, existsSync(join(ROOT, path!))]).toEqual([path, true])
})

it('the contents have every section of README, in the order in which they come', () => {
  const [contents] = README.split('\n## ')
  const linked = [...contents!.matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor]) => anchor!)
  const sections = [...README.matchAll(/^## (.+)$/gm)].map(([, title]) => anchorOf(title!))
  expect(linked.filter((anchor) => sections.includes(anchor))).toEqual(sections)
})

it('every section that README speaks of is there', () => {
  const titles = new Set([...README.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title))
  const spoken = [...README.matchAll(/(?:[Ss]ee|under|as under|\() ?"([A-Z][^"`]*)"/g)].map(([, title]) => title!)
  expect(spoken.length).toBeGreaterThan(10)
  for (const title of spoken) expect(titles).toContain(title)
})

/** Init and serve, with ports that are free here. */
async function startTheService(text: string): Promise<void> {
  const lines = text.trim().split('\n')
  const serve = lines.pop()!
  run(lines.join('\n'))
  editConfig(config, ({ listeners, hsm }) => {
    listeners.api.port = ports.api
    listeners.management.port = ports.management
    // One vault is enough here, and starts sooner than two.
    hsm.vaults = 1
  })
  const child = spawn('sh', ['-euc', `exec ${serve}`], { cwd: home, stdio: ['ignore', 'pipe', 'pipe'] })
  service = child
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the service ended with ${code}:\n${output}`)))
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('{"event":"ready"')) resolve()
    })
  })
}

function translate(text: string): void {
  answer = JSON.parse(run(text))
  const problem = JSON.parse(run(text.replace('"pan":"4000001234567899"', '"pan":"4000001234560000"')))
  expect([problem.status, problem.code]).toEqual([422, 'ERR_PIN_BLOCK_INVALID'])
}

function looksLikeTheAnswer(text: string): void {
  const shown = JSON.parse(text)
  expect(answer).toEqual({
    pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/),
    format: shown.format,
    key: { ...shown.key, kcv: expect.stringMatching(/^[0-9A-F]{6}$/) },
  })
}

function register(text: string): void {
  const [asserted, sealed] = run(text).trim().split('\n')
  expect(JSON.parse(asserted!)).toMatchObject({
    assertion: expect.stringMatching(/^eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{86}$/),
    key: { id: 'assertion' },
  })
  expect(JSON.parse(sealed!)).toEqual({ jwe: expect.stringMatching(/^eyJ[\w-]+\.\.[\w-]+\.[\w-]+\.[\w-]+$/) })
}

async function looksLikeReadyz(text: string): Promise<void> {
  const json = text.replaceAll(/"ready" \| "draining"/g, '"ready"').replaceAll('"60303a…", ', '"60303a…", ')
  const shown = JSON.parse(json)
  const { body } = await request(`http://127.0.0.1:${ports.management}/readyz`)
  const found: any = await body.json()
  // Nothing was refused.
  delete shown.configuration.refused
  const members = ({ vaults: [vault], tokens: [token], configuration, ...rest }: any) =>
    [rest, vault, vault.sessions, token, configuration].map((part) => Object.keys(part).sort())
  expect(members(found)).toEqual(members(shown))
}

/** Whether a part of a configuration is right in form and in its rules; files that it names are not there. */
function isTakenByTheConfiguration(text: string): void {
  const data = parse(readFileSync(config, 'utf8'))
  const { keys = [], ...part } = parse(withValues(text))
  const others = data.keys.filter(({ id }: any) => keys.every((key: any) => key.id !== id))
  expect(problemsOf({ ...data, ...part, keys: [...others, ...keys] })).toEqual([])
}

function isAWholeConfiguration(text: string): void {
  expect(problemsOf(parse(withValues(text)))).toEqual([])
}

function problemsOf(data: object): string[] {
  const path = join(home, '.demo/dev/part.yaml')
  writeFileSync(path, stringify(data, { aliasDuplicateObjects: false }), { mode: 0o600 })
  const { problems } = examineConfig(path)
  return problems.filter((problem) => !/does not exist|must belong to the user/.test(problem))
}

/** What the page leaves out of values that differ from token to token. */
function withValues(text: string): string {
  return text.replaceAll('kcv: …', "kcv: 'AABBCCDDEE'").replaceAll('check: …', `check: '${'AB'.repeat(16)}'`)
}

function isAKustomization(text: string): void {
  const { resources, images } = parse(text)
  const components = [...text.matchAll(/deploy\/kubernetes\/components\/[\w-]+/g)].map(([path]) => path)
  for (const path of [...resources, ...components]) {
    expect(existsSync(join(ROOT, path, 'kustomization.yaml'))).toBe(true)
  }
  const manifests = JSON.stringify(buildManifests(['hsm-daemon']))
  for (const { name } of images) expect(manifests).toContain(`"image":"${name}@sha256:`)
}

/** What is asked of each pod, asked of the service here. */
function asksAPod(text: string): void {
  const [, program] = /-e \\\n\s*"(.*)"/.exec(text)!
  const said = execFileSync(process.execPath, ['-e', program!.replace(':9443/', `:${ports.management}/`)], {
    encoding: 'utf8',
  })
  const sum = execFileSync('sha256sum', [config], { encoding: 'utf8' }).split(' ')[0]
  expect(said).toContain(`inUse: '${sum}'`)
  expect(said).toContain('renewing: 0')
}

/** With keys of the set-up for those of the page, and a file of its own, so that the running service does not change with it. */
function migrate(text: string): void {
  const migrating = join(home, '.demo/dev/migrating.yaml')
  copyFileSync(config, migrating)
  editConfig(migrating, ({ keys }) => {
    for (const key of keys) if (key.id === 'zpk-in' || key.id === 'zpk-aes') key.migrate = true
  })
  const [atm] = /^key=.*\nblock=.*\n/m.exec(README)!
  const block = run(`${atm}printf %s "$block"`)
  writeFileSync(join(home, 'pins.csv'), `1,4000001234567899,${block}\n`)
  run(
    text
      .replaceAll('--config pinbridge.yaml', `--config ${migrating}`)
      .replaceAll('zpk-old', 'zpk-in')
      .replaceAll('zpk-new', 'zpk-aes'),
  )
  expect(readFileSync(join(home, 'pins-new.csv'), 'utf8')).toMatch(/^1,4000001234567899,[0-9A-F]{32}\n$/)
}

/** Runs a block in the newcomer's folder, and gives what it printed. */
function run(text: string): string {
  const here = text.replaceAll(':8443/', `:${ports.api}/`)
  return execFileSync('sh', ['-euc', here], { cwd: home, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** The options of a command line that the command does not have. */
function unknownOptions(line: string): string[] {
  const words = line.split(/\s+/)
  let command: Command | undefined = COMMANDS.find((each) => each.name() === words[0])
  if (command === undefined) return [words[0]!]
  const options = [...(command.options.map(({ long }) => long) ?? [])]
  for (const word of words.slice(1)) {
    const next: Command | undefined = command.commands.find((each) => each.name() === word)
    if (next === undefined) break
    command = next
    options.push(...command.options.map(({ long }) => long))
  }
  const given = [...line.matchAll(/(?<=^|[\s[|])--[a-z][a-z0-9-]*/g)].map(([option]) => option)
  return given.filter((option) => option !== '--help' && !options.includes(option))
}

function blocksOf(text: string): Block[] {
  let section = ''
  const blocks: Block[] = []
  const pattern = /^#{2,4} (.+)$|(<!-- runbook: .+ -->\n+)?^```(\w*)\n([\s\S]*?)^```$/gm
  for (const [, title, runbook, language, block] of text.matchAll(pattern)) {
    if (title !== undefined) section = title
    else blocks.push({ section, language: language!, text: block!, isRunbook: runbook !== undefined })
  }
  return blocks
}

/** As forges make them of headings. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
}
