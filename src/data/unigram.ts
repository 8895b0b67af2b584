/**
 * SentencePiece's unigram tokenizer: text as the pieces of a vocabulary whose scores have the largest sum. Vocabularies come
 * from elsewhere; padding and cutting are left to others.
 */

/** A piece of text, in which `▁` stands for a space, and the logarithm of its probability. */
export type Piece = readonly [piece: string, score: number]

export interface UnigramOptions {
  /** The id of characters that no piece holds; 0 by default. */
  readonly unknown?: number
  /** How many pieces at the front are control symbols, which no text matches; 0 by default. */
  readonly reserved?: number
}

const space = '▁'

/**
 * Text -> ids, by the Viterbi algorithm. Kudo 2018, arXiv:1804.10959, section 3.2. Text is normalised to NFKC, a space is put before
 * it, and spaces become `▁`. A character where no piece ends is unknown, with score 0; neighbouring unknowns are one id.
 *
 * @example new UnigramTokenizer([['?', 0], ['▁a', -2], ['b', -3]], { reserved: 1 }).encode('ab') // [1, 2]
 */
export class UnigramTokenizer {
  readonly pieces: readonly Piece[]
  readonly unknown: number
  /** The id and the score of each piece that text may match. */
  private readonly known = new Map<string, { readonly id: number; readonly score: number }>()
  /** The length of the longest piece, in characters. */
  private longest = 0

  /**
   * @param pieces a piece's id is its place; of equal pieces the last counts
   * @throws Error for a piece that is no text with a finite score, and if an option is no place in the list
   */
  constructor(pieces: readonly Piece[], { unknown = 0, reserved = 0 }: UnigramOptions = {}) {
    for (const [option, value, end] of [
      ['unknown', unknown, pieces.length],
      ['reserved', reserved, pieces.length + 1],
    ] as const) {
      if (!Number.isInteger(value) || value < 0 || value >= end)
        throw new Error(`UnigramTokenizer: ${option} must be an integer from 0 to ${end - 1}, not ${value}`)
    }
    pieces.forEach(([piece, score], id) => {
      if (typeof piece !== 'string' || piece === '' || !Number.isFinite(score))
        throw new Error(
          `UnigramTokenizer: piece ${id} is [${JSON.stringify(piece)}, ${score}]: needs [text, finite score]`,
        )
      if (id < reserved) return
      this.known.set(piece, { id, score })
      this.longest = Math.max(this.longest, [...piece].length)
    })
    this.pieces = pieces
    this.unknown = unknown
  }

  /** The ids of a text; none for an empty one. */
  encode(text: string): number[] {
    const normal = text.normalize('NFKC')
    const characters = normal === '' ? [] : [...(space + normal).replaceAll(' ', space)]
    // For each end: the best sum of scores, and the last piece of it with the place where that begins.
    const best = [{ score: 0, begin: 0, id: this.unknown }]
    for (let end = 1; end <= characters.length; end++) {
      let piece = ''
      let found: (typeof best)[number] | undefined
      for (let begin = end - 1; begin >= Math.max(0, end - this.longest); begin--) {
        piece = characters[begin] + piece
        const match = this.known.get(piece)
        const score = best[begin].score + (match?.score ?? 0)
        if (match && (!found || score > found.score)) found = { score, begin, id: match.id }
      }
      best.push(found ?? { score: best[end - 1].score, begin: end - 1, id: this.unknown })
    }
    const ids: number[] = []
    for (let end = characters.length; end > 0; end = best[end].begin) {
      const { id } = best[end]
      if (id !== this.unknown || ids[0] !== id) ids.unshift(id)
    }
    return ids
  }
}
