/**
 * Adversarial regularisation (Goodfellow et al. 2015, "Explaining and harnessing adversarial examples"; the recipe of
 * neural structured learning): a loss that adds its own value on perturbed features. It is a function from loss to loss,
 * so the model stays what it was: what is saved is the base model, and such losses nest and differentiate to any order.
 */

import { knownOptions, type Names } from '../graph/options.js'
import { type Batch, type Context, evaluation, type Loss } from '../nn/context.js'
import { add, mul, stopGradient, sub } from '../tensor/elementwise.js'
import { foldIn } from '../tensor/random.js'
import type { Tensor } from '../tensor/tensor.js'
import { alike, applyMask, type FeatureOptions, mapFeatures, perturbable } from './features.js'
import { attackContext, inputGradient } from './gradient.js'
import { checkCounts } from './method.js'
import { featureNames, rangeNames } from './options.js'
import { checkRule, clipFeatures, type Norm, step, uniformInBall } from './steps.js'

export interface PerturbationOptions extends FeatureOptions {
  /** How far each step goes, in the norm. Default 0.001. */
  stepSize?: number
  /** The norm of a step; for l1 and l2 jointly over all features of an example. Default 'l2'. */
  norm?: Norm
  /** The smallest value a perturbed feature may take. Default none. */
  clipMin?: number
  /** The largest value a perturbed feature may take. Default none. */
  clipMax?: number
  /** Steps, each with a gradient of its own. Default 1. */
  iterations?: number
  /** The radius of the ball around the original that the perturbation stays in. Default none. */
  epsilon?: number
  /** Start at a random point of the ball of radius epsilon; needs `epsilon`, and `key` in the context. Default false. */
  randomInit?: boolean
  /** Run the model in training mode (dropout, statistics of the batch) for the attack's gradients too. Default false. */
  trainingMode?: boolean
}

export interface RegularizationOptions extends PerturbationOptions {
  /** The weight of the loss on perturbed features. Default 0.2. */
  multiplier?: number
  /**
   * Differentiate through the perturbation too; an l2 step is exact, the sign of linf and l1 has derivative 0. Default
   * false.
   */
  throughAttack?: boolean
}

/** A loss with the loss on perturbed features added. */
export interface RegularizedLoss<M> extends Loss<M> {
  /** multiplier · L(x + δ), the part that was added, as a loss of its own; beside the sum it costs nothing. */
  readonly scaledAdversarialLoss: Loss<M>
  /** The loss that was regularised. */
  readonly base: Loss<M>
  readonly options: RegularizationOptions
}

const op = 'adversarialRegularization'

const perturbationNames: Names<PerturbationOptions> = {
  ...featureNames,
  ...rangeNames,
  stepSize: true,
  norm: true,
  iterations: true,
  epsilon: true,
  randomInit: true,
  trainingMode: true,
}

/** Distinguishes the random start from what else a pass draws from its key. */
const startStream = 0x73746172

/** The batch with its features moved: x + δ. */
function perturb<M>(loss: Loss<M>, model: M, batch: Batch, ctx: Context, options: PerturbationOptions): Batch {
  const { stepSize = 0.001, norm = 'l2', iterations = 1, epsilon, randomInit = false, trainingMode = false } = options
  const rule = { ...options, stepSize, norm }
  checkRule(op, rule)
  checkCounts(op, { iterations })
  const attack = attackContext(ctx, trainingMode && ctx.training)
  const original = perturbable(op, batch, options)
  let current = original
  if (randomInit) {
    if (epsilon === undefined) throw new Error(`${op}: randomInit draws from the ball of radius epsilon; give epsilon`)
    if (!ctx.key)
      throw new Error(`${op}: randomInit needs a random key in the context: { training, key: random.key(0) }`)
    const start = uniformInBall(foldIn(ctx.key, startStream), original, epsilon, norm)
    const moved = mapFeatures(original, (x, name) => add(x, applyMask(start[name], name, options.featureMask)))
    current = alike(clipFeatures(moved, rule), original)
  }
  for (let i = 0; i < iterations; i++)
    current = step(original, current, inputGradient(op, loss, model, batch, current, attack).gradient, rule)
  return { ...batch, ...current }
}

/** The perturbed batch as x plus a constant: the value of x + δ, and the derivative of x. */
const cut = (batch: Batch, perturbed: Batch): Batch =>
  mapFeatures(perturbed, (x, name) =>
    x === batch[name] ? x : add(stopGradient(x), sub(batch[name], stopGradient(batch[name]))),
  )

/**
 * L(x) + multiplier · L(x + δ), where δ climbs the loss: `iterations` steps of `stepSize` in the steepest direction of
 * `norm` for each example, along g = ∂/∂x of the sum of the examples' losses. In this order: elements of g that are not
 * finite become 0, the mask, the norm, the step, the projection on the ball of radius epsilon around x, the clip. δ is
 * cut from the gradient unless `throughAttack`.
 *
 * The attack sees the model in evaluation mode, with the random key of the pass, and changes no state; nor does the loss
 * on perturbed features, which runs in the mode of the pass: statistics update once. Weights of samples are the loss's.
 *
 * Cost: iterations forward and backward passes for δ, of which the first shares the clean pass where both modes agree,
 * and one for L(x + δ).
 *
 * @returns a function from loss to loss; what it returns is a loss and tells `scaledAdversarialLoss` apart
 * @throws at the call of the loss, if an option is out of range or names a column that the batch lacks
 * @example
 * const robust = adversarialRegularization({ multiplier: 0.2, stepSize: 0.2, norm: 'linf' })(loss)
 * new Trainer({ model, loss: robust, optimizer, metrics: { adversarial: robust.scaledAdversarialLoss } })
 */
export function adversarialRegularization(options: RegularizationOptions = {}) {
  const { multiplier = 0.2, throughAttack = false } = knownOptions(op, options, {
    ...perturbationNames,
    multiplier: true,
    throughAttack: true,
  })
  if (!Number.isFinite(multiplier)) throw new Error(`${op}: multiplier must be a finite number, not ${multiplier}`)
  return <M>(loss: Loss<M>): RegularizedLoss<M> => {
    const scaledAdversarialLoss = (model: M, batch: Batch, ctx: Context): Tensor => {
      const perturbed = perturb(loss, model, batch, ctx, options)
      const held = throughAttack ? perturbed : cut(batch, perturbed)
      return mul(loss(model, held, attackContext(ctx, ctx.training)), multiplier)
    }
    const total: Loss<M> = (model, batch, ctx) => add(loss(model, batch, ctx), scaledAdversarialLoss(model, batch, ctx))
    return Object.assign(total, { scaledAdversarialLoss, base: loss, options })
  }
}

/**
 * The batch with its features perturbed as `adversarialRegularization` does it, for looking at or evaluating on: x + δ.
 *
 * Cost: iterations forward and backward passes.
 *
 * @param loss a loss made by `adversarialRegularization`, whose options hold, or any other, with the defaults
 * @param overrides options that replace those of the loss, such as `{ clipMin: 0, clipMax: 1 }`
 * @param ctx evaluation by default; `randomInit` needs a key in it
 * @throws as the loss does
 */
export function perturbOnBatch<M>(
  loss: Loss<M> | RegularizedLoss<M>,
  model: M,
  batch: Batch,
  overrides: PerturbationOptions = {},
  ctx: Context = evaluation,
): Batch {
  knownOptions('perturbOnBatch', overrides, perturbationNames)
  return 'base' in loss
    ? perturb(loss.base, model, batch, ctx, { ...loss.options, ...overrides })
    : perturb(loss, model, batch, ctx, overrides)
}
