/**
 * Attacks of many steps that read the logits of a classifier. Each is three expressions, of which the middle one is compiled once and
 * replayed; what an example has come to is kept from the first step that breaks it.
 */

import { type Batch, type Context, evaluation } from '../nn/context.js'
import { marginLoss } from '../nn/losses.js'
import { warnOfProbabilities } from '../nn/probabilities.js'
import { compile } from '../tensor/compile.js'
import {
  abs,
  astype,
  equal,
  isnan,
  less,
  logicalAnd,
  logicalNot,
  logicalOr,
  sub,
  where,
} from '../tensor/elementwise.js'
import { realize } from '../tensor/realize.js'
import { any, argmax, min, sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'
import { warnOnce } from '../tensor/warn.js'
import { type GradientCounts, reportNames, warnOfDeaths } from './deaths.js'
import { column, examples, type FeatureOptions, type Features, mapFeatures, perturbable } from './features.js'
import { attackContext, type GradientReport } from './gradient.js'
import { type Logits, logitsOf } from './logits.js'
import { beside } from './steps.js'

export interface SearchOptions extends FeatureOptions {
  /** The column of the classes, int32 [n]. Default 'label'. */
  label?: string
  /** The smallest value a feature may take. Default none. */
  clipMin?: number
  /** The largest value a feature may take. Default none. */
  clipMax?: number
  /** The random key of the attack, uint32 [2]. */
  key?: Tensor
  /** How the model runs. Default evaluation; state never changes. */
  context?: Context
  /** Ends the attack, which then rejects: it looks every 20 steps. */
  signal?: AbortSignal
}

/** What an attack came to. */
export interface Found {
  /** The batch with its features perturbed. */
  readonly adversarial: Batch
  /** Which examples are misclassified there, bool [n]. */
  readonly broken: Tensor
}

/** Found, by an attack that follows gradients. */
export interface Searched extends Found {
  readonly report: GradientReport
}

/** What is kept of each example: the first point that is misclassified. */
export interface Kept {
  readonly features: Features
  readonly broken: Tensor
}

/** A classifier under attack: its batch, and what a point does to it. */
export interface Target<M> {
  /** The attack, for errors. */
  readonly op: string
  readonly n: number
  readonly features: Features
  readonly labels: Tensor
  readonly signal?: AbortSignal
  logits(model: M, features: Features): Tensor
  /** Nothing kept yet. */
  none(model: M): Kept
  /** What is kept, with a point that has these logits. */
  keep(kept: Kept, features: Features, logits: Tensor): Kept
}

/** Whether the largest of each row of logits is the label's; never where one is NaN. */
export const isRight = (z: Tensor, labels: Tensor): Tensor =>
  logicalAnd(equal(argmax(z, { axis: -1 }), labels), logicalNot(any(isnan(z), { axis: -1 })))

/** @throws if the batch lacks a column that the options name. */
export function targetOf<M>(op: string, logits: Logits<M>, batch: Batch, options: SearchOptions): Target<M> {
  const { label = 'label', context, signal } = options
  const labels = astype(column(op, batch, label), 'int32')
  const ctx = attackContext(context ?? evaluation, context?.training ?? false)
  const features = perturbable(op, batch, { ...options, labelKeys: options.labelKeys ?? [label] })
  const logitsAt = (model: M, moved: Features): Tensor => logitsOf(op, logits, model, { ...batch, ...moved }, ctx)
  const misclassified = (z: Tensor): Tensor => logicalNot(isRight(z, labels))
  return {
    op,
    n: examples(op, batch),
    features,
    labels,
    signal,
    logits: logitsAt,
    none: model => ({ features, broken: misclassified(logitsAt(model, features)) }),
    keep: (kept, moved, z) => {
      const isNew = logicalAnd(misclassified(z), logicalNot(kept.broken))
      return {
        features: mapFeatures(kept.features, (x, name) => where(beside(isNew, x), moved[name], x)),
        broken: logicalOr(kept.broken, isNew),
      }
    },
  }
}

/** Runs the steps of an attack, or of several side by side; unless it goes on to improve what it has found, it ends once every example is broken. @throws if the signal aborts */
export async function search<M, S extends { readonly kept: Kept }>(
  victim: Target<M>,
  model: M,
  steps: number,
  start: (model: M) => S,
  step: (model: M, state: S) => S,
  endsEarly = true,
): Promise<S> {
  await realize(model)
  await checkLogits(victim, model)
  const next = compile(step)
  let state = start(model)
  await realize(state)
  for (let i = 0; i < steps; i++) {
    if (i % checkEvery === 0) {
      victim.signal?.throwIfAborted()
      if (endsEarly && (await standing(state.kept.broken)) === 0) break
    }
    state = await next(model, state)
  }
  return state
}

/**
 * What an attack along gradients came to, computed; where too many of them died it warns once, and names where those of the
 * logits' margin do.
 */
export async function reported<M, F extends Searched>(
  { op, features, labels, logits }: Target<M>,
  model: M,
  found: F,
  { featureMask }: FeatureOptions,
): Promise<F> {
  await realize(found)
  const read = reportNames.map(async name => [name, await found.report[name].item()] as const)
  const counts = Object.fromEntries(await Promise.all(read)) as GradientCounts
  const margin = (m: M, moved: Features): Tensor => marginLoss(logits(m, moved), labels)
  await warnOfDeaths(op, margin, model, features, { labelKeys: [], featureMask }, counts)
  return found
}

/** Says once that logits are probabilities, by their graph or by their looks: losses saturate there, and attacks with them. */
async function checkLogits<M>({ op, features, logits }: Target<M>, model: M): Promise<void> {
  const z = logits(model, features)
  if (warnOfProbabilities(op, z)) return
  const isOne = less(abs(sub(sum(z, { axis: -1 }), 1)), 1e-3)
  const isNone = less(min(z, { axis: -1 }), 0)
  const doubtful = await min(astype(logicalAnd(isOne, logicalNot(isNone)), 'int32')).item()
  if (doubtful === 1)
    warnOnce(
      `${op}: every row of logits is positive and adds up to 1, as probabilities do: return what softmax is applied to, or attacks are weaker than they look`,
    )
}

/** Steps between looks at whether anything is left to break, and wanted. */
const checkEvery = 20

/** Examples [n] that no run has broken, given bool [n] or [runs, n]. */
const standing = (broken: Tensor): Promise<number> => {
  const everBroken = broken.ndim > 1 ? any(broken, { axis: 0 }) : broken
  return sum(astype(logicalNot(everBroken), 'int32')).item()
}
