/** The plots of a benchmark: what each of them shows, of the results. */
import { cellOf, comparedCell, COMPARED_CONNECTIONS, cpuUsEach, perSecond, spreadIn } from './figures.ts'
import { cpuRatio, ONE_A_REQUEST } from './goals.ts'
import { fitModel, predict, sessionsOf } from './model.ts'
import { OPERATIONS, type CellResult, type OperationId, type Results, type Spread } from './results.ts'
import {
  AXIS,
  colour,
  drawPlot,
  heightOf,
  legend,
  panelOption,
  type Colour,
  type Panel,
  type PanelSeries,
  type Plot,
} from './svg.ts'
import { figure } from './table.ts'

/** All of those for which there are results. */
export function plotsOf(results: Results): Plot[] {
  return [throughput(results), latency(results), cpu(results), hsmLatency(results), rounds(results)].filter(
    (plot) => plot !== undefined,
  )
}

const SERVICES = ['pinbridge', 'plain'] as const
const SHORT = { axisLabel: { ...AXIS.axisLabel, formatter: shortly } }

/** What serves nobody, and has no connections. */
const LEVELS = [
  { name: 'HSM’s calls alone, one process', subject: 'hsm-calls', concurrency: 1, drawn: 'hsm', type: 'solid' },
  { name: 'two', subject: 'hsm-calls', concurrency: 2, drawn: 'hsm', type: 'dashed' },
  { name: 'node:crypto, no HSM', subject: 'node-crypto', concurrency: 1, drawn: 'nodeCrypto', type: 'solid' },
  { name: 'node-forge, no HSM', subject: 'node-forge', concurrency: 1, drawn: 'nodeForge', type: 'solid' },
] as const

/** Operations a second by connections. */
function throughput(results: Results): Plot | undefined {
  const panels = ONE_A_REQUEST.flatMap((operation): Panel[] => {
    const cells = SERVICES.map((subject) => cellsOf(results, operation, subject, 0))
    if (cells[0]!.length === 0) return []
    const connections = [...new Set(cells.flat().map(({ concurrency }) => concurrency))].toSorted((a, b) => a - b)
    return [
      {
        title: operation,
        x: { type: 'category', name: 'connections', data: connections.map(String) },
        y: { type: 'log', name: 'operations a second, log.', ...SHORT },
        series: [
          ...SERVICES.flatMap((subject, at) =>
            lineWithSpread(
              subject,
              subject,
              cells[at]!.map((cell) => [String(cell.concurrency), spreadIn(cell, perSecond)!] as const),
            ),
          ),
          ...LEVELS.flatMap(({ name, subject, concurrency, drawn, type }) => {
            const level = spreadIn(cellOf(results, { operation, subject, concurrency }), perSecond)
            return level === undefined
              ? []
              : [levelLine(name, colour(drawn), level.median, connections.map(String), type)]
          }),
        ],
      },
    ]
  })
  if (panels.length === 0) return undefined
  const caption =
    'Throughput by connections, median and range of all rounds, beside what the HSM’s calls alone allow and what there is without an HSM; no latency added.'
  return drawPlot('throughput', caption, heightOf(panels), panelOption(panels))
}

/** Percentiles of request times. */
function latency(results: Results): Plot | undefined {
  const id = { concurrency: COMPARED_CONNECTIONS } as const
  const rows = ONE_A_REQUEST.toReversed().flatMap((operation) =>
    [
      { name: 'pinbridge', load: 'half' as const, subject: 'pinbridge' as const },
      { name: 'plain', load: 'full' as const, subject: 'plain' as const },
      { name: 'pinbridge', load: 'full' as const, subject: 'pinbridge' as const },
    ].flatMap(({ name, load, subject }) => {
      const cell = cellOf(results, { ...id, operation, subject, load })
      const medians = PERCENTILES.map(({ which }) => spreadIn(cell, ({ latencyUs }) => latencyUs?.[which])?.median)
      if (medians.some((median) => median === undefined)) return []
      return [
        {
          label: `${operation}, ${name}${load === 'half' ? ', half load' : ''}`,
          subject,
          ms: medians.map((us) => us! / 1000),
        },
      ]
    }),
  )
  if (rows.length === 0) return undefined
  const option = {
    legend: { ...legend(), data: PERCENTILES.map(({ name }) => name) },
    grid: { left: 230, right: 40, top: 40, bottom: 56 },
    xAxis: { ...AXIS, type: 'log', name: 'milliseconds from request to answer, logarithmic', nameGap: 32, ...SHORT },
    yAxis: { ...AXIS, type: 'category', data: rows.map(({ label }) => label) },
    series: [
      ...rows.map(({ label, ms, subject }) => ({
        type: 'line',
        symbol: 'none',
        data: [ms[0], ms.at(-1)].map((value) => [value, label]),
        lineStyle: { color: colour(subject), width: 2 },
      })),
      ...PERCENTILES.map(({ name, symbol }, which) => ({
        type: 'scatter',
        name,
        symbol,
        symbolSize: 10,
        z: 3,
        itemStyle: { color: colour('faint') },
        data: rows.map(({ label, ms, subject }) => ({
          value: [ms[which], label],
          itemStyle: { color: colour(subject) },
        })),
      })),
    ],
  }
  const caption = `How long a request takes with ${COMPARED_CONNECTIONS} connections, medians of all rounds; no latency added.`
  return drawPlot('latency', caption, 110 + 24 * rows.length, option)
}

const PERCENTILES = [
  { which: 'p50', name: 'p50', symbol: 'circle' },
  { which: 'p99', name: 'p99', symbol: 'diamond' },
  { which: 'p999', name: 'p99.9', symbol: 'triangle' },
] as const

const KIND_COLOURS: Readonly<Record<string, Colour>> = {
  gateway: 'gateway',
  vaults: 'vaults',
  supervisor: 'supervisor',
}

/** CPU time of an operation by process, beside that of the bare calls. */
function cpu(results: Results): Plot | undefined {
  const rows = OPERATIONS.toReversed().flatMap((operation) => {
    const cell = comparedCell(results, operation, 'pinbridge')
    const ratio = cpuRatio(results, operation)
    const all = spreadIn(cell, (sample) => cpuUsEach(sample))
    return cell && ratio && all ? [{ cell, ratio, label: `${operation}, ${figure(all.median)} µs`, all }] : []
  })
  if (rows.length === 0) return undefined
  const kinds = [...new Set(rows.flatMap(({ cell }) => Object.keys(cell.samples[0]!.cpuUs)))].toSorted(
    (a, b) => placeOf(a) - placeOf(b),
  )
  const option = {
    legend: legend(),
    grid: { left: 190, right: 40, top: 44, bottom: 56 },
    xAxis: {
      ...AXIS,
      type: 'value',
      max: 100,
      name: 'percent of the CPU time of all pinbridge processes',
      nameGap: 32,
    },
    yAxis: { ...AXIS, type: 'category', data: rows.map(({ label }) => label) },
    series: [
      {
        type: 'bar',
        name: 'HSM’s calls alone',
        barWidth: 9,
        itemStyle: { color: colour('hsm') },
        data: rows.map(({ ratio }) => 100 * ratio.median),
      },
      ...kinds.map((kind) => ({
        type: 'bar',
        name: kind,
        stack: 'ours',
        barWidth: 16,
        itemStyle: { color: colour(KIND_COLOURS[kind] ?? 'pinbridge') },
        data: rows.map(
          ({ cell, all }) => (100 * spreadIn(cell, (sample) => cpuUsEach(sample, kind))!.median) / all.median,
        ),
      })),
    ],
  }
  const caption = `Where the CPU time of an operation goes, and how much of it the HSM’s calls alone would take; a row of batch and migrate.`
  return drawPlot('cpu', caption, 110 + 46 * rows.length, option)
}

/** The vaults first: the bare calls beside them are theirs. */
function placeOf(kind: string): number {
  return ['vaults', 'migrate', 'gateway', 'supervisor'].indexOf(kind)
}

/** Operations a second by HSM latency, and what the model says. */
function hsmLatency(results: Results): Plot | undefined {
  const panels = ONE_A_REQUEST.flatMap((operation): Panel[] => {
    const slow = results.cells.filter((cell) => cell.operation === operation && cell.hsmLatencyMs > 0)
    const all = [...new Set([0, ...slow.map(({ hsmLatencyMs }) => hsmLatencyMs)])].toSorted((a, b) => a - b)
    if (slow.length === 0) return []
    const model = fitModel(results, operation)
    const pointsOf = (subject: (typeof SERVICES)[number]): (readonly [string, Spread])[] =>
      all.flatMap((hsmLatencyMs) => {
        const spread = spreadIn(comparedCell(results, operation, subject, hsmLatencyMs), perSecond)
        return spread === undefined ? [] : [[String(hsmLatencyMs), spread] as const]
      })
    const predicted: PanelSeries | undefined = model && {
      type: 'line',
      name: 'pinbridge, by the model',
      symbol: 'none',
      color: colour('pinbridge'),
      lineStyle: { type: 'dotted', width: 2, color: colour('pinbridge') },
      data: all.map((hsmLatencyMs) => [
        String(hsmLatencyMs),
        predict(model, {
          connections: COMPARED_CONNECTIONS,
          hsmLatencyMs,
          sessions: sessionsOf(results, hsmLatencyMs),
        }).perSecond,
      ]),
    }
    return [
      {
        title: operation,
        x: { type: 'category', name: 'milliseconds added to every PKCS#11 call', data: all.map(String) },
        y: { type: 'log', name: 'operations a second, log.', ...SHORT },
        series: [
          ...SERVICES.flatMap((subject) => lineWithSpread(subject, subject, pointsOf(subject))),
          ...(predicted === undefined ? [] : [predicted]),
        ],
      },
    ]
  })
  if (panels.length === 0) return undefined
  const caption = `Throughput with ${COMPARED_CONNECTIONS} connections as the HSM gets slower, median and range of all rounds.`
  return drawPlot('hsm-latency', caption, heightOf(panels), panelOption(panels))
}

/** Every round's throughput, of the median of all. */
function rounds(results: Results): Plot | undefined {
  const subjects = [
    ['pinbridge', 'pinbridge', 'circle'],
    ['plain', 'plain', 'diamond'],
    ['hsm-calls', 'hsm', 'rect'],
  ] as const
  const operations = OPERATIONS.toReversed().filter((operation) => comparedCell(results, operation, 'pinbridge'))
  const series = subjects.map(([subject, name, symbol], at) => ({
    type: 'scatter',
    name: subject,
    symbol,
    symbolSize: 8,
    symbolOffset: [0, (at - 1) * 9],
    itemStyle: { color: colour(name), opacity: 0.85 },
    data: operations.flatMap((operation) => {
      const cell = comparedCell(results, operation, subject)
      const spread = spreadIn(cell, perSecond)
      return spread === undefined
        ? []
        : cell!.samples.map((sample) => [100 * (perSecond(sample) / spread.median - 1), operation])
    }),
  }))
  if (series.every(({ data }) => data.length === 0)) return undefined
  const option = {
    legend: legend(),
    grid: { left: 120, right: 40, top: 44, bottom: 56 },
    xAxis: { ...AXIS, type: 'value', name: 'a round’s throughput, percent from the median of all', nameGap: 32 },
    yAxis: { ...AXIS, type: 'category', data: operations },
    series,
  }
  const caption = 'How far the rounds lie apart: each point is one round of one subject; no latency added.'
  return drawPlot('rounds', caption, 120 + 36 * operations.length, option)
}

function cellsOf(
  { cells }: Results,
  operation: OperationId,
  subject: CellResult['subject'],
  hsmLatencyMs: number,
): CellResult[] {
  return cells
    .filter((cell) => cell.operation === operation && cell.subject === subject)
    .filter((cell) => cell.hsmLatencyMs === hsmLatencyMs && cell.load === 'full')
    .toSorted((a, b) => a.concurrency - b.concurrency)
}

/** A line through the medians, and a bar over the range of each. */
function lineWithSpread(
  name: string,
  colourName: Colour,
  points: readonly (readonly [string, Spread])[],
): PanelSeries[] {
  const stroke = colour(colourName)
  return [
    {
      type: 'line',
      name,
      symbol: 'circle',
      symbolSize: 7,
      color: stroke,
      lineStyle: { width: 2, color: stroke },
      data: points.map(([x, { median }]) => [x, median]),
    },
    ...points.map(([x, { least, most }]): PanelSeries => ({
      type: 'line',
      symbol: 'none',
      lineStyle: { width: 5, opacity: 0.35, color: stroke, cap: 'round' },
      data: [
        [x, least],
        [x, most],
      ],
    })),
  ]
}

/** A level line over a whole panel. */
function levelLine(
  name: string,
  stroke: string,
  y: number,
  xs: readonly string[],
  type: 'solid' | 'dashed',
): PanelSeries {
  return {
    type: 'line',
    name,
    symbol: 'none',
    color: stroke,
    lineStyle: { type, width: 1.5, color: stroke },
    data: xs.map((x) => [x, y]),
  }
}

/** 1500 as 1.5 k, for an axis. */
function shortly(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`
  return value >= 1000 ? `${value / 1000} k` : String(value)
}
