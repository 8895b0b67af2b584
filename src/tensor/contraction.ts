/** Products that sum over shared axes: matrix products and convolutions, batched and grouped. */

import { promote } from '../graph/dtype.js'
import { broadcastShapes, formatShape, normalizeAxis, sizeOf } from '../graph/shape.js'
import { align, astype } from './elementwise.js'
import { at, broadcastTo, expandDims, padInterior, permuteDims, reshape, squeeze } from './movement.js'
import { build, demandTensors, describe, type Tensor } from './tensor.js'

/**
 * The matrix product of the last two axes, broadcast over the others; a vector is a row on the left, a column on the right.
 *
 * @throws if the inner dimensions differ or the batch axes do not broadcast.
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  demandTensors('matmul', a, b)
  if (a.ndim === 0 || b.ndim === 0)
    throw new Error(`matmul: needs rank 1 or more: ${formatShape(a.shape)} x ${formatShape(b.shape)}`)
  if (b.ndim === 1) return squeeze(matmul(a, expandDims(b, 1)), -1)
  if (a.ndim === 1) return squeeze(matmul(expandDims(a, 0), b), -2)
  const dtype = promote(a.dtype, b.dtype)
  if (a.dtype !== b.dtype) return matmul(astype(a, dtype), astype(b, dtype))
  const [m, k] = a.shape.slice(-2)
  const [kB, n] = b.shape.slice(-2)
  if (k !== kB)
    throw new Error(
      `matmul: inner dimensions differ: ${formatShape(a.shape)} x ${formatShape(b.shape)} (${k} vs ${kB})`,
    )
  const batch = broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2))
  // One matrix on the right serves all rows of all batches at once.
  const shared = b.ndim === 2 || sizeOf(b.shape.slice(0, -2)) === 1
  const left = shared
    ? reshape(a, [1, a.size / Math.max(1, k) || 0, k])
    : reshape(broadcastTo(a, [...batch, m, k]), [sizeOf(batch), m, k])
  const right = shared ? reshape(b, [1, k, n]) : reshape(broadcastTo(b, [...batch, k, n]), [sizeOf(batch), k, n])
  if (shared && k === 0) return matmulEmpty(a, b, [...batch, m, n])
  return reshape(build('matmul', [left, right], {}), [...batch, m, n])
}

const matmulEmpty = (a: Tensor, b: Tensor, shape: number[]): Tensor => {
  const left = reshape(broadcastTo(a, [...shape.slice(0, -1), 0]), [
    sizeOf(shape.slice(0, -2)),
    shape[shape.length - 2],
    0,
  ])
  const right = reshape(broadcastTo(b, [...shape.slice(0, -2), 0, shape[shape.length - 1]]), [
    left.shape[0],
    0,
    shape[shape.length - 1],
  ])
  return reshape(build('matmul', [left, right], {}), shape)
}

/** Sums over the axes of a and b paired in `axes`, or over the last n of a and the first n of b. */
export function tensordot(
  a: Tensor,
  b: Tensor,
  axes: number | readonly [readonly number[], readonly number[]] = 2,
): Tensor {
  return contract('tensordot', a, b, axes)
}

function contract(
  op: string,
  a: Tensor,
  b: Tensor,
  axes: number | readonly [readonly number[], readonly number[]],
): Tensor {
  demandTensors(op, a, b)
  if (typeof axes === 'number' && !(Number.isInteger(axes) && axes >= 0 && axes <= Math.min(a.ndim, b.ndim))) {
    throw new Error(`${op}: cannot sum over ${axes} axes of ${formatShape(a.shape)} and ${formatShape(b.shape)}`)
  }
  const [left, right] =
    typeof axes === 'number'
      ? [a.shape.map((_, d) => d).slice(a.ndim - axes), b.shape.map((_, d) => d).slice(0, axes)]
      : [axes[0].map(d => normalizeAxis(op, d, a.ndim)), axes[1].map(d => normalizeAxis(op, d, b.ndim))]
  if (left.length !== right.length || left.some((d, i) => a.shape[d] !== b.shape[right[i]])) {
    throw new Error(
      `${op}: axes [${left}] of ${formatShape(a.shape)} do not pair with axes [${right}] of ${formatShape(b.shape)}`,
    )
  }
  const freeA = a.shape.map((_, d) => d).filter(d => !left.includes(d))
  const freeB = b.shape.map((_, d) => d).filter(d => !right.includes(d))
  const inner = left.reduce((n, d) => n * a.shape[d], 1)
  const rows = freeA.reduce((n, d) => n * a.shape[d], 1)
  const columns = freeB.reduce((n, d) => n * b.shape[d], 1)
  const product = matmul(
    reshape(permuteDims(a, [...freeA, ...left]), [rows, inner]),
    reshape(permuteDims(b, [...right, ...freeB]), [inner, columns]),
  )
  return reshape(product, [...freeA.map(d => a.shape[d]), ...freeB.map(d => b.shape[d])])
}

/** All products of an element of a with one of b: [...a.shape, ...b.shape]. */
export const outer = (a: Tensor, b: Tensor): Tensor => contract('outer', a, b, 0)

export const dot = (a: Tensor, b: Tensor): Tensor => contract('dot', a, b, 1)

type Pair = number | readonly [number, number]
/** An option for both spatial axes: two integers >= 1. */
function pair(op: string, name: string, value: Pair): [number, number] {
  const both: [number, number] = Array.isArray(value) ? [value[0], value[1]] : [Number(value), Number(value)]
  if (!both.every(n => Number.isInteger(n) && n >= 1))
    throw new Error(`${op}: ${name} must be an integer >= 1 or a pair of them, not ${describe(value)}`)
  return both
}

export type Padding = 'valid' | 'same' | number | readonly [readonly [number, number], readonly [number, number]]

export interface ConvOptions {
  /** Step between output positions, for both axes or [vertical, horizontal]. */
  stride?: Pair
  /** 'valid' (none), 'same' (output = input / stride, rounded up), a width, or [[top, bottom], [left, right]]; negative crops. */
  padding?: Padding
  /** Step between kernel elements in the input. */
  dilation?: Pair
  /** Step between input elements, zeros in between: a transposed convolution. */
  inputDilation?: Pair
  /** Channels are convolved in this many separate groups. */
  groups?: number
}

/**
 * The convolution (cross-correlation, as all libraries have it) of channels-last images.
 *
 * @param x images [n, height, width, groups * c]
 * @param w kernel [kernelHeight, kernelWidth, c, outputs]
 * @returns [n, outHeight, outWidth, outputs]
 */
export function conv2d(x: Tensor, w: Tensor, options: ConvOptions = {}): Tensor {
  demandTensors('conv2d', x, w)
  if (x.ndim !== 4 || w.ndim !== 4) {
    throw new Error(
      `conv2d: needs images [n,h,w,c] and a kernel [kh,kw,c,o], got ${formatShape(x.shape)} and ${formatShape(w.shape)}`,
    )
  }
  const [images, kernel] = x.dtype === w.dtype ? [x, w] : [x, w].map(t => astype(t, promote(x.dtype, w.dtype)))
  const strides = pair('conv2d', 'stride', options.stride ?? 1)
  const dilation = pair('conv2d', 'dilation', options.dilation ?? 1)
  const interior = pair('conv2d', 'inputDilation', options.inputDilation ?? 1).map(n => n - 1)
  const [groups] = pair('conv2d', 'groups', options.groups ?? 1)
  const window = [0, 1].map(d => (w.shape[d] - 1) * dilation[d] + 1)
  const extent = [0, 1].map(d => x.shape[1 + d] + Math.max(0, x.shape[1 + d] - 1) * interior[d])
  const widths = paddingWidths('conv2d', options.padding ?? 'valid', extent, window, strides)
  const padded = padSpatial(images, widths, interior)
  return build('conv', [padded, kernel], { strides, dilation, groups })
}

/** [before, after] per spatial axis. */
function paddingWidths(
  op: string,
  padding: Padding,
  extent: number[],
  window: number[],
  strides: number[],
): [number, number][] {
  const widths = [0, 1].map((d): [number, number] => {
    if (padding === 'valid') return [0, 0]
    if (typeof padding === 'number') return [padding, padding]
    if (padding !== 'same') return [padding[d]?.[0], padding[d]?.[1]]
    const total = Math.max(0, (Math.ceil(extent[d] / strides[d]) - 1) * strides[d] + window[d] - extent[d])
    return [Math.floor(total / 2), Math.ceil(total / 2)]
  })
  if (!widths.flat().every(Number.isInteger) || widths.some(([a, b], d) => a + b + extent[d] < 0)) {
    throw new Error(
      `${op}: padding must be 'valid', 'same', an integer or [[top, bottom], [left, right]] that leaves some of the image, not ${Array.isArray(padding) ? JSON.stringify(padding) : describe(padding)}`,
    )
  }
  return widths
}

/** Pads (or, where negative, crops) the two spatial axes of [n, h, w, c]. */
export function padSpatial(
  x: Tensor,
  widths: readonly (readonly [number, number])[],
  interior: readonly number[] = [0, 0],
  value = 0,
): Tensor {
  const positive = (n: number): number => Math.max(0, n)
  const before = [0, positive(widths[0][0]), positive(widths[1][0]), 0]
  const after = [0, positive(widths[0][1]), positive(widths[1][1]), 0]
  const y = padInterior(x, before, after, [0, ...interior, 0], value)
  const crop = widths.map(([from, to], d) => [positive(-from), y.shape[1 + d] - positive(-to)])
  return at(y, [], crop[0], crop[1], [])
}

export interface PoolOptions {
  /** Defaults to the window: windows side by side. */
  stride?: Pair
  padding?: Padding
}

/** Windows of [n, h, w, c] as [n, oh, ow, kh * kw, c]: strided slices side by side. */
function windows(op: string, x: Tensor, window: Pair, options: PoolOptions, fill: number): Tensor {
  demandTensors(op, x)
  if (x.ndim !== 4) throw new Error(`${op}: needs images [n,h,w,c], got ${formatShape(x.shape)}`)
  const [kh, kw] = pair(op, 'the window', window)
  const strides = pair(op, 'stride', options.stride ?? window)
  const widths = paddingWidths(op, options.padding ?? 'valid', [x.shape[1], x.shape[2]], [kh, kw], strides)
  if (widths.some(([before, after], d) => Math.max(before, after) >= [kh, kw][d]))
    throw new Error(`${op}: padding ${JSON.stringify(widths)} would make windows ${kh}x${kw} of padding alone`)
  const padded = padSpatial(x, widths, [0, 0], fill)
  const [n, h, w, c] = padded.shape
  const [oh, ow] = [Math.floor((h - kh) / strides[0]) + 1, Math.floor((w - kw) / strides[1]) + 1]
  if (oh < 1 || ow < 1)
    throw new Error(`${op}: the window ${kh}x${kw} is larger than the image, shape ${formatShape(x.shape)}`)
  if (strides[0] === kh && strides[1] === kw) {
    // Windows side by side are a view.
    const cropped = at(padded, [], [0, oh * kh], [0, ow * kw], [])
    return reshape(permuteDims(reshape(cropped, [n, oh, kh, ow, kw, c]), [0, 1, 3, 2, 4, 5]), [n, oh, ow, kh * kw, c])
  }
  const rows = unfold(padded, 1, kh, strides[0], oh)
  return reshape(permuteDims(unfold(rows, 3, kw, strides[1], ow), [0, 1, 3, 2, 4, 5]), [n, oh, ow, kh * kw, c])
}

/** Axis d as [positions, window]: repeat the axis, then shift each copy by one, all of it a view. */
function unfold(x: Tensor, d: number, window: number, stride: number, positions: number): Tensor {
  const size = x.shape[d]
  const before = x.shape.slice(0, d)
  const after = x.shape.slice(d + 1)
  // Element (k, i) of the repeated axis sits at k * (size + 1) + i, so that row k of width size + 1 starts k later.
  const repeats = window + 1
  const repeated = reshape(
    broadcastTo(reshape(x, [...before, 1, size, ...after]), [...before, repeats, size, ...after]),
    [...before, repeats * size, ...after],
  )
  const all = x.shape.map(() => [] as number[])
  const cut = at(repeated, ...all.map((r, i) => (i === d ? [0, window * (size + 1)] : r)))
  const shifted = reshape(cut, [...before, window, size + 1, ...after])
  const taken = at(
    shifted,
    ...shifted.shape.map((_, i) => (i === d + 1 ? [0, (positions - 1) * stride + 1, stride] : [])),
  )
  return permuteDims(taken, [...before.map((_, i) => i), d + 1, d, ...after.map((_, i) => d + 2 + i)])
}

/** The largest element of each window of [n, h, w, c]; a gradient is shared equally among ties. */
export const maxPool2d = (x: Tensor, window: Pair, options: PoolOptions = {}): Tensor =>
  squeeze(build('max', [windows('maxPool2d', x, window, options, Number.NEGATIVE_INFINITY)], { axes: [3] }), 3)

/** The mean of each window of [n, h, w, c]; padding counts as zeros. */
export function avgPool2d(x: Tensor, window: Pair, options: PoolOptions = {}): Tensor {
  const view = windows('avgPool2d', x, window, options, 0)
  const [total, n] = align('avgPool2d', [squeeze(build('sum', [view], { axes: [3] }), 3), view.shape[3]])
  return build('div', [total, n], {})
}
