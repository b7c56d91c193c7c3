/** Plots as SVG by Apache ECharts, drawn without a browser; each turns dark where its reader's screen is. */
import { createRequire } from 'node:module'

/** An option of ECharts, of which this much is looked at here. */
export interface PlotOption {
  readonly series: readonly object[]
  readonly [member: string]: unknown
}

/** What is used of echarts, whose own types want those of a browser's page in the whole of this project. */
interface ECharts {
  readonly init: (
    element: null,
    theme: null,
    options: { renderer: 'svg'; ssr: true; width: number; height: number },
  ) => { setOption: (option: PlotOption) => void; renderToSVGString: () => string; dispose: () => void }
}

const { init } = createRequire(import.meta.url)('echarts') as ECharts

/**
 * The colours of a plot, as they are on a light screen and on a dark one. Those of the subjects are told apart by people who see few
 * colours too (after Okabe and Ito).
 */
const COLOURS = {
  paper: ['#ffffff', '#14181d'],
  ink: ['#1b2026', '#e8ebee'],
  faint: ['#5d6670', '#9aa4ae'],
  grid: ['#e3e6ea', '#2c333b'],
  hsm: ['#3d454d', '#c3cad1'],
  plain: ['#d55e00', '#ff9244'],
  pinbridge: ['#0067a5', '#4fb3f0'],
  gateway: ['#56a3d9', '#2f78ad'],
  vaults: ['#0a4e7a', '#8fd0fa'],
  supervisor: ['#a7adb4', '#6b747d'],
  nodeCrypto: ['#00805e', '#2fc79b'],
  nodeForge: ['#a8487f', '#e58fc0'],
} as const satisfies Record<string, readonly [light: string, dark: string]>

/** A colour of the plots. */
export type Colour = keyof typeof COLOURS

/** As it is drawn, which is as it is on a light screen. */
export function colour(name: Colour): string {
  return COLOURS[name][0]
}

/** In `style` of an SVG file, or of the page that holds it: what a dark screen makes of the colours. */
export const DARK = `@media (prefers-color-scheme: dark) {${Object.values(COLOURS)
  .map(([light, dark]) => `[fill="${light}"]{fill:${dark}}[stroke="${light}"]{stroke:${dark}}`)
  .join('')}}`

/** What every plot has. */
const COMMON = {
  animation: false,
  backgroundColor: colour('paper'),
  textStyle: { fontFamily: 'system-ui, sans-serif', color: colour('ink') },
}

/** A plot, complete as a file. */
export interface Plot {
  readonly name: string
  /** What a reader sees in it, in a sentence. */
  readonly caption: string
  readonly svg: string
}

/** Draws one. */
export function drawPlot(name: string, caption: string, height: number, option: PlotOption): Plot {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: PLOT_WIDTH, height })
  // Nothing answers to a pointer, as there is no script.
  chart.setOption({
    ...COMMON,
    ...option,
    series: option.series.map((each) => ({ ...each, silent: true })),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  const label = caption.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return {
    name,
    caption,
    svg: svg
      // The axes hold what is drawn, and clips are named differently each time.
      .replaceAll(/<clipPath [^]*?<\/clipPath>\s*/g, '')
      // A legend's lines, which have no area.
      .replaceAll('fill="#000"', 'fill="none"')
      // What is left of a pointer, and of a script that could be told what was pointed at.
      .replace(/<style ><!\[CDATA\[[^\]]*\]\]>\s*<\/style>/, '')
      .replaceAll(/ (?:class|clip-path|pointer-events|ecmeta_\w+)="[^"]*"/g, '')
      .replace(/<svg ([^>]*)>/, `<svg $1 role="img"><title>${label}</title><style>${DARK}</style>`),
  }
}

export const PLOT_WIDTH = 1120

/** A plot of several panels: each has axes of its own under a title, and all have one legend. */
export interface Panel {
  readonly title: string
  readonly x: object
  readonly y: object
  readonly series: readonly PanelSeries[]
}

/** One with a name is in the legend. */
export interface PanelSeries {
  readonly name?: string
  readonly symbol: 'circle' | 'none'
  readonly [member: string]: unknown
}

const COLUMNS = 3
const PANEL_HEIGHT = 250
const LEGEND_HEIGHT = 40
const GAP = { left: 62, right: 18, top: 34, bottom: 56 }

/** How high the plot of so many panels is. */
export function heightOf(panels: readonly Panel[]): number {
  return LEGEND_HEIGHT + PANEL_HEIGHT * Math.ceil(panels.length / COLUMNS)
}

/** The option of ECharts for panels side by side. */
export function panelOption(panels: readonly Panel[]): PlotOption {
  const width = PLOT_WIDTH / COLUMNS
  const cornerOf = (at: number): { left: number; top: number } => ({
    left: (at % COLUMNS) * width,
    top: LEGEND_HEIGHT + Math.floor(at / COLUMNS) * PANEL_HEIGHT,
  })
  return {
    legend: { ...legend(), data: named(panels.flatMap(({ series }) => series)) },
    title: panels.map(({ title }, at) => ({
      text: title,
      left: cornerOf(at).left + GAP.left,
      top: cornerOf(at).top + 4,
      textStyle: { fontSize: 14, fontWeight: 600, color: colour('ink') },
      padding: 0,
      borderColor: colour('grid'),
    })),
    grid: panels.map((_, at) => ({
      left: cornerOf(at).left + GAP.left,
      top: cornerOf(at).top + GAP.top,
      width: width - GAP.left - GAP.right,
      height: PANEL_HEIGHT - GAP.top - GAP.bottom,
    })),
    xAxis: panels.map(({ x }, gridIndex) => ({ ...AXIS, nameGap: 28, ...x, gridIndex })),
    yAxis: panels.map(({ y }, gridIndex) => ({ ...AXIS, nameGap: 46, ...y, gridIndex })),
    series: panels.flatMap(({ series }, at) => series.map((each) => ({ ...each, xAxisIndex: at, yAxisIndex: at }))),
  }
}

/** Each name once; a line without points has none in the legend either. */
function named(series: readonly PanelSeries[]): object[] {
  const symbols = new Map(series.flatMap(({ name, symbol }) => (name === undefined ? [] : [[name, symbol]])))
  return [...symbols].map(([name, symbol]) => ({ name, ...(symbol === 'none' && { itemStyle: { opacity: 0 } }) }))
}

/** The names of what is drawn, above it. */
export function legend(): object {
  return {
    top: 6,
    left: GAP.left,
    itemGap: 22,
    selectedMode: false,
    borderColor: colour('grid'),
    textStyle: { color: colour('ink'), fontSize: 13 },
  }
}

/** What every axis has: its name, with the unit, along it. */
export const AXIS = {
  nameLocation: 'middle',
  nameTextStyle: { color: colour('faint'), fontSize: 12 },
  axisLabel: { color: colour('faint'), fontSize: 12, hideOverlap: true },
  axisLine: { show: true, lineStyle: { color: colour('faint') } },
  axisTick: { show: false },
  splitLine: { lineStyle: { color: colour('grid') } },
}
