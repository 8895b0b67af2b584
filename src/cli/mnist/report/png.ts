/** SVG text to PNG bytes, with fonts of its own, so that text shows on a machine that has none. */

import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { initWasm, Resvg } from '@resvg/resvg-wasm'

const { resolve } = createRequire(import.meta.url)

async function load(): Promise<Uint8Array[]> {
  const files = ['DejaVuSans', 'DejaVuSans-Bold'].map(font => resolve(`dejavu-fonts-ttf/ttf/${font}.ttf`))
  const [wasm, ...fonts] = await Promise.all(
    [resolve('@resvg/resvg-wasm/index_bg.wasm'), ...files].map(f => readFile(f)),
  )
  await initWasm(wasm)
  return fonts
}

/** The module refuses to be initialised twice. */
let loaded: Promise<Uint8Array[]> | undefined

/**
 * The PNG of an SVG on white paper.
 * @param width in pixels; the height follows
 * @throws Error when the SVG cannot be parsed
 */
export async function svgToPng(svg: string, width: number): Promise<Uint8Array> {
  if (!Number.isInteger(width) || width < 1) throw new Error(`svgToPng: width ${width}: needs a positive integer`)
  loaded ??= load()
  const font = { fontBuffers: await loaded }
  try {
    return new Resvg(svg, { font, background: 'white', fitTo: { mode: 'width', value: width } }).render().asPng()
  } catch (cause) {
    throw new Error(`svgToPng: not an SVG that can be drawn: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    })
  }
}
