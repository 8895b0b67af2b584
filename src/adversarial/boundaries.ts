/**
 * The boundaries between an example's label y and other classes l, as they look from a point x if logits were linear: f + <w, δ> = 0
 * for f = z_l - z_y and w = ∂f/∂x. How far they are, and the nearest point of one within the valid range.
 */

import { vjp } from '../autodiff/transforms.js'
import { computeType, type DType, promote } from '../graph/dtype.js'
import { sizeOf } from '../graph/shape.js'
import { iota } from '../tensor/create.js'
import {
  abs,
  astype,
  div,
  equal,
  isfinite,
  less,
  lessEqual,
  logicalOr,
  maximum,
  minimum,
  mul,
  neg,
  sign,
  sub,
  where,
} from '../tensor/elementwise.js'
import { concat, expandDims, reshape, stack } from '../tensor/movement.js'
import { argmin, max, sum } from '../tensor/reduction.js'
import { at } from '../tensor/slicing.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { alike, applyMask, type FeatureOptions, type Features, mapFeatures } from './features.js'
import { scaledPull, widened } from './gradient.js'
import { logitOf } from './logits.js'
import type { Target } from './search.js'
import { beside, exampleNorm, exampleSum, type StepRule } from './steps.js'

export type BoundaryNorm = 'linf' | 'l2'

export interface Boundary {
  /** f [n]. */
  readonly gap: Tensor
  /** w, 0 where it is masked or not finite. */
  readonly slope: Features
  /** ∂f/∂x as it is. */
  readonly gradient: Features
}

export interface Boundaries {
  /** That to one class of each example, int32 [n]; nothing where it is the label. */
  to(classes: Tensor): Boundary
  /** That of least |f| / ‖w‖ in the dual norm; one backward pass for each class. */
  nearest(norm: BoundaryNorm): Boundary
}

/**
 * The boundaries around an example at x. Where float16 is involved they are in float32, and scaled on the way; those of float16 logits
 * lie beyond a tie by what it rounds, since a step to where it sees a tie would be the last.
 */
export function boundariesAt<M>(
  { logits, labels, n }: Target<M>,
  model: M,
  x: Features,
  featureMask: FeatureOptions['featureMask'],
): Boundaries {
  const [z, pull] = vjp((moved: Features) => logits(model, alike(moved, x)), widened(x))
  const isHalf = [z, ...Object.values(x)].some(({ dtype }) => dtype === 'float16')
  const isClass = (classes: Tensor): Tensor => equal(expandDims(classes, -1), iota(z.shape, 1))
  const to = (classes: Tensor): Boundary => {
    const apart = sub(astype(isClass(classes), z.dtype), astype(isClass(labels), z.dtype))
    const gradient = scaledPull(factor => pull(mul(apart, factor))[0], isHalf)
    const slope = mapFeatures(gradient, (g, name) => applyMask(where(isfinite(g), g, 0), name, featureMask))
    const [wrong, right] = [logitOf(z, classes), logitOf(z, labels)]
    const rounding = z.dtype === 'float16' ? mul(maximum(abs(wrong), abs(right)), 2 ** -10) : 0
    return { gap: sub(sub(wrong, right), rounding), slope, gradient }
  }
  return {
    to,
    nearest: norm => {
      const all = Array.from({ length: z.shape[1] }, (_, j) => to(full([n], j, 'int32')))
      const distances = all.map(({ gap, slope }, j) => {
        const length = norm === 'linf' ? exampleSum(slope, abs) : exampleNorm(slope, 'l2')
        const isNone = logicalOr(equal(labels, j), equal(length, 0))
        return where(isNone, Number.POSITIVE_INFINITY, div(abs(gap), where(isNone, 1, length)))
      })
      const first = argmin(stack(distances), { axis: 0 })
      const chosen = (of: (b: Boundary) => Tensor): Tensor =>
        all.reduce<Tensor>((rest, b, j) => where(beside(equal(first, j), of(b)), of(b), rest), of(all[0]))
      return {
        gap: chosen(b => b.gap),
        slope: mapFeatures(x, (_, name) => chosen(b => b.slope[name])),
        gradient: mapFeatures(x, (_, name) => chosen(b => b.gradient[name])),
      }
    },
  }
}

/** Newton's steps of a projection: random images take up to 4; slopes of many magnitudes 20 where all but a millionth of the range is used up. */
const newtonSteps = 16

/**
 * The δ of least norm that leads from x onto a boundary and stays in the valid range; where the range ends before it, the corner
 * towards it. Croce and Hein 2020, section 3.1:
 *
 * |δ_i| = min(λ·v_i, u_i), v_i = 1 in linf and |w_i| in l2, u_i what the range leaves in the direction that closes the gap. Of
 * Σ|w_i||δ_i|, concave and piecewise linear in λ, Newton's method from 0 reaches |f| from below, exactly once it is on the last piece.
 */
export function ontoBoundary(
  x: Features,
  { gap, slope }: Pick<Boundary, 'gap' | 'slope'>,
  norm: BoundaryNorm,
  { clipMin = Number.NEGATIVE_INFINITY, clipMax = Number.POSITIVE_INFINITY }: Pick<StepRule, 'clipMin' | 'clipMax'>,
): Features {
  const w = joined(slope)
  const top = max(abs(w), { axis: 1, keepdims: true })
  // The boundary is the same one for any multiple of w and f.
  const size = div(abs(w), where(equal(top, 0), 1, top))
  const distance = div(abs(expandDims(gap, -1)), where(equal(top, 0), 1, top))
  const target = where(isfinite(distance), distance, 0)
  const towards = mul(sign(w), neg(sign(expandDims(gap, -1))))
  const from = joined(x)
  const space = where(less(0, towards), sub(clipMax, from), sub(from, clipMin))
  const room = where(logicalOr(equal(size, 0), less(space, 0)), 0, space)
  const speed = norm === 'linf' ? sign(size) : size
  const [filled, rate] = [mul(size, room), mul(size, speed)]
  const total = (of: Tensor): Tensor => sum(of, { axis: 1, keepdims: true })
  let lambda: Tensor | number = 0
  // Without a range, there is one piece.
  const isBounded = clipMin > Number.NEGATIVE_INFINITY || clipMax < Number.POSITIVE_INFINITY
  for (let i = 0; i < (isBounded ? newtonSteps : 1); i++) {
    const isFilled = lessEqual(filled, mul(rate, lambda))
    const [before, slope] = [total(where(isFilled, filled, 0)), total(where(isFilled, 0, rate))]
    const isFlat = equal(slope, 0)
    lambda = maximum(lambda, where(isFlat, 0, div(sub(target, before), where(isFlat, 1, slope))))
  }
  const corner = lessEqual(total(filled), target)
  return parted(mul(towards, where(corner, room, minimum(mul(speed, lambda), room))), x)
}

/** The features of each example in a row: [n, elements]. */
function joined(features: Features): Tensor {
  const all = Object.values(features)
  const dtype = all.map(x => computeType(x.dtype)).reduce<DType>(promote, 'float32')
  return concat(
    all.map(x => astype(reshape(x, [x.shape[0], sizeOf(x.shape.slice(1))]), dtype)),
    1,
  )
}

/** Rows as the features they were joined from. */
function parted(rows: Tensor, like: Features): Features {
  let end = 0
  return mapFeatures(like, x => {
    const first = end
    end += sizeOf(x.shape.slice(1))
    return reshape(at(rows, [], [first, end]), x.shape)
  })
}
