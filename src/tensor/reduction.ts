/** Reductions over axes, from the primitives sum, prod and max, and running sums. */

import { type DType, floatType } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, normalizeAxes, normalizeAxis, sizeOf } from '../graph/shape.js'
import { iota } from './create.js'
import {
  abs,
  add,
  astype,
  div,
  equal,
  exp,
  isinf,
  isnan,
  less,
  lessEqual,
  log,
  logicalAnd,
  logicalNot,
  logicalOr,
  mul,
  notEqual,
  pow,
  square,
  stopGradient,
  sub,
  where,
} from './elementwise.js'
import { expandDims, pad, permuteDims, reshape, split } from './movement.js'
import { inFloat32, opposite, safeSqrt, scaleFor } from './shared.js'
import { build, demandTensors, type Tensor } from './tensor.js'

export interface ReduceOptions {
  /** The axes to reduce, negative ones from the end; all of them by default. */
  axis?: number | readonly number[] | null
  /** Keep reduced axes with size 1. */
  keepdims?: boolean
}

const reduceNames: Names<ReduceOptions> = { axis: true, keepdims: true }

/** How to reduce, checked in the name of the operation that the caller asked for; what else it takes is left out. */
function checked<O extends ReduceOptions = ReduceOptions>(
  op: string,
  x: Tensor,
  options: O,
  names: Names<ReduceOptions> & Names<NoInfer<O>>,
): { axis: readonly number[]; keepdims: boolean | undefined } {
  demandTensors(op, x)
  const { axis, keepdims } = knownOptions(op, options, names)
  return { axis: normalizeAxes(op, axis, x.ndim), keepdims }
}

/** Reductions count booleans as 0 and 1. */
const numeric = (x: Tensor): Tensor => (x.dtype === 'bool' ? astype(x, 'int32') : x)
const drop = (x: Tensor, axes: readonly number[], keepdims = false): Tensor =>
  keepdims
    ? x
    : reshape(
        x,
        x.shape.filter((_, d) => !axes.includes(d)),
      )

const count = (x: Tensor, axes: readonly number[]): number => axes.reduce((n, d) => n * x.shape[d], 1)

function demandElements(op: string, x: Tensor, axes: readonly number[]): void {
  if (count(x, axes) === 0)
    throw new Error(`${op}: an axis of ${formatShape(x.shape)} is empty, and nothing has no ${op}`)
}

/** The sum of the elements; integers wrap, booleans count as int32. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  const { axis, keepdims } = checked('sum', x, options, reduceNames)
  return drop(build('sum', [numeric(x)], { axes: axis }), axis, keepdims)
}
/** The product of the elements; derivatives of any order are exact with any number of zeros. */
export function prod(x: Tensor, options: ReduceOptions = {}): Tensor {
  const { axis, keepdims } = checked('prod', x, options, reduceNames)
  const kept = x.shape.flatMap((_, d) => (axis.includes(d) ? [] : [d]))
  const shape = kept.map(d => x.shape[d])
  let factors = reshape(permuteDims(numeric(x), [...kept, ...axis]), [...shape, count(x, axis)])
  // In eights, for the derivative of n factors costs n².
  while (factors.shape[shape.length] > 8) factors = product(inBlocks(factors, shape.length, 8, 1))
  return reshape(product(factors), keepdims ? x.shape.map((n, d) => (axis.includes(d) ? 1 : n)) : shape)
}
const product = (x: Tensor): Tensor => drop(build('prod', [x], { axes: [x.ndim - 1] }), [x.ndim - 1])

/** The largest element, NaN if there is one; a gradient is shared equally among ties. */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  const { axis, keepdims } = checked('max', x, options, reduceNames)
  demandElements('max', x, axis)
  return drop(build('max', [numeric(x)], { axes: axis }), axis, keepdims)
}
/** The smallest element, NaN if there is one; a gradient is shared equally among ties. */
export function min(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('min', x, options, reduceNames)
  demandElements('min', x, over.axis)
  return opposite(max(opposite(numeric(x)), over))
}

/** The mean of the elements; integers become float32. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('mean', x, options, reduceNames)
  return inFloat32([astype(x, floatType(x.dtype))], y => div(sum(y, over), count(x, over.axis)))
}

const varianceNames: Names<ReduceOptions & { correction?: number }> = { ...reduceNames, correction: true }

/** The mean squared distance from the mean, over n - correction; also exported as `var`. */
export function variance(x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor {
  const over = checked('variance', x, options, varianceNames)
  return inFloat32([x], x => {
    const rough = sub(x, mean(x, { ...over, keepdims: true }))
    // Centred again: the rounding of a large mean would else count as spread. Without rounding that is by 0, whatever x is.
    const centred = sub(rough, stopGradient(mean(rough, { ...over, keepdims: true })))
    return div(sum(mul(centred, centred), over), Math.max(0, count(x, over.axis) - (options.correction ?? 0)))
  })
}
export { variance as var }
/** The square root of `variance`; where that is 0, so are all derivatives. */
export function std(x: Tensor, options: ReduceOptions & { correction?: number } = {}): Tensor {
  const over = checked('std', x, options, varianceNames)
  const { correction } = options
  return inFloat32([x], y => safeSqrt(variance(y, { ...over, correction })))
}

export interface NormOptions extends ReduceOptions {
  /** The norm's order p: any number above 0, or Infinity for the largest magnitude; 2 by default. */
  ord?: number
}
const normNames: Names<NormOptions> = { ...reduceNames, ord: true }

/**
 * (Σ |x|^p)^(1/p), also where the powers alone would overflow. Magnitudes have derivative 0 at 0, at every order, wherever
 * they have none: so has the norm of zeros. Order Infinity shares its gradient equally among ties.
 *
 * @throws if the order is not above 0.
 */
export function vectorNorm(x: Tensor, options: NormOptions = {}): Tensor {
  const over = checked('vectorNorm', x, options, normNames)
  const { ord = 2 } = options
  if (!(ord > 0)) throw new Error(`vectorNorm: ord must be a number above 0, not ${ord}`)
  if (x.dtype === 'float16') return inFloat32([x], y => vectorNorm(y, options))
  const values = astype(x, floatType(x.dtype))
  const magnitude = abs(values)
  if (ord === 1 || count(x, over.axis) === 0) return sum(magnitude, over)
  if (ord === Infinity) return max(magnitude, over)
  const kept = { ...over, keepdims: true }
  const top = max(magnitude, kept)
  return drop(
    ord === 2 ? euclideanNorm(values, top, kept) : powerNorm(ord, values, top, kept),
    over.axis,
    over.keepdims,
  )
}

function euclideanNorm(x: Tensor, top: Tensor, over: ReduceOptions): Tensor {
  const scale = scaleFor(top)
  return div(safeSqrt(sum(square(mul(x, scale)), over)), scale)
}
function powerNorm(p: number, x: Tensor, top: Tensor, over: ReduceOptions): Tensor {
  const scalable = logicalAnd(less(0, top), less(top, Infinity))
  const scale = stopGradient(where(scalable, top, 1))
  const total = sum(magnitudeToThe(p, div(x, scale)), over)
  const zero = equal(total, 0)
  return where(zero, 0, mul(pow(where(zero, 1, total), 1 / p), scale))
}

/** |x|^p, whose derivatives at 0 are 0 unless p is even: then it is smooth there. */
function magnitudeToThe(p: number, x: Tensor): Tensor {
  if (p % 2 === 0) return pow(x, p)
  const zero = equal(x, 0)
  return where(zero, 0, pow(abs(where(zero, 1, x)), p))
}

/**
 * log Σ exp(x) without overflow; -inf where all are -inf, and for nothing. The gradient is 0 where the largest element is
 * infinite.
 */
export function logsumexp(x: Tensor, options: ReduceOptions = {}): Tensor {
  const over = checked('logsumexp', x, options, reduceNames)
  if (count(x, over.axis) === 0) return log(sum(x, over))
  const top = stopGradient(max(x, { ...over, keepdims: true }))
  const infinite = isinf(top)
  const total = sum(exp(where(infinite, 0, sub(x, top))), { ...over, keepdims: true })
  return drop(where(infinite, top, add(log(total), top)), over.axis, over.keepdims)
}

/** Whether any element is true; false for nothing. */
export const any = (x: Tensor, options: ReduceOptions = {}): Tensor => {
  const over = checked('any', x, options, reduceNames)
  return notEqual(sum(notEqual(x, 0), over), 0)
}
/** Whether all elements are true; true for nothing. */
export const all = (x: Tensor, options: ReduceOptions = {}): Tensor => {
  const over = checked('all', x, options, reduceNames)
  return logicalNot(any(equal(x, 0), over))
}

/** The position of the first largest element (or NaN) along an axis (of the flattened tensor by default), as int32. */
export function argmax(x: Tensor, options: { axis?: number; keepdims?: boolean } = {}): Tensor {
  const { axis, keepdims } = knownOptions('argmax', options, reduceNames)
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
  demandElements('argmax', x, [d])
  const values = numeric(x)
  const isTop = logicalOr(equal(values, max(values, { axis: d, keepdims: true })), isnan(values))
  const fromEnd = sub(x.shape[d] - 1, iota(x.shape, d))
  return sub(x.shape[d] - 1, max(where(isTop, fromEnd, 0), { axis: d, keepdims }))
}
/** The position of the first smallest element (or NaN) along an axis (of the flattened tensor by default), as int32. */
export function argmin(x: Tensor, options: { axis?: number; keepdims?: boolean } = {}): Tensor {
  const { axis } = knownOptions('argmin', options, reduceNames)
  demandTensors('argmin', x)
  demandElements('argmin', x, normalizeAxes('argmin', axis, x.ndim))
  return argmax(opposite(x), options)
}

export interface CumulativeOptions {
  /** The axis along which to add; may be left out where there is one. */
  axis?: number
  /** Start with a 0, which makes the axis longer by one. */
  includeInitial?: boolean
  /** Add in this dtype. */
  dtype?: DType
}
const cumulativeNames: Names<CumulativeOptions> = { axis: true, includeInitial: true, dtype: true }

/** The sums of the elements up to and including each position of an axis, an infinity or NaN reaching later ones only. */
export function cumulativeSum(x: Tensor, options: CumulativeOptions = {}): Tensor {
  const { axis, includeInitial = false, dtype } = knownOptions('cumulativeSum', options, cumulativeNames)
  demandTensors('cumulativeSum', x)
  if (axis === undefined && x.ndim > 1)
    throw new Error(`cumulativeSum: ${formatShape(x.shape)} has ${x.ndim} axes; name one with { axis }`)
  const d = normalizeAxis('cumulativeSum', axis ?? 0, x.ndim)
  const before = x.shape.slice(0, d)
  const after = x.shape.slice(d + 1)
  const rows = reshape(dtype ? astype(x, dtype) : numeric(x), [sizeOf(before), x.shape[d], sizeOf(after)])
  const sums = includeInitial ? afterZero(runningSum(rows)) : runningSum(rows)
  return reshape(sums, [...before, sums.shape[1], ...after])
}

/**
 * Every sum of up to `longest` elements is made by itself, n² additions in one kernel; longer axes are split into blocks of
 * `block`.
 */
const longest = 32
const block = 16

/** Sums along the middle one of three axes: within each block, then those of the blocks before it. */
function runningSum(x: Tensor): Tensor {
  const [outer, n, inner] = x.shape
  if (n <= longest) {
    const upTo = lessEqual(iota([n, n, 1], 1), iota([n, n, 1], 0))
    return sum(where(upTo, expandDims(x, 1), 0), { axis: 2 })
  }
  const blocks = inBlocks(x, 1, block, 0)
  const count = blocks.shape[1]
  const totals = first(count, afterZero(runningSum(sum(blocks, { axis: 2 }))))
  const within = reshape(runningSum(reshape(blocks, [outer * count, block, inner])), blocks.shape)
  return first(n, reshape(add(within, expandDims(totals, 2)), [outer, count * block, inner]))
}
const first = (n: number, x: Tensor): Tensor => split(x, [n], 1)[0]
const afterZero = (x: Tensor): Tensor =>
  pad(x, [
    [0, 0],
    [1, 0],
    [0, 0],
  ])

/** An axis as [blocks, size], filled up with a value. */
function inBlocks(x: Tensor, axis: number, size: number, value: number): Tensor {
  const n = x.shape[axis]
  const blocks = Math.ceil(n / size)
  const widths = x.shape.map((_, d): [number, number] => [0, d === axis ? blocks * size - n : 0])
  return reshape(pad(x, widths, value), [...x.shape.slice(0, axis), blocks, size, ...x.shape.slice(axis + 1)])
}
