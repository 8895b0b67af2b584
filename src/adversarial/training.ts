/**
 * Training against attacks: PGD training and its fast form, which replace the examples, and what tells of them on the way.
 * Where `on` names an embedding, the vectors that it looks up are attacked; else the features are.
 */

import { knownOptions } from '../graph/options.js'
import type { Context, Loss } from '../nn/context.js'
import { astype, stopGradient, sub } from '../tensor/elementwise.js'
import { mean } from '../tensor/reduction.js'
import { attackPass, type Ball, type BallOptions, besideLabels, checkedBall } from './ball.js'
import { column, type Features, mapFeatures } from './features.js'
import { checkFunctions, type Logits, logitsAt } from './logits.js'
import { ascend, keyOf, lossAt, type Method, uniformStart } from './method.js'
import { ballNames } from './options.js'
import { type Place, placeOf } from './places.js'
import { isRight } from './search.js'

/** Distinguishes what the methods draw from what else a pass draws from its key. */
const stream = 0x70676421

export interface AdversarialTrainingOptions extends BallOptions {
  /** Default 7. */
  steps?: number
  /** Default 2.5 · epsilon / steps. */
  stepSize?: number
  /** Start at a uniformly random point of the ball. Default true. */
  randomStart?: boolean
}

/**
 * L(x + δ) in the place of L(x), δ by PGD on the loss, cut, the model in evaluation mode. Madry et al. 2018, arXiv:1706.06083,
 * equation 2.1.
 *
 * Cost: steps + 1 forward and backward passes.
 *
 * @throws at the call of the loss, if an option is out of range or a random start has no key in the context
 * @example trainer.use(adversarialTraining({ epsilon: 0.3, steps: 40, stepSize: 0.01, clipMin: 0, clipMax: 1 }))
 */
export const adversarialTraining = (options: AdversarialTrainingOptions): Method =>
  replacing('adversarialTraining', knownOptions('adversarialTraining', options, { ...ballNames, randomStart: true }))

export interface FastTrainingOptions extends Omit<BallOptions, 'steps'> {
  /** Default 1.25 · epsilon. */
  stepSize?: number
}

/**
 * L(x + δ) with a single step from a random start: FGSM training as fast as it can be. Wong, Rice and Kolter 2020, "Fast is better
 * than free", algorithm 3: ε 0.3 and α 0.375 on MNIST. It may collapse: robustness to this attack rises while that to PGD falls
 * to 0 within an epoch (catastrophic overfitting). Watch `catastrophicOverfitting` as a metric.
 *
 * Cost: two forward and backward passes.
 *
 * @throws as `adversarialTraining` does
 */
export function fastTraining(options: FastTrainingOptions): Method {
  const op = 'fastTraining'
  if (Object.hasOwn(Object(options), 'steps'))
    throw new Error(`${op}: takes one step; adversarialTraining takes several`)
  const { steps: _, ...names } = ballNames
  const { epsilon, stepSize = 1.25 * epsilon } = knownOptions(op, options, names)
  return replacing(op, { ...options, stepSize, steps: 1 })
}

function replacing(op: string, options: AdversarialTrainingOptions): Method {
  const { epsilon, steps = 7, stepSize = (2.5 * epsilon) / steps, randomStart = true } = options
  const ball = checkedBall(op, options, steps, stepSize)
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const attack = attackPass(ctx)
      const place = placeOf(op, loss, { model, batch }, attack, options)
      const delta = ascend(op, at => lossAt(loss, at, attack), place, startOf(op, place, ctx, ball, randomStart), ball)
      return lossAt(loss, place.at(delta), ctx)
    }
}

/** No perturbation, or a random one of the ball. */
const startOf = (
  op: string,
  place: Place<unknown>,
  ctx: Context,
  { epsilon, norm }: Ball,
  random: boolean,
): Features =>
  random ? mapFeatures(uniformStart(place, keyOf(op, ctx, stream), epsilon, norm), stopGradient) : place.origin

/**
 * How much higher the loss is under PGD than under a single step of ε, as a metric: a jump tells of catastrophic overfitting.
 * L(x + δ_K) - L(x + ε·v(g)), both from x itself, where fast training steps from a random point.
 *
 * Cost: steps + 3 forward and steps + 1 backward passes.
 *
 * @example metrics: { overfitting: catastrophicOverfitting(loss, { epsilon: 0.3, clipMin: 0, clipMax: 1 }) }
 */
export function catastrophicOverfitting<M>(loss: Loss<M>, options: BallOptions): Loss<M> {
  const op = 'catastrophicOverfitting'
  const { epsilon, steps = 10, stepSize = (2.5 * epsilon) / steps } = knownOptions(op, options, ballNames)
  const ball = checkedBall(op, options, steps, stepSize)
  return (model, batch, ctx) => {
    const attack = attackPass(ctx)
    const place = placeOf(op, loss, { model, batch }, attack, options)
    const [many, one] = [ball, { ...ball, steps: 1, stepSize: epsilon }].map(rule => {
      const delta = ascend(op, at => lossAt(loss, at, attack), place, place.origin, rule)
      return mean(lossAt(loss, place.at(delta), attack))
    })
    return sub(many, one)
  }
}

export interface RobustAccuracyOptions<M> extends AdversarialTrainingOptions {
  logits: Logits<M>
  /** The column of the classes, int32 [n]. Default 'label'. */
  label?: string
}

/**
 * The share of a batch that is still classified right where PGD on the loss leads, as a metric: among the features, or with `on`
 * among the vectors that an embedding looks up, where there is no batch to hand to another attack.
 *
 * Cost: steps + 1 forward and steps backward passes.
 *
 * @example metrics: { robust: robustAccuracy(loss, { logits, on: 'embedding', scope: 'example', norm: 'l2', epsilon: 0.1 }) }
 */
export function robustAccuracy<M>(loss: Loss<M>, options: RobustAccuracyOptions<M>): Loss<M> {
  const op = 'robustAccuracy'
  const {
    logits,
    label = 'label',
    epsilon,
    steps = 10,
    randomStart = false,
  } = knownOptions(op, options, { ...ballNames, logits: true, label: true, randomStart: true })
  const ball = checkedBall(op, options, steps, options.stepSize ?? (2.5 * epsilon) / steps)
  checkFunctions(op, { logits })
  return (model, batch, ctx) => {
    const attack = attackPass(ctx)
    const place = placeOf(op, loss, { model, batch }, attack, besideLabels(options, label))
    const delta = ascend(op, at => lossAt(loss, at, attack), place, startOf(op, place, ctx, ball, randomStart), ball)
    const z = logitsAt(op, logits, place.at(delta), attack)
    return mean(astype(isRight(z, astype(column(op, batch, label), 'int32')), 'float32'))
  }
}
