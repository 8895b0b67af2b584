/** The attention layer of transformers. */

import { knownOptions, type Names } from '../graph/options.js'
import { formatShape } from '../graph/shape.js'
import { moveaxis, reshape } from '../tensor/movement.js'
import { scaledDotProductAttention } from '../tensor/neural.js'
import * as random from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Context, evaluation } from './context.js'
import { checkRate, dropoutIn } from './dropout.js'
import { type BiasOptions, biasNames, checkLastAxis, checkSizes, type Layer, weightOptions } from './layer.js'
import { Linear } from './linear.js'

export interface MultiHeadAttentionOptions extends BiasOptions {
  /** The rate at which attention weights are dropped in training; 0 by default. */
  readonly dropout?: number
  /** Whether position i attends to the positions 0 to i alone. */
  readonly causal?: boolean
  /** The width of what is attended to, if it is not that of the queries. */
  readonly sourceDim?: number
  /** The width of the result, if it is not that of the queries. */
  readonly outputDim?: number
}
const attentionNames: Names<MultiHeadAttentionOptions> = {
  ...biasNames,
  dropout: true,
  causal: true,
  sourceDim: true,
  outputDim: true,
}

export interface AttendOptions {
  /** What is attended to, [..., source, sourceDim]; x itself by default. */
  readonly source?: Tensor
  /** Where a position attends, or floats added to the scores; broadcasts with [..., heads, time, source]. */
  readonly mask?: Tensor
}
const attendNames: Names<AttendOptions> = { source: true, mask: true }

/**
 * Attention of several heads, each in dim / heads dimensions: [..., time, dim] -> [..., time, outputDim]. Vaswani et al. 2017,
 * arXiv:1706.03762, section 3.2.2.
 *
 * @example new MultiHeadAttention(64, 4, { key, causal: true }).apply(x)
 */
export class MultiHeadAttention implements Layer {
  readonly query: Linear
  readonly key: Linear
  readonly value: Linear
  readonly output: Linear
  readonly heads: number
  readonly dropout: number
  readonly causal: boolean

  constructor(dim: number, heads: number, options: MultiHeadAttentionOptions) {
    weightOptions('MultiHeadAttention', options, attentionNames)
    const { key, dropout = 0, causal = false, sourceDim = dim, outputDim = dim, ...weights } = options
    checkSizes('MultiHeadAttention', { dim, heads, sourceDim, outputDim })
    checkRate('MultiHeadAttention', dropout)
    if (dim % heads) throw new Error(`MultiHeadAttention: dim ${dim} does not divide into ${heads} heads`)
    const linear = (i: number, inputs: number, outputs = dim): Linear =>
      new Linear(inputs, outputs, { ...weights, key: random.foldIn(key, i) })
    this.query = linear(0, dim)
    this.key = linear(1, sourceDim)
    this.value = linear(2, sourceDim)
    this.output = linear(3, dim, outputDim)
    this.heads = heads
    this.dropout = dropout
    this.causal = causal
  }

  apply(x: Tensor, ctx: Context = evaluation, options: AttendOptions = {}): Tensor {
    const { source = x, mask } = knownOptions('MultiHeadAttention.apply', options, attendNames)
    for (const [input, layer] of [
      [x, this.query],
      [source, this.key],
    ] as const) {
      if (input.ndim < 2)
        throw new Error(`MultiHeadAttention: needs a time axis, [..., time, dim], got ${formatShape(input.shape)}`)
      checkLastAxis('MultiHeadAttention', input, layer.weight.shape[0])
    }
    const [, dim] = this.query.weight.shape
    // [..., time, dim] -> [..., heads, time, dim / heads]
    const split = (y: Tensor): Tensor =>
      moveaxis(reshape(y, [...y.shape.slice(0, -1), this.heads, dim / this.heads]), -2, -3)
    const [q, k, v] = [this.query.apply(x), this.key.apply(source), this.value.apply(source)].map(split)
    const dropout = dropoutIn('MultiHeadAttention', this.dropout, ctx)
    const y = moveaxis(scaledDotProductAttention(q, k, v, { mask, causal: this.causal, dropout }), -3, -2)
    return this.output.apply(reshape(y, [...y.shape.slice(0, -2), dim]))
  }
}
