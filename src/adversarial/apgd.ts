/**
 * Auto-PGD: projected gradient ascent with momentum that halves an example's step where it stops to gain. Croce and Hein 2020,
 * "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", algorithm 1.
 */

import { vmap } from '../autodiff/vmap.js'
import { computeType } from '../graph/dtype.js'
import { knownOptions } from '../graph/options.js'
import type { Batch } from '../nn/context.js'
import { crossEntropy, dlrLoss } from '../nn/losses.js'
import { tensor } from '../tensor/create.js'
import {
  add,
  astype,
  isfinite,
  less,
  lessEqual,
  logicalAnd,
  logicalNot,
  logicalOr,
  mul,
  sub,
  where,
} from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { foldIn } from '../tensor/random.js'
import { any, argmax, sum } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { mapTree } from '../tensor/tree.js'
import { applyMask, type Features, mapFeatures } from './features.js'
import { addReports, emptyReport, type GradientReport, gradientReport, inputGradient } from './gradient.js'
import { ofRuns, sideBySide } from './lanes.js'
import { type Logits, wrongClass } from './logits.js'
import { checkCounts, checkRequired, plus } from './method.js'
import { searchNames } from './options.js'
import { type Kept, reported, type Searched, type SearchOptions, search, targetOf } from './search.js'
import { beside, checkRule, type Norm, project, steepest, storedFeatures, uniformInBall } from './steps.js'

export interface ApgdOptions extends SearchOptions {
  /** The radius of the ball. */
  epsilon: number
  /** 'linf' or 'l2'. Default 'linf'. */
  norm?: Exclude<Norm, 'l1'>
  /** Default 100. */
  steps?: number
  /**
   * What is climbed: cross-entropy, the difference of logits ratio (3 classes or more), or that towards a wrong class (4 or
   * more). Default 'ce'.
   */
  loss?: 'ce' | 'dlr' | 'targeted-dlr'
  /**
   * The wrong class of 'targeted-dlr' by its logit for the clean example: 1 for the most likely one. Several run as one batch,
   * each of them from what it draws with foldIn(key, target). Default 1.
   */
  target?: number | readonly number[]
  /** Random starts for each example and target, run as one batch, each with the key folded with its number. Default 1. */
  restarts?: number
}

/** The share of steps that must gain for a step to keep its size, and how much of a step is the new direction. */
const [rho, share] = [0.75, 0.75]

interface State {
  readonly kept: Kept
  readonly current: Features
  readonly previous: Features
  readonly best: Features
  /** The gradient at the best point. */
  readonly gradient: Features
  /** Losses [n] of the best point, of the last one, and of the best one at the last checkpoint. */
  readonly bestLoss: Tensor
  readonly lastLoss: Tensor
  readonly checkedLoss: Tensor
  readonly stepSize: Tensor
  /** Steps that gained since the last checkpoint, and whether that halved the step. */
  readonly gains: Tensor
  readonly halved: Tensor
  /** The wrong class, int32 [n]. */
  readonly target: Tensor
  /** Steps made. */
  readonly k: Tensor
  readonly report: GradientReport
}

/**
 * For each step the number of steps since the last checkpoint if it is one, else 0. The first period is 22% of all steps, each
 * of the following shorter by 3%, down to 6%.
 */
export function checkpoints(steps: number): number[] {
  const share = (of: number): number => Math.max(Math.floor(of * steps), 1)
  const periods: number[] = new Array(steps).fill(0)
  let period = share(0.22)
  for (let k = period; k < steps; k += period) {
    periods[k] = period
    period = Math.max(period - share(0.03), share(0.06))
  }
  return periods
}

/**
 * Auto-PGD on the examples of a batch, from a random point of the ball where a key is given.
 *
 * Cost: steps + 1 forward and backward passes of restarts · targets · n examples; fewer once all examples are broken.
 *
 * @param logits the logits [n, classes] of a batch
 * @returns the batch with each example at the first point that is misclassified, of the first run that has one, or else at the
 * one of largest loss
 * @throws if an option is out of range or names a column that the batch lacks
 * @example const { broken } = await apgd(logits, model, batch, { epsilon: 0.3, clipMin: 0, clipMax: 1 })
 */
export async function apgd<M>(logits: Logits<M>, model: M, batch: Batch, options: ApgdOptions): Promise<Searched> {
  const op = 'apgd'
  const {
    epsilon,
    norm = 'linf',
    steps = 100,
    loss = 'ce',
    target = 1,
    restarts = 1,
    key,
  } = knownOptions(op, options, {
    ...searchNames,
    epsilon: true,
    norm: true,
    steps: true,
    loss: true,
    target: true,
    restarts: true,
  })
  const rule = { ...options, norm, stepSize: 2 * epsilon }
  checkRequired(op, { epsilon })
  checkRule(op, rule)
  if (norm !== 'linf' && norm !== 'l2') throw new Error(`${op}: unknown norm '${norm}'; one of linf, l2`)
  const ranks = typeof target === 'number' ? [target] : target
  for (const rank of ranks) checkCounts(op, { steps, restarts, target: rank })
  if (ranks.length === 0) throw new Error(`${op}: no target: name at least one, as in target: [1, 2]`)
  if (restarts > 1 && !key) throw new Error(`${op}: ${restarts} restarts from one point are all the same; give a key`)
  if (!['ce', 'dlr', 'targeted-dlr'].includes(loss))
    throw new Error(`${op}: unknown loss '${loss}'; one of ce, dlr, targeted-dlr`)
  const victim = targetOf(op, logits, batch, options)
  const { n, features: original, labels } = victim
  const periods = tensor(Int32Array.from(checkpoints(steps)))

  /** The point of the ball, in the valid range, nearest to x + δ. */
  const inside = (delta: Features): Features =>
    storedFeatures(plus(original, project(delta, epsilon, norm)), original, rule)
  const deltaOf = (x: Features): Features => mapFeatures(x, (v, name) => sub(v, original[name]))
  const along = (gradient: Features): Features =>
    steepest(
      mapFeatures(gradient, (g, name) => applyMask(where(isfinite(g), g, 0), name, options.featureMask)),
      norm,
    )

  const start = (model: M, rank: number, key?: Tensor): State => {
    const kept = victim.none(model)
    const z = victim.logits(model, original)
    const type = computeType(z.dtype)
    let current = original
    if (key) {
      const drawn = uniformInBall(key, original, epsilon, norm)
      current = inside(mapFeatures(drawn, (d, name) => applyMask(d, name, options.featureMask)))
    }
    const low = full([n], Number.NEGATIVE_INFINITY, type)
    return {
      kept,
      current,
      previous: current,
      best: current,
      gradient: mapFeatures(original, x => mul(x, 0)),
      bestLoss: low,
      lastLoss: low,
      checkedLoss: low,
      stepSize: full([n], 2 * epsilon, type),
      gains: full([n], 0, 'int32'),
      halved: full([n], true, 'bool'),
      target: wrongClass(op, z, labels, rank),
      k: full([], 0, 'int32'),
      report: emptyReport(),
    }
  }

  const measure = (model: M, state: State): State & { readonly gradientHere: Features } => {
    const { current, target, k } = state
    const losses = (m: M, moved: Batch): Tensor => {
      const z = victim.logits(
        m,
        mapFeatures(original, (_, name) => moved[name]),
      )
      if (loss === 'ce') return crossEntropy(z, labels, { reduction: 'none' })
      return dlrLoss(z, labels, { reduction: 'none', ...(loss === 'dlr' ? {} : { targets: target }) })
    }
    const { gradient, losses: found } = inputGradient(op, losses, model, batch, current, { training: false })
    const value = astype(found, state.bestLoss.dtype)
    const isBetter = less(state.bestLoss, value)
    const pick = (better: Tensor, other: Tensor): Tensor => where(beside(isBetter, other), better, other)
    const gained = logicalAnd(less(0, k), less(state.lastLoss, value))
    const kept = victim.keep(state.kept, current, victim.logits(model, current))
    return {
      ...state,
      kept,
      best: mapFeatures(state.best, (x, name) => pick(current[name], x)),
      gradient: mapFeatures(state.gradient, (g, name) => pick(astype(gradient[name], g.dtype), g)),
      bestLoss: where(isBetter, value, state.bestLoss),
      lastLoss: value,
      gains: add(state.gains, astype(gained, 'int32')),
      report: addReports(state.report, gradientReport(gradient, n, kept.broken)),
      gradientHere: gradient,
    }
  }

  const step = (model: M, before: State): State => {
    const { gradientHere, ...now } = measure(model, before)
    const { current, previous, k } = now
    const period = take(periods, k)
    const isChecked = less(0, period)
    const swings = lessEqual(now.gains, mul(astype(period, 'float32'), rho))
    const stuck = logicalAnd(logicalNot(now.halved), lessEqual(now.bestLoss, now.checkedLoss))
    const halves = logicalAnd(isChecked, logicalOr(swings, stuck))
    const stepSize = where(halves, mul(now.stepSize, 0.5), now.stepSize)
    const restart = (best: Tensor, here: Tensor): Tensor => where(beside(halves, here), best, here)
    const x = mapFeatures(current, (v, name) => restart(now.best[name], v))
    const direction = along(mapFeatures(gradientHere, (g, name) => restart(astype(now.gradient[name], g.dtype), g)))
    const tried = inside(
      deltaOf(mapFeatures(x, (v, name) => add(v, mul(direction[name], beside(stepSize, direction[name]))))),
    )
    // The first step has no momentum.
    const isFirst = lessEqual(k, 0)
    const next = inside(
      deltaOf(
        mapFeatures(x, (v, name) => {
          const [forward, carried] = [sub(tried[name], v), sub(v, previous[name])]
          return add(v, where(isFirst, forward, add(mul(forward, share), mul(carried, 1 - share))))
        }),
      ),
    )
    return {
      ...now,
      current: next,
      previous: x,
      stepSize,
      gains: where(isChecked, 0, now.gains),
      checkedLoss: where(isChecked, now.bestLoss, now.checkedLoss),
      halved: where(isChecked, halves, now.halved),
      k: add(k, 1),
    }
  }

  const finish = (model: M, state: State) => {
    const { kept, best, bestLoss, report } = measure(model, state)
    const features = mapFeatures(best, (x, name) => where(beside(kept.broken, x), kept.features[name], x))
    return { features, broken: kept.broken, loss: bestLoss, report }
  }
  // A run for each target and restart: the steps of one, batched over all of them.
  const starts = (model: M): State =>
    sideBySide(
      ranks.flatMap(rank => {
        const own = key && (ranks === target ? foldIn(key, rank) : key)
        return Array.from({ length: restarts }, (_, r) =>
          start(model, rank, restarts > 1 ? own && foldIn(own, r) : own),
        )
      }),
    )
  const end = await search(victim, model, steps, starts, vmap(step, { inAxes: [null, 0] }))
  const runs = vmap(finish, { inAxes: [null, 0] })(model, end)
  const broken = any(runs.broken, { axis: 0 })
  const best = where(broken, argmax(astype(runs.broken, 'int32'), { axis: 0 }), argmax(runs.loss, { axis: 0 }))
  const features = mapFeatures(runs.features, x => ofRuns(x, best))
  const found = { adversarial: { ...batch, ...features }, broken, report: mapTree(runs.report, c => sum(c)) }
  return reported(victim, model, found, options)
}
