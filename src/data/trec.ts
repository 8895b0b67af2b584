/**
 * TREC's question classification: English questions, of 6 coarse and 50 fine classes.
 * Layout: `COARSE:fine question` a line, latin-1. https://cogcomp.seas.upenn.edu/Data/QA/QC
 */

import { knownOptions, type Names } from '../graph/options.js'
import { filesFor } from './files.js'
import { decodeText, linesOf, type TextOptions, type TextSet, textNames, textSet } from './text.js'

export interface TrecOptions extends TextOptions {
  /** 'coarse' by default. A fine class is called 'COARSE:fine'; the test set has not all of them, so pass it the training set's. */
  readonly labels?: 'coarse' | 'fine'
}
const trecNames: Names<TrecOptions> = { ...textNames, labels: true }

export const trecClasses: readonly string[] = ['ABBR', 'DESC', 'ENTY', 'HUM', 'LOC', 'NUM']

/**
 * Parses a file of questions; blank lines are passed over.
 * @param name what errors call the data, usually its path
 * @throws Error naming the line, what was expected there and what was found
 */
export function parseTrec(content: string | Uint8Array, options: TrecOptions = {}, name = 'TREC data'): TextSet {
  const { labels = 'coarse', encoding = 'latin1' } = knownOptions('parseTrec', options, trecNames)
  const { classes = labels === 'coarse' ? trecClasses : undefined } = options
  const what = `trec: ${name}`
  const rows = linesOf(decodeText(what, content, encoding)).map(({ text, line }) => {
    const [, coarse, fine, question] = /^([^\s:]+):(\S+) (.*)$/.exec(text) ?? []
    if (coarse !== undefined) return { text: question, label: labels === 'coarse' ? coarse : `${coarse}:${fine}`, line }
    const found = text.length > 40 ? `${text.slice(0, 40)}...` : text
    throw new Error(`${what}: line ${line}: expected 'COARSE:fine question', found '${found}'`)
  })
  return textSet(what, rows, classes)
}

/** Reads a file of questions. Node only. */
export async function readTrec(path: string, options: TrecOptions = {}): Promise<TextSet> {
  knownOptions('readTrec', options, trecNames)
  const { read } = filesFor('readTrec', 'fetch the file and give its bytes to parseTrec')
  return parseTrec(await read(path), options, path)
}
