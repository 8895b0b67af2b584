/**
 * Parts of docs that are generated: the text between `<!-- begin NAME -->` and `<!-- end NAME -->`. `npm run docs` writes
 * them, every other run compares.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'

const root = new URL('../../', import.meta.url)

/** Whether this run writes documents instead of checking them. */
export const updating = process.env.UPDATE_DOCS === '1'

/** The generated part of a document. */
export function readPart(path: string, name: string): string {
  return parts(path, name)[1]
}

/** Writes a part. */
export function writePart(path: string, name: string, text: string): void {
  const [before, , after] = parts(path, name)
  writeFileSync(new URL(path, root), before + block(text) + after)
}

/** Writes a part, or demands that it reads as given. */
export function expectPart(path: string, name: string, text: string): void {
  if (updating) writePart(path, name, text)
  else expect(readPart(path, name), `${path} is out of date; npm run docs writes it anew`).toBe(block(text))
}
const block = (text: string): string => `\n${text.trim()}\n`

function parts(path: string, name: string): [string, string, string] {
  const text = readFileSync(new URL(path, root), 'utf8')
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`]
  const from = text.indexOf(begin) + begin.length
  const to = text.indexOf(end)
  if (from < begin.length || to < from) throw new Error(`${path} has no part '${name}'`)
  return [text.slice(0, from), text.slice(from, to), text.slice(to)]
}
