/** What operators load into their monitoring: the alert rules say what to do, and where, and the dashboard can be read from top to bottom. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
const README = read('README.md')

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}
interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly datasource?: { readonly uid: string }
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets?: readonly {
    readonly refId: string
    readonly expr: string
    readonly legendFormat: string
    readonly datasource: { uid: string }
  }[]
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string; readonly thresholds?: { steps: object[] } } }
}

const { groups } = parse(read('deploy/prometheus/alerts.yml')) as { groups: { name: string; rules: Rule[] }[] }
const rules = groups.flatMap((group) => group.rules)
const dashboard = JSON.parse(read('deploy/grafana/pinbridge.json')) as {
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] }
}
const { panels } = dashboard

/** The metrics that an expression names, without what a histogram adds. */
const metricsIn = (expression: string) =>
  [...expression.matchAll(/\bpinbridge_\w+/g)].map(([name]) => name.replace(/_(?:bucket|sum|count)$/, ''))
const documented = new Set([...README.matchAll(/^\| `(pinbridge_\w+)` \|/gm)].map(([, name]) => name))
/** The anchors that GitHub gives the headings of a page. */
const anchors = new Set(
  [...README.matchAll(/^#{2,} (.+)$/gm)].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  ),
)

it('every section of README that a file speaks of is there', () => {
  const titles = [...README.matchAll(/^#+ (.+)$/gm)].map(([, title]) => title)
  const files = ['deploy', 'src'].flatMap((folder) =>
    readdirSync(new URL(`../../${folder}`, import.meta.url), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => readFileSync(`${parentPath}/${name}`, 'utf8')),
  )
  const spoken = [...files, read('Dockerfile')].flatMap((text) =>
    [...text.matchAll(/README(?:\.md)?, \\?"([^"\\]+)/g)].map(([, title]) => title),
  )
  expect(spoken.length).toBeGreaterThan(7)
  expect(spoken.filter((title) => !titles.includes(title))).toEqual([])
})

/** The labels that an expression groups, joins and selects by, and that texts and legends show. */
const labelsIn = (expression: string) => [
  ...[...expression.matchAll(/\b(?:by|on|ignoring|group_left|group_right) \(([\w, ]*)\)/g)].flatMap(([, list]) =>
    list!.split(/, */).filter(Boolean),
  ),
  ...[...expression.matchAll(/[{,] *(\w+)=~?"/g)].map(([, label]) => label!),
  ...[...expression.matchAll(/(?:\$labels\.|\{\{)(\w+)/g)].map(([, label]) => label!),
]
/** Those that metrics have by the README, and those that Prometheus gives. */
const labels = new Set([
  ...[...README.matchAll(/^\| `pinbridge_\w+` \| \w+ \|(.*?)\|/gm)].flatMap(([, cell]) =>
    [...cell!.matchAll(/`(\w+)`/g)].map(([, label]) => label!),
  ),
  ...['job', 'instance', 'le', 'alertname', 'alertstate', 'severity'],
])

describe('the alert rules', () => {
  it.each(rules.map((rule) => [rule.alert, rule] as const))(
    '%s says how urgent it is, what it means and what to do',
    (name, rule) => {
      expect(name).toMatch(/^Pinbridge[A-Z]/)
      expect(['critical', 'warning', 'info']).toContain(rule.labels['severity'])
      expect(Object.keys(rule.annotations)).toEqual(['summary', 'description', 'action', 'runbook'])
      for (const text of Object.values(rule.annotations)) expect(text.trim().length).toBeGreaterThan(10)
      const [file, anchor] = rule.annotations['runbook']!.split('#')
      expect(file).toBe('README.md')
      expect(anchors).toContain(anchor)
      for (const metric of metricsIn(rule.expr)) expect(documented).toContain(metric)
      for (const text of [rule.expr, ...Object.values(rule.annotations)]) {
        expect(labelsIn(text).filter((label) => !labels.has(label))).toEqual([])
      }
    },
  )

  it('have names of their own, and each is seen to fire and not to fire in alerts.test.yml', () => {
    const names = rules.map(({ alert }) => alert)
    expect(names).toEqual([...new Set(names)])
    const { tests } = parse(read('deploy/prometheus/alerts.test.yml')) as {
      tests: { promql_expr_test?: { expr: string; exp_samples: object[] }[] }[]
    }
    const expectations = tests.flatMap(({ promql_expr_test: each = [] }) => each)
    for (const name of names) {
      const own = expectations.filter(({ expr }) => expr === `ALERTS{alertname="${name}",alertstate="firing"}`)
      expect(
        own.some((each) => each.exp_samples.length === 0),
        `${name} is silent`,
      ).toBe(true)
      expect(
        own.some((each) => each.exp_samples.length > 0),
        `${name} fires`,
      ).toBe(true)
    }
  })
})

describe('the dashboard', () => {
  it('asks which Prometheus and which nodes it is about', () => {
    expect(dashboard.templating.list.map(({ name, type }) => [name, type])).toEqual([
      ['datasource', 'datasource'],
      ['instance', 'query'],
    ])
    for (const { datasource, targets = [] } of panels) {
      for (const each of [datasource, ...targets.map((target) => target.datasource)]) {
        if (each !== undefined) expect(each.uid).toBe('${datasource}')
      }
    }
  })

  it('has panels with ids of their own, on a grid of 24 columns without overlaps', () => {
    const ids = panels.map(({ id }) => id)
    expect(ids).toEqual([...new Set(ids)])
    const taken = new Map<string, string>()
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.get(`${x} ${y}`), `${title} lies on another`).toBe(undefined)
          taken.set(`${x} ${y}`, title)
        }
      }
    }
  })

  it('says of every panel what it shows, in which unit and from where on it is bad', () => {
    for (const { type, title, description, targets = [], fieldConfig } of panels) {
      expect(title).not.toBe('')
      if (type === 'row') continue
      expect(description?.length, title).toBeGreaterThan(40)
      expect(fieldConfig?.defaults.unit, title).toBeTruthy()
      expect(fieldConfig?.defaults.thresholds?.steps.length, title).toBeGreaterThan(0)
      expect(targets.length, title).toBeGreaterThan(0)
      const refs = targets.map(({ refId }) => refId)
      expect(refs).toEqual([...new Set(refs)])
      for (const { expr, legendFormat } of targets) {
        expect(
          labelsIn(`${expr} ${legendFormat}`).filter((label) => !labels.has(label)),
          title,
        ).toEqual([])
        for (const metric of metricsIn(expr)) expect(documented, title).toContain(metric)
        // Of the alerts there is no node in every one.
        if (!expr.includes('ALERTS')) expect(expr, title).toContain('instance=~"$instance"')
      }
    }
    const shown = panels.map(({ type, title }) => (type === 'row' ? title : undefined)).filter(Boolean)
    expect(shown.map((title) => title!.slice(0, 2))).toEqual(['1.', '2.', '3.', '4.', '5.', '6.', '7.'])
  })
})
