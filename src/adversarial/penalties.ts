/**
 * Penalties on derivatives: functions from loss to loss that add to it. What trains is the exact derivative of the penalty;
 * points that were searched for and directions are cut where a docstring says so.
 */

import { grad, vjp } from '../autodiff/transforms.js'
import { knownOptions } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import type { Context, Loss } from '../nn/context.js'
import { eye } from '../tensor/create.js'
import { abs, add, div, mul, sign, square, stopGradient, sub } from '../tensor/elementwise.js'
import { broadcastTo } from '../tensor/movement.js'
import { normal, uniform } from '../tensor/random.js'
import { mean, sum, vectorNorm } from '../tensor/reduction.js'
import { at } from '../tensor/slicing.js'
import type { Tensor } from '../tensor/tensor.js'
import { column, type FeatureOptions, type Features, mapFeatures } from './features.js'
import { meanGradient } from './gradient.js'
import { checkFunctions, type Logits, logitsOf } from './logits.js'
import {
  ascend,
  checkCounts,
  checkRequired,
  checkSizes,
  furtherPass,
  keyOf,
  lossAt,
  type Method,
  uniformStart,
} from './method.js'
import { featureNames, placeNames } from './options.js'
import { checkChosen, type LeafOptions, type Place, type PlaceOptions, type Point, placeOf } from './places.js'
import { beside, dot, exampleDot, exampleSum, safeRoot, steepest } from './steps.js'

/** ‖·‖₂ of each example [n], whose derivatives at 0 are 0. */
const lengths = (x: Features): Tensor => safeRoot(exampleSum(x, square))

export interface GradientPenaltyOptions extends Pick<LeafOptions, 'on' | 'paddingMask'> {
  /** The weight ε of ½‖∂L/∂E‖². Default 1. */
  epsilon?: number
  /** 'row': of the dense gradient of the table; 'occurrence': of each vector that is looked up. Default 'row'. */
  reading?: 'row' | 'occurrence'
}

/**
 * L + ½ε·‖∂L/∂E‖², for parameters E such as an embedding's table. By rows, ids that occur twice add up before the square; by
 * occurrence each is squared by itself: w = (1, 2) read twice gives 20 and 10. Double backpropagation, on parameters: Drucker and
 * Le Cun 1992, "Improving generalization performance using double backpropagation".
 *
 * Cost: a forward, a backward and a second backward pass through both.
 *
 * @throws if an option is out of range, unknown or excluded by another, and at the call of the loss, if `on` matches no parameter
 * @example trainer.use(gradientPenalty({ on: 'embedding', epsilon: 1 }))
 */
export function gradientPenalty(given: GradientPenaltyOptions): Method {
  const op = 'gradientPenalty'
  const {
    epsilon = 1,
    reading = 'row',
    ...options
  } = knownOptions(op, given, {
    on: true,
    paddingMask: true,
    epsilon: true,
    reading: true,
  })
  checkChosen(op, options.on)
  checkSizes(op, { epsilon })
  if (reading !== 'row' && reading !== 'occurrence')
    throw new Error(`${op}: unknown reading '${reading}'; 'row' or 'occurrence'`)
  if (options.paddingMask !== undefined && reading === 'row')
    throw new Error(
      `${op}: paddingMask leaves out vectors that are looked up, and reading 'row' takes the rows of the table; use reading 'occurrence'`,
    )
  const scope = reading === 'row' ? 'matrix' : 'token'
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, { ...options, scope })
      const { gradient } = meanGradient(op, d => lossAt(loss, place.at(d), further), place.origin, place.examples)
      return add(loss(model, batch, ctx), mul(dot(gradient, gradient), epsilon / 2))
    }
}

export interface InputPenaltyOptions extends FeatureOptions {
  /** Default 1. */
  weight?: number
  /** 2 for ‖g‖², 1 for ‖g‖. Default 2. */
  power?: 1 | 2
}

/**
 * L + weight · mean_i ‖∂ℓ_i/∂x_i‖₂^power. Drucker and Le Cun 1992; Ross and Doshi-Velez 2018, "Improving the adversarial robustness
 * and interpretability of deep neural networks by regularizing their input gradients".
 *
 * Cost: a forward, a backward and a second backward pass through both.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the batch has nothing to perturb
 * @example trainer.use(inputGradientPenalty({ weight: 0.1 }))
 */
export function inputGradientPenalty(given: InputPenaltyOptions = {}): Method {
  const op = 'inputGradientPenalty'
  const names = { ...featureNames, weight: true, power: true } as const
  const { weight = 1, power = 2, ...options } = knownOptions(op, given, names)
  checkSizes(op, { weight })
  if (power !== 1 && power !== 2) throw new Error(`${op}: power must be 1 or 2, not ${power}`)
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const gradient = exampleGradients(op, loss, placeOf(op, loss, { model, batch }, further, options), further)
      const size = power === 2 ? exampleSum(gradient, square) : lengths(gradient)
      return add(loss(model, batch, ctx), mul(mean(size), weight))
    }
}

/** ∂ℓ_i/∂x_i of every example, at a place as it is or moved. */
function exampleGradients<M>(op: string, loss: Loss<M>, place: Place<M>, ctx: Context, moved = place.origin): Features {
  const { gradient } = meanGradient(op, d => lossAt(loss, place.at(d), ctx), moved, place.examples)
  return mapFeatures(place.masked(gradient), g => mul(g, place.examples))
}

export interface JacobianPenaltyOptions<M> extends FeatureOptions {
  logits: Logits<M>
  /** Default 0.01. */
  weight?: number
  /** Random directions for each example; the exact norm, one backward pass a class, without it. Default 1. */
  projections?: number | 'exact'
}

/** Distinguishes what the penalties draw from what else a pass draws from its key. */
const streams = { jacobian: 0x6a61636f, linearity: 0x6c696e65, alignment: 0x616c6967, wgan: 0x7767616e }

/**
 * L + ½·weight · mean_i ‖∂z_i/∂x_i‖_F² of the logits z. With random projections v, uniform on the sphere, ‖J‖² is estimated by
 * C·‖∂(v·z)/∂x‖² without bias. Hoffman, Roberts and Yaida 2019, arXiv:1908.02729, algorithm 1.
 *
 * Cost: projections (or classes) backward passes through the logits, and the passes through those.
 *
 * @throws at the call of the loss, if logits are not [n, classes] or random directions have no key in the context
 */
export function jacobianPenalty<M>(options: JacobianPenaltyOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'jacobianPenalty'
  const {
    logits,
    weight = 0.01,
    projections = 1,
  } = knownOptions(op, options, {
    ...featureNames,
    logits: true,
    weight: true,
    projections: true,
  })
  checkFunctions(op, { logits })
  checkSizes(op, { weight })
  if (projections !== 'exact') checkCounts(op, { projections })
  return loss => (model, batch, ctx) => {
    const further = furtherPass(ctx)
    const place = placeOf(op, loss, { model, batch }, further, options)
    const [z, pull] = vjp((d: Features) => {
      const point = place.at(d)
      return logitsOf(op, logits, point.model, point.batch, further)
    }, place.origin)
    const [n, classes] = z.shape
    const squaredAlong = (v: Tensor): Tensor => exampleSum(place.masked(pull(v)[0]), square)
    const directions = (): Tensor[] => {
      if (projections === 'exact')
        return Array.from({ length: classes }, (_, j) => broadcastTo(at(eye(classes, classes, z.dtype), j), z.shape))
      const drawn = normal(keyOf(op, ctx, streams.jacobian), [projections, n, classes], z.dtype)
      const unit = div(drawn, vectorNorm(drawn, { axis: -1, keepdims: true }))
      return Array.from({ length: projections }, (_, i) => mul(at(unit, i), Math.sqrt(classes / projections)))
    }
    const squared = directions().map(squaredAlong).reduce(add)
    return add(loss(model, batch, ctx), mul(mean(squared), weight / 2))
  }
}

export interface CurvaturePenaltyOptions extends FeatureOptions {
  /** Default 1. */
  weight?: number
  /** Differentiate through the direction too. Default false. */
  throughDirection?: boolean
}

/**
 * L + weight · mean_i ‖H_i·z_i‖₂², H_i the Hessian of ℓ_i in x_i and z_i = sign(g_i)/‖sign(g_i)‖₂: the curvature along the
 * attack. Moosavi-Dezfooli et al. 2019, "Robustness via curvature regularization, and vice versa", with exact products in the
 * place of their differences (theirs are h² times as large for a step h).
 *
 * Cost: a forward pass, a backward pass, one through both, and the backward pass of these.
 */
export function curvaturePenalty(given: CurvaturePenaltyOptions = {}): Method {
  const op = 'curvaturePenalty'
  const names = { ...featureNames, weight: true, throughDirection: true } as const
  const { weight = 1, throughDirection = false, ...options } = knownOptions(op, given, names)
  checkSizes(op, { weight })
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, options)
      const slope = (moved?: Features): Features => exampleGradients(op, loss, place, further, moved)
      const along = steepest(mapFeatures(slope(), sign), 'l2')
      const z = throughDirection ? along : mapFeatures(along, stopGradient)
      const curved = grad((moved: Features) => dot(slope(moved), z))(place.origin)
      return add(loss(model, batch, ctx), mul(mean(exampleSum(curved, square)), weight))
    }
}

export interface LocalLinearityOptions<M> extends PlaceOptions {
  /** The losses of the examples [n]. */
  losses: Loss<M>
  /** The radius of the linf ball. */
  epsilon: number
  /** Steps to the point where the loss is least linear. Default 10. */
  steps?: number
  /** Default epsilon / 4. */
  stepSize?: number
  /** The weight λ of the worst violation. Default 4. */
  violation?: number
  /** The weight μ of the linear change there. Default 3. */
  slope?: number
}

/**
 * L + mean_i (λ·γ_i(δ) + μ·|δᵀg_i|), γ(δ) = |ℓ(x+δ) - ℓ(x) - δᵀg|, δ the point of the ball that steps up γ reach from a random
 * start. δ is cut. Of looked-up vectors, those of an example are moved together (`scope: 'example'`). Qin et al. 2019, "Adversarial robustness through local linearization", algorithm 1.
 *
 * Cost: steps + 3 forward and backward passes, and the backward pass of a gradient.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the context has no key or there is nothing to perturb
 */
export function localLinearity<M>(options: LocalLinearityOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'localLinearity'
  const {
    losses,
    epsilon,
    steps = 10,
    stepSize = epsilon / 4,
    violation = 4,
    slope = 3,
  } = knownOptions(op, options, {
    ...placeNames,
    losses: true,
    epsilon: true,
    steps: true,
    stepSize: true,
    violation: true,
    slope: true,
  })
  checkFunctions(op, { losses })
  const { on, scope = 'matrix' } = options
  if (on !== undefined && scope !== 'example')
    throw new Error(
      `${op}: compares the losses of single examples, and scope '${scope}' moves several at once or parts of one; use scope 'example'`,
    )
  checkRequired(op, { epsilon })
  checkSizes(op, { stepSize, violation, slope })
  checkCounts(op, { steps })
  return loss => (model, batch, ctx) => {
    const further = furtherPass(ctx)
    const place = placeOf(op, losses, { model, batch }, further, options)
    const gradient = exampleGradients(op, losses, place, further)
    const here = losses(model, batch, further)
    if (here.ndim !== 1 || here.shape[0] !== place.examples)
      throw new Error(
        `${op}: losses must be those of ${place.examples} examples, not of shape ${formatShape(here.shape)}`,
      )
    const change = (delta: Features): Tensor => exampleDot(delta, gradient)
    const gap = (delta: Features, there: Tensor): Tensor => abs(sub(sub(there, here), change(delta)))
    const start = uniformStart(place, keyOf(op, ctx, streams.linearity), epsilon, 'linf')
    const objective = (at: Point<M>, d: Features): Tensor => gap(d, lossAt(losses, at, further))
    const delta = ascend(op, objective, place, mapFeatures(start, stopGradient), {
      norm: 'linf',
      steps,
      stepSize,
      epsilon,
    })
    const there = lossAt(losses, place.at(delta), further)
    const penalty = add(mul(gap(delta, there), violation), mul(abs(change(delta)), slope))
    return add(loss(model, batch, ctx), mean(penalty))
  }
}

export interface AlignmentOptions extends PlaceOptions {
  /** The radius of the linf ball that the second point is drawn from. */
  epsilon: number
  /** Default 0.2. */
  weight?: number
}

/**
 * L + weight · (1 - mean_i cos(g_i(x), g_i(x + η))), η uniform in the linf ball: what keeps single-step training from
 * catastrophic overfitting. Andriushchenko and Flammarion 2020, "Understanding and improving fast adversarial training". A
 * gradient of 0 has cosine 0 with any, and passes nothing back.
 *
 * Cost: two forward and backward passes and one through both.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the context has no key or there is nothing to perturb
 */
export function gradientAlignment(given: AlignmentOptions): Method {
  const op = 'gradientAlignment'
  const { epsilon, weight = 0.2, ...options } = knownOptions(op, given, { ...placeNames, epsilon: true, weight: true })
  checkRequired(op, { epsilon })
  checkSizes(op, { weight })
  return <M>(loss: Loss<M>): Loss<M> =>
    (model, batch, ctx) => {
      const further = furtherPass(ctx)
      const place = placeOf(op, loss, { model, batch }, further, options)
      const moved = uniformStart(place, keyOf(op, ctx, streams.alignment), epsilon, 'linf')
      const [here, there] = [place.origin, mapFeatures(moved, stopGradient)].map(point =>
        steepest(exampleGradients(op, loss, place, further, point), 'l2'),
      )
      return add(loss(model, batch, ctx), mul(sub(1, mean(exampleDot(here, there))), weight))
    }
}

export interface WganPenaltyOptions<M> {
  /** The critic's scores [n] of samples. */
  critic: (model: M, samples: Tensor, ctx: Context) => Tensor
  /** The columns of the batch with real and generated samples, of one shape. Defaults 'real' and 'fake'. */
  real?: string
  fake?: string
  /** Default 10. */
  weight?: number
}

/**
 * L + weight · mean_i (‖∂D(x̂_i)/∂x̂_i‖₂ - 1)², x̂ = t·real + (1 - t)·fake with t uniform in [0, 1) for each pair. Gulrajani et al.
 * 2017, "Improved training of Wasserstein GANs", algorithm 1. The norm's derivative at 0 is 0.
 *
 * Cost: a forward, a backward and a second backward pass through both, of the critic.
 *
 * @throws if an option is out of range or unknown, and at the call of the loss, if the columns are not there or differ in shape
 */
export function wganGradientPenalty<M>(options: WganPenaltyOptions<M>): (loss: Loss<M>) => Loss<M> {
  const op = 'wganGradientPenalty'
  const {
    critic,
    real = 'real',
    fake = 'fake',
    weight = 10,
  } = knownOptions(op, options, {
    critic: true,
    real: true,
    fake: true,
    weight: true,
  })
  checkFunctions(op, { critic })
  checkSizes(op, { weight })
  return loss => (model, batch, ctx) => {
    const [a, b] = [real, fake].map(name => column(op, batch, name))
    if (!sameShape(a.shape, b.shape))
      throw new Error(`${op}: ${real} ${formatShape(a.shape)} and ${fake} ${formatShape(b.shape)} differ in shape`)
    const t = beside(uniform(keyOf(op, ctx, streams.wgan), [a.shape[0]]), a)
    const between = add(mul(a, t), mul(b, sub(1, t)))
    const slopes = grad((x: Tensor) => sum(critic(model, x, furtherPass(ctx))))(between)
    return add(loss(model, batch, ctx), mul(mean(square(sub(lengths({ slopes }), 1))), weight))
  }
}
