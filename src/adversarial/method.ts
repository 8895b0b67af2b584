/**
 * What the training methods share. Each is a function from loss to loss; the passes it adds run in the mode of the pass and
 * with its random key, so that dropout drops the same, and none of them changes the model's state.
 */

import type { Batch, Context, Loss } from '../nn/context.js'
import { onesLike } from '../tensor/create.js'
import {
  add,
  astype,
  div,
  equal,
  isfinite,
  logicalNot,
  maximum,
  mul,
  pow,
  stopGradient,
  where,
} from '../tensor/elementwise.js'
import { foldIn, normal, uniform } from '../tensor/random.js'
import { sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'
import { type Features, mapFeatures } from './features.js'
import { attackContext, meanGradient } from './gradient.js'
import type { Place, Point } from './places.js'
import { beside, exampleSum, type Norm, project, steepest, uniformInBall, written } from './steps.js'

/** A function from loss to loss. */
export type Method = <M>(loss: Loss<M>) => Loss<M>

/** The context of a further pass: the same mode and key, without the means to change the model's state. */
export const furtherPass = (ctx: Context): Context => attackContext(ctx, ctx.training)

/** @throws unless every value is an integer of at least 1. */
export function checkCounts(op: string, values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values))
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`${op}: ${name} must be an integer >= 1, not ${written(value)}`)
}

/** @throws unless every value that is given is a finite number of at least 0. */
export function checkSizes(op: string, values: Readonly<Record<string, number | undefined>>): void {
  for (const [name, value] of Object.entries(values))
    if (value !== undefined && !(Number.isFinite(value) && value >= 0))
      throw new Error(`${op}: ${name} must be a finite number >= 0, not ${written(value)}`)
}

/** @throws unless every value is a finite number of at least 0; none may be missing. */
export function checkRequired(op: string, values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values))
    if (value === undefined) throw new Error(`${op}: needs ${name}, a finite number >= 0`)
  checkSizes(op, values)
}

/** f over all names together, or over each by itself, as norms are taken at a place. */
export function byPart(
  { joint }: Pick<Place<unknown>, 'joint'>,
  x: Features,
  f: (part: Features) => Features,
): Features {
  if (joint) return f(x)
  return Object.assign({}, ...Object.entries(x).map(([name, part]) => f({ [name]: part })))
}

/** The steepest direction at a place; none for a unit whose gradient has an element that is not finite. */
export function direction(place: Place<unknown>, gradient: Features, norm: Norm): Features {
  return byPart(place, place.masked(gradient), part => {
    const isFinite = equal(
      exampleSum(part, g => astype(logicalNot(isfinite(g)), 'float32')),
      0,
    )
    return steepest(
      mapFeatures(part, g => where(beside(isFinite, g), g, 0)),
      norm,
    )
  })
}

/** How many units have a gradient that is 0 or not finite, and so no direction. */
export function undirected(place: Place<unknown>, gradient: Features): Tensor {
  const signs = direction(place, gradient, 'linf')
  const parts = place.joint ? [signs] : Object.entries(signs).map(([name, part]) => ({ [name]: part }))
  return parts
    .map(part =>
      sum(
        astype(
          equal(
            exampleSum(part, s => mul(s, s)),
            0,
          ),
          'float32',
        ),
      ),
    )
    .reduce(add)
}

/** The sum of two perturbations. */
export const plus = (a: Features, b: Features): Features => mapFeatures(a, (x, name) => add(x, b[name]))

export interface AscentOptions {
  norm: Norm
  steps: number
  stepSize: number
  /** The radius of the ball; none where undefined. */
  epsilon?: number
  /** Whether to differentiate through the steps. */
  throughAttack?: boolean
}

/**
 * A perturbation that climbs an objective from `start`: steps in the steepest direction, each projected on the ball and into
 * the valid range.
 */
export function ascend<M>(
  op: string,
  objective: (at: Point<M>, delta: Features) => Tensor,
  place: Place<M>,
  start: Features,
  { norm, steps, stepSize, epsilon, throughAttack = false }: AscentOptions,
): Features {
  let delta = start
  for (let i = 0; i < steps; i++) {
    const { gradient } = meanGradient(op, d => objective(place.at(d), d), delta, place.examples)
    const stride = mapFeatures(direction(place, gradient, norm), d => mul(d, stepSize))
    const moved = delta === place.origin ? stride : plus(delta, stride)
    const kept = epsilon === undefined ? moved : byPart(place, moved, part => project(part, epsilon, norm))
    delta = place.valid(kept)
    if (!throughAttack) delta = mapFeatures(delta, stopGradient)
  }
  return delta
}

/** @throws if the context has no key. */
export function keyOf(op: string, { key }: Context, stream: number): Tensor {
  if (!key) throw new Error(`${op}: draws random numbers, and the context has no key: { training, key: random.key(0) }`)
  return foldIn(key, stream)
}

/** A perturbation drawn uniformly from the ball of what is not masked, in the valid range. */
export function uniformStart(place: Place<unknown>, key: Tensor, epsilon: number, norm: Norm): Features {
  let part = 0
  const drawn = byPart(place, place.origin, origin => {
    const own = foldIn(key, part++)
    if (norm !== 'l2') return uniformInBall(own, origin, epsilon, norm)
    // What is masked has no part in a length: a direction of the rest, and its number of dimensions.
    const direction = steepest(place.masked(normals(own, origin)), 'l2')
    const free = exampleSum(place.masked(mapFeatures(origin, onesLike)), x => x)
    const radius = pow(uniform(foldIn(own, 1), [free.size], { dtype: free.dtype }), div(1, maximum(free, 1)))
    return mapFeatures(direction, d => mul(d, mul(beside(radius, d), epsilon)))
  })
  return place.valid(place.masked(drawn))
}

const normals = (key: Tensor, like: Features): Features => {
  let part = 0
  return mapFeatures(like, x => normal(foldIn(key, part++), x.shape, x.dtype))
}

/** A perturbation of independent normal numbers, in the valid range. */
export function normalStart(place: Place<unknown>, key: Tensor, deviation: number): Features {
  const drawn = mapFeatures(normals(key, place.origin), x => mul(x, deviation))
  return place.valid(place.masked(drawn))
}

/** The loss where a perturbation leads. */
export const lossAt = <M>(loss: Loss<M>, { model, batch }: Point<M>, ctx: Context): Tensor => loss(model, batch, ctx)

/** Lets the clean pass move the statistics of a step whose loss is that of another pass. */
export function moveStatistics<M>(loss: Loss<M>, model: M, batch: Batch, ctx: Context): void {
  if (ctx.update) loss(model, batch, ctx)
}
