/**
 * Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740): the loss sees the model and the batch in float16, and is
 * multiplied by a scale, so that its gradients are not lost below float16's smallest numbers. The model itself stays in
 * float32, and the scale is taken out of its gradients before anything looks at them.
 */

import { isFloat } from '../graph/dtype.js'
import type { Batch } from '../nn/context.js'
import { isParameter } from '../nn/parameters.js'
import { add, astype, div, equal, isfinite, logicalAnd, maximum, minimum, mul, where } from '../tensor/elementwise.js'
import { all } from '../tensor/reduction.js'
import { full, type Tensor } from '../tensor/tensor.js'
import { leaves, mapTree, zipTrees } from '../tensor/tree.js'

export interface PrecisionOptions {
  /**
   * What the loss and the metrics compute in. With 'float16' they get a copy of the model and of the batch's float32
   * columns in float16, but for leaves under `state`; the model, its gradients and the optimiser stay float32. It saves
   * time and memory on a GPU only. Default 'float32'.
   */
  readonly precision?: 'float32' | 'float16'
  /**
   * With 'float16', what the loss is multiplied by while its gradient is taken. 'dynamic' starts at 2^15, halves where a
   * gradient is not finite and doubles after 2000 steps in a row where it was, between 1 and 2^24. A step whose gradient is
   * not finite changes nothing. Default 'dynamic'.
   */
  readonly lossScale?: number | 'dynamic'
}

const dynamic = { first: 2 ** 15, least: 1, most: 2 ** 24, patience: 2000 } as const

/** A scale and how it fares: scalars, part of the state of training. */
export interface LossScale {
  /** What the loss is multiplied by, float32. */
  readonly factor: Tensor
  /** Steps with finite gradients since the factor changed last, int32. */
  readonly good: Tensor
  /** Steps so far that changed nothing, int32. */
  readonly skipped: Tensor
}

export const firstScale = ({ lossScale = 'dynamic' }: PrecisionOptions): LossScale => ({
  factor: full([], lossScale === 'dynamic' ? dynamic.first : lossScale),
  good: full([], 0, 'int32'),
  skipped: full([], 0, 'int32'),
})

/** The scale for the step after one whose gradients were finite, or were not. */
export function nextScale(
  { factor, good, skipped }: LossScale,
  finite: Tensor,
  { lossScale = 'dynamic' }: PrecisionOptions,
): LossScale {
  const { least, most, patience } = dynamic
  const run = where(finite, add(good, 1), 0)
  const due = equal(run, patience)
  const moved = where(due, minimum(mul(factor, 2), most), where(finite, factor, maximum(mul(factor, 0.5), least)))
  return {
    factor: lossScale === 'dynamic' ? moved : factor,
    good: where(due, 0, run),
    skipped: where(finite, skipped, add(skipped, 1)),
  }
}

/** The model that the loss sees. */
export const halved = <M>(model: M): M => mapTree(model, (t, name) => (isParameter(t, name) ? astype(t, 'float16') : t))

/** The batch that the loss sees. */
export const halvedBatch = (batch: Batch): Batch =>
  mapTree(batch, t => (t.dtype === 'float32' ? astype(t, 'float16') : t))

/** The gradients of a loss that was multiplied by the scale, without it. */
export const unscaled = <M>(gradients: M, { factor }: LossScale): M =>
  mapTree(gradients, g => (isFloat(g.dtype) ? div(g, factor) : g))

/** Whether all elements of all gradients are finite. */
export const areFinite = (gradients: unknown): Tensor =>
  leaves(gradients)
    .map(g => all(isfinite(g)))
    .reduce(logicalAnd)

/** The one tree where the condition holds, else the other. */
export const choose = <T>(condition: Tensor, tree: T, other: T): T =>
  zipTrees((a, b) => (a.node === b.node ? a : where(condition, a, b)), tree, other)
