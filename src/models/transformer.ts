/** The encoder of transformers, after Vaswani et al. 2017, arXiv:1706.03762: attention and a feed-forward network by turns. */

import type { Names } from '../graph/options.js'
import { MultiHeadAttention } from '../nn/attention.js'
import { type Context, evaluation, partOf } from '../nn/context.js'
import { Dropout } from '../nn/dropout.js'
import { checkSizes, type Layer, type WeightOptions, weightNames, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { LayerNorm } from '../nn/norm.js'
import { add, gelu, relu } from '../tensor/elementwise.js'
import { expandDims } from '../tensor/movement.js'
import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'

/** What may stand between the two layers of a feed-forward network, by the names that checkpoints use. */
export const activations = {
  gelu: (x: Tensor): Tensor => gelu(x),
  gelu_new: (x: Tensor): Tensor => gelu(x, 'tanh'),
  relu,
} as const
export type Activation = keyof typeof activations

/** Two linear layers with an activation between them: [..., inputs] -> [..., outputs]. */
export class FeedForward implements Layer {
  readonly up: Linear
  readonly down: Linear
  readonly activation: Activation

  constructor(inputs: number, hidden: number, outputs: number, activation: Activation, options: WeightOptions) {
    weightOptions('FeedForward', options, weightNames)
    if (!Object.hasOwn(activations, activation))
      throw new Error(
        `FeedForward: unknown activation '${String(activation)}'; one of ${Object.keys(activations).join(', ')}`,
      )
    this.up = new Linear(inputs, hidden, { ...options, key: foldIn(options.key, 0) })
    this.down = new Linear(hidden, outputs, { ...options, key: foldIn(options.key, 1) })
    this.activation = activation
  }

  apply(x: Tensor): Tensor {
    return this.down.apply(activations[this.activation](this.up.apply(x)))
  }
}

export interface TransformerOptions extends WeightOptions {
  readonly dim: number
  readonly heads: number
  /** The width inside the feed-forward network; 4·dim by default. */
  readonly hidden?: number
  readonly activation?: Activation
  /** The rate at which attention weights and the results of both parts are dropped in training; 0 by default. */
  readonly dropout?: number
  /** That of the layer normalisations; 1e-12 by default, as in BERT. */
  readonly epsilon?: number
}
export const transformerNames: Names<TransformerOptions> = {
  dim: true,
  heads: true,
  hidden: true,
  activation: true,
  dropout: true,
  epsilon: true,
  ...weightNames,
}

/** One layer, normalised behind each sum: LN(x + attention(x)), and LN(x + feedForward(x)). [batch, time, dim] stays. */
export class TransformerLayer implements Layer {
  readonly attention: MultiHeadAttention
  readonly attentionNorm: LayerNorm
  readonly feedForward: FeedForward
  readonly feedForwardNorm: LayerNorm
  readonly dropout: Dropout

  constructor(options: TransformerOptions) {
    weightOptions('TransformerLayer', options, transformerNames)
    const { dim, heads, hidden = 4 * dim, activation = 'gelu', dropout = 0, epsilon = 1e-12, ...weights } = options
    const { key, dtype } = weights
    this.attention = new MultiHeadAttention(dim, heads, { ...weights, key: foldIn(key, 0), dropout })
    this.attentionNorm = new LayerNorm(dim, { epsilon, dtype })
    this.feedForward = new FeedForward(dim, hidden, dim, activation, { ...weights, key: foldIn(key, 1) })
    this.feedForwardNorm = new LayerNorm(dim, { epsilon, dtype })
    this.dropout = new Dropout(dropout)
  }

  /** @param mask bool [batch, time], true where there is something to attend to. */
  apply(x: Tensor, ctx: Context = evaluation, mask?: Tensor): Tensor {
    const attended = this.attention.apply(x, partOf(ctx, 0), { mask: mask && expandDims(expandDims(mask, 1), 1) })
    const y = this.attentionNorm.apply(add(x, this.dropout.apply(attended, partOf(ctx, 1))))
    return this.feedForwardNorm.apply(add(y, this.dropout.apply(this.feedForward.apply(y), partOf(ctx, 2))))
  }
}

/**
 * Layers of one shape, one after another: [batch, time, dim] -> [batch, time, dim].
 *
 * @example new TransformerEncoder(2, { dim: 64, heads: 4, key: random.key(0) }).apply(x, ctx, mask)
 */
export class TransformerEncoder implements Layer {
  readonly layers: readonly TransformerLayer[]

  constructor(layers: number, options: TransformerOptions) {
    weightOptions('TransformerEncoder', options, transformerNames)
    checkSizes('TransformerEncoder', { layers })
    this.layers = Array.from(
      { length: layers },
      (_, i) => new TransformerLayer({ ...options, key: foldIn(options.key, i) }),
    )
  }

  /** @param mask bool [batch, time]: padding is attended to by nothing; what stands there afterwards means nothing. */
  apply(x: Tensor, ctx: Context = evaluation, mask?: Tensor): Tensor {
    return this.layers.reduce((y, layer, i) => layer.apply(y, partOf(ctx, i), mask), x)
  }
}
