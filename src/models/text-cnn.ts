/** A text as the strongest responses of filters that slide over its words. */

import type { Names } from '../graph/options.js'
import { type Context, evaluation } from '../nn/context.js'
import { Conv1d } from '../nn/conv.js'
import { Dropout } from '../nn/dropout.js'
import { checkPaddingIndex, Embedding } from '../nn/embedding.js'
import { type WeightOptions, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { relu, where } from '../tensor/elementwise.js'
import { concat, expandDims } from '../tensor/movement.js'
import { foldIn } from '../tensor/random.js'
import { max } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'
import { masked, TextModel } from './text.js'

export interface TextCNNOptions extends Pick<WeightOptions, 'key' | 'dtype'> {
  readonly vocabulary: number
  readonly dim: number
  readonly classes: number
  /** How many words the filters span; 3, 4 and 5 by default. */
  readonly widths?: readonly number[]
  /** The filters of each width; 100 by default. */
  readonly filters?: number
  /** The rate at which features are dropped in training; 0.5 by default. */
  readonly dropout?: number
  /** The id of padding; 0 by default. */
  readonly paddingIndex?: number
}

const modelNames: Names<TextCNNOptions> = {
  key: true,
  dtype: true,
  vocabulary: true,
  dim: true,
  classes: true,
  widths: true,
  filters: true,
  dropout: true,
  paddingIndex: true,
}

/**
 * Convolutions over words, the largest response over time, and a linear layer: ids [batch, time] -> logits [batch, classes].
 * A window begins at each word, and reads zeros behind the last: so short texts have windows too, and none sees padding.
 * Kim 2014, arXiv:1408.5882.
 *
 * @example new TextCNN({ vocabulary: 5000, dim: 200, classes: 15, key: random.key(0) })
 */
export class TextCNN extends TextModel {
  readonly embedding: Embedding
  readonly convolutions: readonly Conv1d[]
  readonly dropout: Dropout
  readonly output: Linear
  readonly paddingIndex: number

  constructor(options: TextCNNOptions) {
    super()
    weightOptions('TextCNN', options, modelNames)
    const { vocabulary, dim, classes, widths = [3, 4, 5], filters = 100, dropout = 0.5, paddingIndex = 0 } = options
    const { key, dtype } = options
    this.embedding = new Embedding(vocabulary, dim, { key: foldIn(key, 0), dtype })
    this.convolutions = widths.map(
      (width, i) => new Conv1d(dim, filters, width, { key: foldIn(key, i + 2), dtype, padding: [0, width - 1] }),
    )
    this.dropout = new Dropout(dropout)
    this.output = new Linear(widths.length * filters, classes, { key: foldIn(key, 1), dtype })
    checkPaddingIndex('TextCNN', paddingIndex, vocabulary)
    this.paddingIndex = paddingIndex
  }

  applyEmbedded(vectors: Tensor, mask: Tensor, ctx: Context = evaluation): Tensor {
    const { words, text } = masked('TextCNN', vectors, mask)
    // A response is at least 0, so that a 0 in the place of padding is never the largest.
    const strongest = (convolution: Conv1d): Tensor =>
      max(where(expandDims(text, -1), relu(convolution.apply(words)), 0), { axis: 1 })
    return this.output.apply(this.dropout.apply(concat(this.convolutions.map(strongest), -1), ctx))
  }
}
