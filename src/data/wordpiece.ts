/**
 * WordPiece as BERT has it, with a given vocabulary. The text is cleaned, split and looked up by the package
 * @huggingface/tokenizers, loaded when the first tokenizer is made; what marks the ends, and cutting, is here.
 */

import { knownOptions } from '../graph/options.js'
import { demandPackage } from './files.js'
import { checkIds, type PairTokenizer } from './tokenizer.js'
import { idsOf } from './vocabulary.js'

export interface WordPieceOptions {
  /** Whether to read capitals as small letters, and letters without their accents; true by default, as for "uncased" models. */
  readonly lowerCase?: boolean
}

/** Ideographs beyond 16 bits, which the package leaves together; BERT splits them like all others. */
const rareIdeographs = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu

/**
 * A tokenizer for BERT and its family: [CLS] first [SEP], or [CLS] first [SEP] second [SEP].
 * @param vocabulary the pieces in the order of their ids, as `readVocabulary` gives them
 * @throws Error where the vocabulary has a piece twice, or lacks [CLS], [SEP], [UNK] or [PAD]
 */
export async function wordPiece(vocabulary: readonly string[], options: WordPieceOptions = {}): Promise<PairTokenizer> {
  const { lowerCase = true } = knownOptions('wordPiece', options, { lowerCase: true })
  const ids = idsOf('wordPiece', vocabulary)
  const [begin, end, , padding] = ['[CLS]', '[SEP]', '[UNK]', '[PAD]'].map(token => {
    const id = ids.get(token)
    if (id !== undefined) return id
    throw new Error(
      `wordPiece: the vocabulary of ${vocabulary.length} pieces lacks ${token}: is it that of a BERT model?`,
    )
  })
  const { Tokenizer } = await demandPackage('wordPiece', '@huggingface/tokenizers')
  const pieces = new Tokenizer(
    {
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        lowercase: lowerCase,
        strip_accents: lowerCase,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      model: {
        type: 'WordPiece',
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        vocab: Object.fromEntries(ids),
      },
      post_processor: null,
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      added_tokens: [],
    },
    {},
  )
  const split = (text: string): number[] => pieces.encode(text.replace(rareIdeographs, ' $& ')).ids
  const room = (length: number, marks: number): number => {
    if (length >= marks) return length - marks
    throw new Error(`wordPiece: length ${length}: needs at least ${marks}, for [CLS] and [SEP]`)
  }
  return {
    size: vocabulary.length,
    padding,
    encode: (text, length = Infinity) => [begin, ...split(text).slice(0, room(length, 2)), end],
    encodePair(first, second, length = Infinity) {
      const [a, b] = [split(first), split(second)]
      const [m, n] = shares(a.length, b.length, room(length, 3))
      return {
        ids: [begin, ...a.slice(0, m), end, ...b.slice(0, n), end],
        types: [...Array<number>(m + 2).fill(0), ...Array<number>(n + 1).fill(1)],
      }
    },
    decode(tokens) {
      checkIds('wordPiece.decode', tokens, vocabulary.length)
      const plain = Array.from(tokens).filter(id => id !== begin && id !== end && id !== padding)
      return plain.length === 0 ? '' : pieces.decode(plain)
    },
  }
}

/** How much of two texts of m and n tokens there is room for, if tokens are taken one by one from the longer, else the second. */
function shares(m: number, n: number, room: number): [m: number, n: number] {
  if (m + n <= room) return [m, n]
  const half = Math.floor(room / 2)
  if (n <= half) return [room - n, n]
  if (m <= room - half) return [m, room - m]
  return [room - half, half]
}
