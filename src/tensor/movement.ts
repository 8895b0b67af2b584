/** Operations that move elements without computing: the compiler folds them into the indexing of what reads them. */

import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, normalizeAxes, normalizeAxis, type Shape, sameShape } from '../graph/shape.js'
import { iota } from './create.js'
import { add, lessEqual, where } from './elementwise.js'
import { expandTo, padInterior, perAxis, range } from './shared.js'
import { at } from './slicing.js'
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
  return expandTo('broadcastTo', x, shape)
}

/** The order of elements reversed along the given axes, or all. */
export function flip(x: Tensor, axis?: number | readonly number[] | null): Tensor {
  demandTensors('flip', x)
  return build('flip', [x], { axes: normalizeAxes('flip', axis, x.ndim) })
}

export interface PadOptions {
  /** What stands outside: `value`, the elements mirrored at the edge (which itself is not repeated), or the edge itself. */
  mode?: 'constant' | 'reflect' | 'edge'
  /** For the mode 'constant'; zero by default. */
  value?: number
}
const padNames: Names<PadOptions> = { mode: true, value: true }

/**
 * x with more elements around: one `[before, after]` an axis.
 *
 * @param options the value to pad with, or how to find it.
 * @throws if a width is not below the size of an axis to mirror, or an empty axis has no edge.
 */
export function pad(
  x: Tensor,
  widths: readonly (readonly [number, number])[],
  options: number | PadOptions = 0,
): Tensor {
  demandTensors('pad', x)
  const { mode = 'constant', value = 0 } =
    typeof options === 'number' ? { value: options } : knownOptions('pad', options, padNames)
  const pairs =
    Array.isArray(widths) && widths.length === x.ndim && widths.every(w => Array.isArray(w) && w.length === 2)
  if (!pairs || widths.flat().some(n => !Number.isInteger(n) || n < 0)) {
    throw new Error(
      `pad: needs ${x.ndim} pairs of integers >= 0 for ${formatShape(x.shape)}, not ${JSON.stringify(widths)}`,
    )
  }
  if (mode !== 'constant') return widths.reduce((y, width, d) => extend(y, d, width, mode), x)
  return padInterior(
    x,
    widths.map(w => w[0]),
    widths.map(w => w[1]),
    x.shape.map(() => 0),
    value,
  )
}

/** One axis made longer by elements of its own. */
function extend(x: Tensor, d: number, [before, after]: readonly [number, number], mode: 'reflect' | 'edge'): Tensor {
  const size = x.shape[d]
  if (mode !== 'reflect' && mode !== 'edge')
    throw new Error(`pad: mode must be 'constant', 'reflect' or 'edge', not ${describe(mode)}`)
  if (before === 0 && after === 0) return x
  if (Math.max(before, after) > (mode === 'edge' ? size && Infinity : size - 1))
    throw new Error(`pad: axis ${d} of size ${size} has no ${before} and ${after} elements for mode '${mode}'`)
  const part = (from: number, width: number): Tensor => range(x, d, from, from + width)
  const edge = (from: number, width: number): Tensor => repeat(part(from, 1), width, { axis: d })
  const sides =
    mode === 'edge'
      ? [edge(0, before), edge(size - 1, after)]
      : [flip(part(1, before), d), flip(part(size - 1 - after, after), d)]
  return concat([sides[0], x, sides[1]], d)
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
  if (typeof sections !== 'number' && !Array.isArray(sections))
    throw new Error(`split: expected a number of parts or a list of positions, not ${describe(sections)}`)
  if (typeof sections === 'number' && (!Number.isInteger(sections) || sections < 1 || size % sections !== 0)) {
    throw new Error(`split: axis ${d} of size ${size} does not divide into ${sections} equal parts`)
  }
  const ends =
    typeof sections === 'number'
      ? Array.from({ length: sections }, (_, i) => ((i + 1) * size) / sections)
      : [...sections, size]
  if (!ends.every((end, i) => Number.isInteger(end) && end >= (i ? ends[i - 1] : 0)))
    throw new Error(`split: positions ${formatShape(ends)} must be integers that ascend to the size ${size}`)
  return ends.map((end, i) => range(x, d, i ? ends[i - 1] : 0, end))
}

/** The slices of x along an axis, without that axis. */
export function unstack(x: Tensor, axis = 0): Tensor[] {
  demandTensors('unstack', x)
  const last = moveaxis(x, normalizeAxis('unstack', axis, x.ndim), 0)
  return Array.from({ length: last.shape[0] }, (_, i) => at(last, i))
}

/** x repeated as a whole along each axis; the shorter of x.shape and `repetitions` gets leading ones. */
export function tile(x: Tensor, repetitions: readonly number[]): Tensor {
  demandTensors('tile', x)
  checkShape('tile', repetitions)
  const rank = Math.max(x.ndim, repetitions.length)
  const lead = (list: Shape): number[] => [...new Array<number>(rank - list.length).fill(1), ...list]
  const [sizes, times] = [lead(x.shape), lead(repetitions)]
  const copies = broadcastTo(
    reshape(
      x,
      sizes.flatMap(n => [1, n]),
    ),
    sizes.flatMap((n, d) => [times[d], n]),
  )
  return reshape(
    copies,
    sizes.map((n, d) => n * times[d]),
  )
}

const tileAxis = (x: Tensor, d: number, times: number): Tensor =>
  tile(
    x,
    x.shape.map((_, k) => (k === d ? times : 1)),
  )

const axisName = { axis: true } as const

/** Each element of x `repeats` times in a row along an axis, or of the flattened x. */
export function repeat(x: Tensor, repeats: number, options: { axis?: number | null } = {}): Tensor {
  const { axis = null } = knownOptions('repeat', options, axisName)
  demandTensors('repeat', x)
  if (!Number.isInteger(repeats) || repeats < 0)
    throw new Error(`repeat: repeats must be an integer >= 0, not ${describe(repeats)}`)
  if (axis === null) return repeat(flatten(x), repeats, { axis: 0 })
  const d = normalizeAxis('repeat', axis, x.ndim)
  const copied = [...x.shape.slice(0, d + 1), repeats, ...x.shape.slice(d + 1)]
  return reshape(broadcastTo(expandDims(x, d + 1), copied), x.shape.with(d, x.shape[d] * repeats))
}

/** Elements moved by `shift` places along axes, one each, or along the flattened x; those pushed out come in at the start. */
export function roll(
  x: Tensor,
  shift: number | readonly number[],
  options: { axis?: number | readonly number[] | null } = {},
): Tensor {
  const { axis = null } = knownOptions('roll', options, axisName)
  demandTensors('roll', x)
  if (axis === null) return reshape(roll(flatten(x), shift, { axis: 0 }), x.shape)
  const axes = [axis].flat().map(a => normalizeAxis('roll', a, x.ndim))
  const shifts = perAxis('roll', 'shift', shift, axes.length, -Infinity)
  return axes.reduce((y, d, i) => {
    const size = x.shape[d]
    if (size === 0) return y
    const from = ((-shifts[i] % size) + size) % size
    return range(tileAxis(y, d, 2), d, from, from + size)
  }, x)
}

const diagonalNames = { offset: true, axis1: true, axis2: true } as const

/** Elements (i, i + offset) of the last two axes, or of those given, as a new last axis. */
export function diagonal(x: Tensor, options: { offset?: number; axis1?: number; axis2?: number } = {}): Tensor {
  const { offset = 0, axis1 = -2, axis2 = -1 } = knownOptions('diagonal', options, diagonalNames)
  demandTensors('diagonal', x)
  const [d1, d2] = [axis1, axis2].map(d => normalizeAxis('diagonal', d, x.ndim))
  if (d1 === d2) throw new Error(`diagonal: axes ${axis1} and ${axis2} of ${formatShape(x.shape)} are the same`)
  if (!Number.isInteger(offset)) throw new Error(`diagonal: offset must be an integer, not ${describe(offset)}`)
  const others = x.shape.flatMap((_, d) => (d === d1 || d === d2 ? [] : [d]))
  const [rows, columns] = [x.shape[d1], x.shape[d2]]
  const length = Math.max(0, Math.min(rows + Math.min(offset, 0), columns - Math.max(offset, 0)))
  const start = Math.max(offset, 0) + Math.max(-offset, 0) * columns
  const flat = reshape(permuteDims(x, [...others, d1, d2]), [...others.map(d => x.shape[d]), rows * columns])
  return at(flat, '...', [start, start + length * (columns + 1), columns + 1])
}

export interface WindowOptions {
  /** The axes to slide along; all of them by default. */
  axis?: number | readonly number[]
  /** Step between windows. */
  stride?: number | readonly number[]
  /** Step between the elements of a window. */
  dilation?: number | readonly number[]
}
const windowNames: Names<WindowOptions> = { axis: true, stride: true, dilation: true }

/**
 * Sliding windows as a view: each axis becomes the positions of the window, and its elements are new last axes, one for
 * each of `axis` in their order. Sizes, strides and dilations are one number for all axes or one each.
 *
 * @throws if a window is larger than its axis.
 * @example windows(x, 3, { axis: 1 }) // [n, t, c] -> [n, t - 2, c, 3]
 */
export function windows(x: Tensor, size: number | readonly number[], options: WindowOptions = {}): Tensor {
  const { axis, stride = 1, dilation = 1 } = knownOptions('windows', options, windowNames)
  demandTensors('windows', x)
  const axes = [axis ?? x.shape.map((_, d) => d)].flat().map(d => normalizeAxis('windows', d, x.ndim))
  if (new Set(axes).size !== axes.length) throw new Error(`windows: axes ${formatShape(axes)} repeat`)
  const [sizes, strides, dilations] = Object.entries({ size, stride, dilation }).map(([name, value]) =>
    perAxis('windows', name, value, axes.length),
  )
  // The last axis first: those before it keep their places.
  const order = x.shape.map((_, d) => axes.indexOf(d))
  const y = order.reduceRight((y, i, d) => (i < 0 ? y : unfold(y, d, sizes[i], strides[i], dilations[i])), x)
  const place = (d: number): number => d + order.slice(0, d).filter(i => i >= 0).length
  return permuteDims(y, [...order.map((_, d) => place(d)), ...axes.map(d => place(d) + 1)])
}

/** Axis d as [positions, window]: repeat the axis, then shift each copy, all of it a view. */
function unfold(x: Tensor, d: number, window: number, stride: number, dilation: number): Tensor {
  const size = x.shape[d]
  const positions = Math.floor((size - (window - 1) * dilation - 1) / stride) + 1
  if (positions < 1)
    throw new Error(
      `windows: a window of ${window} elements, ${dilation} apart, is larger than axis ${d} of ${formatShape(x.shape)}`,
    )
  const [before, after] = [x.shape.slice(0, d), x.shape.slice(d + 1)]
  if (stride === window && dilation === 1)
    return reshape(range(x, d, 0, positions * window), [...before, positions, window, ...after])
  // Element (k, i) of the repeated axis sits at k * (size + dilation) + i, so that row k of that width starts later.
  const width = size + dilation
  const copies = tileAxis(x, d, Math.ceil((window * width) / size))
  const shifted = reshape(range(copies, d, 0, window * width), [...before, window, width, ...after])
  return moveaxis(range(shifted, d + 1, 0, (positions - 1) * stride + 1, stride), d, d + 1)
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
