/** What follows from sorting along an axis. */

import { isFloat } from '../graph/dtype.js'
import type { CustomRule } from '../graph/node.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, normalizeAxis } from '../graph/shape.js'
import { iota } from './create.js'
import { add, div, equal, logicalOr, maximum, mul, notEqual, sub } from './elementwise.js'
import { scatterAdd, take, takeAlongAxis } from './indexing.js'
import { flatten, moveaxis, reshape, roll, split } from './movement.js'
import { cumulativeSum } from './reduction.js'
import { opposite } from './shared.js'
import { build, demandTensors, full, Tensor } from './tensor.js'

export interface SortOptions {
  /** The last one by default. */
  axis?: number
  descending?: boolean
}
const sortNames: Names<SortOptions> = { axis: true, descending: true }

/** The stable order that sorts x ascending (or descending) along an axis, NaN last, as int32 positions. */
export function argsort(x: Tensor, options: SortOptions = {}): Tensor {
  const { axis = -1, descending = false } = knownOptions('argsort', options, sortNames)
  demandTensors('argsort', x)
  const d = normalizeAxis('argsort', axis, x.ndim)
  const keys = moveaxis(descending ? opposite(x) : x, d, -1)
  return moveaxis(build('argsort', [keys], {}), -1, d)
}

/** x in ascending (or descending) order along an axis, NaN last; ties share their gradients equally. */
export function sort(x: Tensor, options: SortOptions = {}): Tensor {
  const { axis = -1, descending = false } = knownOptions('sort', options, sortNames)
  demandTensors('sort', x)
  const d = normalizeAxis('sort', axis, x.ndim)
  const rows = moveaxis(x, d, -1)
  const sorted = takeAlongAxis(rows, argsort(rows, { descending }))
  const rule: CustomRule = (g, node) => [unsorted(new Tensor(g), new Tensor(node.inputs[1]), descending).node]
  const differentiable = isFloat(x.dtype) && x.size > 0
  return moveaxis(differentiable ? build('custom', [sorted, rows], { rule }) : sorted, -1, d)
}

/** The cotangent of rows from that of the sorted rows: its mean over each run of ties, where they came from. */
function unsorted(g: Tensor, rows: Tensor, descending: boolean): Tensor {
  const order = argsort(rows, { descending })
  const sorted = takeAlongAxis(rows, order)
  const n = rows.shape[rows.ndim - 1]
  const starts = logicalOr(flatten(equal(iota(rows.shape, -1), 0)), notEqual(flatten(sorted), roll(flatten(sorted), 1)))
  const run = sub(cumulativeSum(starts), 1)
  const total = (values: Tensor): Tensor => scatterAdd(run, values, rows.size)
  const means = div(total(flatten(g)), maximum(total(full([rows.size], 1, g.dtype)), 1))
  const places = flatten(add(reshape(order, [-1, n]), mul(iota([rows.size / n, 1]), n)))
  return reshape(scatterAdd(places, take(means, run), rows.size), rows.shape)
}

export interface TopkOptions {
  /** The last one by default. */
  axis?: number
  /** Whether to take the largest, which is the default, or the smallest. */
  largest?: boolean
}
const topkNames: Names<TopkOptions> = { axis: true, largest: true }

/**
 * The k largest elements along an axis in descending order (or the k smallest, ascending) and their int32 positions; NaN
 * comes last. Ties share their gradients equally, also with those that are left out.
 *
 * @throws if k is not an integer from 0 to the size of the axis.
 */
export function topk(x: Tensor, k: number, options: TopkOptions = {}): { values: Tensor; indices: Tensor } {
  const { axis = -1, largest = true } = knownOptions('topk', options, topkNames)
  demandTensors('topk', x)
  const d = normalizeAxis('topk', axis, x.ndim)
  if (!Number.isInteger(k) || k < 0 || k > x.shape[d])
    throw new Error(
      `topk: k must be an integer from 0 to ${x.shape[d]}, the size of axis ${d} of ${formatShape(x.shape)}, not ${k}`,
    )
  const over = { axis: d, descending: largest }
  const first = (y: Tensor): Tensor => split(y, [k], d)[0]
  return { values: first(sort(x, over)), indices: first(argsort(x, over)) }
}
