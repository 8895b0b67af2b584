/**
 * What a model, a loss and a batch are to each other. Layers, losses, attacks and the Trainer all speak these types and
 * know nothing else of one another.
 */

import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'

/** How a model runs: the second argument of every `apply`. */
export interface Context {
  /** Whether dropout drops and batch normalisation uses the batch's own statistics. */
  readonly training: boolean
  /** The random key of this pass, uint32 [2]. The same key gives the same dropout masks. */
  readonly key?: Tensor
  /** Takes the next value of an untrained leaf, such as a running mean. Without it, state does not change. */
  update?(leaf: Tensor, value: Tensor): void
}

/** No dropout, running statistics, no randomness, no change of state. */
export const evaluation: Context = { training: false }

/** The context of part number i: the same, with a random key of its own. */
export const partOf = (ctx: Context, i: number): Context => (ctx.key ? { ...ctx, key: foldIn(ctx.key, i) } : ctx)

/** Columns of examples: all tensors have the same first dimension. */
export type Batch = Readonly<Record<string, Tensor>>

/** The mean loss of a batch as a scalar, differentiable in the model's leaves and the batch's. */
export type Loss<M> = (model: M, batch: Batch, ctx: Context) => Tensor
