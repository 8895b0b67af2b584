/** BERT: the transformer's encoder over words, positions and token types. Devlin et al. 2018, arXiv:1810.04805. */

import { knownOptions, type Names } from '../graph/options.js'
import { type Context, evaluation, partOf } from '../nn/context.js'
import { Dropout } from '../nn/dropout.js'
import { checkPaddingIndex, Embedding } from '../nn/embedding.js'
import { truncatedNormal } from '../nn/initializers.js'
import { weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { LayerNorm } from '../nn/norm.js'
import { add, tanh } from '../tensor/elementwise.js'
import { foldIn } from '../tensor/random.js'
import { at } from '../tensor/slicing.js'
import type { Tensor } from '../tensor/tensor.js'
import { masked, TextModel } from './text.js'
import { TransformerEncoder, type TransformerOptions, transformerNames } from './transformer.js'

export interface BertOptions extends TransformerOptions {
  readonly vocabulary: number
  readonly layers: number
  /** The longest text; 512 by default. */
  readonly positions?: number
  /** How many kinds of segments there are, as question and answer; 2 by default. */
  readonly tokenTypes?: number
  /** The id of padding; 0 by default. */
  readonly paddingIndex?: number
}

const modelNames: Names<BertOptions> = {
  ...transformerNames,
  vocabulary: true,
  layers: true,
  positions: true,
  tokenTypes: true,
  paddingIndex: true,
}

export interface BertInputs {
  /** The kind of each position, int32 [batch, time]; all of kind 0 by default. */
  readonly tokenTypes?: Tensor
}

/**
 * Ids [batch, time] -> features [batch, dim], made of what the first position has become; `hidden` has all positions.
 * For logits put a `TextClassifier` on it.
 *
 * @example new Bert({ vocabulary: 21128, dim: 128, layers: 2, heads: 2, key: random.key(0) }).apply(ids)
 */
export class Bert extends TextModel {
  readonly embedding: Embedding
  readonly position: Embedding
  readonly tokenType: Embedding
  readonly norm: LayerNorm
  readonly dropout: Dropout
  readonly encoder: TransformerEncoder
  readonly pooler: Linear
  readonly paddingIndex: number

  constructor(options: BertOptions) {
    super()
    weightOptions('Bert', options, modelNames)
    const { vocabulary, layers, positions = 512, tokenTypes = 2, paddingIndex = 0, ...transformer } = options
    const { dim, key, dtype, dropout = 0, epsilon = 1e-12, initializer = truncatedNormal(0.02) } = transformer
    const weights = (i: number) => ({ key: foldIn(key, i), dtype, initializer })
    this.embedding = new Embedding(vocabulary, dim, weights(0))
    this.position = new Embedding(positions, dim, weights(1))
    this.tokenType = new Embedding(tokenTypes, dim, weights(2))
    this.norm = new LayerNorm(dim, { epsilon, dtype })
    this.dropout = new Dropout(dropout)
    this.encoder = new TransformerEncoder(layers, { ...transformer, ...weights(3) })
    this.pooler = new Linear(dim, dim, weights(4))
    checkPaddingIndex('Bert', paddingIndex, vocabulary)
    this.paddingIndex = paddingIndex
  }

  /**
   * The last hidden states [batch, time, dim] from word vectors [batch, time, dim] and a mask [batch, time].
   *
   * @throws if the text is longer than there are positions.
   */
  hidden(vectors: Tensor, mask: Tensor, ctx: Context = evaluation, inputs: BertInputs = {}): Tensor {
    const { tokenTypes } = knownOptions('Bert', inputs, { tokenTypes: true })
    const { words, text } = masked('Bert', vectors, mask)
    const [, time] = words.shape
    const [positions] = this.position.weight.shape
    if (time > positions)
      throw new Error(`Bert: a text of ${time} tokens, but there are ${positions} positions; cut it`)
    const kinds = tokenTypes ? this.tokenType.apply(tokenTypes) : at(this.tokenType.weight, 0)
    const x = add(add(words, at(this.position.weight, [0, time])), kinds)
    return this.encoder.apply(this.dropout.apply(this.norm.apply(x), partOf(ctx, 0)), partOf(ctx, 1), text)
  }

  applyEmbedded(vectors: Tensor, mask: Tensor, ctx: Context = evaluation, inputs: BertInputs = {}): Tensor {
    return tanh(this.pooler.apply(at(this.hidden(vectors, mask, ctx, inputs), [], 0)))
  }
}
