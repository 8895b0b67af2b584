/**
 * What a model, a loss and a batch are to each other. Layers, losses, attacks and the Trainer all speak these types and
 * know nothing else of one another.
 */

import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'

/**
 * What a loss keeps from one training step to the next, a tree of tensors: a perturbation, an average of the parameters. The
 * Trainer holds it, saves it in checkpoints and goes on with it; another shape or dtype than before starts it again.
 */
export interface Memory<T = unknown> {
  /** For checkpoints. */
  readonly name: string
  /** What there is before the first step, given the model and a batch of full size. */
  first(model: unknown, batch: Batch): T
  /** What there is after a step, given what was kept and the model as the optimiser has left it. Default what was kept. */
  after?(held: T, model: unknown): T
  /** The tensors are rows [n, ...], one for each place in a batch: smaller batches, and parts of one, see their rows. */
  readonly perExample?: boolean
  /** Steps to make with each batch, one after another. Default 1. */
  readonly replays?: number
}

/** How a model runs: the second argument of every `apply`. */
export interface Context {
  /** Whether dropout drops and batch normalisation uses the batch's own statistics. */
  readonly training: boolean
  /** The random key of this pass, uint32 [2]. The same key gives the same dropout masks. */
  readonly key?: Tensor
  /** Takes the next value of an untrained leaf, such as a running mean. Without it, state does not change. */
  update?(leaf: Tensor, value: Tensor): void
  /** What a memory holds. Without it, as in evaluation, nothing is remembered. */
  recall?<T>(memory: Memory<T>): T | undefined
  /** Holds something from now on; the last one counts. Without it, memories do not change. */
  keep?<T>(memory: Memory<T>, value: T): void
}

/** Whether a layer is to run as in training. @throws where the context does not say, as with a field's name misspelt. */
export function isTraining(layer: string, ctx: Context): boolean {
  if (typeof ctx.training === 'boolean') return ctx.training
  const fields = Object.keys(ctx)
  throw new Error(
    `${layer}: the context must say whether this is training, { training: true } or false; it has ${fields.length ? `the fields ${fields.join(', ')}` : 'no fields'}`,
  )
}

/** No dropout, running statistics, no randomness, no change of state. */
export const evaluation: Context = { training: false }

/** The context of part number i: the same, with a random key of its own. */
export const partOf = (ctx: Context, i: number): Context => (ctx.key ? { ...ctx, key: foldIn(ctx.key, i) } : ctx)

/** Columns of examples: all tensors have the same first dimension. */
export type Batch = Readonly<Record<string, Tensor>>

/** The mean loss of a batch as a scalar, differentiable in the model's leaves and the batch's. */
export type Loss<M> = (model: M, batch: Batch, ctx: Context) => Tensor
