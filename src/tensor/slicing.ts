/** Elements by position: read, and replaced in a new tensor. Indices that are tensors are in indexing.ts. */

import type { Attrs } from '../graph/node.js'
import { formatShape } from '../graph/shape.js'
import { add, where } from './elementwise.js'
import { flip, reshape } from './movement.js'
import { expandTo, unslice } from './shared.js'
import { build, demandTensors, describe, full, Tensor, type TensorLike } from './tensor.js'

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
  const { taken, reversed, shape } = resolveIndex('at', x, index)
  return reshape(flip(build('slice', [x], taken), reversed), shape)
}

/**
 * x with `value`, broadcast to the indexed shape, in place of what `at` gives for this index.
 *
 * @throws what `at` throws, or if the value does not broadcast.
 * @example setAt(x, [0, [1, null]], 0) // x[0, 1:] = 0
 */
export const setAt = (x: Tensor, index: readonly Index[], value: TensorLike): Tensor =>
  updateAt('setAt', x, index, value, (_, values) => values)

/** x with `value` added to the elements that `at` gives for this index. */
export const addAt = (x: Tensor, index: readonly Index[], value: TensorLike): Tensor =>
  updateAt('addAt', x, index, value, add)

function updateAt(
  op: string,
  x: Tensor,
  index: readonly Index[],
  value: TensorLike,
  update: (old: Tensor, value: TensorLike) => TensorLike,
): Tensor {
  if (!Array.isArray(index)) throw new Error(`${op}: the index is a list as in [0, [1, 3]], not ${describe(index)}`)
  const { taken, reversed, shape } = resolveIndex(op, x, index)
  const spread = (values: Tensor): Tensor => unslice(values, x.shape, taken)
  const values =
    value instanceof Tensor ? spread(flip(reshape(expandTo(op, value, shape), taken.shape), reversed)) : value
  return where(spread(full(taken.shape, true, 'bool')), update(x, values), x)
}

/** An index as an ascending slice, the axes to flip after it, and the shape with axes dropped and added. */
function resolveIndex(
  op: string,
  x: Tensor,
  index: readonly Index[],
): { taken: Attrs['slice']; reversed: number[]; shape: number[] } {
  demandTensors(op, x)
  const named = index.filter(i => i !== null && i !== '...').length
  const ellipses = index.filter(i => i === '...').length
  if (ellipses > 1) throw new Error(`${op}: '...' may be used once, not ${ellipses} times`)
  if (named > x.ndim)
    throw new Error(`${op}: ${named} indices for a tensor of rank ${x.ndim}, shape ${formatShape(x.shape)}`)
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
          `${op}: index ${entry} is out of range for axis ${axis} of size ${size}, shape ${formatShape(x.shape)}`,
        )
      }
      start.push(entry < 0 ? entry + size : entry)
      step.push(1)
      taken.push(1)
      continue
    }
    if (typeof entry === 'string' || !Array.isArray(entry)) {
      throw new Error(
        `${op}: an index is an integer, a range [start, stop, step], null or '...', not ${describe(entry)}; for a tensor of indices there are take and scatter`,
      )
    }
    const range = resolveRange(op, entry, size, axis)
    if (range.step < 0) reversed.push(axis)
    // A negative step is the same elements ascending, then flipped.
    const first = range.step > 0 ? range.start : range.start + (range.count - 1) * range.step
    start.push(range.count > 0 ? first : 0)
    step.push(Math.abs(range.step))
    taken.push(range.count)
    shape.push(range.count)
  }
  return { taken: { start, shape: taken, step }, reversed, shape }
}

/** The same as `at`, by the name that the array API's readers look for. */
export const slice = at

function resolveRange(
  op: string,
  entry: readonly (number | null)[],
  size: number,
  axis: number,
): { start: number; step: number; count: number } {
  const [from = null, to = null, by = null] = entry
  const step = by ?? 1
  if (entry.length > 3 || ![from ?? 0, to ?? 0, step].every(Number.isInteger) || step === 0) {
    throw new Error(
      `${op}: the range [${entry.map(String)}] on axis ${axis} must be integers [start, stop, step] with a step other than 0`,
    )
  }
  const [low, high] = step > 0 ? [0, size] : [-1, size - 1]
  const bound = (p: number): number => Math.min(high, Math.max(low, p < 0 ? p + size : p))
  const start = from === null ? (step > 0 ? low : high) : bound(from)
  const stop = to === null ? (step > 0 ? high : low) : bound(to)
  return { start, step, count: Math.max(0, Math.ceil((stop - start) / step)) }
}
