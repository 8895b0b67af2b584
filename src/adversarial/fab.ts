/**
 * FAB, the fast adaptive boundary attack: a search for the smallest perturbation that stays near both a boundary and the original.
 * Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", algorithm 1; its targeted form
 * is that of AutoAttack.
 */

import { knownOptions } from '../graph/options.js'
import type { Batch } from '../nn/context.js'
import {
  add,
  div,
  equal,
  less,
  logicalAnd,
  logicalNot,
  logicalOr,
  minimum,
  mul,
  sub,
  where,
} from '../tensor/elementwise.js'
import { foldIn } from '../tensor/random.js'
import { realize } from '../tensor/realize.js'
import { argmax } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { type BoundaryNorm, boundariesAt, ontoBoundary } from './boundaries.js'
import { alike, applyMask, type Features, mapFeatures } from './features.js'
import { addReports, emptyReport, type GradientReport, gradientReport, widened } from './gradient.js'
import { type Logits, logitOf, wrongClass } from './logits.js'
import { checkCounts, checkSizes, plus } from './method.js'
import { searchNames } from './options.js'
import { isRight, type Kept, reported, type SearchOptions, search, targetOf } from './search.js'
import { distanceTo, type Smallest, smallestOf } from './smallest.js'
import { beside, checkRule, exampleDot, exampleNorm, storedFeatures, uniformInBall } from './steps.js'

export interface FabOptions extends SearchOptions {
  /** What is to be small. Default 'linf'. */
  norm?: BoundaryNorm
  /** Steps of each run. Default 100. */
  steps?: number
  /**
   * The wrong classes to aim at, one after another: how many, the likeliest for the clean example first, or which of them, 1 for the
   * likeliest. Default none: each step goes to the nearest boundary.
   */
  targets?: number | readonly number[]
  /** Runs from each original, of which all but the first start at random. Default 1. */
  restarts?: number
  /** A random start is half as far away as this, or as what is found where that is nearer. Needed for restarts. */
  epsilon?: number
  /** The largest part that the step from the original may have in the next point. Default 0.1. */
  alphaMax?: number
  /** How far a step goes, as a multiple of the way to the boundary. Default 1.05. */
  eta?: number
  /** What of its perturbation an example keeps once it is broken. Default 0.9. */
  beta?: number
}

interface State {
  readonly kept: Kept
  /** The least distance [n] of what breaks an example. */
  readonly distance: Tensor
  readonly current: Features
  /** The wrong class to aim at, int32 [n]. */
  readonly target: Tensor
  readonly report: GradientReport
}

/** Steps of the last search, and what they make of the way to where the logits tie: rounding decides nothing short of there. */
const [lastSteps, mostly] = [3, 0.999]

/**
 * FAB: with P the projection onto a boundary, linear at x, within the valid range,
 *
 * x ← (1 - α)(x + η(P(x) - x)) + α(x₀ + η(P(x₀) - x₀)), α = min(‖P(x) - x‖ / (‖P(x) - x‖ + ‖P(x₀) - x₀‖), α_max)
 *
 * in the valid range, and x ← x₀ + β(x - x₀) where that breaks the example. The nearest point that does is kept, and last moved back
 * towards x₀ by three steps of linear interpolation.
 *
 * Cost of each step: a forward pass before and after it, and a backward pass for each class; with targets, one backward pass, and as
 * many runs as there are targets.
 *
 * @param logits the logits [n, classes] of a batch
 * @returns the batch with each example at the nearest point found that is misclassified, or as it was, and how far that is
 * @throws if an option is out of range or names a column that the batch lacks
 * @example const { distance } = await fab(logits, model, batch, { norm: 'l2', clipMin: 0, clipMax: 1 })
 */
export async function fab<M>(logits: Logits<M>, model: M, batch: Batch, options: FabOptions = {}): Promise<Smallest> {
  const op = 'fab'
  const {
    norm = 'linf',
    steps = 100,
    targets,
    restarts = 1,
    epsilon,
    key,
  } = knownOptions(op, options, {
    ...searchNames,
    ...{ norm: true, steps: true, targets: true, restarts: true, epsilon: true },
    ...{ alphaMax: true, eta: true, beta: true },
  })
  const { alphaMax = 0.1, eta = 1.05, beta = 0.9 } = options
  if (norm !== 'linf' && norm !== 'l2') throw new Error(`${op}: unknown norm '${norm}'; one of linf, l2`)
  const rule = { ...options, norm, stepSize: 0 }
  checkRule(op, rule)
  const ranks = typeof targets === 'number' ? Array.from({ length: targets }, (_, i) => i + 1) : targets
  checkCounts(op, { steps, restarts, ...(typeof targets === 'number' ? { targets } : {}) })
  for (const target of ranks ?? []) checkCounts(op, { target })
  checkSizes(op, { alphaMax, eta, beta })
  for (const [name, value] of Object.entries({ alphaMax, beta }))
    if (value > 1) throw new Error(`${op}: ${name} is a share, at most 1, not ${value}`)
  if (restarts > 1 && !(key && epsilon !== undefined))
    throw new Error(`${op}: restarts begin at random within a radius: { epsilon, key: random.key(0) }`)
  const victim = targetOf(op, logits, batch, options)
  const { n, features: original, labels } = victim
  const origin = widened(original)
  const valid = (x: Features): Features => storedFeatures(x, original, rule)
  /** x₀ + s(x - x₀). */
  const scaled = (x: Features, s: Tensor | number): Features =>
    mapFeatures(widened(x), (v, name) => {
      const d = sub(v, origin[name])
      return add(origin[name], mul(d, typeof s === 'number' ? s : beside(s, d)))
    })

  /** A point half as far away as epsilon, or as what is found. */
  const randomStart = (own: Tensor, distance: Tensor, radius: number): Features => {
    const drawn = uniformInBall(own, original, 1, norm)
    const free = mapFeatures(drawn, (d, name) => applyMask(d, name, options.featureMask))
    const length = exampleNorm(free, norm)
    const size = div(mul(minimum(distance, radius), 0.5), where(equal(length, 0), 1, length))
    return valid(scaled(plus(origin, free), size))
  }

  const step = (model: M, state: State): State => {
    const around = boundariesAt(victim, model, state.current, options.featureMask)
    const { gap, slope, gradient } = ranks ? around.to(state.target) : around.nearest(norm)
    const x = widened(state.current)
    const back = mapFeatures(origin, (v, name) => sub(v, x[name]))
    const here = ontoBoundary(x, { gap, slope }, norm, options)
    const there = ontoBoundary(origin, { gap: add(gap, exampleDot(slope, back)), slope }, norm, options)
    const [near, far] = [exampleNorm(here, norm), exampleNorm(there, norm)]
    const isThere = equal(add(near, far), 0)
    const alpha = minimum(div(near, where(isThere, 1, add(near, far))), alphaMax)
    const next = valid(
      mapFeatures(x, (v, name) => {
        const share = beside(alpha, v)
        const [own, other] = [mul(here[name], eta), add(back[name], mul(there[name], eta))]
        return add(v, add(mul(own, sub(1, share)), mul(other, share)))
      }),
    )
    const isBroken = logicalNot(isRight(victim.logits(model, next), labels))
    const distance = distanceTo(next, original, norm)
    const isCloser = logicalAnd(isBroken, less(distance, state.distance))
    const nearer = alike(scaled(next, beta), original)
    return {
      ...state,
      kept: {
        features: mapFeatures(state.kept.features, (y, name) => where(beside(isCloser, y), next[name], y)),
        broken: logicalOr(state.kept.broken, isBroken),
      },
      distance: where(isCloser, distance, state.distance),
      current: mapFeatures(next, (y, name) => where(beside(isBroken, y), nearer[name], y)),
      report: addReports(state.report, gradientReport(gradient, n, state.kept.broken)),
    }
  }

  /** What is kept, moved towards where its class and the label tie if logits were linear between it and the original. */
  const nearest = (model: M, { features, broken }: Kept): Kept => {
    let [low, high] = [original, features]
    let [atLow, atHigh] = [low, high].map(x => victim.logits(model, x))
    for (let i = 0; i < lastSteps; i++) {
      const wrong = argmax(atHigh, { axis: -1 })
      const [under, over] = [atLow, atHigh].map(z => sub(logitOf(z, wrong), logitOf(z, labels)))
      const whole = sub(over, under)
      const isNone = logicalNot(less(0, whole))
      const share = where(isNone, 0, mul(div(over, where(isNone, 1, whole)), mostly))
      const from = widened(high)
      const way = mapFeatures(widened(low), (v, name) => sub(v, from[name]))
      const tried = valid(mapFeatures(from, (v, name) => add(v, mul(way[name], beside(share, v)))))
      const z = victim.logits(model, tried)
      const isBroken = logicalNot(isRight(z, labels))
      const pick = (yes: Tensor, no: Tensor): Tensor => where(beside(isBroken, yes), yes, no)
      ;[low, high] = [
        mapFeatures(low, (v, name) => pick(v, tried[name])),
        mapFeatures(high, (v, name) => pick(tried[name], v)),
      ]
      ;[atLow, atHigh] = [pick(atLow, z), pick(z, atHigh)]
    }
    // Unbroken examples are where they were.
    return { features: mapFeatures(high, (v, name) => where(beside(broken, v), v, features[name])), broken }
  }

  const clean = victim.logits(model, original)
  let kept = victim.none(model)
  let distance = where(kept.broken, 0, full([n], Number.POSITIVE_INFINITY, exampleNorm(origin, norm).dtype))
  let report = emptyReport()
  for (const rank of ranks ?? [0]) {
    const target = rank === 0 ? labels : wrongClass(op, clean, labels, rank)
    for (let run = 0; run < restarts; run++) {
      const current =
        run === 0 || !key || epsilon === undefined
          ? valid(original)
          : randomStart(foldIn(foldIn(key, rank), run), distance, epsilon)
      const from = { kept, distance, current, target, report }
      const end = await search(victim, model, steps, () => from, step, false)
      ;({ kept, distance, report } = end)
    }
  }
  kept = nearest(model, kept)
  await realize(kept)
  return reported(victim, model, smallestOf(batch, victim, kept, report, norm), options)
}
