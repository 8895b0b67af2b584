/**
 * Certificates, which no attack can break: interval bounds for a network of known layers, and randomised smoothing for any
 * classifier.
 */

import { knownOptions } from '../graph/options.js'
import { type Batch, evaluation } from '../nn/context.js'
import { Conv2d } from '../nn/conv.js'
import { Linear } from '../nn/linear.js'
import { AvgPool2d, Flatten, GlobalAvgPool2d, GlobalMaxPool2d, MaxPool2d } from '../nn/pool.js'
import type { Sequential, Stage } from '../nn/sequential.js'
import { compile } from '../tensor/compile.js'
import { iota, tensor } from '../tensor/create.js'
import { abs, add, astype, clip, equal, isnan, less, logicalAnd, mul, sub, where } from '../tensor/elementwise.js'
import { expandDims } from '../tensor/movement.js'
import { normalQuantile } from '../tensor/quantile.js'
import { foldIn, normal } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { any, argmax, max, sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'
import { mapTree } from '../tensor/tree.js'
import { examples, type FeatureOptions, mapFeatures, perturbable } from './features.js'
import { type Logits, logitsOf } from './logits.js'
import { checkCounts, checkRequired } from './method.js'
import { featureNames, rangeNames } from './options.js'

/** Bounds of every element. */
export interface Bounds {
  readonly lower: Tensor
  readonly upper: Tensor
}

export interface IntervalOptions {
  /** The radius of the linf ball. */
  epsilon: number
  /** The smallest value an input may take. Default none. */
  clipMin?: number
  /** The largest value an input may take. Default none. */
  clipMax?: number
}

/**
 * Bounds of a network's outputs over the linf ball around each input: through Linear and Conv2d by their centre and radius, through
 * other layers and functions as they are, which must be non-decreasing in every element (relu, tanh, sigmoid, Flatten, pooling). They
 * are expressions: a loss on them is interval bound propagation. Gowal et al. 2018, "On the effectiveness of interval bound
 * propagation for training verifiably robust models", section 3.
 *
 * Cost: two forward passes.
 *
 * @param x [n, ...]
 * @returns the bounds of each output [n, ...]
 * @throws if a layer is not known to be non-decreasing, or an option is out of range or unknown
 */
export function intervalBounds(model: Sequential, x: Tensor, options: IntervalOptions): Bounds {
  const { epsilon, clipMin, clipMax } = knownOptions('intervalBounds', options, { ...rangeNames, epsilon: true })
  checkRequired('intervalBounds', { epsilon })
  const ends = [sub(x, epsilon), add(x, epsilon)].map(end => clip(end, clipMin ?? null, clipMax ?? null))
  return model.layers.reduce<Bounds>((bounds, layer) => throughLayer(layer, bounds), { lower: ends[0], upper: ends[1] })
}

/** Layers that are non-decreasing in every element. */
const rising = [Flatten, MaxPool2d, AvgPool2d, GlobalAvgPool2d, GlobalMaxPool2d] as const

function throughLayer(layer: Stage, { lower, upper }: Bounds): Bounds {
  if (typeof layer === 'function') return { lower: layer(lower), upper: layer(upper) }
  if (layer instanceof Linear || layer instanceof Conv2d) {
    const centre = layer.apply(mul(add(lower, upper), 0.5))
    const spread = mapTree(layer, (leaf, name) => (name === 'bias' ? mul(leaf, 0) : abs(leaf)))
    const radius = spread.apply(mul(sub(upper, lower), 0.5))
    return { lower: sub(centre, radius), upper: add(centre, radius) }
  }
  if (!rising.some(known => layer instanceof known))
    throw new Error(
      `intervalBounds: ${layer.constructor.name} is not known to be non-decreasing; known layers are Linear, Conv2d, ${rising.map(k => k.name).join(', ')}, and functions such as relu`,
    )
  return { lower: layer.apply(lower, evaluation), upper: layer.apply(upper, evaluation) }
}

/**
 * The logits that are worst for each example's label: its lower bound, and the upper bounds of all other classes. Where the label is still
 * the largest, no point of the ball is misclassified; their cross-entropy trains for that. Gowal et al. 2018, section 3.
 *
 * @param labels int32 [n]
 * @returns [n, classes]
 */
export function worstLogits({ lower, upper }: Bounds, labels: Tensor): Tensor {
  const isLabel = equal(iota(lower.shape, 1), expandDims(astype(labels, 'int32'), -1))
  return where(isLabel, lower, upper)
}

/** Which examples are certified by bounds of their logits: bool [n]. */
export function certified(bounds: Bounds, labels: Tensor): Tensor {
  const worst = worstLogits(bounds, labels)
  const isLabel = equal(iota(worst.shape, 1), expandDims(astype(labels, 'int32'), -1))
  const own = sum(where(isLabel, worst, 0), { axis: -1 })
  const isCertain = less(max(where(isLabel, Number.NEGATIVE_INFINITY, worst), { axis: -1 }), own)
  return logicalAnd(isCertain, any(isLabel, { axis: -1 }))
}

export interface SmoothingOptions extends FeatureOptions {
  /** The standard deviation of the noise, in the units of the features. */
  sigma: number
  key: Tensor
  /** Noisy copies by which the class is chosen. Default 100. */
  selection?: number
  /** Noisy copies by which its probability is bounded. Default 1000. */
  samples?: number
  /** How likely a certificate may be wrong. Default 0.001. */
  alpha?: number
}

/** What is known of an example under noise. */
export interface SmoothedExample {
  /** The class of the smoothed classifier; undefined where it abstains. */
  readonly class: number | undefined
  /** The L2 radius within which that class is certain; 0 where it abstains. */
  readonly radius: number
}

/**
 * Certificates of the classifier that answers with the likeliest class under normal noise: within the L2 radius σ·Φ⁻¹(p) of each
 * example its answer does not change, p the lower Clopper-Pearson bound of the class's probability. Cohen, Rosenfeld and Kolter 2019,
 * "Certified adversarial robustness via randomized smoothing", section 3.2.
 *
 * Cost: selection + samples forward passes.
 *
 * @param logits the logits [n, classes] of a batch
 * @throws if an option is out of range or unknown, or there is no key
 */
export async function smoothed<M>(
  logits: Logits<M>,
  model: M,
  batch: Batch,
  given: SmoothingOptions,
): Promise<SmoothedExample[]> {
  const op = 'smoothed'
  const {
    sigma,
    key,
    selection = 100,
    samples = 1000,
    alpha = 0.001,
    ...options
  } = knownOptions(op, given, {
    ...featureNames,
    sigma: true,
    key: true,
    selection: true,
    samples: true,
    alpha: true,
  })
  checkRequired(op, { sigma })
  checkCounts(op, { selection, samples })
  if (!(alpha > 0 && alpha < 1)) throw new Error(`${op}: alpha must be a number between 0 and 1, not ${alpha}`)
  if (!key) throw new Error(`${op}: noise needs a random key: { key: random.key(0) }`)
  const features = perturbable(op, batch, options)
  const n = examples(op, batch)
  await realize(model)
  const vote = compile((m: M, k: Tensor) => {
    let part = 0
    const noisy = mapFeatures(features, x => add(x, mul(normal(foldIn(k, part++), x.shape, x.dtype), sigma)))
    const z = logitsOf(op, logits, m, { ...batch, ...noisy }, evaluation)
    // A row with a NaN votes for no class.
    return where(any(isnan(z), { axis: -1 }), -1, argmax(z, { axis: -1 }))
  })
  const votes = async (count: number, stream: number): Promise<Map<number, number>[]> => {
    const tallies = Array.from({ length: n }, () => new Map<number, number>())
    for (let i = 0; i < count; i++) {
      const found = await (await vote(model, foldIn(foldIn(key, stream), tensor(i, { dtype: 'int32' })))).data()
      for (let e = 0; e < n; e++) tallies[e].set(found[e], (tallies[e].get(found[e]) ?? 0) + 1)
    }
    return tallies
  }
  const chosen = (await votes(selection, 0)).map(tally => [...tally].reduce((a, b) => (b[1] > a[1] ? b : a))[0])
  const tallies = await votes(samples, 1)
  const bounds = tallies.map((tally, e) => lowerBound(tally.get(chosen[e]) ?? 0, samples, alpha))
  const quantiles = await normalQuantile(tensor(bounds, { dtype: 'float64' })).data()
  return bounds.map((p, e) =>
    p > 0.5 && chosen[e] >= 0 ? { class: chosen[e], radius: sigma * quantiles[e] } : { class: undefined, radius: 0 },
  )
}

/**
 * The lower end of the one-sided Clopper-Pearson interval: the probability at which k successes of n, or more, have probability α.
 */
export function lowerBound(k: number, n: number, alpha: number): number {
  if (k === 0) return 0
  const logFactorials = [0]
  for (let i = 1; i <= n; i++) logFactorials.push(logFactorials[i - 1] + Math.log(i))
  const tail = (p: number): number => {
    let total = 0
    for (let i = k; i <= n; i++) {
      const ways = logFactorials[n] - logFactorials[i] - logFactorials[n - i]
      total += Math.exp(ways + i * Math.log(p) + (n - i) * Math.log1p(-p))
    }
    return total
  }
  let [low, high] = [0, 1]
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2
    if (tail(middle) < alpha) low = middle
    else high = middle
  }
  return low
}
