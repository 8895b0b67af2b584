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
import { build, demandOptions, demandTensors, type Tensor } from './tensor.js'

export interface ReduceOptions {
  /** The axes to reduce, negative ones from the end; all of them by default. */
  axis?: number | readonly number[] | null
  /** Keep reduced axes with size 1. */
  keepdims?: boolean
}

/** The options with axes checked in the name of the operation that the caller asked for. */
function checked<O extends ReduceOptions>(op: string, x: Tensor, options: O): O & { axis: readonly number[] } {
  demandTensors(op, x)
  demandOptions(op, options)
  return { ...options, axis: normalizeAxes(op, options.axis, x.ndim) }
}

/** One reduction primitive with the array API's options around it. */
function reduce(op: 'sum' | 'max', x: Tensor, options: ReduceOptions): Tensor {
  const { axis, keepdims } = checked(op, x, options)
  const values = x.dtype === 'bool' ? astype(x, 'int32') : x
  return drop(build(op, [values], { axes: axis }), axis, keepdims)
}
const drop = (x: Tensor, axes: readonly number[], keepdims = false): Tensor =>
  keepdims
    ? x
    : reshape(
        x,
        x.shape.filter((_, d) => !axes.includes(d)),
      )

export const sum = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce('sum', x, options)
/** The largest element; a gradient is shared equally among ties. */
export const max = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce('max', x, options)
export function min(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('min', x, options)
  return opposite(max(opposite(x.dtype === 'bool' ? astype(x, 'int32') : x), over))
}

const count = (x: Tensor, axes: readonly number[]): number => axes.reduce((n, d) => n * x.shape[d], 1)

export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('mean', x, options)
  return div(sum(isFloat(x.dtype) ? x : astype(x, 'float32'), over), count(x, over.axis))
}

/** The mean squared distance from the mean, over n - correction. Named for `var`, which JavaScript keeps for itself. */
export function variance(x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor {
  const over = checked('variance', x, options)
  const rough = sub(x, mean(x, { ...over, keepdims: true }))
  // Centred again: the rounding of a large mean would else count as spread.
  const centred = sub(rough, mean(rough, { ...over, keepdims: true }))
  return div(sum(mul(centred, centred), over), count(x, over.axis) - (options.correction ?? 0))
}
export const std = (x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor =>
  safeSqrt(variance(x, checked('std', x, options)))

/** The square root of something >= 0 whose derivatives at 0 are 0 at every order, as a norm's subgradient. */
export function safeSqrt(x: Tensor): Tensor {
  const zero = equal(x, 0)
  return where(zero, 0, sqrt(where(zero, 1, x)))
}

/** (Σ x²)^½, with gradient 0 at 0. */
export function vectorNorm(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('vectorNorm', x, options)
  return safeSqrt(sum(mul(x, x), over))
}

/** log Σ exp(x) without overflow; -inf where all are -inf. */
export function logsumexp(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('logsumexp', x, options)
  const top = max(x, { ...over, keepdims: true })
  const shift = build('stopGradient', [where(isfinite(top), top, 0)], {})
  const total = log(sum(exp(sub(x, shift)), { ...over, keepdims: true }))
  return drop(add(total, shift), over.axis, over.keepdims)
}

export const any = (x: Tensor, options: ReduceOptions = {}): Tensor => {
  const over = checked('any', x, options)
  return notEqual(sum(notEqual(x, 0), over), 0)
}
export const all = (x: Tensor, options: ReduceOptions = {}): Tensor => {
  const over = checked('all', x, options)
  return logicalNot(any(equal(x, 0), over))
}

/** The position of the first largest element (or NaN) along an axis (of the flattened tensor by default), as int32. */
export function argmax(x: Tensor, options: { axis?: number; keepdims?: boolean } = {}): Tensor {
  const { axis, keepdims } = demandOptions('argmax', options)
  demandTensors('argmax', x)
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
  const values = x.dtype === 'bool' ? astype(x, 'int32') : x
  const isTop = logicalOr(equal(values, max(values, { axis: d, keepdims: true })), isnan(values))
  const fromEnd = sub(x.shape[d] - 1, iota(x.shape, d))
  return sub(x.shape[d] - 1, max(where(isTop, fromEnd, 0), { axis: d, keepdims }))
}
export function argmin(x: Tensor, options: { axis?: number; keepdims?: boolean } = {}): Tensor {
  demandTensors('argmin', x)
  return argmax(opposite(x), options)
}

export function l1Norm(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('l1Norm', x, options)
  return sum(abs(x), over)
}
