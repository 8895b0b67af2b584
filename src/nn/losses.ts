/**
 * Losses of a batch, and accuracy. Those of classifiers take logits. Each is first a loss per example and is then reduced
 * to their mean, unless asked otherwise.
 */

import { isFloat } from '../graph/dtype.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { iota } from '../tensor/create.js'
import {
  abs,
  add,
  astype,
  div,
  equal,
  exp,
  expm1,
  less,
  log1p,
  logicalAnd,
  mul,
  neg,
  softplus,
  square,
  sub,
  where,
} from '../tensor/elementwise.js'
import { expandDims } from '../tensor/movement.js'
import { logSoftmax, stopGradient } from '../tensor/neural.js'
import { argmax, max, mean, sum } from '../tensor/reduction.js'
import type { Tensor } from '../tensor/tensor.js'

export interface LossOptions {
  /** A weight per example: 'mean' is then Σ w·loss / Σ w. Of the shape of the losses that 'none' gives. */
  readonly weights?: Tensor
  readonly reduction?: 'mean' | 'sum' | 'none'
}

function reduced(op: string, losses: Tensor, { weights, reduction = 'mean' }: LossOptions): Tensor {
  if (weights && !sameShape(weights.shape, losses.shape)) {
    throw new Error(
      `${op}: weights ${formatShape(weights.shape)} do not fit losses ${formatShape(losses.shape)}; one weight per example`,
    )
  }
  const weighted = weights ? mul(losses, astype(weights, losses.dtype)) : losses
  switch (reduction) {
    case 'none':
      return weighted
    case 'sum':
      return sum(weighted)
    case 'mean':
      return weights ? div(sum(weighted), sum(astype(weights, losses.dtype))) : mean(weighted)
    default:
      throw new Error(`${op}: unknown reduction '${String(reduction)}'; one of mean, sum, none`)
  }
}

function checkPair(op: string, x: Tensor, y: Tensor, names = 'predictions and targets'): void {
  if (!isFloat(x.dtype)) throw new Error(`${op}: ${names.split(' ')[0]} must be floats, not ${x.dtype}`)
  if (!sameShape(x.shape, y.shape))
    throw new Error(`${op}: ${names} differ in shape: ${formatShape(x.shape)} and ${formatShape(y.shape)}`)
}

/** Whether labels are classes (true) or probabilities (false). */
function areClasses(op: string, logits: Tensor, labels: Tensor): boolean {
  if (!isFloat(logits.dtype) || logits.ndim === 0)
    throw new Error(`${op}: logits must be floats [..., classes], got ${logits.dtype}${formatShape(logits.shape)}`)
  const classes = labels.dtype === 'int32' || labels.dtype === 'uint32'
  const expected = classes ? logits.shape.slice(0, -1) : logits.shape
  if (labels.dtype === 'bool' || !sameShape(labels.shape, expected)) {
    throw new Error(
      `${op}: for logits ${formatShape(logits.shape)}, labels must be int32${formatShape(logits.shape.slice(0, -1))} (classes) or ` +
        `float32${formatShape(logits.shape)} (probabilities), got ${labels.dtype}${formatShape(labels.shape)}`,
    )
  }
  return classes
}

export interface CrossEntropyOptions extends LossOptions {
  /** Moves this share of the labels' probability to all classes alike. Szegedy et al. 2016, arXiv:1512.00567, section 7. */
  readonly labelSmoothing?: number
}

/**
 * The cross-entropy of softmax(logits) with labels: classes, int32 [...], or probabilities, float [..., classes].
 *
 * @param logits [..., classes]
 * @returns a scalar, or [...] without reduction; NaN for an example whose class is out of range.
 * @throws if shapes or dtypes do not fit, or labelSmoothing is outside [0, 1].
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const { labelSmoothing: smoothing = 0 } = options
  if (!(smoothing >= 0 && smoothing <= 1))
    throw new Error(`crossEntropy: labelSmoothing must lie in [0, 1], not ${smoothing}`)
  const classes = logits.shape[logits.ndim - 1]
  if (areClasses('crossEntropy', logits, labels))
    return reduced('crossEntropy', sparseCrossEntropy(logits, labels, smoothing), options)
  const target = smoothing ? add(mul(labels, 1 - smoothing), smoothing / classes) : labels
  return reduced('crossEntropy', neg(sum(mul(target, logSoftmax(logits)), { axis: -1 })), options)
}

/**
 * log Σ_j exp(d_j) with d_j = z_j - z_y, in a form whose gradient at the label y is -Σ_{j≠y} p_j: never p_y - 1, which
 * rounds to 0 for a confident classifier. With m = max_j d_j >= d_y = 0 the label's own term exp(-m) is 1 + expm1(-m):
 * loss = m + log1p(expm1(-m) + Σ_{j≠y} exp(d_j - m)), also precise when the loss is close to 0. Where z_y = -inf, d is z
 * instead, the own term is 0 and -z_y = inf is added.
 */
function sparseCrossEntropy(logits: Tensor, labels: Tensor, smoothing: number): Tensor {
  const classes = logits.shape[logits.ndim - 1]
  const index = expandDims(astype(labels, 'int32'), -1)
  const isLabel = equal(iota(logits.shape, logits.ndim - 1), index)
  const inRange = logicalAnd(less(-1, index), less(index, classes))
  const atLabel = where(inRange, sum(where(isLabel, logits, 0), { axis: -1, keepdims: true }), Number.NaN)
  const lost = equal(atLabel, Number.NEGATIVE_INFINITY)
  const d = sub(logits, where(lost, 0, atLabel))
  const m = stopGradient(max(d, { axis: -1, keepdims: true }))
  const others = sum(where(isLabel, 0, exp(sub(d, m))), { axis: -1, keepdims: true })
  const own = where(lost, -1, expm1(neg(m)))
  const loss = sum(add(add(m, log1p(add(own, others))), where(lost, neg(atLabel), 0)), { axis: -1 })
  // The loss of class j is loss - d_j: a smoothed label subtracts the mean of d.
  return smoothing ? sub(loss, mul(mean(d, { axis: -1 }), smoothing)) : loss
}

/** The mean over all axes but the first: one loss per example. */
const perExample = (losses: Tensor): Tensor =>
  losses.ndim < 2 ? losses : mean(losses, { axis: losses.shape.slice(1).map((_, d) => d + 1) })

/** The cross-entropy of sigmoid(logits) with targets in [0, 1] of the same shape, precise in both tails. */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('binaryCrossEntropy', logits, targets, 'logits and targets')
  const t = astype(targets, logits.dtype)
  const losses = add(mul(t, softplus(neg(logits))), mul(sub(1, t), softplus(logits)))
  return reduced('binaryCrossEntropy', perExample(losses), options)
}

/** The mean squared error. */
export function mse(predictions: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('mse', predictions, targets)
  return reduced('mse', perExample(square(sub(predictions, targets))), options)
}

/** The mean absolute error; its gradient is 0 where the error is. */
export function mae(predictions: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('mae', predictions, targets)
  return reduced('mae', perExample(abs(sub(predictions, targets))), options)
}

/** ½e² for errors |e| up to delta, delta·(|e| - ½delta) beyond. Huber 1964. */
export function huber(
  predictions: Tensor,
  targets: Tensor,
  { delta = 1, ...options }: LossOptions & { readonly delta?: number } = {},
): Tensor {
  checkPair('huber', predictions, targets)
  if (!(delta > 0)) throw new Error(`huber: delta must be a number > 0, not ${delta}`)
  const error = sub(predictions, targets)
  const size = abs(error)
  const losses = where(less(size, delta), mul(square(error), 0.5), mul(sub(size, delta / 2), delta))
  return reduced('huber', perExample(losses), options)
}

/** KL(softmax(targetLogits) ‖ softmax(logits)), [..., classes]; both sides have their gradient. */
export function klDivergence(logits: Tensor, targetLogits: Tensor, options: LossOptions = {}): Tensor {
  checkPair('klDivergence', logits, targetLogits, 'logits and targetLogits')
  if (logits.ndim === 0) throw new Error('klDivergence: logits must have a class axis, got a scalar')
  const target = logSoftmax(targetLogits)
  return reduced('klDivergence', sum(mul(exp(target), sub(target, logSoftmax(logits))), { axis: -1 }), options)
}

/** The share of examples whose largest logit is the label's, a float32 scalar; labels as for crossEntropy. */
export function accuracy(logits: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
  const truth = areClasses('accuracy', logits, labels) ? astype(labels, 'int32') : argmax(labels, { axis: -1 })
  return reduced('accuracy', astype(equal(argmax(logits, { axis: -1 }), truth), 'float32'), options)
}
