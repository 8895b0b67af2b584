/** Labelled texts from JSON lines: one object a line, with a field for the text and one for its label. */

import { knownOptions, type Names } from '../graph/options.js'
import { filesFor } from './files.js'
import { decodeText, linesOf, type TextOptions, type TextSet, textNames, textSet } from './text.js'

export interface JsonLinesOptions extends TextOptions {
  /** The field that holds the text; 'sentence' by default. */
  readonly text?: string
  /** The field that holds the label, a string or a number, or several of which the first that a line has counts; 'label' by default. */
  readonly label?: string | readonly string[]
}
const lineNames: Names<JsonLinesOptions> = { ...textNames, text: true, label: true }

/**
 * Parses JSON lines; blank ones are passed over.
 * @param name what errors call the data, usually its path
 * @throws Error naming the line, what was expected there and what was found
 */
export function parseJsonLines(
  content: string | Uint8Array,
  options: JsonLinesOptions = {},
  name = 'JSON lines',
): TextSet {
  const { text = 'sentence', label = 'label', classes, encoding } = knownOptions('parseJsonLines', options, lineNames)
  const what = `jsonLines: ${name}`
  const rows = linesOf(decodeText(what, content, encoding)).map(({ text: json, line }) => {
    const fail = (expected: string, found: string): never => {
      throw new Error(`${what}: line ${line}: expected ${expected}, found ${found}`)
    }
    const record = objectOf(json) ?? fail('a JSON object', json.length > 40 ? `${json.slice(0, 40)}...` : json)
    const value = record[text]
    const key = [label].flat().find(field => Object.hasOwn(record, field))
    const fields = `the fields ${Object.keys(record).join(', ')}`
    if (!Object.hasOwn(record, text)) return fail(`a field '${text}'`, fields)
    if (typeof value !== 'string') return fail(`a string in '${text}'`, JSON.stringify(value))
    if (key === undefined) return fail(`a field '${[label].flat().join("' or '")}'`, fields)
    const found = record[key]
    if (typeof found !== 'string' && typeof found !== 'number')
      return fail(`a string or a number in '${key}'`, JSON.stringify(found))
    return { text: value, label: String(found), line }
  })
  return textSet(what, rows, classes)
}

/** Reads a file of JSON lines. Node only. */
export async function readJsonLines(path: string, options: JsonLinesOptions = {}): Promise<TextSet> {
  knownOptions('readJsonLines', options, lineNames)
  const { read } = filesFor('readJsonLines', 'fetch the file and give its bytes to parseJsonLines')
  return parseJsonLines(await read(path), options, path)
}

function objectOf(json: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}
