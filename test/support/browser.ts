/** A real browser without a window: Chromium, as scripts/setup-tokens.sh installs it or as it stands on PATH. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/** What is used of playwright-core, whose own types want those of a browser's page in the whole of this project. */
export interface Browser {
  readonly newPage: (options: { viewport: { width: number; height: number } }) => Promise<Page>
  readonly close: () => Promise<void>
}
export interface Page extends Locating {
  readonly setDefaultTimeout: (timeoutMs: number) => void
  readonly on: (event: string, listener: (what: any) => void) => void
  readonly exposeFunction: (name: string, called: (what: string) => void) => Promise<void>
  readonly addInitScript: (script: string) => Promise<void>
  readonly goto: (url: string) => Promise<unknown>
  readonly evaluate: (script: string) => Promise<unknown>
  readonly close: () => Promise<void>
}
interface Locating {
  readonly locator: (selector: string) => Locator
  readonly getByRole: (role: string, options?: { name: string | RegExp }) => Locator
  readonly getByText: (text: string) => Locator
}
interface Locator extends Locating {
  readonly first: () => Locator
  readonly waitFor: (options?: { state: 'detached' }) => Promise<void>
  readonly click: () => Promise<void>
  readonly fill: (text: string) => Promise<void>
  readonly count: () => Promise<number>
  readonly innerText: () => Promise<string>
  readonly allInnerTexts: () => Promise<string[]>
}

const { chromium } = createRequire(import.meta.url)('playwright-core') as {
  chromium: { launch: (options: { executablePath: string; args: string[] }) => Promise<Browser> }
}

const NAMES = ['chromium', 'google-chrome', 'google-chrome-stable', 'chrome']

/** Its path; undefined if there is none. */
export function browserPath(): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(':').concat('/usr/bin')
  return folders.flatMap((folder) => NAMES.map((name) => join(folder, name))).find((path) => existsSync(path))
}

/** Why there may be none: Ubuntu's package of that name installs a snap, which does not run everywhere. */
export function mayLackBrowser(): boolean {
  return /^ID=ubuntu$/m.test(readFileSync('/etc/os-release', 'utf8'))
}

/** Starts it, silent towards its makers. */
export function startBrowser(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      // Its sandbox does not start as root.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}
