/** The gradient that attacks climb: of the sum of the examples' losses with respect to features, and how healthy it is. */

import { vjp } from '../autodiff/transforms.js'
import { computeType, isFloat } from '../graph/dtype.js'
import { formatShape } from '../graph/shape.js'
import type { Batch, Context, Loss } from '../nn/context.js'
import {
  add,
  astype,
  div,
  equal,
  isfinite,
  less,
  logicalAnd,
  logicalNot,
  mul,
  square,
  where,
} from '../tensor/elementwise.js'
import { mean, sum } from '../tensor/reduction.js'
import { full, Tensor } from '../tensor/tensor.js'
import { alike, type Features, mapFeatures } from './features.js'
import { exampleSum } from './steps.js'

/**
 * Counts over all gradients of single examples that an attack took, as int32 scalars: what to look at when an attack
 * fails. A zero gradient moves nothing; many of them mean a saturated loss, not a robust model.
 */
export interface GradientReport {
  /** How many there were: examples times steps times restarts, without those of examples that the attack knew to be broken. */
  readonly gradients: Tensor
  /** Those that are exactly 0 in every element. */
  readonly zero: Tensor
  /** Those with an element that is not finite; such elements count as 0. */
  readonly nonFinite: Tensor
  /** Those not zero but of L2 norm under 1e-6, the floor that stops attacks which do not rescale. */
  readonly floorHit: Tensor
}

/** The squared norm floor of √max(Σg², 1e-12). */
const floor = 1e-12

/**
 * What the losses of examples that are computed in float16 are multiplied by while their gradient is taken: on the way, it is
 * then a normal number of float16 from 6e-8 to 64. What is above that is taken at a smaller scale.
 */
const scale = 2 ** 10

/** Which examples have a gradient that is exactly 0 in every element: bool [n]. */
export const isZeroGradient = (gradient: Features): Tensor =>
  equal(
    exampleSum(gradient, g => astype(logicalNot(equal(g, 0)), 'int32')),
    0,
  )

/** The report of the gradients of one step; those of examples that are broken already, bool [n], are none that an attack waits for. */
export function gradientReport(gradient: Features, n: number, broken?: Tensor): GradientReport {
  const standing = broken && logicalNot(broken)
  const count = (condition: Tensor): Tensor =>
    sum(astype(standing ? logicalAnd(condition, standing) : condition, 'int32'))
  const present = (of: (g: Tensor) => Tensor): Tensor =>
    less(
      0,
      exampleSum(gradient, g => astype(of(g), 'int32')),
    )
  const isZero = isZeroGradient(gradient)
  const tiny = less(exampleSum(gradient, square), floor)
  return {
    gradients: standing ? sum(astype(standing, 'int32')) : full([], n, 'int32'),
    zero: count(isZero),
    nonFinite: count(present(g => logicalNot(isfinite(g)))),
    floorHit: count(logicalAnd(logicalNot(isZero), tiny)),
  }
}

/** The context of an attack: without the means to change the model's state or what is remembered. */
export const attackContext = ({ update: _, keep: __, ...ctx }: Context, training: boolean): Context => ({
  ...ctx,
  training,
})

/**
 * g = ∂/∂x of the sum of the examples' losses, at `features` in the place of the batch's own columns.
 *
 * Where float16 is involved, the loss is scaled in float32 and the gradient divided by the scale in float32 again, before
 * anyone takes a norm of it. The scale is of its own: the loss scale of a Trainer is none of an attack's business.
 *
 * @param loss the mean loss, or the losses of the examples [n]
 * @returns the gradient, that of float16 features in float32, and what the loss returned
 * @throws if the loss returns neither
 */
export function inputGradient<M>(
  op: string,
  loss: Loss<M>,
  model: M,
  batch: Batch,
  features: Features,
  ctx: Context,
): { gradient: Features; losses: Tensor } {
  const [n] = Object.values(features)[0].shape
  const lossesAt = (x: Features): Tensor => {
    const losses: unknown = loss(model, { ...batch, ...alike(x, features) }, ctx)
    const isTensor = losses instanceof Tensor
    const perExample = isTensor && losses.ndim === 1 && losses.shape[0] === n
    if (!isTensor || !isFloat(losses.dtype) || (!perExample && losses.ndim !== 0)) {
      const kind = isTensor && !isFloat(losses.dtype) ? `${losses.dtype} of shape` : 'shape'
      const found = isTensor ? `${kind} ${formatShape(losses.shape)}` : `a ${typeof losses}, which is no tensor`
      throw new Error(`${op}: the loss must return its mean or the losses of ${n} examples, not ${found}`)
    }
    return losses
  }
  const [losses, pull] = vjp(lossesAt, widened(features))
  const isMean = losses.ndim === 0
  const pulled = scaledPull(
    factor => pull(full(losses.shape, factor, losses.dtype))[0],
    [losses, ...Object.values(features)].some(isHalf),
    isMean ? scaleOfMean(n) : scale,
  )
  // A mean is scaled to the sum only here: its backward pass is then one that training has to make anyway.
  return { gradient: isMean ? mapFeatures(pulled, g => mul(g, n)) : pulled, losses }
}

const isHalf = (x: Tensor): boolean => x.dtype === 'float16'

/** Features in the dtype that gradients of them are computed in. */
export const widened = (features: Features): Features => mapFeatures(features, x => astype(x, computeType(x.dtype)))

/**
 * What a pull gives for a cotangent of 1: where float16 is on the way, from a scaled cotangent; an element that overflows so, from
 * one that is 2^20 times smaller, which is a second backward pass. Between them lie 6e-8 and 6e7.
 */
export function scaledPull(pull: (factor: number) => Features, isHalf: boolean, factor = scale): Features {
  if (!isHalf) return pull(1)
  const at = (factor: number): Features => mapFeatures(pull(factor), g => div(g, factor))
  const rest = at(factor / 2 ** 20)
  return mapFeatures(at(factor), (g, name) => where(isfinite(g), g, rest[name]))
}

/** What a mean over n examples is multiplied by: it divides by n what it passes back, of which float16 holds up to 2^15. */
const scaleOfMean = (n: number): number => Math.min(2 ** 15, scale * 2 ** Math.ceil(Math.log2(n)))

/**
 * The gradient of a mean loss with respect to anything it is a function of, in float32 where float16 is involved, at a scale
 * of its own on the way.
 *
 * @param lossAt its value at `at`: the mean loss, or the losses of the examples
 * @param n examples that it is a mean of
 */
export function meanGradient(
  op: string,
  lossAt: (at: Features) => Tensor,
  at: Features,
  n: number,
): { gradient: Features; loss: Tensor } {
  const meanAt = (x: Features): Tensor => {
    const given: unknown = lossAt(x)
    if (!(given instanceof Tensor) || given.ndim > 1) {
      const found = given instanceof Tensor ? `shape ${formatShape(given.shape)}` : `a ${typeof given}`
      throw new Error(`${op}: the loss must return its mean, or the losses of the examples [n], not ${found}`)
    }
    return mean(given)
  }
  const [loss, pull] = vjp(meanAt, at)
  const pulled = (factor: number): Features => pull(full([], factor, loss.dtype))[0]
  return { gradient: scaledPull(pulled, isHalf(loss), scaleOfMean(n)), loss }
}

/** The report of no gradients at all. */
export function emptyReport(): GradientReport {
  const zero = full([], 0, 'int32')
  return { gradients: zero, zero, nonFinite: zero, floorHit: zero }
}

/** The sum of two reports. */
export const addReports = (a: GradientReport, b: GradientReport): GradientReport => ({
  gradients: add(a.gradients, b.gradients),
  zero: add(a.zero, b.zero),
  nonFinite: add(a.nonFinite, b.nonFinite),
  floorHit: add(a.floorHit, b.floorHit),
})
