/** Classifiers by what they answer: the logits of a batch. */

import type { Dataset } from '../data/dataset.js'
import { computeType } from '../graph/dtype.js'
import { formatShape } from '../graph/shape.js'
import type { Batch, Context } from '../nn/context.js'
import { klDivergence } from '../nn/losses.js'
import { iota } from '../tensor/create.js'
import { add, astype, equal, where } from '../tensor/elementwise.js'
import { expandDims } from '../tensor/movement.js'
import { argsort } from '../tensor/order.js'
import { sum } from '../tensor/reduction.js'
import { at } from '../tensor/slicing.js'
import { Tensor } from '../tensor/tensor.js'
import { examples } from './features.js'
import type { Point } from './places.js'

/** The logits [n, classes] of a batch. */
export type Logits<M> = (model: M, batch: Batch, ctx: Context) => Tensor

/** mean_i [KL(p_i ‖ q_i) + KL(q_i ‖ p_i)] for p = softmax a, q = softmax b, of logits [n, classes]. */
export const symmetricDivergence = (a: Tensor, b: Tensor): Tensor => add(klDivergence(a, b), klDivergence(b, a))

/** @throws unless a method was given its functions. */
export function checkFunctions(op: string, functions: Readonly<Record<string, unknown>>): void {
  for (const [name, f] of Object.entries(functions))
    if (typeof f !== 'function')
      throw new Error(
        `${op}: needs ${name}, a function (model, batch, ctx) => tensor, not ${f === undefined ? 'nothing' : typeof f}`,
      )
}

/** @throws unless logits are [n, classes] for the n examples of the batch. */
export function logitsOf<M>(op: string, logits: Logits<M>, model: M, batch: Batch, ctx: Context): Tensor {
  const z: unknown = logits(model, batch, ctx)
  const n = examples(op, batch)
  if (z instanceof Tensor && z.ndim === 2 && z.shape[0] === n) return z
  throw new Error(
    `${op}: logits must be [${n}, classes] for this batch, not ${z instanceof Tensor ? formatShape(z.shape) : typeof z}`,
  )
}

/** @throws unless the labels of a data set are classes that there are logits [n, classes] for. */
export function checkLabels(op: string, { columns }: Dataset, label: string, { shape: [, classes] }: Tensor): void {
  if (!(label in columns)) return
  const row = columns[label].data.findIndex(y => !(y >= 0 && y < classes))
  if (row < 0) return
  throw new Error(
    `${op}: the label of row ${row} is ${columns[label].data[row]}, and there are logits of ${classes} classes, 0 to ${classes - 1}`,
  )
}

/** The logit of one class of each example, int32 [n], in the dtype that is computed in: [n]. */
export const logitOf = (z: Tensor, classes: Tensor): Tensor =>
  sum(where(equal(expandDims(classes, -1), iota(z.shape, 1)), astype(z, computeType(z.dtype)), 0), { axis: 1 })

/**
 * The wrong class of each example by its logit, 1 for the likeliest: int32 [n].
 *
 * @throws unless there are as many wrong classes
 */
export function wrongClass(op: string, z: Tensor, labels: Tensor, rank: number): Tensor {
  if (rank >= z.shape[1]) throw new Error(`${op}: target ${rank} of ${z.shape[1] - 1} wrong classes`)
  const wrong = where(equal(expandDims(labels, -1), iota(z.shape, 1)), Number.NEGATIVE_INFINITY, z)
  return at(argsort(wrong, { axis: -1, descending: true }), [], rank - 1)
}

/** The logits at a point. */
export const logitsAt = <M>(op: string, logits: Logits<M>, { model, batch }: Point<M>, ctx: Context): Tensor =>
  logitsOf(op, logits, model, batch, ctx)
