/** Operations that move elements without computing: the compiler folds them into the indexing of what reads them. */

import { broadcastShapes, formatShape, normalizeAxes, normalizeAxis, type Shape, sameShape } from '../graph/shape.js'
import { iota } from './create.js'
import { add, lessEqual, where } from './elementwise.js'
import { build, checkShape, demandTensors, describe, type Tensor } from './tensor.js'

/** The same elements in another shape; one size may be -1 and follows from the others. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  demandTensors('reshape', x)
  const unknown = Array.isArray(shape) ? shape.indexOf(-1) : -1
  if (unknown < 0) checkShape('reshape', shape)
  const known = shape.reduce((n, size, d) => (d === unknown ? n : n * size), 1)
  if (unknown >= 0 && (shape.lastIndexOf(-1) !== unknown || known === 0 || x.size % known !== 0)) {
    throw new Error(`reshape: ${formatShape(x.shape)} (${x.size} elements) does not fit ${formatShape(shape)}`)
  }
  return build('reshape', [x], { shape: shape.map(size => (size === -1 ? x.size / known : size)) })
}

/** One axis for all elements. */
export const flatten = (x: Tensor): Tensor => reshape(x, [-1])

/** Axis d of the result is axis axes[d] of x. */
export function permuteDims(x: Tensor, axes: readonly number[]): Tensor {
  demandTensors('permuteDims', x)
  if (!Array.isArray(axes)) throw new Error(`permuteDims: axes are a list of integers, not ${describe(axes)}`)
  return build('permute', [x], { axes: axes.map(a => normalizeAxis('permuteDims', a, x.ndim)) })
}

/** The last two axes exchanged. */
export function matrixTranspose(x: Tensor): Tensor {
  demandTensors('matrixTranspose', x)
  if (x.ndim < 2) throw new Error(`matrixTranspose: needs rank 2 or more, not ${formatShape(x.shape)}`)
  return moveaxis(x, -1, -2)
}

/** One axis moved to another position; the others keep their order. */
export function moveaxis(x: Tensor, source: number, destination: number): Tensor {
  demandTensors('moveaxis', x)
  const from = normalizeAxis('moveaxis', source, x.ndim)
  const axes = x.shape.map((_, d) => d).filter(d => d !== from)
  axes.splice(normalizeAxis('moveaxis', destination, x.ndim), 0, from)
  return permuteDims(x, axes)
}

/** A new axis of size 1 at the given position of the result. */
export function expandDims(x: Tensor, axis: number): Tensor {
  demandTensors('expandDims', x)
  const at = normalizeAxis('expandDims', axis, x.ndim + 1)
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)])
}

/** Axes of size 1 removed: those given, or all of them. */
export function squeeze(x: Tensor, axis?: number | readonly number[]): Tensor {
  demandTensors('squeeze', x)
  const axes =
    axis === undefined ? x.shape.flatMap((n, d) => (n === 1 ? [d] : [])) : normalizeAxes('squeeze', axis, x.ndim)
  for (const d of axes)
    if (x.shape[d] !== 1) throw new Error(`squeeze: axis ${d} of ${formatShape(x.shape)} has size ${x.shape[d]}, not 1`)
  return reshape(
    x,
    x.shape.filter((_, d) => !axes.includes(d)),
  )
}

/** Axes of size 1, and missing leading axes, repeated to the given shape. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  demandTensors('broadcastTo', x)
  checkShape('broadcastTo', shape)
  if (sameShape(x.shape, shape)) return x
  const rank = shape.length - x.ndim
  if (rank < 0 || !sameShape(broadcastShapes('broadcastTo', x.shape, shape), shape)) {
    throw new Error(`broadcastTo: ${formatShape(x.shape)} cannot be broadcast to ${formatShape(shape)}`)
  }
  return build('expand', [reshape(x, [...new Array<number>(rank).fill(1), ...x.shape])], { shape: [...shape] })
}

/**
 * One entry of an index: an integer takes one element and drops the axis, `[start, stop, step]` (each may be left out or
 * null) takes a range, null adds an axis of size 1, '...' stands for all axes not named.
 */
export type Index = number | null | '...' | readonly (number | null)[]

/**
 * Elements by position as the array API has it: negative positions count from the end, steps may be negative.
 *
 * @throws if a position is out of range, there are too many entries or a step is 0.
 * @example x.at(0, [1, null], '...', [null, null, -1]) // x[0, 1:, ..., ::-1]
 */
export function at(x: Tensor, ...index: Index[]): Tensor {
  demandTensors('at', x)
  const named = index.filter(i => i !== null && i !== '...').length
  const ellipses = index.filter(i => i === '...').length
  if (ellipses > 1) throw new Error(`at: '...' may be used once, not ${ellipses} times`)
  if (named > x.ndim)
    throw new Error(`at: ${named} indices for a tensor of rank ${x.ndim}, shape ${formatShape(x.shape)}`)
  const rest = new Array<Index>(x.ndim - named).fill([])
  const entries = ellipses ? index.flatMap(i => (i === '...' ? rest : [i])) : [...index, ...rest]

  const start: number[] = []
  const step: number[] = []
  const taken: number[] = []
  const shape: number[] = []
  const reversed: number[] = []
  for (const entry of entries) {
    if (entry === null) {
      shape.push(1)
      continue
    }
    const size = x.shape[start.length]
    const axis = start.length
    if (typeof entry === 'number') {
      if (!Number.isInteger(entry) || entry < -size || entry >= size) {
        throw new Error(
          `at: index ${entry} is out of range for axis ${axis} of size ${size}, shape ${formatShape(x.shape)}`,
        )
      }
      start.push(entry < 0 ? entry + size : entry)
      step.push(1)
      taken.push(1)
      continue
    }
    if (typeof entry === 'string' || !Array.isArray(entry)) {
      throw new Error(
        `at: an index is an integer, a range [start, stop, step], null or '...', not ${describe(entry)}; for a tensor of indices there is take`,
      )
    }
    const range = resolveRange(entry, size, axis)
    if (range.step < 0 && range.count > 0) reversed.push(axis)
    // A negative step is the same elements ascending, then flipped.
    start.push(range.step > 0 ? range.start : range.start + (range.count - 1) * range.step)
    step.push(Math.abs(range.step))
    taken.push(range.count)
    shape.push(range.count)
  }
  const positions = start.map((s, d) => (taken[d] === 0 ? 0 : s))
  const sliced = build('slice', [x], { start: positions, shape: taken, step })
  return reshape(reversed.length ? flip(sliced, reversed) : sliced, shape)
}

/** The same as `at`, by the name that the array API's readers look for. */
export const slice = at

function resolveRange(
  entry: readonly (number | null)[],
  size: number,
  axis: number,
): { start: number; step: number; count: number } {
  const [from = null, to = null, by = null] = entry
  const step = by ?? 1
  if (entry.length > 3 || ![from ?? 0, to ?? 0, step].every(Number.isInteger) || step === 0) {
    throw new Error(
      `at: the range [${entry.map(String)}] on axis ${axis} must be integers [start, stop, step] with a step other than 0`,
    )
  }
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1]
  const bound = (p: number): number => Math.min(high, Math.max(low, p < 0 ? p + size : p))
  const start = from === null ? (step > 0 ? low : high) : bound(from)
  const stop = to === null ? (step > 0 ? high : low) : bound(to)
  return { start, step, count: Math.max(0, Math.ceil((stop - start) / step)) }
}

/** The order of elements reversed along the given axes, or all. */
export function flip(x: Tensor, axis?: number | readonly number[] | null): Tensor {
  demandTensors('flip', x)
  return build('flip', [x], { axes: normalizeAxes('flip', axis, x.ndim) })
}

/** Zeros (or `value`) around each axis: one `[before, after]` an axis. */
export function pad(x: Tensor, widths: readonly (readonly [number, number])[], value = 0): Tensor {
  demandTensors('pad', x)
  const pairs =
    Array.isArray(widths) && widths.length === x.ndim && widths.every(w => Array.isArray(w) && w.length === 2)
  if (!pairs || widths.flat().some(n => !Number.isInteger(n) || n < 0)) {
    throw new Error(
      `pad: needs ${x.ndim} pairs of integers >= 0 for ${formatShape(x.shape)}, not ${JSON.stringify(widths)}`,
    )
  }
  return padInterior(
    x,
    widths.map(w => w[0]),
    widths.map(w => w[1]),
    x.shape.map(() => 0),
    value,
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
  const inside = build('pad', [build('constant', [], { value: 1, shape: x.shape, dtype: 'bool' })], {
    before,
    after,
    interior,
  })
  return where(inside, padded, value)
}

function demandList(op: string, tensors: unknown): void {
  if (!Array.isArray(tensors)) throw new Error(`${op}: expected a list of tensors, got ${describe(tensors)}`)
  if (tensors.length === 0) throw new Error(`${op}: needs at least one tensor`)
  demandTensors(op, ...tensors)
}

/** Tensors joined along an existing axis. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  demandList('concat', tensors)
  const [first] = tensors
  const d = normalizeAxis('concat', axis, first.ndim)
  const total = tensors.reduce((n, t) => n + (t.shape[d] ?? 0), 0)
  let offset = 0
  const parts = tensors.map(t => {
    const fits =
      t.ndim === first.ndim && t.dtype === first.dtype && t.shape.every((n, i) => i === d || n === first.shape[i])
    if (!fits) {
      throw new Error(
        `concat: ${t.dtype}${formatShape(t.shape)} does not join ${first.dtype}${formatShape(first.shape)} along axis ${d}`,
      )
    }
    const widths = t.shape.map((n, i): [number, number] => (i === d ? [offset, total - offset - n] : [0, 0]))
    const from = offset
    offset += t.shape[d]
    return { padded: pad(t, widths), from, to: offset }
  })
  // A choice by position, not a sum: infinities and NaN in one part must not reach the others.
  const position = iota([...first.shape.slice(0, d), total, ...first.shape.slice(d + 1)], d)
  return parts.reduceRight((acc, part) => ({
    ...part,
    padded: where(lessEqual(part.to, position), acc.padded, part.padded),
  })).padded
}

/** Tensors of one shape joined along a new axis. */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  demandList('stack', tensors)
  const [first] = tensors
  for (const { shape } of tensors)
    if (!sameShape(shape, first.shape))
      throw new Error(`stack: shapes ${formatShape(first.shape)} and ${formatShape(shape)} differ`)
  return concat(
    tensors.map(t => expandDims(t, axis)),
    axis,
  )
}

/** The parts of x along an axis: `sections` equal ones, or those that end before the given positions and the rest. */
export function split(x: Tensor, sections: number | readonly number[], axis = 0): Tensor[] {
  demandTensors('split', x)
  const d = normalizeAxis('split', axis, x.ndim)
  const size = x.shape[d]
  if (typeof sections === 'number' && (!Number.isInteger(sections) || sections < 1 || size % sections !== 0)) {
    throw new Error(`split: axis ${d} of size ${size} does not divide into ${sections} equal parts`)
  }
  const ends =
    typeof sections === 'number'
      ? Array.from({ length: sections }, (_, i) => ((i + 1) * size) / sections)
      : [...sections, size]
  if (!ends.every((end, i) => Number.isInteger(end) && end >= (i ? ends[i - 1] : 0)))
    throw new Error(`split: positions ${formatShape(ends)} must be integers that ascend to the size ${size}`)
  return ends.map((end, i) => at(x, ...x.shape.map((_, k): Index => (k === d ? [i ? ends[i - 1] : 0, end] : []))))
}

/** Elements on and below the k-th diagonal of the last two axes; zeros above. */
export const tril = (x: Tensor, k = 0): Tensor => where(belowDiagonal('tril', x, k), x, 0)
/** Elements on and above the k-th diagonal; zeros below. */
export const triu = (x: Tensor, k = 0): Tensor => where(belowDiagonal('triu', x, k - 1), 0, x)

function belowDiagonal(op: string, x: Tensor, k: number): Tensor {
  demandTensors(op, x)
  if (x.ndim < 2) throw new Error(`${op}: needs rank 2 or more, not ${formatShape(x.shape)}`)
  const shape = x.shape.slice(-2)
  return lessEqual(iota(shape, 1), add(iota(shape, 0), k))
}
