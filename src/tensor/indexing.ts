/** Indexing by tensors: gather and scatter-add (each the other's transpose). */

import { knownOptions } from '../graph/options.js'
import { formatShape, normalizeAxis, sizeOf } from '../graph/shape.js'
import { add, astype, lessEqual, notEqual, sub, where } from './elementwise.js'
import { moveaxis, pad, permuteDims, reshape } from './movement.js'
import { expandTo, ownRows } from './shared.js'
import { at } from './slicing.js'
import { asTensor, build, demandTensors, describe, Tensor, type TensorLike } from './tensor.js'

const integer = (op: string, index: Tensor): Tensor => {
  demandTensors(op, index)
  if (index.dtype !== 'int32' && index.dtype !== 'uint32')
    throw new Error(`${op}: indices must be int32, not ${index.dtype}; cast them`)
  return astype(index, 'int32')
}

const axisName = { axis: true } as const
const scatterNames = { mode: true } as const

/**
 * Rows of x along an axis, at integer indices of any shape: the axis is replaced by the axes of the indices.
 * An index outside 0 .. size - 1 gives NaN (0 for integers), so that a mistake shows.
 *
 * @example take(embedding, ids) // [vocabulary, dim], [batch, time] -> [batch, time, dim]
 */
export function take(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = 0 } = knownOptions('take', options, axisName)
  demandTensors('take', x)
  if (!(indices instanceof Tensor))
    throw new Error('take: indices must be an int32 tensor; make one with tensor(..., { dtype: "int32" })')
  const d = normalizeAxis('take', axis, x.ndim)
  const rows = build('gather', [d === 0 ? x : moveaxis(x, d, 0), integer('take', indices)], {})
  if (d === 0) return rows
  const free = rows.shape.map((_, i) => i)
  return permuteDims(rows, [
    ...free.slice(indices.ndim, indices.ndim + d),
    ...free.slice(0, indices.ndim),
    ...free.slice(indices.ndim + d),
  ])
}

/**
 * Elements of x along an axis, chosen by indices of x's rank: result[i][j] = x[indices[i][j]][j] for axis 0. An index
 * outside 0 .. size - 1 gives NaN (0 for integers).
 */
export function takeAlongAxis(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = knownOptions('takeAlongAxis', options, axisName)
  demandTensors('takeAlongAxis', x, indices)
  const d = normalizeAxis('takeAlongAxis', axis, x.ndim)
  const fits = indices.ndim === x.ndim && indices.shape.every((n, i) => i === d || n === x.shape[i])
  if (!fits)
    throw new Error(
      `takeAlongAxis: indices ${formatShape(indices.shape)} do not fit ${formatShape(x.shape)} along axis ${d}`,
    )
  // Axis d last, the others flattened: element (row, i) stands at row * size + i.
  const last = moveaxis(x, d, -1)
  const chosen = moveaxis(integer('takeAlongAxis', indices), d, -1)
  const rows = sizeOf(last.shape.slice(0, -1))
  const flatIndex = ownRows(reshape(chosen, [rows, chosen.shape[chosen.ndim - 1]]), x.shape[d])
  const flat = build('gather', [reshape(last, [x.size]), flatIndex], {})
  return moveaxis(reshape(flat, chosen.shape), -1, d)
}

/** Zeros [rows, ...] with the updates [...indices.shape, ...] added at their indices; those out of range are dropped. */
export const scatterAdd = (indices: Tensor, updates: Tensor, rows: number): Tensor =>
  addRows('scatterAdd', indices, updates, rows)

/** The sums [numSegments, ...] of the rows of data that share an id; ids out of range are dropped. */
export const segmentSum = (data: Tensor, segmentIds: Tensor, numSegments: number): Tensor =>
  addRows('segmentSum', segmentIds, data, numSegments)

function addRows(op: string, indices: Tensor, updates: Tensor, rows: number): Tensor {
  demandTensors(op, indices, updates)
  const fits = indices.shape.every((n, d) => n === updates.shape[d])
  if (!fits)
    throw new Error(`${op}: indices ${formatShape(indices.shape)} do not lead updates ${formatShape(updates.shape)}`)
  if (!Number.isInteger(rows) || rows < 0) throw new Error(`${op}: rows must be an integer >= 0, not ${rows}`)
  const rest = updates.shape.slice(indices.ndim)
  return build(
    'scatterAdd',
    [reshape(integer(op, indices), [indices.size]), reshape(updates, [indices.size, ...rest])],
    { rows },
  )
}

/**
 * x with its rows at integer indices replaced by `updates`, the last of several for one row, or with all of them added.
 * Updates broadcast to [...indices.shape, ...x.shape.slice(1)]; those at indices out of range are dropped.
 *
 * @throws if the indices are no integers or the updates do not fit.
 */
export function scatter(
  x: Tensor,
  indices: Tensor,
  updates: TensorLike,
  options: { mode?: 'set' | 'add' } = {},
): Tensor {
  const { mode = 'set' } = knownOptions('scatter', options, scatterNames)
  if (mode !== 'set' && mode !== 'add') throw new Error(`scatter: mode must be 'set' or 'add', not ${describe(mode)}`)
  demandTensors('scatter', x)
  const index = integer('scatter', indices)
  if (x.ndim === 0) throw new Error('scatter: needs rank 1 or more, not []')
  const [rows, ...rest] = x.shape
  const given = expandTo('scatter', asTensor('scatter', updates, x.dtype), [...index.shape, ...rest])
  if (mode === 'add') return add(x, scatterAdd(index, given, rows))
  // Equal indices stand side by side in a stable order: the last of each run is the last update of its row.
  const flat = reshape(index, [index.size])
  const order = build('argsort', [flat], {})
  const target = take(flat, order)
  const next = pad(at(target, [1]), [[0, Math.min(1, index.size)]], -1)
  const winner = sub(scatterAdd(where(notEqual(target, next), target, -1), add(order, 1), rows), 1)
  const hit = reshape(lessEqual(0, winner), [rows, ...rest.map(() => 1)])
  return where(hit, take(reshape(given, [index.size, ...rest]), winner), x)
}
