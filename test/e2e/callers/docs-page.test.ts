/** GET /docs as a person has it: in a real browser, from a service that runs. */
import { afterAll, beforeAll, beforeEach, describe, expect, it, type TestContext } from 'vitest'
import { browserPath, mayLackBrowser, startBrowser, type Browser, type Page } from '../../support/browser.ts'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'

/** On a machine that is busy with other tests a browser takes its time. */
const WAIT_MS = 50_000
const executable = browserPath()
const folder = temporaryFolder()
let service: Service
let browser: Browser | undefined
/** The page in a wide window. */
let wide: Watched
beforeAll(async () => {
  service = await startService(await makeSetUp(folder.path))
  if (executable === undefined) return
  browser = await startBrowser(executable)
  wide = await openDocs({ width: 1280, height: 900 })
}, 3 * WAIT_MS)
afterAll(async () => {
  await browser?.close()
  await service?.stop()
  folder.dispose()
})

/** Everything that a page says, asks for or is forbidden. */
interface Watched {
  readonly page: Page
  readonly said: string[]
  readonly asked: string[]
}

async function openDocs(viewport: { width: number; height: number }): Promise<Watched> {
  const page = await browser!.newPage({ viewport })
  page.setDefaultTimeout(WAIT_MS)
  const said: string[] = []
  const asked: string[] = []
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`))
  page.on('pageerror', (error) => said.push(String(error)))
  page.on('request', (request) => asked.push(request.url()))
  page.on('requestfailed', (request) => said.push(`failed: ${request.url()}`))
  page.on('response', (response) => {
    if (response.status() >= 400) said.push(`${response.status()}: ${response.url()}`)
  })
  // A violation is told to the page as an event, whatever the browser writes on its console.
  await page.exposeFunction('violated', (what: string) => said.push(`policy: ${what}`))
  await page.addInitScript(`
    addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => violated(violatedDirective + ' ' + blockedURI))
  `)
  await page.goto(`${service.ready.management}/docs`)
  await page.locator('.opblock').first().waitFor()
  return { page, said, asked }
}

const searchField = (page: Page) => page.getByRole('searchbox', { name: 'Search the operations' })
const operationIds = (page: Page) => page.locator('.opblock-summary-operation-id').allInnerTexts()

describe('in a browser', { timeout: 3 * WAIT_MS }, () => {
  beforeEach(async (context: TestContext) => {
    if (executable !== undefined) return searchField(wide.page).fill('')
    if (!mayLackBrowser()) throw new Error('there is no Chromium')
    context.task.meta.skipped = 'there is no Chromium, and Ubuntu has no package of it'
    context.skip(context.task.meta.skipped)
  })

  it('shows every operation, and asks nobody but this listener', async () => {
    const { page, said, asked } = wide
    const { paths } = (await service.manage('/openapi.json')).json
    const declared = Object.values<any>(paths).flatMap((item) =>
      Object.values<any>(item).map((each) => each.operationId),
    )
    expect((await operationIds(page)).sort()).toEqual(declared.sort())
    const ours = asked.filter((url) => !url.startsWith('data:'))
    expect(ours.map((url) => url.replace(service.ready.management, '')).sort()).toEqual([
      '/docs',
      '/docs/main.js',
      '/docs/page.css',
      '/docs/swagger-ui-bundle.js',
      '/docs/swagger-ui.css',
      '/openapi.json',
    ])
    expect(said).toEqual([])
    // Nothing can be sent or typed into but the search.
    expect(await page.getByRole('button', { name: /try it out|authorize|execute/i }).count()).toBe(0)
  })

  it('finds an operation by any of its words', async () => {
    const { page, said } = wide
    const field = searchField(page)
    await field.fill('PRW')
    await page.locator('#operations-PIN_blocks-translatePinBlock').waitFor({ state: 'detached' })
    expect(await operationIds(page)).toEqual(expect.arrayContaining(['setPin', 'generatePrw', 'verifyPrw']))
    await field.fill('ERR_COUNTER_REPLAYED')
    await page.locator('#operations-PRW-verifyPrw').waitFor({ state: 'detached' })
    expect(await operationIds(page)).toEqual(['setPin'])
    await field.fill('no operation has this')
    await page.locator('.opblock').first().waitFor({ state: 'detached' })
    await field.fill('')
    await page.locator('#operations-PRW-verifyPrw').waitFor()
    expect(said).toEqual([])
  })

  it('shows what an operation does, its examples and those of its errors', async () => {
    const { page, said } = wide
    const prw = page.locator('#operations-PRW-verifyPrw')
    await prw.locator('.opblock-summary-control').click()
    await prw.getByText('Grant:').waitFor()
    expect(await prw.innerText()).toContain('prw/verify')
    const requests = prw.locator('.opblock-section-request-body')
    expect(await requests.locator('.examples-select').getByRole('option').allInnerTexts()).toHaveLength(3)
    expect(await requests.innerText()).toContain('"4111111111111111"')
    const unavailable = prw.locator('tr.response[data-code="503"]')
    expect(await unavailable.innerText()).toMatch(/ERR_HSM_BUSY[\s\S]*retry-after/)
    expect(await unavailable.locator('.highlight-code, pre').first().innerText()).toContain(
      '"urn:pinbridge:problem:hsm-busy"',
    )
    expect(said).toEqual([])
  })

  it('fits a narrow window', async () => {
    const { page, said } = await openDocs({ width: 390, height: 800 })
    await page.locator('#operations-PIN-setPin .opblock-summary-control').click()
    await page.locator('#operations-PIN-setPin').getByText('Grant:').waitFor()
    const widths = await page.evaluate('[document.documentElement.scrollWidth, innerWidth]')
    expect((widths as number[])[0]).toBeLessThanOrEqual((widths as number[])[1]!)
    expect(said).toEqual([])
    await page.close()
  })
})

describe('on the wire', () => {
  it('is a page and its files, each under a policy that lets in nothing from outside', async () => {
    const types = {
      '/docs': 'text/html; charset=utf-8',
      '/docs/main.js': 'text/javascript; charset=utf-8',
      '/docs/page.css': 'text/css; charset=utf-8',
      '/docs/swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
      '/docs/swagger-ui.css': 'text/css; charset=utf-8',
    }
    for (const [path, type] of Object.entries(types)) {
      const { status, headers } = await service.manage(path)
      expect({ path, status, type: headers['content-type'] }).toEqual({ path, status: 200, type })
      const policy = String(headers['content-security-policy'])
      expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'; /)
      expect(policy).not.toMatch(/unsafe|\*|http|blob/)
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-resource-policy': 'same-origin',
        'cache-control': 'no-cache',
      })
    }
  })

  it('sends a file again only if it has changed', async () => {
    const url = `${service.ready.management}/docs/swagger-ui.css`
    const first = await fetch(url)
    expect((await first.arrayBuffer()).byteLength).toBe(Number(first.headers.get('content-length')))
    const again = await fetch(url, { headers: { 'if-none-match': first.headers.get('etag')! } })
    expect([again.status, (await again.arrayBuffer()).byteLength]).toEqual([304, 0])
    const other = await fetch(url, { headers: { 'if-none-match': '"another"' } })
    expect(other.status).toBe(200)
    await other.arrayBuffer()
  })

  it('takes no other method and serves no other file', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'HEAD']) {
      for (const path of ['/docs', '/docs/main.js', '/openapi.json']) {
        expect((await fetch(`${service.ready.management}${path}`, { method })).status, `${method} ${path}`).toBe(404)
      }
    }
    for (const path of ['/docs/', '/docs/main.d.ts', '/docs/..%2fmain.js', '/docs/%2e%2e/main.js', '/docs/main.js/']) {
      expect((await service.manage(path)).status, path).toBe(404)
    }
  })
})
