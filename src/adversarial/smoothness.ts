/**
 * Losses that hold a model's outputs together in the neighbourhood of an example: TRADES, MART, VAT, SMART, R-Drop. Where `on`
 * names an embedding, the neighbourhood is that of the vectors it looks up; else that of the features.
 */

import { hvp } from '../autodiff/transforms.js'
import { knownOptions, type Names } from '../graph/options.js'
import type { Loss } from '../nn/context.js'
import { crossEntropy, klDivergence } from '../nn/losses.js'
import { oneHot } from '../tensor/create.js'
import { add, mul, stopGradient, sub, where } from '../tensor/elementwise.js'
import { softmax } from '../tensor/neural.js'
import { foldIn } from '../tensor/random.js'
import { argmax, logsumexp, mean, sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'
import { attackPass, type BallOptions, besideLabels, checkedBall } from './ball.js'
import { column, type Features, mapFeatures } from './features.js'
import { checkFunctions, type Logits, logitsAt, logitsOf, symmetricDivergence } from './logits.js'
import {
  ascend,
  byPart,
  checkCounts,
  checkRequired,
  checkSizes,
  furtherPass,
  keyOf,
  lossAt,
  normalStart,
  uniformStart,
} from './method.js'
import { ballNames, placeNames } from './options.js'
import { type Place, type PlaceOptions, type Point, placeOf } from './places.js'
import { steepest } from './steps.js'

/** Distinguishes what the methods draw from what else a pass draws from its key. */
const streams = {
  trades: 0x74726164,
  mart: 0x6d617274,
  vat: 0x76617421,
  smart: 0x736d6172,
  rDrop: 0x72647270,
}

/** What holds outputs together: logits, and a neighbourhood to search. */
export interface SmoothnessOptions<M> extends BallOptions {
  logits: Logits<M>
}

const smoothnessNames: Names<SmoothnessOptions<never>> = { ...ballNames, logits: true }

export interface TradesOptions<M> extends SmoothnessOptions<M> {
  /** The weight β of the divergence. Default 6. */
  beta?: number
  /** Default 10. */
  steps?: number
  /** Default epsilon / 4. */
  stepSize?: number
  /** The standard deviation of the normal start. Default 0.001. */
  start?: number
}

/**
 * L(x) + β · mean_i KL(p(x_i) ‖ p(x_i + δ_i)); δ climbs that divergence from a small normal start, the model in evaluation mode.
 * Both sides of the divergence keep their gradient; δ is cut. Zhang et al. 2019, "Theoretically principled trade-off between
 * robustness and accuracy", equation 3 with 1/λ = β.
 *
 * Cost: steps + 2 forward and backward passes.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the context has no key, `on` matches no parameter
 * or logits are not [n, classes]
 */
export function trades<M>(options: TradesOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'trades'
  const {
    logits,
    beta = 6,
    epsilon,
    steps = 10,
    stepSize = epsilon / 4,
    start = 0.001,
  } = knownOptions(op, options, { ...smoothnessNames, beta: true, start: true })
  const ball = checkedBall(op, options, steps, stepSize)
  checkFunctions(op, { logits })
  checkSizes(op, { beta, start })
  return loss => (model, batch, ctx) => {
    const attack = attackPass(ctx)
    const place = placeOf(op, watching(op, logits), { model, batch }, attack, options)
    const fixed = stopGradient(logitsOf(op, logits, model, batch, attack))
    const objective = (at: Point<M>): Tensor => klDivergence(logitsAt(op, logits, at, attack), fixed)
    const first = mapFeatures(normalStart(place, keyOf(op, ctx, streams.trades), start), stopGradient)
    const delta = ascend(op, objective, place, first, ball)
    const clean = logitsOf(op, logits, model, batch, furtherPass(ctx))
    const moved = logitsAt(op, logits, place.at(delta), furtherPass(ctx))
    return add(loss(model, batch, ctx), mul(klDivergence(moved, clean), beta))
  }
}

/** Logits as something that is like a loss in what it looks up. */
const watching =
  <M>(op: string, logits: Logits<M>): Loss<M> =>
  (model, batch, ctx) =>
    mean(logitsOf(op, logits, model, batch, ctx))

export interface MartOptions<M> extends SmoothnessOptions<M> {
  /** The weight of the divergence. Default 5. */
  weight?: number
  /** The column of the classes. Default 'label'. */
  label?: string
  /** Default 10. */
  steps?: number
  /** Default epsilon / 4. */
  stepSize?: number
}

/**
 * mean_i BCE(p(x'_i), y_i) + weight · mean_i KL(p(x_i) ‖ p(x'_i)) · (1 - p(x_i)_y), where BCE = -log p_y - log(1 - max_{k≠y} p_k) and x'
 * is found by PGD on the loss that is wrapped: it replaces that loss. Wang et al. 2020, "Improving adversarial robustness
 * requires revisiting misclassified examples", equation 11.
 *
 * Cost: steps + 2 forward and backward passes.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the context has no key, `on` matches no parameter
 * or logits are not [n, classes]
 */
export function mart<M>(options: MartOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'mart'
  const {
    logits,
    weight = 5,
    label = 'label',
    epsilon,
    steps = 10,
    stepSize = epsilon / 4,
  } = knownOptions(op, options, { ...smoothnessNames, weight: true, label: true })
  const ball = checkedBall(op, options, steps, stepSize)
  checkFunctions(op, { logits })
  checkSizes(op, { weight })
  return loss => (model, batch, ctx) => {
    const y = column(op, batch, label)
    const attack = attackPass(ctx)
    const place = placeOf(op, loss, { model, batch }, attack, besideLabels(options, label))
    const start = mapFeatures(uniformStart(place, keyOf(op, ctx, streams.mart), ball.epsilon, ball.norm), stopGradient)
    const delta = ascend(op, at => lossAt(loss, at, attack), place, start, ball)
    const clean = logitsOf(op, logits, model, batch, furtherPass(ctx))
    const moved = logitsAt(op, logits, place.at(delta), ctx)
    const isLabel = oneHot(y, moved.shape[1], 'bool')
    const pClean = softmax(clean)
    // -log(1 - p_k) of the likeliest wrong class k, without 1 - p_k, which rounds to 0.
    const rival = argmax(where(isLabel, Number.NEGATIVE_INFINITY, moved), { axis: -1 })
    const others = where(oneHot(rival, moved.shape[1], 'bool'), Number.NEGATIVE_INFINITY, moved)
    const unsure = sub(logsumexp(moved, { axis: -1 }), logsumexp(others, { axis: -1 }))
    const boosted = add(crossEntropy(moved, y, { reduction: 'none' }), unsure)
    const doubt = sub(1, sum(where(isLabel, pClean, 0), { axis: -1 }))
    const divergence = klDivergence(moved, clean, { reduction: 'none' })
    return add(mean(boosted), mul(mean(mul(divergence, doubt)), weight))
  }
}

export interface VatOptions<M> extends PlaceOptions {
  logits: Logits<M>
  /** The length of the perturbation, for each unit. */
  epsilon: number
  /** The weight of the divergence. Default 1. */
  weight?: number
  /** Power iterations. Default 1. */
  iterations?: number
}

/**
 * L + weight · mean_i KL(p(x_i) ‖ p(x_i + r_i)), r = ε·d, d the dominant eigenvector of the Hessian of that divergence in r at 0. Power
 * iteration on exact Hessian-vector products, no finite difference; p(x) and r are cut. No label is used. Miyato et al. 2018,
 * "Virtual adversarial training", algorithm 1.
 *
 * Cost: a Hessian-vector product an iteration, and two forward and backward passes.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the context has no key, `on` matches no parameter
 * or logits are not [n, classes]
 */
export function vat<M>(options: VatOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'vat'
  const {
    logits,
    epsilon,
    weight = 1,
    iterations = 1,
  } = knownOptions(op, options, { ...placeNames, logits: true, epsilon: true, weight: true, iterations: true })
  checkFunctions(op, { logits })
  checkRequired(op, { epsilon })
  checkSizes(op, { weight })
  checkCounts(op, { iterations })
  return loss => (model, batch, ctx) => {
    const further = furtherPass(ctx)
    const place = placeOf(op, watching(op, logits), { model, batch }, further, options)
    const fixed = stopGradient(logitsOf(op, logits, model, batch, further))
    const divergence = (r: Features): Tensor => klDivergence(logitsAt(op, logits, place.at(r), further), fixed)
    let d = unitary(place, normalStart(place, keyOf(op, ctx, streams.vat), 1))
    for (let i = 0; i < iterations; i++) d = unitary(place, place.masked(hvp(divergence, place.origin, d)))
    const r = place.valid(mapFeatures(d, x => mul(stopGradient(x), epsilon)))
    return add(loss(model, batch, ctx), mul(divergence(r), weight))
  }
}

/** Each unit of length 1. */
const unitary = (place: Place<unknown>, d: Features): Features => byPart(place, d, part => steepest(part, 'l2'))

export interface SmartOptions<M> extends SmoothnessOptions<M> {
  /** The weight of the divergence. Default 1. */
  weight?: number
  /** Default 1. */
  steps?: number
  /** Default epsilon. */
  stepSize?: number
  /** The standard deviation of the normal start. Default 1e-5. */
  start?: number
}

/**
 * L + weight · mean_i [KL(p ‖ p') + KL(p' ‖ p)], p' at the point of the ball where that is largest. The smoothness-inducing regulariser
 * of Jiang et al. 2020, "SMART: robust and efficient fine-tuning for pre-trained natural language models", equation 2; their
 * proximal point is `proximal`.
 *
 * Cost: steps + 2 forward and backward passes.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the context has no key, `on` matches no parameter
 * or logits are not [n, classes]
 */
export function smart<M>(options: SmartOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'smart'
  const {
    logits,
    weight = 1,
    epsilon,
    steps = 1,
    stepSize = epsilon,
    start = 1e-5,
  } = knownOptions(op, options, { ...smoothnessNames, weight: true, start: true })
  const ball = checkedBall(op, options, steps, stepSize)
  checkFunctions(op, { logits })
  checkSizes(op, { weight, start })
  return loss => (model, batch, ctx) => {
    const further = furtherPass(ctx)
    const place = placeOf(op, watching(op, logits), { model, batch }, further, options)
    const clean = logitsOf(op, logits, model, batch, further)
    const objective = (at: Point<M>): Tensor =>
      symmetricDivergence(logitsAt(op, logits, at, further), stopGradient(clean))
    const first = mapFeatures(normalStart(place, keyOf(op, ctx, streams.smart), start), stopGradient)
    const delta = ascend(op, objective, place, first, ball)
    const moved = logitsAt(op, logits, place.at(delta), further)
    return add(loss(model, batch, ctx), mul(symmetricDivergence(moved, clean), weight))
  }
}

export interface RDropOptions<M> {
  logits: Logits<M>
  /** The weight of the divergence. Default 1. */
  alpha?: number
}

/**
 * L₁ + L₂ + α · mean_i ½[KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)] of two passes with different dropout. Liang et al. 2021, "R-Drop: regularized dropout for
 * neural networks", equation 4.
 *
 * Cost: two forward and backward passes.
 *
 * @throws at the call of the loss, if the context has no key
 */
export function rDrop<M>(options: RDropOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'rDrop'
  const { logits, alpha = 1 } = knownOptions(op, options, { logits: true, alpha: true })
  checkFunctions(op, { logits })
  checkSizes(op, { alpha })
  return loss => (model, batch, ctx) => {
    const key = keyOf(op, ctx, streams.rDrop)
    const [one, other] = [furtherPass(ctx), { ...furtherPass(ctx), key: foldIn(key, 1) }]
    const [p, q] = [one, other].map(pass => logitsOf(op, logits, model, batch, pass))
    const divergence = mul(symmetricDivergence(p, q), alpha / 2)
    return add(add(loss(model, batch, ctx), loss(model, batch, other)), divergence)
  }
}
