/** Writes the report of the main job into a folder: one page and its two figures as PNG. */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeWhole } from '../../../data/atomic.js'
import { curvesSvg, figureSvg } from './figure.js'
import { reportHtml } from './html.js'
import { svgToPng } from './png.js'
import type { CurvePoint, Run, Sample } from './types.js'

export { caveats, explanation, resultColumns, resultRows, settings } from './results.js'
export type { CurvePoint, ModelResult, Run, Sample } from './types.js'

/**
 * Writes report.html, figure.png and curves.png into `folder`, which is made where it is missing. Each appears whole or not
 * at all.
 * @returns their paths, in that order
 * @throws Error when a sample has the wrong size or the folder cannot be written
 */
export async function writeReport(
  folder: string,
  run: Run,
  curves: readonly CurvePoint[],
  samples: readonly Sample[],
): Promise<string[]> {
  const figure = figureSvg(samples)
  const lines = await curvesSvg(curves)
  const files: readonly (readonly [string, string | Uint8Array])[] = [
    ['report.html', reportHtml(run, lines, figure)],
    ['figure.png', await svgToPng(figure, 1760)],
    ['curves.png', await svgToPng(lines, 1760)],
  ]
  try {
    await mkdir(folder, { recursive: true })
    for (const [name, content] of files) await writeWhole(join(folder, name), content)
  } catch (cause) {
    throw new Error(`writeReport: cannot write into ${folder}: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    })
  }
  return files.map(([name]) => join(folder, name))
}
