/** Classifiers by what they answer: the logits of a batch. */

import { formatShape } from '../graph/shape.js'
import type { Batch, Context } from '../nn/context.js'
import { klDivergence } from '../nn/losses.js'
import { add } from '../tensor/elementwise.js'
import { Tensor } from '../tensor/tensor.js'
import { examples } from './features.js'

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
