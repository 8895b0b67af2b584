/** Indexing by tensors: gather and scatter-add (each the other's transpose), and what follows from sorting. */

import { formatShape, normalizeAxis, sizeOf } from '../graph/shape.js'
import { iota } from './create.js'
import { add, astype, mul, opposite } from './elementwise.js'
import { moveaxis, permuteDims, reshape } from './movement.js'
import { build, demandOptions, demandTensors, Tensor } from './tensor.js'

const integer = (op: string, index: Tensor): Tensor => {
  demandTensors(op, index)
  if (index.dtype !== 'int32' && index.dtype !== 'uint32')
    throw new Error(`${op}: indices must be int32, not ${index.dtype}; cast them`)
  return astype(index, 'int32')
}

/**
 * Rows of x along an axis, at integer indices of any shape: the axis is replaced by the axes of the indices.
 * An index outside 0 .. size - 1 gives NaN (0 for integers), so that a mistake shows.
 *
 * @example take(embedding, ids) // [vocabulary, dim], [batch, time] -> [batch, time, dim]
 */
export function take(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = 0 } = demandOptions('take', options)
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

/** Elements of x along an axis, chosen by indices of x's rank: result[i][j] = x[indices[i][j]][j] for axis 0. */
export function takeAlongAxis(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const { axis = -1 } = demandOptions('takeAlongAxis', options)
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
  const size = x.shape[d]
  const rows = sizeOf(last.shape.slice(0, -1))
  const flatIndex = add(reshape(chosen, [rows, chosen.shape[chosen.ndim - 1]]), mul(iota([rows, 1]), size))
  const flat = build('gather', [reshape(last, [x.size]), flatIndex], {})
  return moveaxis(reshape(flat, chosen.shape), -1, d)
}

/** Zeros [rows, ...] with the updates [...indices.shape, ...] added at their indices; those out of range are dropped. */
export function scatterAdd(indices: Tensor, updates: Tensor, rows: number): Tensor {
  demandTensors('scatterAdd', indices, updates)
  const fits = indices.shape.every((n, d) => n === updates.shape[d])
  if (!fits)
    throw new Error(
      `scatterAdd: indices ${formatShape(indices.shape)} do not lead updates ${formatShape(updates.shape)}`,
    )
  if (!Number.isInteger(rows) || rows < 0) throw new Error(`scatterAdd: rows must be an integer >= 0, not ${rows}`)
  const rest = updates.shape.slice(indices.ndim)
  return build(
    'scatterAdd',
    [reshape(integer('scatterAdd', indices), [indices.size]), reshape(updates, [indices.size, ...rest])],
    { rows },
  )
}

/** The stable order that sorts x ascending along an axis, NaN last, as int32 positions. */
export function argsort(x: Tensor, options: { axis?: number; descending?: boolean } = {}): Tensor {
  const { axis = -1, descending = false } = demandOptions('argsort', options)
  demandTensors('argsort', x)
  const d = normalizeAxis('argsort', axis, x.ndim)
  const keys = moveaxis(descending ? opposite(x) : x, d, -1)
  return moveaxis(build('argsort', [keys], {}), -1, d)
}

/** x in ascending (or descending) order along an axis. */
export function sort(x: Tensor, options: { axis?: number; descending?: boolean } = {}): Tensor {
  demandOptions('sort', options)
  demandTensors('sort', x)
  normalizeAxis('sort', options.axis ?? -1, x.ndim)
  return takeAlongAxis(x, argsort(x, options), { axis: options.axis ?? -1 })
}
