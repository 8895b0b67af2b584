/**
 * The geometry that attacks share: the steepest direction in a norm, the projection on its ball, a uniform start inside
 * it. Norms are of each example, jointly over all its features; where they are taken, zero is safe at every order.
 */

import { computeType, promote } from '../graph/dtype.js'
import { sizeOf } from '../graph/shape.js'
import { iota } from '../tensor/create.js'
import {
  abs,
  add,
  astype,
  bitcast,
  clip,
  div,
  equal,
  isfinite,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  pow,
  sign,
  sqrt,
  square,
  stopGradient,
  sub,
  where,
} from '../tensor/elementwise.js'
import { concat, reshape } from '../tensor/movement.js'
import { sort } from '../tensor/order.js'
import { bernoulli, normal, split, uniform } from '../tensor/random.js'
import { cumulativeSum, max, sum } from '../tensor/reduction.js'
import { at } from '../tensor/slicing.js'
import type { Tensor } from '../tensor/tensor.js'
import { alike, applyMask, demandFeatures, type FeatureOptions, type Features, mapFeatures } from './features.js'

export const norms = ['linf', 'l2', 'l1'] as const
export type Norm = (typeof norms)[number]

export function checkNorm(op: string, norm: Norm): void {
  if (!norms.includes(norm)) throw new Error(`${op}: unknown norm '${norm}'; one of ${norms.join(', ')}`)
}

/** An example a row: [n, elements]. */
const rows = (x: Tensor): Tensor => reshape(x, [x.shape[0], sizeOf(x.shape.slice(1))])
/** One value per example [n] (a condition, or in x's dtype), in a shape that broadcasts against x [n, ...]. */
export const beside = (v: Tensor, x: Tensor): Tensor =>
  reshape(v.dtype === 'bool' ? v : astype(v, x.dtype), [x.shape[0], ...x.shape.slice(1).map(() => 1)])

/** A number for all examples (a number, or a scalar) or for each of them [n]. */
export type PerExample = number | Tensor
/** Such a number as what broadcasts against x [n, ...], in x's dtype. */
const over = (v: PerExample, x: Tensor): PerExample =>
  typeof v === 'number' ? v : v.ndim === 0 ? astype(v, x.dtype) : beside(v, x)

/** Σ over all elements of all features of each example: [n]. */
export const exampleSum = (features: Features, of: (x: Tensor) => Tensor): Tensor =>
  Object.values(features)
    .map(x => sum(rows(of(x)), { axis: 1 }))
    .reduce(add)
/** Σ a·b of each example: [n]. */
export const exampleDot = (a: Features, b: Features): Tensor =>
  exampleSum(
    mapFeatures(a, (x, name) => mul(x, b[name])),
    x => x,
  )
/** Σ a·b over everything: a scalar. */
export const dot = (a: Features, b: Features): Tensor =>
  Object.entries(a)
    .map(([name, x]) => sum(mul(x, b[name])))
    .reduce(add)
/** √x of what is not negative, whose derivatives at 0 are 0. */
export const safeRoot = (x: Tensor): Tensor => where(equal(x, 0), 0, sqrt(where(equal(x, 0), 1, x)))
/** The largest |element| of each example: [n]. */
const exampleMax = (features: Features): Tensor =>
  Object.values(features)
    .map(x => max(rows(abs(x)), { axis: 1 }))
    .reduce(maximum)

/** ‖x‖ of each example: [n]. */
export const exampleNorm = (features: Features, norm: 'linf' | 'l2'): Tensor =>
  norm === 'linf' ? exampleMax(features) : sqrt(exampleSum(features, square))

/**
 * The direction v of each example that maximises <g, v> with ‖v‖ <= 1; zero where g is zero.
 *
 * - linf: sign(g)
 * - l2: u / √Σu² for u = g / max|g|, so that tiny gradients keep their direction
 * - l1: sign(g) on the coordinate of largest |g|; ties share it
 */
export function steepest(gradient: Features, norm: Norm): Features {
  checkNorm('steepest', norm)
  demandFeatures('steepest', gradient)
  if (norm === 'linf') return mapFeatures(gradient, sign)
  const top = stopGradient(exampleMax(gradient))
  if (norm === 'l1') {
    const isTop = (g: Tensor): Tensor => astype(equal(abs(g), beside(top, g)), g.dtype)
    const ties = exampleSum(gradient, isTop)
    return mapFeatures(gradient, g => div(mul(sign(g), isTop(g)), beside(ties, g)))
  }
  // The direction does not depend on the scale, so cutting the scale's derivative leaves it exact. A rescaled gradient is
  // 0 or at least 1 long: the floor of the usual √max(Σu², 1e-12) only ever meets 0, where derivatives are 0 here.
  const dead = equal(top, 0)
  const scaled = mapFeatures(gradient, g => div(g, beside(where(dead, 1, top), g)))
  const length = sqrt(where(dead, 1, exampleSum(scaled, square)))
  return mapFeatures(scaled, u => where(beside(dead, u), 0, div(u, beside(length, u))))
}

/**
 * The nearest perturbation, in Euclidean distance, with ‖δ‖ <= epsilon, one for all examples or for each.
 *
 * - linf: each element clipped
 * - l2: δ · min(1, ε / ‖δ‖₂)
 * - l1: sign(δ) max(|δ| - θ, 0), θ = max_j (Σ_{i<=j} u_i - ε) / j for |δ| = u sorted descending (Duchi et al. 2008,
 *   "Efficient projections onto the l1-ball for learning in high dimensions")
 */
export function project(delta: Features, epsilon: PerExample, norm: Norm): Features {
  checkNorm('project', norm)
  demandFeatures('project', delta)
  if (norm === 'linf')
    return mapFeatures(delta, d => {
      const e = over(epsilon, d)
      return typeof e === 'number' ? clip(d, -e, e) : minimum(maximum(d, neg(e)), e)
    })
  if (norm === 'l2') {
    const squared = exampleSum(delta, square)
    const e = over(epsilon, squared)
    const outside = less(typeof e === 'number' ? e * e : square(e), squared)
    const scale = where(outside, div(e, sqrt(where(outside, squared, 1))), 1)
    return mapFeatures(delta, d => mul(d, beside(scale, d)))
  }
  const parts = Object.values(delta).map(d => abs(rows(d)))
  const dtype = parts.map(p => p.dtype).reduce(promote)
  const u = sort(
    concat(
      parts.map(p => astype(p, dtype)),
      1,
    ),
    { axis: 1, descending: true },
  )
  const threshold = max(div(sub(cumulativeSum(u, { axis: 1 }), over(epsilon, u)), add(iota(u.shape, 1), 1)), {
    axis: 1,
  })
  const theta = where(less(0, threshold), threshold, 0)
  return mapFeatures(delta, d => {
    const rest = sub(abs(d), beside(theta, d))
    return mul(sign(d), where(less(0, rest), rest, 0))
  })
}

/**
 * A perturbation drawn uniformly from each example's ball of radius epsilon, one for all or for each; that of float16 in float32.
 *
 * - l2: a normal direction times ε r^(1/d), r uniform
 * - l1: signs times d of d + 1 exponentials over their sum, times ε
 */
export function uniformInBall(key: Tensor, like: Features, epsilon: PerExample, norm: Norm): Features {
  checkNorm('uniformInBall', norm)
  demandFeatures('uniformInBall', like)
  const names = Object.keys(like)
  const n = like[names[0]].shape[0]
  const keys = split(key, 2 * names.length + 1)
  const keyOf = (name: string, part: 0 | 1): Tensor => at(keys, 2 * names.indexOf(name) + part)
  const radius = uniform(at(keys, 2 * names.length), [n])
  switch (norm) {
    case 'linf':
      return mapFeatures(like, (x, name) => {
        const within = (radius: number): Tensor =>
          uniform(keyOf(name, 0), x.shape, { low: -radius, high: radius, dtype: computeType(x.dtype) })
        if (typeof epsilon === 'number') return within(epsilon)
        const drawn = within(1)
        return mul(drawn, over(epsilon, drawn))
      })
    case 'l2': {
      const directions = mapFeatures(like, (x, name) => normal(keyOf(name, 0), x.shape, computeType(x.dtype)))
      const elements = names.reduce((d, name) => d + sizeOf(like[name].shape.slice(1)), 0)
      const share = pow(radius, 1 / elements)
      return mapFeatures(steepest(directions, 'l2'), d => mul(mul(d, beside(share, d)), over(epsilon, d)))
    }
    case 'l1': {
      const exponential = (u: Tensor): Tensor => neg(log(sub(1, u)))
      const sizes = mapFeatures(like, (x, name) =>
        exponential(uniform(keyOf(name, 0), x.shape, { dtype: computeType(x.dtype) })),
      )
      const total = add(
        exampleSum(sizes, e => e),
        exponential(radius),
      )
      return mapFeatures(sizes, (e, name) => {
        const signed = where(bernoulli(keyOf(name, 1), e.shape), e, neg(e))
        return mul(div(signed, beside(total, e)), over(epsilon, e))
      })
    }
  }
}

/** How far a step goes. */
export interface Reach {
  /** Negative descends. */
  stepSize: PerExample
  /** The radius of the ball around the original; none by default. */
  epsilon?: PerExample
}

export interface StepRule extends Pick<FeatureOptions, 'featureMask'>, Reach {
  norm: Norm
  /** The smallest value a feature may take. */
  clipMin?: number
  /** The largest value a feature may take. */
  clipMax?: number
}

/** Perturbed features inside the valid range. */
export const clipFeatures = (
  features: Features,
  { clipMin, clipMax }: Pick<StepRule, 'clipMin' | 'clipMax'>,
): Features => mapFeatures(features, x => clip(x, clipMin ?? null, clipMax ?? null))

/**
 * Perturbed features as a data set holds them, for an attack to judge: inside the valid range, in the dtypes of the originals. A float32 is
 * rounded by way of its bits, since `reference` computes it more exactly than that; no gradient flows through them.
 */
export const storedFeatures = (
  features: Features,
  original: Features,
  range: Pick<StepRule, 'clipMin' | 'clipMax'>,
): Features =>
  mapFeatures(alike(clipFeatures(features, range), original), x =>
    x.dtype === 'float32' ? bitcast(bitcast(x, 'int32'), 'float32') : x,
  )

/**
 * One step from `current` along its gradient, in this order: gradient elements that are not finite become 0, the mask,
 * the step in the steepest direction, the projection around `original`, the clip. Of float16 features, whose gradient is
 * float32, only the result is rounded.
 */
export function step(original: Features, current: Features, gradient: Features, rule: StepRule): Features {
  const { norm, stepSize, epsilon, featureMask } = rule
  const masked = mapFeatures(gradient, (g, name) => applyMask(where(isfinite(g), g, 0), name, featureMask))
  const direction = steepest(masked, norm)
  const delta = mapFeatures(direction, (d, name) => {
    const stride = mul(d, over(stepSize, d))
    return current[name] === original[name] ? stride : add(sub(current[name], original[name]), stride)
  })
  const kept = epsilon === undefined ? delta : project(delta, epsilon, norm)
  const moved = mapFeatures(kept, (d, name) => add(original[name], d))
  return alike(clipFeatures(moved, rule), original)
}

/** As it would be written: '1' is no number. */
export const written = (value: unknown): string => (typeof value === 'string' ? `'${value}'` : String(value))

/** @throws if an option is outside its range. */
export function checkRule(op: string, rule: StepRule & { stepSize: number; epsilon?: number }): void {
  const { norm, stepSize, epsilon, clipMin = Number.NEGATIVE_INFINITY, clipMax = Number.POSITIVE_INFINITY } = rule
  checkNorm(op, norm)
  if (epsilon !== undefined && !(Number.isFinite(epsilon) && epsilon >= 0))
    throw new Error(`${op}: epsilon must be a finite number >= 0, not ${written(epsilon)}; leave it out for no bound`)
  if (!Number.isFinite(stepSize)) throw new Error(`${op}: stepSize must be a finite number, not ${written(stepSize)}`)
  if (!(clipMin <= clipMax)) throw new Error(`${op}: clipMin ${clipMin} must not be above clipMax ${clipMax}`)
}
