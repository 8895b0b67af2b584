/** Free adversarial training: the backward pass that moves the weights moves the perturbation too. */

import { knownOptions } from '../graph/options.js'
import type { Loss, Memory } from '../nn/context.js'
import { mul } from '../tensor/elementwise.js'
import { type Features, mapFeatures } from './features.js'
import { meanGradient } from './gradient.js'
import { checkCounts, checkRequired, checkSizes, direction, furtherPass, lossAt, type Method, plus } from './method.js'
import { featureNames, rangeNames } from './options.js'
import { type PlaceOptions, placeOf } from './places.js'
import { checkNorm, type Norm, project } from './steps.js'

export interface FreeTrainingOptions extends Omit<PlaceOptions, 'on' | 'scope' | 'paddingMask'> {
  /** The radius of the ball. */
  epsilon: number
  /** Steps with each batch, m. Default 8. */
  replays?: number
  /** Default epsilon. */
  stepSize?: number
  /** Default 'linf'. */
  norm?: Norm
}

/**
 * L(x + δ) in the place of L(x), m steps with each batch; each step also moves δ <- Π(δ + α·sign(∂L/∂x)), by the gradient at the
 * point and the weights of that step, in its mode and from its backward pass. δ [batch, ...] starts at 0, goes on from
 * replay to replay and from batch to batch, by place in the batch, and is saved in checkpoints; x + δ is clipped to the
 * valid range, δ is not. Shafahi et al. 2019, "Adversarial training for free!", algorithm 1.
 *
 * An epoch of a Trainer is then m steps with each batch: where the paper has N epochs, train for N / m. Evaluation, and whoever
 * calls the loss without a Trainer, sees L(x).
 *
 * Cost: one forward and one backward pass a step, the latter down to the features; in float16, where the step scales its loss, the
 * perturbation takes a backward pass of its own.
 *
 * @throws if an option is out of range; at the call of the loss, if it names a column that the batch lacks
 * @example trainer.use(freeTraining({ epsilon: 0.3, clipMin: 0, clipMax: 1 }))
 */
export function freeTraining(options: FreeTrainingOptions): Method {
  const op = 'freeTraining'
  const {
    epsilon,
    replays = 8,
    stepSize = epsilon,
    norm = 'linf',
  } = knownOptions(op, options, {
    ...featureNames,
    ...rangeNames,
    ...{ epsilon: true, replays: true, stepSize: true, norm: true },
  })
  checkRequired(op, { epsilon })
  checkSizes(op, { stepSize })
  checkCounts(op, { replays })
  checkNorm(op, norm)
  return <M>(loss: Loss<M>): Loss<M> => {
    const memory: Memory<Features> = {
      name: op,
      replays,
      perExample: true,
      first: (model, batch) => placeOf(op, loss, { model: model as M, batch }, { training: true }, options).origin,
    }
    return (model, batch, ctx) => {
      const held = ctx.recall?.(memory)
      if (!held) return loss(model, batch, ctx)
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, options)
      const delta = place.valid(held)
      if (ctx.keep) {
        const { gradient } = meanGradient(op, d => lossAt(loss, place.at(d), further), delta, place.examples)
        const stride = mapFeatures(direction(place, gradient, norm), d => mul(d, stepSize))
        ctx.keep(memory, project(plus(held, stride), epsilon, norm))
      }
      return lossAt(loss, place.at(delta), ctx)
    }
  }
}
