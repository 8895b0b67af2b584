/** Reductions and running sums. */

import * as sp from 'saddlepoint'
import {
  booleans,
  broken,
  type Catalog,
  chosen,
  distinct,
  type Fill,
  filled,
  flat,
  integers,
  integral,
  type Make,
  normal,
  oneAxis,
  smooth,
  someAxes,
} from '../cases.js'

type Tensor = sp.Tensor
type Reduction = (x: Tensor, options: sp.ReduceOptions) => Tensor

/** A reduction over random axes, with and without keeping them. */
const over = (f: Reduction, fill: Fill = normal, curved = true): Make =>
  chosen((x, r) => f(x, { axis: someAxes(x, r), keepdims: r.int(0, 1) === 1 }), { fill, rank: [0, 3], curved })
/** Over all axes by default. */
const whole = (f: (x: Tensor) => Tensor, fill: Fill = normal): Make => chosen(x => f(x), { fill, rank: [0, 3] })
const ties: Fill = (r, shape) => filled(shape, () => r.int(-2, 2))
const withNaN: Fill = (r, shape) => filled(shape, () => r.pick([0, 1, -1, Number.NaN, Infinity]))
const counted = (f: Reduction) =>
  flat(integral, over(f, booleans, false), over(f, ties, false), over(f, withNaN, false))
const position = (f: (x: Tensor, options?: { axis?: number; keepdims?: boolean }) => Tensor) =>
  flat(
    integral,
    ...[ties, withNaN, integers(-3, 3), booleans].map(fill =>
      chosen((x, r) => f(x, { axis: oneAxis(x, r), keepdims: r.int(0, 1) === 1 }), { fill, curved: false }),
    ),
    chosen(x => f(x), { rank: [0, 3], curved: false }),
  )

export const reduction: Catalog = {
  sum: smooth(over(sp.sum), whole(sp.sum)),
  prod: smooth(
    over(sp.prod),
    // More than eight factors, some of them 0.
    r => ({ f: x => sp.prod(x, { axis: 1 }), args: [filled([2, 11], () => (r.int(0, 9) ? r.uniform(0.7, 1.3) : 0))] }),
  ),
  max: smooth(over(sp.max, distinct), whole(sp.max, distinct)),
  min: smooth(over(sp.min, distinct), whole(sp.min, distinct)),
  mean: smooth(over(sp.mean), whole(sp.mean)),
  var: smooth(over(sp.var), whole(sp.var)),
  variance: smooth(over(sp.variance), r => ({ f: x => sp.variance(x, { correction: 1 }), args: [normal(r, [3, 2])] })),
  std: smooth(
    r => ({ f: x => sp.std(x, { axis: 0 }), args: [distinct(r, [3, 4])] }),
    r => ({ f: x => sp.std(x, { axis: -1, correction: 1, keepdims: true }), args: [distinct(r, [2, 3])] }),
  ),
  logsumexp: smooth(over(sp.logsumexp), whole(sp.logsumexp)),
  vectorNorm: smooth(
    ...[1, 2, 3, 4, 1.5, 0.5].map(ord => over((x, options) => sp.vectorNorm(x, { ...options, ord }), broken)),
    over((x, options) => sp.vectorNorm(x, { ...options, ord: Infinity }), distinct),
    whole(x => sp.vectorNorm(x), broken),
  ),
  any: counted(sp.any),
  all: counted(sp.all),
  argmax: position(sp.argmax),
  argmin: position(sp.argmin),
  cumulativeSum: smooth(
    chosen((x, r) => sp.cumulativeSum(x, { axis: oneAxis(x, r), includeInitial: r.int(0, 1) === 1 })),
    r => ({ f: x => sp.sin(sp.cumulativeSum(x)), args: [filled([67], () => r.normal() / 9)] }),
  ),
}
