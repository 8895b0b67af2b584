/** Bregman proximal point steps: a step stays close, in what the model answers, to where it came from. */

import { knownOptions } from '../graph/options.js'
import type { Loss, Memory } from '../nn/context.js'
import { add, equal, mul, remainder, where } from '../tensor/elementwise.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { type Features, mapFeatures } from './features.js'
import { checkFunctions, type Logits, logitsOf, symmetricDivergence } from './logits.js'
import { checkCounts, checkSizes, furtherPass } from './method.js'
import { parametersOf, withParameters } from './sharpness.js'

export interface ProximalOptions<M> {
  logits: Logits<M>
  /** The weight μ of the divergence. Default 1. */
  weight?: number
  /** β: the share of θ̃ that stays when an iterate comes in, from 0 (the previous iterate itself) to 1. Default 0.99. */
  momentum?: number
  /** Steps S that make an iterate. Default 1. */
  every?: number
}

/** θ̃ by name, in float32 at least, and the steps made. */
interface Anchor {
  readonly parameters: Features
  readonly steps: Tensor
}

/**
 * L(θ) + μ · mean_i [KL(p_i ‖ p̃_i) + KL(p̃_i ‖ p_i)], p̃ by the parameters θ̃, constants, in the same mode and with the same dropout.
 * θ̃ begins as θ and becomes β·θ̃ + (1 - β)·θ after every S steps; a Trainer saves it in checkpoints. Jiang et al. 2020, "SMART:
 * robust and efficient fine-tuning for pre-trained natural language models", equations 4 and 5 (β = 0) and 6, algorithm 1. With
 * `smart` it is the whole of theirs: `trainer.use(smart({...})).use(proximal({...}))`.
 *
 * Evaluation, and whoever calls the loss without a Trainer, sees L(θ).
 *
 * Cost: one more forward pass, and a copy of the parameters.
 *
 * @throws if an option is out of range, or momentum is 0 where every step makes an iterate: the divergence of the model from
 * itself and its gradient are 0
 * @example trainer.use(proximal({ logits }))
 */
export function proximal<M>(options: ProximalOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'proximal'
  const {
    logits,
    weight = 1,
    momentum = 0.99,
    every = 1,
  } = knownOptions(op, options, { logits: true, weight: true, momentum: true, every: true })
  checkFunctions(op, { logits })
  checkSizes(op, { weight })
  checkCounts(op, { every })
  if (!(momentum >= 0 && momentum <= 1))
    throw new Error(`${op}: momentum must be a number from 0 to 1, not ${momentum}`)
  if (momentum === 0 && every === 1)
    throw new Error(
      `${op}: momentum 0 compares each step with where it starts, which does nothing; set every to 2 or more`,
    )
  const memory: Memory<Anchor> = {
    name: op,
    first: model => ({ parameters: parametersOf(model), steps: full([], 0, 'int32') }),
    after: ({ parameters, steps }, model) => {
      const made = add(steps, 1)
      const isIterate = equal(remainder(made, every), 0)
      const averaged = mapFeatures(parametersOf(model), (now, name) =>
        where(isIterate, add(mul(parameters[name], momentum), mul(now, 1 - momentum)), parameters[name]),
      )
      return { parameters: averaged, steps: made }
    },
  }
  return loss => (model, batch, ctx) => {
    const anchor = ctx.recall?.(memory)
    if (!anchor) return loss(model, batch, ctx)
    const further = furtherPass(ctx)
    const there = logitsOf(op, logits, withParameters(model, anchor.parameters), batch, further)
    const here = logitsOf(op, logits, model, batch, further)
    return add(loss(model, batch, ctx), mul(symmetricDivergence(here, there), weight))
  }
}
