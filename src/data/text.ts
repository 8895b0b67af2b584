/** Labelled texts in memory, and what the readers of text files share. Formats are others' concern; so are tokens. */

import type { Names } from '../graph/options.js'

/** Texts, and for each the index of its class, int32 [texts.length]. */
export interface TextSet {
  readonly texts: readonly string[]
  readonly labels: Int32Array
  readonly classes: readonly string[]
}

export interface TextOptions {
  /**
   * The names of the classes in the order of their labels, as a training set had them; a label that is none of them is an
   * error. By default those that occur, sorted; as numbers where all of them are.
   */
  readonly classes?: readonly string[]
  /** How bytes are to be read: a name that `TextDecoder` knows, such as 'gb18030'. 'utf-8' by default. */
  readonly encoding?: string
}
export const textNames: Names<TextOptions> = { classes: true, encoding: true }

export interface LabelledText {
  readonly text: string
  readonly label: string
  /** Where it stands in the file, from 1. */
  readonly line: number
}

/**
 * The set of these texts.
 * @param what what errors call the file, such as "trec: FILE"
 * @throws Error where a label is none of `classes`, and where there are no texts
 */
export function textSet(what: string, rows: readonly LabelledText[], classes?: readonly string[]): TextSet {
  if (rows.length === 0) throw new Error(`${what}: expected at least one text, found none`)
  const names = classes ?? sortedLabels(new Set(rows.map(row => row.label)))
  const ids = new Map(names.map((name, id) => [name, id]))
  if (ids.size < names.length) throw new Error(`${what}: a name stands twice in classes: ${names.join(', ')}`)
  const numbered = rows.map(({ text, label, line }) => {
    const id = ids.get(label)
    if (id !== undefined) return { text, label: id }
    const some = names.length > 8 ? [...names.slice(0, 8), '...'] : names
    throw new Error(
      `${what}: line ${line}: expected one of the ${names.length} classes ${some.join(', ')}, found '${label}'`,
    )
  })
  return numberedTexts(numbered, names)
}

/** The set of texts whose labels are known as numbers. */
export const numberedTexts = (
  rows: readonly { readonly text: string; readonly label: number }[],
  classes: readonly string[],
): TextSet => ({
  texts: rows.map(row => row.text),
  labels: Int32Array.from(rows, row => row.label),
  classes,
})

function sortedLabels(labels: Iterable<string>): string[] {
  const names = [...labels]
  const numeric = names.every(name => /^-?\d+$/.test(name))
  return numeric ? names.sort((a, b) => Number(a) - Number(b)) : names.sort()
}

/**
 * The text of a file, without its byte order mark.
 * @throws Error naming the line where the bytes are not in the encoding, and for an encoding that is not known
 */
export function decodeText(what: string, content: string | Uint8Array, encoding = 'utf-8'): string {
  if (typeof content === 'string') return content.replace(/^\ufeff/, '')
  const decode = (fatal: boolean): string => {
    try {
      return new TextDecoder(encoding, { fatal }).decode(content)
    } catch (cause) {
      if (cause instanceof RangeError)
        throw new Error(`${what}: the encoding '${encoding}' is not known: give a name that TextDecoder knows`, {
          cause,
        })
      const [before] = decode(false).split('\ufffd', 1)
      const line = before.split('\n').length
      throw new Error(`${what}: line ${line}: expected ${encoding}, found other bytes: pass its encoding`, { cause })
    }
  }
  return decode(true)
}

/** The lines of a file that are not blank, with their numbers from 1; they may end with CR LF. */
export function linesOf(text: string): { text: string; line: number }[] {
  return text
    .split('\n')
    .map((line, i) => ({ text: line.replace(/\r$/, ''), line: i + 1 }))
    .filter(({ text }) => text.trim() !== '')
}
