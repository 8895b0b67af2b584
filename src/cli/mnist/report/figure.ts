/**
 * The two figures of the report as SVG text: the perturbed digits of the tutorial, and the training curves.
 * Text and lines take `currentColor`, so that the page decides on light or dark; pixels of a PNG are png.ts's concern.
 */

import { PNG } from 'pngjs'
import { parse, View } from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import type { CurvePoint, Sample } from './types.js'

const fonts = "'DejaVu Sans', Verdana, sans-serif"
const side = 28
const columns = 4
const cell = { width: 220, height: 224, image: 168, title: 30 }

/**
 * Digits in 4 columns, each titled `true: 5 / base: 3 ✗ / adv: 5`; a wrong prediction is red, bold and has a cross.
 * @throws Error when a sample has not 28 x 28 pixels
 */
export function figureSvg(samples: readonly Sample[]): string {
  const width = columns * cell.width
  const height = Math.max(1, Math.ceil(samples.length / columns)) * cell.height
  const body = samples.length > 0 ? samples.map(panel) : [label(width / 2, cell.height / 2, 'no samples')]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`,
    ` role="img" aria-label="Perturbed digits with their true label and the predictions of both models"`,
    ` font-family="${fonts}" font-size="12" fill="currentColor">`,
    ...body,
    '</svg>',
  ].join('\n')
}

function panel(sample: Sample, i: number): string {
  const left = (i % columns) * cell.width + (cell.width - cell.image) / 2
  const top = Math.floor(i / columns) * cell.height + cell.title
  const box = `x="${left}" y="${top}" width="${cell.image}" height="${cell.image}"`
  const prediction = (name: string, value: number) =>
    value === sample.label
      ? `${name}: ${value}`
      : `<tspan class="wrong" fill="#c62828" font-weight="bold">${name}: ${value} ✗</tspan>`
  const title = [`true: ${sample.label}`, prediction('base', sample.base), prediction('adv', sample.adversarial)]
  return [
    `<image ${box} image-rendering="optimizeSpeed" href="${pngUri(sample.pixels, i)}"/>`,
    `<rect ${box} fill="none" stroke="currentColor" stroke-opacity="0.35"/>`,
    label(left + cell.image / 2, top - 10, title.join(' / ')),
  ].join('\n')
}

const label = (x: number, y: number, markup: string): string =>
  `<text x="${x}" y="${y}" text-anchor="middle" xml:space="preserve">${markup}</text>`

/** Grey pixels, clipped to 0..1 (bytes store NaN as 0, black), as a PNG data URI. */
function pngUri(pixels: Float32Array, i: number): string {
  if (pixels.length !== side * side) {
    throw new Error(`figureSvg: sample ${i} has ${pixels.length} pixels: needs ${side} x ${side} = ${side * side}`)
  }
  const png = new PNG({ width: side, height: side })
  pixels.forEach((value, k) => {
    const grey = Math.round(255 * Math.min(1, Math.max(0, value)))
    png.data.set([grey, grey, grey, 255], 4 * k)
  })
  return `data:image/png;base64,${PNG.sync.write(png, { colorType: 0 }).toString('base64')}`
}

/** At most this many points a model: more cannot be told apart, and would swell the page. */
const maxPoints = 250
type Spec = Extract<TopLevelSpec, { hconcat: unknown }>
const style: Readonly<Record<string, { color: string; dash: number[] }>> = {
  base: { color: '#c77400', dash: [6, 3] },
  adversarial: { color: '#2f7ed8', dash: [1, 0] },
}

/** Training loss and accuracy against the step, a line for each model, told apart by colour and by dashes. */
export async function curvesSvg(points: readonly CurvePoint[]): Promise<string> {
  const models = [...new Set(points.map(point => point.model))]
  // Base is drawn last: its dashes stay visible on a solid line that they coincide with.
  const values = models.toReversed().flatMap(model => thinned(points.filter(point => point.model === model)))
  const sparse = values.length <= 40 * models.length
  const chart = (field: 'loss' | 'accuracy', note: string[], domainMax?: number): Spec['hconcat'][number] => ({
    width: 370,
    height: 230,
    mark: { type: 'line', strokeWidth: 2, point: sparse ? { size: 28, filled: true } : false },
    encoding: {
      x: {
        field: 'step',
        type: 'quantitative',
        title: 'training step',
        axis: { tickCount: 6, format: ',d', tickMinStep: 1 },
      },
      y: {
        field,
        type: 'quantitative',
        title: `training ${field}`,
        scale: { zero: field === 'loss', domainMax },
        axis: { title: [`training ${field}`, ...note], tickCount: 6, format: field === 'accuracy' ? '.0%' : undefined },
      },
      color: {
        field: 'model',
        type: 'nominal',
        title: null,
        scale: { domain: models, range: models.map(model => style[model]?.color ?? '#7a7a7a') },
      },
      strokeDash: {
        field: 'model',
        type: 'nominal',
        title: null,
        scale: { domain: models, range: models.map(model => style[model]?.dash ?? [2, 2]) },
      },
    },
  })
  const spec: Spec = {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    data: { values },
    background: 'transparent',
    padding: 6,
    spacing: 36,
    hconcat: [chart('loss', ['(adversarial: with the added term)']), chart('accuracy', [], 1)],
    config: {
      font: fonts,
      view: { stroke: null },
      axis: {
        labelColor: 'currentColor',
        titleColor: 'currentColor',
        domainColor: 'currentColor',
        tickColor: 'currentColor',
        gridColor: 'currentColor',
        gridOpacity: 0.15,
        domainOpacity: 0.5,
        tickOpacity: 0.5,
        labelFontSize: 12,
        titleFontSize: 13,
        titleFontWeight: 'normal',
        titlePadding: 10,
        labelFlush: false,
      },
      legend: {
        orient: 'top',
        labelColor: 'currentColor',
        labelFontSize: 13,
        symbolType: 'stroke',
        symbolSize: 600,
        symbolStrokeWidth: 2.5,
        columnPadding: 24,
        offset: 8,
      },
    },
  }
  return new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG()
}

/** Means of consecutive groups, each at its last step. */
function thinned(points: readonly CurvePoint[]): CurvePoint[] {
  const size = Math.ceil(points.length / maxPoints)
  const groups = Array.from({ length: Math.ceil(points.length / size) || 0 }, (_, k) =>
    points.slice(k * size, (k + 1) * size),
  )
  return groups.map(group => {
    const mean = (of: (point: CurvePoint) => number) => group.reduce((sum, point) => sum + of(point), 0) / group.length
    return { ...group[group.length - 1], loss: mean(point => point.loss), accuracy: mean(point => point.accuracy) }
  })
}
