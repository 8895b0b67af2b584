/**
 * Sentences as unit vectors: the Universal Sentence Encoder Lite. Cer et al. 2018, arXiv:1803.11175; its transformer normalises
 * before each part. Pretrained weights are the concern of load-sentence-encoder.ts.
 */

import type { Names } from '../graph/options.js'
import { MultiHeadAttention } from '../nn/attention.js'
import { type Context, evaluation } from '../nn/context.js'
import { checkPaddingIndex, Embedding } from '../nn/embedding.js'
import { checkLastAxis, type Layer, type WeightOptions, weightOptions } from '../nn/layer.js'
import { Linear } from '../nn/linear.js'
import { LayerNorm } from '../nn/norm.js'
import { arange, tensor } from '../tensor/create.js'
import { add, astype, cos, maximum, mul, rsqrt, sin, square, tanh } from '../tensor/elementwise.js'
import { concat, expandDims } from '../tensor/movement.js'
import { foldIn } from '../tensor/random.js'
import { sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'
import { masked, meanOverText, TextModel } from './text.js'
import { FeedForward } from './transformer.js'

type Weights = Pick<WeightOptions, 'key' | 'dtype'>

interface Sizes {
  readonly inputs: number
  readonly width: number
  readonly heads: number
  readonly hidden: number
}

/** One layer: x + attention(LN(x)), and y + feedForward(LN(y)). Where it widens x, a linear layer widens the x that is added. */
class SentenceLayer implements Layer {
  readonly attentionNorm: LayerNorm
  readonly attention: MultiHeadAttention
  readonly widen?: Linear
  readonly feedForwardNorm: LayerNorm
  readonly feedForward: FeedForward

  constructor({ inputs, width, heads, hidden }: Sizes, { key, dtype }: Weights) {
    const weights = (i: number): Weights => ({ key: foldIn(key, i), dtype })
    this.attentionNorm = new LayerNorm(inputs, { epsilon: 1e-6, dtype })
    this.attention = new MultiHeadAttention(inputs, heads, { ...weights(0), outputDim: width })
    if (inputs !== width) this.widen = new Linear(inputs, width, weights(1))
    this.feedForwardNorm = new LayerNorm(width, { epsilon: 1e-6, dtype })
    this.feedForward = new FeedForward(width, hidden, width, 'relu', weights(2))
  }

  apply(x: Tensor, ctx: Context = evaluation, mask?: Tensor): Tensor {
    const attended = this.attention.apply(this.attentionNorm.apply(x), ctx, { mask })
    const y = add(this.widen ? this.widen.apply(x) : x, attended)
    return add(y, this.feedForward.apply(this.feedForwardNorm.apply(y)))
  }
}

export interface SentenceEncoderOptions extends Weights {
  /** The rows of the table of words, padding among them; 8002 by default. */
  readonly vocabulary?: number
  /** The width of words, even; 256 by default. */
  readonly dim?: number
  /** The width of layers and results; 512 by default. */
  readonly width?: number
  readonly layers?: number
  readonly heads?: number
  /** The width inside the feed-forward networks; 3·width by default. */
  readonly hidden?: number
  /** The id of padding; the first behind the 8000 pieces by default. */
  readonly paddingIndex?: number
}

const modelNames: Names<SentenceEncoderOptions> = {
  key: true,
  dtype: true,
  vocabulary: true,
  dim: true,
  width: true,
  layers: true,
  heads: true,
  hidden: true,
  paddingIndex: true,
}

/** Ids [batch, time] -> unit vectors [batch, width]. For logits put a `TextClassifier` on it. */
export class SentenceEncoder extends TextModel {
  readonly embedding: Embedding
  /** The frequencies [dim / 2] of the waves that say where a word stands: not trained. */
  readonly state: { readonly frequencies: Tensor }
  readonly layers: readonly SentenceLayer[]
  readonly output: Linear
  readonly paddingIndex: number

  constructor(options: SentenceEncoderOptions) {
    super()
    weightOptions('SentenceEncoder', options, modelNames)
    const { vocabulary = 8002, dim = 256, width = 512, layers = 2, heads = 4, hidden = 3 * width } = options
    const { key, dtype, paddingIndex = 8000 } = options
    if (dim % 2) throw new Error(`SentenceEncoder: dim must be even, for sines and cosines, not ${dim}`)
    this.embedding = new Embedding(vocabulary, dim, { key: foldIn(key, 0), dtype })
    const waves = dim / 2
    // A geometric series from 1 to 1/10000. Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    const frequencies = Array.from({ length: waves }, (_, i) => 10_000 ** (-i / Math.max(1, waves - 1)))
    this.state = { frequencies: tensor(frequencies, { dtype }) }
    this.layers = Array.from({ length: layers }, (_, i) => {
      const sizes = { inputs: i ? width : dim, width, heads, hidden }
      return new SentenceLayer(sizes, { key: foldIn(key, i + 2), dtype })
    })
    this.output = new Linear(width, width, { key: foldIn(key, 1), dtype })
    checkPaddingIndex('SentenceEncoder', paddingIndex, vocabulary)
    this.paddingIndex = paddingIndex
  }

  applyEmbedded(vectors: Tensor, mask: Tensor, ctx: Context = evaluation): Tensor {
    checkLastAxis('SentenceEncoder', vectors, this.embedding.weight.shape[1])
    const { words, text } = masked('SentenceEncoder', vectors, mask)
    const { frequencies } = this.state
    const angles = mul(expandDims(astype(arange(words.shape[1]), frequencies.dtype), -1), frequencies)
    const attendable = expandDims(expandDims(text, 1), 1)
    const start = add(mul(words, 2), concat([sin(angles), cos(angles)], -1))
    const x = this.layers.reduce((y, layer) => layer.apply(y, ctx, attendable), start)
    const y = tanh(this.output.apply(meanOverText(x, text)))
    return mul(y, rsqrt(maximum(sum(square(y), { axis: -1, keepdims: true }), 1e-12)))
  }
}
