/** Indexing by tensors. */

import * as sp from 'saddlepoint'
import type { Rng } from '../../oracle/property.js'
import { type Catalog, integers, type Make, normal, smooth, type Tensor } from '../cases.js'

/** Rows, indices of some of them (and of rows that are not there), and an update for each index. */
const rowUpdates = (r: Rng): { x: Tensor; index: Tensor; updates: Tensor } => {
  const [x, index] = [normal(r, r.shape(r.int(1, 3), 1, 4)), r.shape(r.int(0, 2))]
  const rest = x.shape.slice(1)
  return { x, index: integers(-1, x.shape[0])(r, index), updates: normal(r, [...index, ...rest]) }
}
const scattered =
  (mode: 'add' | 'set'): Make =>
  r => {
    const { x, index, updates } = rowUpdates(r)
    const given = r.pick([updates, normal(r, [])])
    return { f: (x, index, updates) => sp.sin(sp.scatter(x, index, updates, { mode })), args: [x, index, given] }
  }

export const indexing: Catalog = {
  take: smooth(r => {
    const x = normal(r, r.shape(r.int(1, 3), 1, 4))
    const axis = r.int(0, x.ndim - 1)
    const index = integers(0, x.shape[axis] - 1)(r, r.shape(r.int(0, 2)))
    return { f: (x, index) => sp.sin(sp.take(x, index, { axis })), args: [x, index] }
  }),
  takeAlongAxis: smooth(r => {
    const x = normal(r, r.shape(r.int(1, 3), 1, 4))
    const axis = r.int(0, x.ndim - 1)
    const index = integers(0, x.shape[axis] - 1)(r, x.shape.with(axis, r.int(1, 4)))
    return { f: (x, index) => sp.sin(sp.takeAlongAxis(x, index, { axis: axis - x.ndim })), args: [x, index] }
  }),
  scatterAdd: smooth(r => {
    const { x, index, updates } = rowUpdates(r)
    return { f: (index, updates) => sp.sin(sp.scatterAdd(index, updates, x.shape[0])), args: [index, updates] }
  }),
  segmentSum: smooth(r => {
    const { x, index, updates } = rowUpdates(r)
    return { f: (updates, index) => sp.sin(sp.segmentSum(updates, index, x.shape[0])), args: [updates, index] }
  }),
  scatter: smooth(scattered('set'), scattered('add')),
}
