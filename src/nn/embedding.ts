/** A table of vectors, looked up by integer. */

import type { Names } from '../graph/options.js'
import { iota } from '../tensor/create.js'
import { equal, where } from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { expandDims } from '../tensor/movement.js'
import type { Tensor } from '../tensor/tensor.js'
import { uniform } from './initializers.js'
import { checkSizes, type Layer, type WeightOptions, weightNames, weightOptions } from './layer.js'

export interface EmbeddingOptions extends WeightOptions {
  /** The id of padding: it reads as zeros, whatever the table holds there, and its row has no gradient. */
  readonly paddingIndex?: number
}
const embeddingNames: Names<EmbeddingOptions> = { ...weightNames, paddingIndex: true }

/** @throws unless the id of padding is one of the vocabulary. */
export function checkPaddingIndex(layer: string, paddingIndex: number, vocabulary: number): void {
  if (!Number.isInteger(paddingIndex) || paddingIndex < 0 || paddingIndex >= vocabulary)
    throw new Error(`${layer}: paddingIndex must be an integer from 0 to ${vocabulary - 1}, not ${paddingIndex}`)
}

/** Ids [...] (int32) -> vectors [..., dim]. An id outside the vocabulary gives NaN. Uniform on ±0.05 at first. */
export class Embedding implements Layer {
  /** [vocabulary, dim] */
  readonly weight: Tensor
  readonly paddingIndex?: number

  constructor(vocabulary: number, dim: number, options: EmbeddingOptions) {
    weightOptions('Embedding', options, embeddingNames)
    const { key, paddingIndex, initializer = uniform(-0.05, 0.05), dtype = 'float32' } = options
    checkSizes('Embedding', { vocabulary, dim })
    this.weight = initializer(key, [vocabulary, dim], dtype)
    if (paddingIndex === undefined) return
    checkPaddingIndex('Embedding', paddingIndex, vocabulary)
    this.paddingIndex = paddingIndex
    this.weight = where(equal(iota([vocabulary, 1]), paddingIndex), 0, this.weight)
  }

  apply(ids: Tensor): Tensor {
    const vectors = take(this.weight, ids)
    if (this.paddingIndex === undefined) return vectors
    return where(expandDims(equal(ids, this.paddingIndex), -1), 0, vectors)
  }
}
