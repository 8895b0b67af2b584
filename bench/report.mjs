// What was measured as markdown tables and plots, and the CPU part of docs/performance.md made of them.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'

/** A markdown table; cells are text. */
export function table(header, rows) {
  const line = cells => `| ${cells.join(' | ')} |`
  return [line(header), line(header.map((_, i) => (i ? '---:' : '---'))), ...rows.map(line)].join('\n')
}

/** Milliseconds to three digits. */
export const milliseconds = ms => (ms === undefined ? '' : ms >= 100 ? ms.toFixed(0) : ms.toPrecision(3))

/** The threads that something was measured with, in words. */
export const threadsOf = n => `${n} thread${n > 1 ? 's' : ''}`

function rate({ section, flops, bytes, ours }) {
  if (section !== 'micro' || ours === undefined) return ''
  if (flops) return `${(flops / ours / 1e6).toFixed(1)} GFLOP/s`
  return bytes ? `${(bytes / ours / 1e6).toFixed(1)} GB/s` : ''
}

/** A peer's cell: its time and the ratio ours / theirs, or why it has none. */
export function peerCell(result) {
  if (!result || result.cannot) return '-'
  return result.wrong ?? `${milliseconds(result.theirs)} (${result.ratio.toFixed(2)})`
}

export function itemTable({ items }, section, threads) {
  const rows = items.filter(row => row.section === section && row.threads === threads)
  const names = [...new Set(rows.flatMap(row => Object.keys(row.peers)))].filter(name =>
    rows.some(row => row.peers[name] && !row.peers[name].cannot),
  )
  const rates = section === 'micro'
  return table(
    [`ms, ${threadsOf(threads)}`, 'saddlepoint', ...(rates ? ['rate'] : []), 'of ceiling', ...names],
    rows.map(row => {
      const share = row.share === undefined ? '' : `${(100 * row.share).toFixed(0)} %`
      return [
        row.name,
        row.wrong ?? milliseconds(row.ours),
        ...(rates ? [rate(row)] : []),
        share,
        ...names.map(name => peerCell(row.peers[name])),
      ]
    }),
  )
}

export const startupTable = ({ startup }) =>
  table(
    ['ms, fresh process, 1 thread', 'import alone', 'library and device', 'first CNN step'],
    startup.map(({ name, imported, opened, first }) => [
      name,
      ...[imported, opened, first].map(ms => milliseconds(ms) || '-'),
    ]),
  )

export const growthTable = ({ growth }) =>
  table(
    ['grows', 'of', 'sizes', 'ms', 'slope of time', 'of operations', 'of bytes'],
    growth.map(({ family, what, points, slopes }) => [
      family,
      what,
      points.map(p => p.size).join(', '),
      points.map(p => milliseconds(p.ms)).join(', '),
      ...['ms', 'flops', 'bytes'].map(y => slopes[y].toFixed(2)),
    ]),
  )

const axis = {
  labelColor: '#808080',
  titleColor: '#808080',
  domainColor: '#808080',
  tickColor: '#808080',
  gridColor: '#808080',
  gridOpacity: 0.2,
  titleFontWeight: 'normal',
}

async function svg(spec) {
  const [{ parse, View }, { compile }] = await Promise.all([import('vega'), import('vega-lite')])
  const config = {
    font: "'DejaVu Sans', Verdana, sans-serif",
    view: { stroke: null },
    axis,
    legend: axis,
    header: axis,
  }
  const whole = {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    background: 'transparent',
    config,
    ...spec,
  }
  return new View(parse(compile(whole).spec), { renderer: 'none' }).toSVG()
}

/** Time against size, each family relative to its smallest; dashed, the operations that it takes. */
function growthPlot({ growth }) {
  const values = growth.flatMap(({ family, points }) =>
    points.flatMap(p => [
      { family, size: p.size / points[0].size, times: p.ms / points[0].ms, of: 'time' },
      { family, size: p.size / points[0].size, times: p.flops / points[0].flops, of: 'operations' },
    ]),
  )
  return svg({
    data: { values },
    columns: 4,
    facet: { field: 'family', type: 'nominal', title: null, sort: growth.map(g => g.family) },
    resolve: { scale: { x: 'independent', y: 'independent' } },
    spec: {
      width: 150,
      height: 130,
      mark: { type: 'line', point: true },
      encoding: {
        x: { field: 'size', type: 'quantitative', scale: { type: 'log', nice: false }, title: 'size / smallest' },
        y: { field: 'times', type: 'quantitative', scale: { type: 'log' }, title: 'times' },
        strokeDash: { field: 'of', type: 'nominal', title: null, legend: { orient: 'top' } },
        color: { field: 'of', type: 'nominal', title: null, scale: { range: ['#2f7ed8', '#c77400'] }, sort: ['time'] },
      },
    },
  })
}

/** The steps of every side, on the most threads measured. */
function stepsPlot({ items, threads }) {
  const most = Math.max(...threads)
  const values = items
    .filter(row => row.section === 'steps' && row.threads === most)
    .flatMap(({ name, ours, peers }) => [
      ...(ours ? [{ name, side: 'saddlepoint', ms: ours }] : []),
      ...Object.entries(peers).flatMap(([side, { theirs }]) => (theirs ? [{ name, side, ms: theirs }] : [])),
    ])
  const order = [...new Set(values.map(v => v.name))]
  return svg({
    data: { values },
    width: 560,
    height: { step: 12 },
    mark: 'bar',
    encoding: {
      y: { field: 'name', type: 'nominal', title: null, sort: order, axis: { labelLimit: 200 } },
      yOffset: { field: 'side', sort: [...new Set(values.map(v => v.side))] },
      x: { field: 'ms', type: 'quantitative', title: `ms a step, ${most} threads`, scale: { type: 'symlog' } },
      color: { field: 'side', type: 'nominal', title: null, scale: { scheme: 'tableau10' }, legend: { orient: 'top' } },
    },
  })
}

const marks = ['<!-- begin cpu -->', '<!-- end cpu -->']

/** The text with what stands between the marks replaced. */
export function between(text, content) {
  const [from, to] = marks.map(mark => text.indexOf(mark))
  if (from < 0 || to < from) throw new Error(`docs/performance.md: lacks ${marks.join(' ... ')}`)
  return `${text.slice(0, from + marks[0].length)}\n\n${content}\n\n${text.slice(to)}`
}

/** The CPU part of docs/performance.md. */
export function cpuPart(report) {
  const { cpu, cores, node, date, ceilings, threads, about, startup, growth, quick } = report
  const has = section => report.items.some(row => row.section === section)
  const measured = (section, n) => report.items.some(row => row.section === section && row.threads === n)
  const tables = section => threads.filter(n => measured(section, n)).map(n => itemTable(report, section, n))
  const wrong = report.items.flatMap(({ name, threads: n, peers, wrong }) =>
    Object.entries({ saddlepoint: { wrong }, ...peers }).flatMap(([peer, { wrong }]) =>
      wrong ? [`- ${peer}, ${name}, ${threadsOf(n)}: ${wrong}`] : [],
    ),
  )
  const ceilingOf = ({ threads: n, flopsPerSecond, bytesPerSecond }) =>
    `${threadsOf(n)} ${(flopsPerSecond / 1e9).toFixed(1)} GFLOP/s and ${(bytesPerSecond / 1e9).toFixed(1)} GB/s`
  return [
    `${cpu}, ${cores} cores, Node ${node}, ${date}${quick ? ', quickly' : ''}. Ceilings of WebAssembly, ${
      ceilings[0].relaxed ? 'fused multiply-adds' : 'multiply + add'
    } and copying: ${ceilings.map(ceilingOf).join('; ')}.`,
    Object.entries(about)
      .map(([name, text]) => `${name}: ${text}`)
      .join('; ') + '.',
    'In brackets the ratio ours / theirs: below 1 saddlepoint is faster.',
    ...(has('steps') ? ['### Training steps', '![Milliseconds a step](plots/steps.svg)', ...tables('steps')] : []),
    ...(wrong.length ? ['Answers that differ are not timed:', wrong.join('\n')] : []),
    ...(has('micro') ? ['### Single operations', ...tables('micro')] : []),
    ...(startup.length ? ['### Starting', startupTable(report)] : []),
    ...(growth.length
      ? [
          '### Growth',
          'Slopes are powers, fitted through the logarithms: 1 is linear. Time below the operations has fixed costs in it.',
          '![Growth](plots/growth.svg)',
          growthTable(report),
        ]
      : []),
  ].join('\n\n')
}

export async function writeDocs(report) {
  const docs = new URL('../docs/', import.meta.url)
  const page = new URL('performance.md', docs)
  mkdirSync(new URL('plots/', docs), { recursive: true })
  if (report.growth.length) writeFileSync(new URL('plots/growth.svg', docs), await growthPlot(report))
  if (report.items.some(row => row.section === 'steps'))
    writeFileSync(new URL('plots/steps.svg', docs), await stepsPlot(report))
  writeFileSync(page, between(readFileSync(page, 'utf8'), cpuPart(report)))
}
