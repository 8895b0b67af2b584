/**
 * The classification tasks of CLUE, TNEWS and IFLYTEK: Chinese texts, as JSON lines (`sentence`, `label` and the name of the
 * label) or as TSV (`sentence<TAB>label`). https://github.com/CLUEbenchmark/CLUE
 */

import { knownOptions } from '../graph/options.js'
import { filesFor } from './files.js'
import { parseJsonLines } from './json-lines.js'
import { parseTable } from './table.js'
import { decodeText, type TextOptions, type TextSet, textNames } from './text.js'

/** The classes of TNEWS in the order of CLUE's numbers, 100 to 116. */
export const tnewsClasses: readonly string[] = [
  ...['story', 'culture', 'entertainment', 'sports', 'finance', 'house', 'car', 'edu'],
  ...['tech', 'military', 'travel', 'world', 'stock', 'agriculture', 'game'],
].map(name => `news_${name}`)

/**
 * Parses a file of TNEWS or IFLYTEK, of which it is JSON lines if it begins with a brace, and TSV otherwise, with the header
 * or without. A class is called by its name where the file has names: `label_desc` or `label_des`, else `label`.
 * @param name what errors call the data, usually its path
 * @throws Error naming the line, what was expected there and what was found; CLUE's files for testing have no labels
 */
export async function parseClue(
  content: string | Uint8Array,
  options: TextOptions = {},
  name = 'CLUE data',
): Promise<TextSet> {
  const { classes, encoding } = knownOptions('parseClue', options, textNames)
  const text = decodeText(`clue: ${name}`, content, encoding)
  if (/^\s*\{/.test(text)) return parseJsonLines(text, { label: ['label_desc', 'label_des', 'label'], classes }, name)
  const names = ['sentence', 'label']
  const columns = /^sentence\tlabel\r?\n/.test(text) ? undefined : names
  return parseTable(text, { text: names[0], label: names[1], separator: '\t', columns, classes }, name)
}

/** Reads a file of TNEWS or IFLYTEK. Node only. */
export async function readClue(path: string, options: TextOptions = {}): Promise<TextSet> {
  knownOptions('readClue', options, textNames)
  const { read } = filesFor('readClue', 'fetch the file and give its bytes to parseClue')
  return parseClue(await read(path), options, path)
}
