/** Reductions over axes, from the primitives sum and max. */

import { isFloat } from '../graph/dtype.js'
import { normalizeAxes, normalizeAxis } from '../graph/shape.js'
import { iota } from './create.js'
import {
  abs,
  add,
  astype,
  div,
  equal,
  exp,
  isfinite,
  isnan,
  log,
  logicalNot,
  logicalOr,
  mul,
  notEqual,
  opposite,
  sqrt,
  sub,
  where,
} from './elementwise.js'
import { reshape } from './movement.js'
import { build, type Tensor } from './tensor.js'

export interface ReduceOptions {
  /** The axes to reduce, negative ones from the end; all of them by default. */
  axis?: number | readonly number[] | null
  /** Keep reduced axes with size 1. */
  keepdims?: boolean
}

/** One reduction primitive with the array API's options around it. */
function reduce(op: 'sum' | 'max', x: Tensor, { axis, keepdims }: ReduceOptions): Tensor {
  const axes = normalizeAxes(op, axis, x.ndim)
  return drop(build(op, [x], { axes }), axes, keepdims)
}
const drop = (x: Tensor, axes: readonly number[], keepdims = false): Tensor =>
  keepdims
    ? x
    : reshape(
        x,
        x.shape.filter((_, d) => !axes.includes(d)),
      )

const numeric = (x: Tensor): Tensor => (x.dtype === 'bool' ? astype(x, 'int32') : x)

export const sum = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce('sum', numeric(x), options)
/** The largest element; a gradient is shared equally among ties. */
export const max = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce('max', numeric(x), options)
export const min = (x: Tensor, options: ReduceOptions = {}): Tensor => opposite(max(opposite(numeric(x)), options))

const count = (x: Tensor, { axis }: ReduceOptions): number =>
  normalizeAxes('mean', axis, x.ndim).reduce((n, d) => n * x.shape[d], 1)

export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const floats = isFloat(x.dtype) ? x : astype(x, 'float32')
  return div(sum(floats, options), count(x, options))
}

/** The mean squared distance from the mean, over n - correction. Named for `var`, which JavaScript keeps for itself. */
export function variance(x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor {
  const centred = sub(x, mean(x, { ...options, keepdims: true }))
  return div(sum(mul(centred, centred), options), count(x, options) - (options.correction ?? 0))
}
export const std = (x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor =>
  safeSqrt(variance(x, options))

/** The square root of something >= 0 whose derivatives at 0 are 0 at every order, as a norm's subgradient. */
export function safeSqrt(x: Tensor): Tensor {
  const zero = equal(x, 0)
  return where(zero, 0, sqrt(where(zero, 1, x)))
}

/** (Σ x²)^½, with gradient 0 at 0. */
export const vectorNorm = (x: Tensor, options: ReduceOptions = {}): Tensor => safeSqrt(sum(mul(x, x), options))

/** log Σ exp(x) without overflow; -inf where all are -inf. */
export function logsumexp(x: Tensor, options: ReduceOptions = {}): Tensor {
  const top = max(x, { ...options, keepdims: true })
  const shift = build('stopGradient', [where(isfinite(top), top, 0)], {})
  const total = log(sum(exp(sub(x, shift)), { ...options, keepdims: true }))
  return drop(add(total, shift), normalizeAxes('logsumexp', options.axis, x.ndim), options.keepdims)
}

const truth = (x: Tensor): Tensor => astype(notEqual(x, 0), 'int32')
export const any = (x: Tensor, options: ReduceOptions = {}): Tensor => notEqual(sum(truth(x), options), 0)
export const all = (x: Tensor, options: ReduceOptions = {}): Tensor => logicalNot(any(equal(x, 0), options))

/** The position of the first largest element (or NaN) along an axis (of the flattened tensor by default), as int32. */
export function argmax(x: Tensor, { axis, keepdims }: { axis?: number; keepdims?: boolean } = {}): Tensor {
  if (axis === undefined) {
    const flat = argmax(reshape(x, [x.size]), { axis: 0 })
    return keepdims
      ? reshape(
          flat,
          x.shape.map(() => 1),
        )
      : flat
  }
  const d = normalizeAxis('argmax', axis, x.ndim)
  const values = numeric(x)
  const isTop = logicalOr(equal(values, max(values, { axis: d, keepdims: true })), isnan(values))
  const fromEnd = sub(x.shape[d] - 1, iota(x.shape, d))
  return sub(x.shape[d] - 1, max(where(isTop, fromEnd, 0), { axis: d, keepdims }))
}
export const argmin = (x: Tensor, options: { axis?: number; keepdims?: boolean } = {}): Tensor =>
  argmax(opposite(numeric(x)), options)

export const l1Norm = (x: Tensor, options: ReduceOptions = {}): Tensor => sum(abs(x), options)
