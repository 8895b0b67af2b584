/**
 * Layers that give their input mean 0 and variance 1 (or a mean square of 1), and then a learned scale and shift; that of
 * float16 in float32, rounded at the end.
 */

import { customVjp } from '../autodiff/custom.js'
import type { DType } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, type Shape, sizeOf } from '../graph/shape.js'
import { ones, zeros } from '../tensor/create.js'
import {
  add,
  astype,
  equal,
  greaterEqual,
  mul,
  rsqrt,
  square,
  stopGradient,
  sub,
  where,
} from '../tensor/elementwise.js'
import { reshape } from '../tensor/movement.js'
import { mean } from '../tensor/reduction.js'
import { inFloat32 } from '../tensor/shared.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Context, evaluation, isTraining } from './context.js'
import { checkLastAxis, checkSizes, type Layer } from './layer.js'

export interface NormOptions {
  /** Added to the variance before its root. */
  readonly epsilon?: number
  readonly dtype?: DType
}
const normNames: Names<NormOptions> = { epsilon: true, dtype: true }

function checkEpsilon(layer: string, epsilon: number): void {
  if (!(epsilon >= 0)) throw new Error(`${layer}: epsilon must be a number >= 0, not ${epsilon}`)
}

interface Moments {
  readonly centre: Tensor
  /** x less the centre but for `rest`, the rounding of that: together more precise than the difference. */
  readonly nearly: Tensor
  readonly rest: Tensor
  readonly spread: Tensor
}

/** Up to so many terms, a mean is rounded by few times the distance between floats of its size. */
const fewTerms = 4096

/**
 * The mean over axes, and the mean squared distance from it; reduced axes stay, with size 1. Centred twice: the first mean
 * of large values is rounded by more than small differences between them. But for rounding that second mean is 0 whatever
 * x is, and so are its derivatives.
 */
function moments(x: Tensor, axis: readonly number[]): Moments {
  const over = { axis, keepdims: true }
  const rough = mean(x, over)
  const nearly = sub(x, rough)
  const rest = stopGradient(mean(nearly, over))
  const centre = add(rough, rest)
  if (sizeOf(axis.map(d => x.shape[d])) > fewTerms) {
    const centred = sub(nearly, rest)
    return { centre, nearly: centred, rest: zeros([], x.dtype), spread: mean(square(centred), over) }
  }
  // In the pass of the second mean. Rounding takes it below 0 where it is 0, squares beyond all floats to NaN.
  const spread = sub(mean(square(nearly), over), square(rest))
  return { centre, nearly, rest, spread: where(greaterEqual(spread, 0), spread, 0) }
}

/** 1 / √(spread + epsilon). Without epsilon, a spread of 0 counts as infinite: constant input gives 0, not 0/0. */
const inverseRoot = (spread: Tensor, epsilon: number): Tensor =>
  rsqrt(epsilon ? add(spread, epsilon) : where(equal(spread, 0), Number.POSITIVE_INFINITY, spread))

/**
 * (x - mean) / √(spread + epsilon) over axes. Its derivative r (g - mean(g) - y r mean(g c)), for y = r c, is given in
 * means that do not wait for each other nor for the spread: one pass over a row makes all of them.
 */
function standardized(x: Tensor, axis: readonly number[], epsilon: number): Tensor {
  const over = { axis, keepdims: true }
  const parts = (x: Tensor): Moments & { readonly scale: Tensor } => {
    const found = moments(x, axis)
    return { ...found, scale: inverseRoot(found.spread, epsilon) }
  }
  const standardize = customVjp(
    x => {
      const { nearly, rest, scale } = parts(x)
      return mul(sub(nearly, rest), scale)
    },
    (g, y, x) => {
      const { nearly, rest, scale } = parts(x)
      const middle = mean(g, over)
      const along = sub(mean(mul(g, nearly), over), mul(rest, middle))
      return [mul(scale, sub(sub(g, middle), mul(y, mul(scale, along))))]
    },
  )
  return standardize(x)
}

/** Normalises each example over its last axes, of the shape given. Ba, Kiros and Hinton 2016, arXiv:1607.06450. */
export class LayerNorm implements Layer {
  /** The scale, of the shape given. */
  readonly weight: Tensor
  /** The shift, of the shape given. */
  readonly bias: Tensor
  readonly epsilon: number

  constructor(shape: number | Shape, options: NormOptions = {}) {
    const { epsilon = 1e-5, dtype = 'float32' } = knownOptions('LayerNorm', options, normNames)
    const sizes = typeof shape === 'number' ? [shape] : shape
    checkSizes('LayerNorm', Object.fromEntries(sizes.map((n, d) => [`size ${d}`, n])))
    checkEpsilon('LayerNorm', epsilon)
    this.weight = ones(sizes, dtype)
    this.bias = zeros(sizes, dtype)
    this.epsilon = epsilon
  }

  apply(x: Tensor): Tensor {
    const { shape } = this.weight
    const first = x.ndim - shape.length
    if (first < 0 || shape.some((n, d) => n !== x.shape[first + d]))
      throw new Error(`LayerNorm: was made for last axes ${formatShape(shape)}, got ${formatShape(x.shape)}`)
    const axes = shape.map((_, d) => first + d)
    return inFloat32([x], x => {
      return add(mul(standardized(x, axes, this.epsilon), this.weight), this.bias)
    })
  }
}

/**
 * Divides by the root of the mean square of the last axis; neither mean nor shift. Zhang and Sennrich 2019,
 * arXiv:1910.07467.
 */
export class RMSNorm implements Layer {
  /** The scale [dim]. */
  readonly weight: Tensor
  readonly epsilon: number

  constructor(dim: number, options: NormOptions = {}) {
    const { epsilon = 1e-6, dtype = 'float32' } = knownOptions('RMSNorm', options, normNames)
    checkSizes('RMSNorm', { dim })
    checkEpsilon('RMSNorm', epsilon)
    this.weight = ones([dim], dtype)
    this.epsilon = epsilon
  }

  apply(x: Tensor): Tensor {
    checkLastAxis('RMSNorm', x, this.weight.shape[0])
    return inFloat32([x], x =>
      mul(mul(x, inverseRoot(mean(square(x), { axis: -1, keepdims: true }), this.epsilon)), this.weight),
    )
  }
}

/**
 * Normalises each example over all positions and a group of neighbouring channels: [n, ..., channels]. With one channel a
 * group this is instance normalisation. Wu and He 2018, arXiv:1803.08494.
 */
export class GroupNorm implements Layer {
  /** The scale [channels]. */
  readonly weight: Tensor
  /** The shift [channels]. */
  readonly bias: Tensor
  readonly groups: number
  readonly epsilon: number

  constructor(groups: number, channels: number, options: NormOptions = {}) {
    const { epsilon = 1e-5, dtype = 'float32' } = knownOptions('GroupNorm', options, normNames)
    checkSizes('GroupNorm', { groups, channels })
    checkEpsilon('GroupNorm', epsilon)
    if (channels % groups) throw new Error(`GroupNorm: ${channels} channels do not divide into ${groups} groups`)
    this.weight = ones([channels], dtype)
    this.bias = zeros([channels], dtype)
    this.groups = groups
    this.epsilon = epsilon
  }

  apply(x: Tensor): Tensor {
    const { groups } = this
    const channels = this.weight.shape[0]
    checkLastAxis('GroupNorm', x, channels)
    if (x.ndim < 2) throw new Error(`GroupNorm: needs a batch axis, [n, ..., channels], got ${formatShape(x.shape)}`)
    const grouped = reshape(x, [x.shape[0], sizeOf(x.shape.slice(1, -1)), groups, channels / groups])
    const weight = reshape(this.weight, [groups, channels / groups])
    return inFloat32([grouped], grouped => {
      const scaled = mul(standardized(grouped, [1, 3], this.epsilon), weight)
      return add(reshape(scaled, x.shape), this.bias)
    })
  }
}

export interface BatchNormOptions extends NormOptions {
  /** The share of a running statistic that an update keeps. */
  readonly momentum?: number
}
const batchNormNames: Names<BatchNormOptions> = { ...normNames, momentum: true }

/**
 * Normalises each channel (the last axis): in training over the batch and all positions, else by running statistics.
 * In training it offers `ctx.update` the next running mean and (unbiased) variance; it changes nothing itself.
 * Ioffe and Szegedy 2015, arXiv:1502.03167, algorithms 1 and 2.
 */
export class BatchNorm implements Layer {
  /** The scale [channels]. */
  readonly weight: Tensor
  /** The shift [channels]. */
  readonly bias: Tensor
  /** Running statistics [channels]: not trained. */
  readonly state: { readonly mean: Tensor; readonly variance: Tensor }
  readonly momentum: number
  readonly epsilon: number

  constructor(channels: number, options: BatchNormOptions = {}) {
    const { momentum = 0.9, epsilon = 1e-5, dtype = 'float32' } = knownOptions('BatchNorm', options, batchNormNames)
    checkSizes('BatchNorm', { channels })
    checkEpsilon('BatchNorm', epsilon)
    if (!(momentum >= 0 && momentum < 1)) throw new Error(`BatchNorm: momentum must lie in [0, 1), not ${momentum}`)
    this.weight = ones([channels], dtype)
    this.bias = zeros([channels], dtype)
    this.state = { mean: zeros([channels], dtype), variance: ones([channels], dtype) }
    this.momentum = momentum
    this.epsilon = epsilon
  }

  apply(x: Tensor, ctx: Context = evaluation): Tensor {
    const { state, momentum } = this
    const channels = this.weight.shape[0]
    checkLastAxis('BatchNorm', x, channels)
    return inFloat32([x], x => {
      if (!isTraining('BatchNorm', ctx)) {
        const scaled = mul(sub(x, state.mean), inverseRoot(state.variance, this.epsilon))
        return add(mul(scaled, this.weight), this.bias)
      }
      const axes = x.shape.slice(0, -1).map((_, d) => d)
      const { centre, spread } = moments(x, axes)
      const count = x.size / channels
      const blend = (old: Tensor, now: Tensor): Tensor =>
        astype(add(mul(old, momentum), mul(stopGradient(reshape(now, [channels])), 1 - momentum)), old.dtype)
      ctx.update?.(state.mean, blend(state.mean, centre))
      ctx.update?.(state.variance, blend(state.variance, mul(spread, count / Math.max(1, count - 1))))
      return add(mul(standardized(x, axes, this.epsilon), this.weight), this.bias)
    })
  }
}
