/**
 * Attacks that look for the smallest perturbation that breaks an example, in L2: DeepFool by linear steps (Moosavi-Dezfooli,
 * Fawzi and Frossard 2016, "DeepFool: a simple and accurate method to fool deep neural networks") and Carlini and Wagner's by
 * optimisation (2017, "Towards evaluating the robustness of neural networks"). What they find is measured here for fab.ts too.
 */

import { vjp } from '../autodiff/transforms.js'
import { knownOptions } from '../graph/options.js'
import type { Batch } from '../nn/context.js'
import { marginLoss } from '../nn/losses.js'
import {
  add,
  astype,
  atanh,
  clip,
  div,
  less,
  logicalAnd,
  logicalOr,
  maximum,
  mul,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from '../tensor/elementwise.js'
import { realize } from '../tensor/realize.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { boundariesAt, ontoBoundary } from './boundaries.js'
import { applyMask, type Features, mapFeatures } from './features.js'
import { addReports, emptyReport, type GradientReport, gradientReport, inputGradient, widened } from './gradient.js'
import type { Logits } from './logits.js'
import { checkCounts, checkSizes } from './method.js'
import { searchNames } from './options.js'
import { type Kept, reported, type Searched, type SearchOptions, search, type Target, targetOf } from './search.js'
import { beside, checkRule, exampleNorm, storedFeatures } from './steps.js'

/** The length of each perturbation [n], and what came of it. */
export interface Smallest extends Searched {
  /** ‖x' - x‖ [n] in the norm of the attack and the dtype of the features, float32 for float16; infinity for an example that was not broken. */
  readonly distance: Tensor
}

export interface DeepFoolOptions extends SearchOptions {
  /** Default 50. */
  steps?: number
  /** How far beyond the linear boundary to go, as a share of the way. Default 0.02. */
  overshoot?: number
}

/** ‖x' - x‖ [n], that of float16 in float32. */
export const distanceTo = (moved: Features, original: Features, norm: 'linf' | 'l2' = 'l2'): Tensor => {
  const from = widened(original)
  return exampleNorm(
    mapFeatures(widened(moved), (x, name) => sub(x, from[name])),
    norm,
  )
}

/** What was kept, as what an attack returns. */
export const smallestOf = <M>(
  batch: Batch,
  { features: original }: Target<M>,
  { features, broken }: Kept,
  report: GradientReport,
  norm: 'linf' | 'l2' = 'l2',
): Smallest => ({
  report,
  adversarial: { ...batch, ...features },
  broken,
  distance: where(broken, distanceTo(features, original, norm), Number.POSITIVE_INFINITY),
})

/**
 * Each step goes to the nearest of the boundaries to other classes, as if logits were linear: r = |f_l|/‖w_l‖²·w_l for the class l of
 * least |f_l|/‖w_l‖, f = z_l - z_y, w = ∂f/∂x. Algorithm 2 of the paper; with a valid range, r is the shortest way within it.
 *
 * Cost: at most steps forward passes and steps · classes backward passes.
 *
 * @returns the batch with each example at the first point that is misclassified, and how far that is
 */
export async function deepFool<M>(
  logits: Logits<M>,
  model: M,
  batch: Batch,
  options: DeepFoolOptions = {},
): Promise<Smallest> {
  const op = 'deepFool'
  const { steps = 50, overshoot = 0.02 } = knownOptions(op, options, { ...searchNames, steps: true, overshoot: true })
  checkCounts(op, { steps })
  checkSizes(op, { overshoot })
  const rule = { ...options, norm: 'l2' as const, stepSize: 0 }
  checkRule(op, rule)
  const victim = targetOf(op, logits, batch, options)
  const { features: original } = victim
  const there = (delta: Features): Features =>
    storedFeatures(
      mapFeatures(delta, (d, name) => add(original[name], mul(d, 1 + overshoot))),
      original,
      rule,
    )

  type State = { readonly kept: Kept; readonly delta: Features; readonly report: GradientReport }
  const start = (model: M): State => ({
    kept: victim.none(model),
    delta: mapFeatures(widened(original), x => mul(x, 0)),
    report: emptyReport(),
  })
  const step = (model: M, { kept, delta, report }: State): State => {
    const x = there(delta)
    const { gap, slope, gradient } = boundariesAt(victim, model, x, options.featureMask).nearest('l2')
    // Within the range: what is cut off a step afterwards would leave a part of every gap, and the boundary would never be crossed.
    const step = ontoBoundary(widened(x), { gap, slope }, 'l2', options)
    const moved = mapFeatures(delta, (d, name) => where(beside(kept.broken, d), d, add(d, step[name])))
    const next = there(moved)
    return {
      kept: victim.keep(kept, next, victim.logits(model, next)),
      delta: moved,
      report: addReports(report, gradientReport(gradient, victim.n, kept.broken)),
    }
  }
  const { kept, report } = await search(victim, model, steps, start, step)
  return reported(victim, model, smallestOf(batch, victim, kept, report), options)
}

export interface CarliniWagnerOptions extends SearchOptions {
  clipMin: number
  clipMax: number
  /** Values of the trade-off c that are tried for each example, by bisection. Default 9. */
  searches?: number
  /** Steps of Adam for each. Default 1000. */
  steps?: number
  /** Of Adam. Default 0.01. */
  learningRate?: number
  /** The margin κ that the wrong class must have over the label. Default 0. */
  confidence?: number
  /** The first value of c. Default 0.001. */
  initial?: number
}

/**
 * Minimises ‖x' - x‖₂² + c·max(z_y - max_{j≠y} z_j, -κ) over x' = ½(tanh w + 1) in the valid range, and keeps the smallest perturbation
 * that breaks the example; c grows tenfold until one does and is then bisected. Section VI of the paper.
 *
 * Cost: searches · (steps + 1) forward and backward passes.
 *
 * @returns the batch with each example at the smallest perturbation found, or as it was
 * @throws if an option is out of range, or clipMin and clipMax are not both given
 */
export async function carliniWagner<M>(
  logits: Logits<M>,
  model: M,
  batch: Batch,
  options: CarliniWagnerOptions,
): Promise<Smallest> {
  const op = 'carliniWagner'
  const {
    searches = 9,
    steps = 1000,
    learningRate = 0.01,
    confidence = 0,
    initial = 1e-3,
    clipMin,
    clipMax,
  } = knownOptions(op, options, {
    ...searchNames,
    searches: true,
    steps: true,
    learningRate: true,
    confidence: true,
    initial: true,
  })
  checkCounts(op, { searches, steps })
  checkSizes(op, { learningRate, confidence, initial })
  if (!Number.isFinite(clipMin) || !(clipMin < clipMax) || !Number.isFinite(clipMax))
    throw new Error(`${op}: needs the valid range, clipMin below clipMax, not ${clipMin} and ${clipMax}`)
  const victim = targetOf(op, logits, batch, options)
  const { n, features: original, labels } = victim
  const [middle, half] = [(clipMax + clipMin) / 2, (clipMax - clipMin) / 2]
  // In float16, 1 - 1e-6 would be 1, and Adam's squares and its 1e-8 would be 0.
  const origin = widened(original)
  const type = exampleNorm(origin, 'l2').dtype
  // Not the ends themselves, which are infinitely far away.
  const outward = mapFeatures(origin, x => atanh(clip(div(sub(x, middle), half), -1 + 1e-6, 1 - 1e-6)))
  const inward = (w: Features): Features =>
    mapFeatures(w, (v, name) => {
      const there = add(mul(tanh(v), half), middle)
      return add(origin[name], applyMask(sub(there, origin[name]), name, options.featureMask))
    })
  /** By how much the likeliest wrong class is above the label [n]. */
  const margins = (model: M, x: Features): Tensor => marginLoss(victim.logits(model, x), labels, { reduction: 'none' })

  interface State {
    readonly kept: Kept
    readonly report: GradientReport
    readonly distance: Tensor
    /** Whether an example was broken for this c. */
    readonly broken: Tensor
    readonly c: Tensor
    readonly w: Features
    readonly mean: Features
    readonly square: Features
    readonly k: Tensor
  }
  const step = (model: M, state: State): State => {
    const { w, c, k } = state
    const [there, pull] = vjp(inward, w)
    const x = storedFeatures(there, original, { clipMin, clipMax })
    const rise = (m: M, moved: Batch): Tensor =>
      margins(
        m,
        mapFeatures(original, (_, name) => moved[name]),
      )
    const { gradient, losses: margin } = inputGradient(op, rise, model, batch, x, { training: false })
    // Beyond κ the margin no longer counts.
    const pressure = where(less(margin, confidence), c, 0)
    const away = mapFeatures(there, (y, name) => {
      const g = gradient[name]
      return sub(mul(sub(y, origin[name]), 2), mul(g, beside(pressure, g)))
    })
    const [g] = pull(away)
    // A margin only approaches κ.
    const isBroken = less(confidence * (1 - 1e-6), margin)
    const distance = distanceTo(x, original)
    const isCloser = logicalAnd(isBroken, less(distance, state.distance))
    const everBroken = logicalOr(state.kept.broken, isBroken)
    const t = add(astype(k, type), 1)
    const mean = mapFeatures(state.mean, (m, name) => add(mul(m, 0.9), mul(g[name], 0.1)))
    const squared = mapFeatures(state.square, (v, name) => add(mul(v, 0.999), mul(square(g[name]), 0.001)))
    const correction = (beta: number): Tensor => sub(1, full([], beta, type).pow(t))
    const next = mapFeatures(w, (v, name) => {
      const [m, s] = [
        div(mean[name], astype(correction(0.9), v.dtype)),
        div(squared[name], astype(correction(0.999), v.dtype)),
      ]
      return sub(v, div(mul(m, learningRate), add(sqrt(maximum(s, 1e-30)), 1e-8)))
    })
    return {
      ...state,
      kept: {
        features: mapFeatures(state.kept.features, (y, name) => where(beside(isCloser, y), x[name], y)),
        broken: everBroken,
      },
      distance: where(isCloser, distance, state.distance),
      broken: logicalOr(state.broken, isBroken),
      report: addReports(state.report, gradientReport(gradient, n, everBroken)),
      w: next,
      mean,
      square: squared,
      k: add(k, 1),
    }
  }

  const none = mapFeatures(outward, v => mul(v, 0))
  const all = (value: number): Tensor => full([n], value, type)
  let kept: Kept = { features: original, broken: full([n], false, 'bool') }
  let distance = all(Number.POSITIVE_INFINITY)
  let report = emptyReport()
  let [low, high, c] = [all(0), all(Number.POSITIVE_INFINITY), all(initial)]
  for (let i = 0; i < searches; i++) {
    const from = {
      kept,
      report,
      distance,
      c,
      broken: full([n], false, 'bool'),
      w: outward,
      mean: none,
      square: none,
      k: full([], 0, 'int32'),
    }
    const end = await search(victim, model, steps, () => from, step, false)
    kept = end.kept
    report = end.report
    distance = end.distance
    high = where(end.broken, c, high)
    low = where(end.broken, low, c)
    c = where(less(high, Number.POSITIVE_INFINITY), mul(add(low, high), 0.5), mul(c, 10))
    await realize({ low, high, c })
  }
  return reported(victim, model, smallestOf(batch, victim, kept, report), options)
}
