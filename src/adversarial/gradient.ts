/** The gradient that attacks climb: of the sum of the examples' losses with respect to features, and how healthy it is. */

import { valueAndGrad } from '../autodiff/transforms.js'
import { computeType } from '../graph/dtype.js'
import { formatShape } from '../graph/shape.js'
import type { Batch, Context, Loss } from '../nn/context.js'
import { add, astype, div, equal, isfinite, less, logicalAnd, logicalNot, mul, square } from '../tensor/elementwise.js'
import { mean, sum } from '../tensor/reduction.js'
import { full, Tensor } from '../tensor/tensor.js'
import { alike, type Features, mapFeatures } from './features.js'
import { exampleSum } from './steps.js'

/**
 * Counts over all gradients of single examples that an attack took, as int32 scalars: what to look at when an attack
 * fails. A zero gradient moves nothing; many of them mean a saturated loss, not a robust model.
 */
export interface GradientReport {
  /** How many there were: examples times steps times restarts. */
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
 * then a normal number of float16 from 6e-8 to 64.
 */
const scale = 2 ** 10

/** Which examples have a gradient that is exactly 0 in every element: bool [n]. */
export const isZeroGradient = (gradient: Features): Tensor =>
  equal(
    exampleSum(gradient, g => astype(logicalNot(equal(g, 0)), 'int32')),
    0,
  )

/** The report of the gradients of one step. */
export function gradientReport(gradient: Features, n: number): GradientReport {
  const count = (condition: Tensor): Tensor => sum(astype(condition, 'int32'))
  const present = (of: (g: Tensor) => Tensor): Tensor =>
    less(
      0,
      exampleSum(gradient, g => astype(of(g), 'int32')),
    )
  const isZero = isZeroGradient(gradient)
  const tiny = less(exampleSum(gradient, square), floor)
  return {
    gradients: full([], n, 'int32'),
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
  const wide = mapFeatures(features, x => astype(x, computeType(x.dtype)))
  const isHalf = (x: Tensor): boolean => x.dtype === 'float16'
  let factor = 1
  const summed = (x: Features): [Tensor, Tensor] => {
    const losses: unknown = loss(model, { ...batch, ...alike(x, features) }, ctx)
    const isTensor = losses instanceof Tensor
    const perExample = isTensor && losses.ndim === 1 && losses.shape[0] === n
    if (!isTensor || (!perExample && losses.ndim !== 0)) {
      const found = isTensor ? `shape ${formatShape(losses.shape)}` : `a ${typeof losses}, which is no tensor`
      throw new Error(`${op}: the loss must return its mean or the losses of ${n} examples, not ${found}`)
    }
    const total = perExample ? sum(losses) : losses
    if (![losses, ...Object.values(features)].some(isHalf)) return [total, losses]
    factor = perExample ? scale : scaleOfMean(n)
    return [mul(astype(total, computeType(total.dtype)), factor), losses]
  }
  const [[, losses], gradient] = valueAndGrad(summed, { hasAux: true })(wide)
  // A mean is scaled to the sum only here: its backward pass is then one that training has to make anyway.
  const back = (losses.ndim === 0 ? n : 1) / factor
  return { gradient: mapFeatures(gradient, g => mul(g, back)), losses }
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
  let factor = 1
  const scaled = (x: Features): [Tensor, Tensor] => {
    const given: unknown = lossAt(x)
    if (!(given instanceof Tensor) || given.ndim > 1) {
      const found = given instanceof Tensor ? `shape ${formatShape(given.shape)}` : `a ${typeof given}`
      throw new Error(`${op}: the loss must return its mean, or the losses of the examples [n], not ${found}`)
    }
    const value = mean(given)
    if (value.dtype !== 'float16') return [value, value]
    factor = scaleOfMean(n)
    return [mul(astype(value, 'float32'), factor), value]
  }
  const [[, loss], gradient] = valueAndGrad(scaled, { hasAux: true })(at)
  return { gradient: factor === 1 ? gradient : mapFeatures(gradient, g => div(g, factor)), loss }
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
