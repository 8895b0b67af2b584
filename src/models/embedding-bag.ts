/** A text as the mean of its words' vectors. */

import type { Names } from '../graph/options.js'
import type { Context } from '../nn/context.js'
import { checkPaddingIndex, Embedding } from '../nn/embedding.js'
import { type WeightOptions, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { masked, meanOverText, TextModel } from './text.js'

export interface EmbeddingBagOptions extends Pick<WeightOptions, 'key' | 'dtype'> {
  readonly vocabulary: number
  readonly dim: number
  readonly classes: number
  /** The id of padding; 0 by default. */
  readonly paddingIndex?: number
}

const modelNames: Names<EmbeddingBagOptions> = {
  key: true,
  dtype: true,
  vocabulary: true,
  dim: true,
  classes: true,
  paddingIndex: true,
}

/**
 * The mean of the vectors of a text, and a linear layer: ids [batch, time] -> logits [batch, classes]. Joulin et al. 2016,
 * arXiv:1607.01759 (fastText), without n-grams.
 *
 * @example new EmbeddingBag({ vocabulary: 5000, dim: 100, classes: 15, key: random.key(0) })
 */
export class EmbeddingBag extends TextModel {
  readonly embedding: Embedding
  readonly output: Linear
  readonly paddingIndex: number

  constructor(options: EmbeddingBagOptions) {
    super()
    weightOptions('EmbeddingBag', options, modelNames)
    const { vocabulary, dim, classes, paddingIndex = 0, key, dtype } = options
    this.embedding = new Embedding(vocabulary, dim, { key: foldIn(key, 0), dtype })
    this.output = new Linear(dim, classes, { key: foldIn(key, 1), dtype })
    checkPaddingIndex('EmbeddingBag', paddingIndex, vocabulary)
    this.paddingIndex = paddingIndex
  }

  applyEmbedded(vectors: Tensor, mask: Tensor, _ctx?: Context): Tensor {
    const { words, text } = masked('EmbeddingBag', vectors, mask)
    return this.output.apply(meanOverText(words, text))
  }
}
