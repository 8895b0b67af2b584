/** What operations share and users have no need of. */

import { type DType, isFloat, promote } from '../graph/dtype.js'
import type { Attrs } from '../graph/node.js'
import { broadcastShapes, formatShape, type Shape, sameShape } from '../graph/shape.js'
import { conv2d } from './convolution.js'
import { iota } from './create.js'
import { add, astype, bitwiseInvert, equal, less, lessEqual, logicalAnd, mul, neg, sqrt, where } from './elementwise.js'
import { flip, permuteDims, reshape } from './movement.js'
import { at } from './slicing.js'
import { asTensor, build, demandTensors, describe, full, Tensor, type TensorLike } from './tensor.js'

/** The dtype for a mixed list: numbers follow the tensors, unless a fractional number meets integers. */
export function commonDType(operands: readonly TensorLike[]): DType {
  let dtype: DType | undefined
  for (const x of operands) if (x instanceof Tensor) dtype = dtype ? promote(dtype, x.dtype) : x.dtype
  if (!dtype) return operands.every(x => typeof x === 'boolean') ? 'bool' : 'float32'
  for (const x of operands) {
    if (typeof x === 'number' && !isFloat(dtype)) dtype = promote(dtype, Number.isInteger(x) ? 'int32' : 'float32')
  }
  return dtype
}

/** The operands as tensors of one shape and dtype. */
export function align(op: string, operands: readonly TensorLike[], dtype = commonDType(operands)): Tensor[] {
  const shape = commonShape(op, operands)
  return operands.map(x => fill(op, x, shape, dtype))
}

/** The shape that the operands are broadcast to; numbers have none. */
export const commonShape = (op: string, operands: readonly TensorLike[]): number[] =>
  broadcastShapes(
    op,
    ...operands.map(x => (typeof x === 'number' || typeof x === 'boolean' ? [] : asTensor(op, x).shape)),
  )

/** A tensor or a number as a tensor of a shape that it broadcasts to. */
export const fill = (op: string, x: TensorLike, shape: Shape, dtype: DType): Tensor =>
  x instanceof Tensor ? expandTo(op, astype(x, dtype), shape) : full(shape, x, dtype)

/**
 * f of operands, computed and kept in float32 where they are float16: for what would leave its range, or lose its digits,
 * on the way.
 */
export const inFloat32 = (operands: readonly Tensor[], f: (...operands: Tensor[]) => Tensor): Tensor =>
  operands[0].dtype === 'float16' ? astype(f(...operands.map(x => astype(x, 'float32'))), 'float16') : f(...operands)

/** `broadcastTo` in the name of another operation. */
export function expandTo(op: string, x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x
  const rank = shape.length - x.ndim
  if (rank < 0 || !sameShape(broadcastShapes(op, x.shape, shape), shape)) {
    throw new Error(`${op}: ${formatShape(x.shape)} cannot be broadcast to ${formatShape(shape)}`)
  }
  const aligned = rank ? reshape(x, [...new Array<number>(rank).fill(1), ...x.shape]) : x
  return build('expand', [aligned], { shape: [...shape] })
}

/** An option for some axes: one integer for all of them, or a list with one each. */
export function perAxis(
  op: string,
  name: string,
  value: number | readonly number[],
  axes: number,
  least = 1,
): readonly number[] {
  const list = typeof value === 'number' ? new Array<number>(axes).fill(value) : value
  if (!Array.isArray(list) || list.length !== axes || !list.every(n => Number.isInteger(n) && n >= least)) {
    const bound = least > -Infinity ? ` >= ${least}` : ''
    const given = Array.isArray(value) ? formatShape(value) : describe(value)
    throw new Error(`${op}: ${name} must be an integer${bound} or a list of ${axes}, not ${given}`)
  }
  return list
}

export function demandImages(op: string, x: Tensor): void {
  demandTensors(op, x)
  if (x.ndim !== 4) throw new Error(`${op}: needs images [n,h,w,c], got ${formatShape(x.shape)}`)
}

/** The values in the opposite order: -x, and for integers -x - 1, which has no overflow. */
export const opposite = (x: Tensor): Tensor => (isFloat(x.dtype) ? neg(x) : bitwiseInvert(x))

/** The square root of something >= 0 whose derivatives at 0 are 0 at every order, as a norm's subgradient. */
export function safeSqrt(x: Tensor): Tensor {
  const zero = equal(x, 0)
  return where(zero, 0, sqrt(where(zero, 1, x)))
}

/** A power of two to multiply numbers up to this magnitude by, so that their squares neither overflow nor underflow. */
export function scaleFor(magnitude: Tensor): Tensor {
  const [limit, factor] = magnitude.dtype === 'float64' ? [1e140, 2 ** 600] : [1e14, 2 ** 90]
  const scale = where(less(limit, magnitude), full([], 1 / factor, magnitude.dtype), 1)
  return where(less(magnitude, 1 / limit), factor, scale)
}

/** [start, stop, step] of one axis. */
export const range = (x: Tensor, d: number, ...entry: number[]): Tensor =>
  at(x, ...x.shape.map((_, k) => (k === d ? entry : [])))

/** Zeros of a shape with x where `slice` of these attributes reads: the transpose of a slice. */
export function unslice(x: Tensor, shape: Shape, { start, step }: Attrs['slice']): Tensor {
  const after = shape.map((n, d) => n - start[d] - (x.shape[d] === 0 ? 0 : (x.shape[d] - 1) * step[d] + 1))
  return padInterior(
    x,
    start,
    after,
    step.map(s => s - 1),
  )
}

/** `pad` with `interior` zeros between neighbouring elements as well. */
export function padInterior(
  x: Tensor,
  before: readonly number[],
  after: readonly number[],
  interior: readonly number[],
  value = 0,
): Tensor {
  const padded = build('pad', [x], { before, after, interior })
  if (value === 0) return padded
  return where(build('pad', [full(x.shape, true, 'bool')], { before, after, interior }), padded, value)
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

/** The images [n, ...extent, c] of a convolution that gave g: g, spread by the stride, convolved with the kernel turned. */
export function transposedConv(
  g: Tensor,
  w: Tensor,
  { strides, dilation, groups }: Attrs['conv'],
  extent: Shape,
  before: readonly number[] = [0, 0],
): Tensor {
  const [kh, kw, c, o] = w.shape
  // [kh, kw, c, groups, o/groups] -> [kh, kw, o/groups, groups, c], rows and columns reversed
  const split = permuteDims(reshape(w, [kh, kw, c, groups, o / groups]), [0, 1, 4, 3, 2])
  const turned = flip(reshape(split, [kh, kw, o / groups, groups * c]), [0, 1])
  const widths = extent.map((n, d): [number, number] => {
    const window = (w.shape[d] - 1) * dilation[d]
    const covered = (g.shape[1 + d] - 1) * strides[d] + 1
    return [window - before[d], n + before[d] - covered]
  })
  const spread = padSpatial(g, widths, [strides[0] - 1, strides[1] - 1])
  return conv2d(spread, turned, { dilation, groups })
}

/** Indices [n, ...] into `rows` rows, of which each of the n has its own: indices into all n * rows, out of range ones -1. */
export function ownRows(indices: Tensor, rows: number): Tensor {
  const inside = logicalAnd(lessEqual(0, indices), less(indices, rows))
  return where(inside, add(indices, mul(iota(indices.shape, 0), rows)), -1)
}
