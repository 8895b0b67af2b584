/** What a tokenizer is, and texts as arrays of token ids of one length. How a text is split is others' concern. */

import type { HostArray } from '../graph/dtype.js'
import { knownOptions } from '../graph/options.js'

export interface Tokenizer {
  /** The size of the vocabulary: ids are 0 to size - 1. */
  readonly size: number
  /** The id that fills rows up. */
  readonly padding: number
  /** The ids of a text, at most `length` of them: what is cut off is its end. */
  encode(text: string, length?: number): number[]
  /** The text of ids, as far as they tell. */
  decode(ids: ArrayLike<number>): string
}

/** A tokenizer that joins two texts, such as a question and an answer, to one row. */
export interface PairTokenizer extends Tokenizer {
  /** The ids of both texts, at most `length` of them (the longer text is cut), and for each id a 0 for the first text or 1. */
  encodePair(first: string, second: string, length?: number): { readonly ids: number[]; readonly types: number[] }
}

/** Rows of tokens: `ids` int32 [n, length], and `mask` float32 [n, length] with 1 for a token and 0 for padding. */
export interface Padded {
  readonly ids: HostArray
  readonly mask: HostArray
}

/** With `types` int32 [n, length]: 1 for the tokens of the second text, and 0. */
export interface PaddedPairs extends Padded {
  readonly types: HostArray
}

/**
 * Texts as columns of a data set: `dataset({ ...padded(texts, tokenizer, { length }), label })`.
 * @param options.length the length of every row: longer texts are cut, shorter ones filled up
 * @throws Error where the length is no positive integer
 */
export function padded(
  texts: readonly string[],
  tokenizer: Tokenizer,
  options: { readonly length: number },
): Padded & Record<string, HostArray> {
  const length = lengthOf('padded', options)
  const rows = texts.map(text => tokenizer.encode(text, length))
  return { ids: idColumn(rows, length, tokenizer.padding), mask: maskColumn(rows, length) }
}

/**
 * Pairs of texts as columns of a data set.
 * @param options.length the length of every row: of longer pairs the longer text is cut, shorter ones are filled up
 * @throws Error where the length is no positive integer
 */
export function paddedPairs(
  pairs: readonly (readonly [first: string, second: string])[],
  tokenizer: PairTokenizer,
  options: { readonly length: number },
): PaddedPairs & Record<string, HostArray> {
  const length = lengthOf('paddedPairs', options)
  const rows = pairs.map(([first, second]) => tokenizer.encodePair(first, second, length))
  const ids = rows.map(row => row.ids)
  return {
    ids: idColumn(ids, length, tokenizer.padding),
    mask: maskColumn(ids, length),
    types: idColumn(
      rows.map(row => row.types),
      length,
      0,
    ),
  }
}

function lengthOf(operation: string, options: { readonly length: number }): number {
  const { length } = knownOptions(operation, options, { length: true })
  if (!Number.isInteger(length) || length < 1)
    throw new Error(`${operation}: length ${length}: needs a positive integer, the number of tokens of a row`)
  return length
}

function idColumn(rows: readonly number[][], length: number, filler: number): HostArray {
  const data = new Int32Array(rows.length * length).fill(filler)
  rows.forEach((row, i) => data.set(row, i * length))
  return { dtype: 'int32', shape: [rows.length, length], data }
}

function maskColumn(rows: readonly number[][], length: number): HostArray {
  const data = new Float32Array(rows.length * length)
  rows.forEach((row, i) => data.fill(1, i * length, i * length + row.length))
  return { dtype: 'float32', shape: [rows.length, length], data }
}

/** @throws unless each id is one of the vocabulary's */
export function checkIds(operation: string, ids: ArrayLike<number>, size: number): void {
  for (let i = 0; i < ids.length; i++)
    if (!(Number.isInteger(ids[i]) && ids[i] >= 0 && ids[i] < size))
      throw new Error(`${operation}: id ${ids[i]} at ${i}: needs an integer from 0 to ${size - 1}`)
}
