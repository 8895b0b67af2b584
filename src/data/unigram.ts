/**
 * SentencePiece's unigram model with given scores: of all ways to split a text into pieces, the one with the greatest sum.
 * The rules at the edges are those of the Universal Sentence Encoder Lite, whose own code differs from SentencePiece's.
 */

import { knownOptions } from '../graph/options.js'
import { checkIds, type Tokenizer } from './tokenizer.js'

/** A piece and its score, a logarithm of its probability; null counts as 0. */
export type ScoredPiece = readonly [piece: string, score: number | null]

export interface UnigramOptions {
  /** The number of pieces at the beginning that never match, such as '<s>'; 6 by default, as that encoder has. */
  readonly reserved?: number
}

const space = '▁'

/**
 * A tokenizer by scored pieces. Text is brought to Unicode's form NFKC; a space becomes '▁', and one stands before the text.
 * What no piece begins with is unknown: id 0 with score 0, and a run of it is one token. Nothing marks the ends. Padding is
 * id 0 too: the mask tells them apart.
 * @param pieces in the order of their ids; of equal ones, the last counts
 * @throws Error where there is no piece, and where one is not a text with a score
 */
export function unigram(pieces: readonly ScoredPiece[], options: UnigramOptions = {}): Tokenizer {
  const { reserved = 6 } = knownOptions('unigram', options, { reserved: true })
  if (!Number.isInteger(reserved) || reserved < 1 || reserved > pieces.length)
    throw new Error(
      `unigram: reserved ${reserved} of ${pieces.length} pieces: needs an integer from 1, the unknown piece`,
    )
  const known = new Map<string, { id: number; score: number }>()
  let longest = 0
  pieces.forEach(([piece, score], id) => {
    if (typeof piece !== 'string' || piece === '' || !(score === null || Number.isFinite(score)))
      throw new Error(`unigram: piece ${id}: expected [text, score], found ${JSON.stringify([piece, score])}`)
    if (id < reserved) return
    known.set(piece, { id, score: score ?? 0 })
    longest = Math.max(longest, [...piece].length)
  })

  /** The ids of the best split, last to first. */
  const backwards = (symbols: readonly string[]): number[] => {
    // The best that ends at each position: the sum so far, its last piece, and where that begins.
    const best = Array.from({ length: symbols.length + 1 }, (_, end) => ({
      sum: end === 0 ? 0 : -Infinity,
      id: 0,
      from: 0,
    }))
    const offer = (from: number, end: number, id: number, score: number) => {
      const sum = best[from].sum + score
      // A sum of 0 counts as none, as in the encoder's code; its null scores do make such sums.
      if (best[end].sum === 0 || sum >= best[end].sum) best[end] = { sum, id, from }
    }
    for (let from = 0; from < symbols.length; from++) {
      // Inside longer pieces only.
      if (best[from].sum === -Infinity) continue
      let piece = ''
      let matches = 0
      for (let end = from + 1; end <= Math.min(symbols.length, from + longest); end++) {
        piece += symbols[end - 1]
        const found = known.get(piece)
        if (!found) continue
        offer(from, end, found.id, found.score)
        matches++
      }
      if (matches === 0) offer(from, from + 1, 0, 0)
    }
    const ids: number[] = []
    for (let end = symbols.length; end > 0; end = best[end].from) ids.push(best[end].id)
    return ids
  }

  return {
    size: pieces.length,
    padding: 0,
    encode(text, length = Infinity) {
      const normal = text.normalize('NFKC')
      if (normal === '') return []
      const ids = backwards([...(space + normal.replaceAll(' ', space))]).reverse()
      return ids.filter((id, i) => id !== 0 || ids[i - 1] !== 0).slice(0, length)
    },
    decode(ids) {
      checkIds('unigram.decode', ids, pieces.length)
      const text = Array.from(ids, id => pieces[id][0]).join('')
      return text.replaceAll(space, ' ').replace(/^ /, '')
    },
  }
}
