/** Vocabularies, given or counted, and the two tokenizers that only look their tokens up: characters and words. */

import { knownOptions, type Names } from '../graph/options.js'
import { filesFor } from './files.js'
import { decodeText } from './text.js'
import { checkIds, type Tokenizer } from './tokenizer.js'

/** Counts the tokens of texts, or takes a list. */
export type VocabularyOptions = (
  | {
      /** The texts whose tokens are counted; the most frequent has the lowest id after padding and unknown, 0 and 1. */
      readonly texts: Iterable<string>
      /** What occurs less often is unknown; 1 by default. */
      readonly minimumCount?: number
      /** The most that the vocabulary may hold, padding and unknown included. */
      readonly maximumSize?: number
    }
  | {
      /** The tokens in the order of their ids. Where it lacks padding or unknown, they follow at its end. */
      readonly vocabulary: readonly string[]
    }
) & {
  /** What padding is called in the vocabulary; '[PAD]' by default. */
  readonly padding?: string
  /** What stands for unknown tokens in the vocabulary; '[UNK]' by default. */
  readonly unknown?: string
}

type Counted = Extract<VocabularyOptions, { readonly texts: Iterable<string> }>
const listedNames: Names<Exclude<VocabularyOptions, Counted>> = { vocabulary: true, padding: true, unknown: true }
const countedNames: Names<Counted> = {
  texts: true,
  minimumCount: true,
  maximumSize: true,
  padding: true,
  unknown: true,
}

/** A tokenizer with a list of its tokens. */
export interface Lookup extends Tokenizer {
  readonly unknown: number
  /** The tokens in the order of their ids. */
  readonly vocabulary: readonly string[]
}

/** One token a character, that is a code point, as it stands. */
export const characters = (options: VocabularyOptions): Lookup => lookup('characters', text => [...text], '', options)

/**
 * One token a word, in lower case: letters, digits and apostrophes between them. What stands between words is left out. For
 * languages that write spaces.
 */
export const words = (options: VocabularyOptions): Lookup =>
  lookup(
    'words',
    text => text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*/gu) ?? [],
    ' ',
    options,
  )

function lookup(
  name: string,
  split: (text: string) => string[],
  separator: string,
  options: VocabularyOptions,
): Lookup {
  const { padding = '[PAD]', unknown = '[UNK]' } = options ?? {}
  if (!options || !('vocabulary' in options || 'texts' in options))
    throw new Error(
      `${name}: needs texts, whose tokens are counted, or a vocabulary, the tokens in the order of their ids`,
    )
  knownOptions<VocabularyOptions>(name, options, 'vocabulary' in options ? listedNames : countedNames)
  const given = 'vocabulary' in options ? options.vocabulary : counted(name, split, [padding, unknown], options)
  const vocabulary = [...given, ...[padding, unknown].filter(token => !given.includes(token))]
  const ids = idsOf(name, vocabulary)
  // Both stand in the vocabulary now.
  const [paddingId, unknownId] = [padding, unknown].map(token => ids.get(token) ?? 0)
  return {
    vocabulary,
    size: vocabulary.length,
    padding: paddingId,
    unknown: unknownId,
    encode: (text, length = Infinity) =>
      split(text)
        .slice(0, length)
        .map(token => ids.get(token) ?? unknownId),
    decode(tokens) {
      checkIds(`${name}.decode`, tokens, vocabulary.length)
      return Array.from(tokens)
        .filter(id => id !== paddingId)
        .map(id => vocabulary[id])
        .join(separator)
    },
  }
}

/** The special tokens, then those of texts by falling count; of equal counts, by code unit. */
function counted(
  name: string,
  split: (text: string) => string[],
  special: readonly string[],
  options: Counted,
): string[] {
  const { texts, minimumCount = 1, maximumSize = Infinity } = options
  if (!(minimumCount >= 1)) throw new Error(`${name}: minimumCount ${minimumCount}: needs a number of at least 1`)
  if (!(maximumSize >= special.length))
    throw new Error(`${name}: maximumSize ${maximumSize}: needs at least ${special.length}, for padding and unknown`)
  const counts = new Map<string, number>()
  for (const text of texts) for (const token of split(text)) counts.set(token, (counts.get(token) ?? 0) + 1)
  const frequent = [...counts]
    .filter(([token, count]) => count >= minimumCount && !special.includes(token))
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([token]) => token)
  return [...special, ...frequent].slice(0, maximumSize)
}

/** @throws where a token stands twice */
export function idsOf(operation: string, vocabulary: readonly string[]): ReadonlyMap<string, number> {
  const ids = new Map<string, number>()
  vocabulary.forEach((token, id) => {
    const before = ids.get(token)
    if (before !== undefined)
      throw new Error(`${operation}: the vocabulary has '${token}' at ${before} and at ${id}: each token needs one id`)
    ids.set(token, id)
  })
  return ids
}

/**
 * The tokens of a file that has one a line, as it stands; the id of a token is its line, from 0.
 * @param name what errors call the data, usually its path
 */
export function parseVocabulary(content: string | Uint8Array, name = 'vocabulary'): string[] {
  const tokens = decodeText(`vocabulary: ${name}`, content)
    .split('\n')
    .map(token => token.replace(/\r$/, ''))
  if (tokens[tokens.length - 1] === '') tokens.pop()
  if (tokens.length === 0) throw new Error(`vocabulary: ${name}: line 1: expected a token, found an empty file`)
  return tokens
}

/** Reads a file that has one token a line. Node only. */
export async function readVocabulary(path: string): Promise<string[]> {
  const { read } = filesFor('readVocabulary', 'fetch the file and give its bytes to parseVocabulary')
  return parseVocabulary(await read(path), path)
}
