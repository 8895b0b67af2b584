/**
 * Losses of a batch, and accuracy. Those of classifiers take logits. Each is first a loss per example and is then reduced
 * to their mean, unless asked otherwise. Logits that are the result of softmax or sigmoid raise a warning.
 */

import { customVjp } from '../autodiff/custom.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import {
  abs,
  add,
  astype,
  clip,
  div,
  equal,
  exp,
  expm1,
  less,
  log,
  log1p,
  logicalAnd,
  logSigmoid,
  mul,
  neg,
  relu,
  square,
  stopGradient,
  sub,
  where,
} from '../tensor/elementwise.js'
import { take } from '../tensor/indexing.js'
import { squeeze } from '../tensor/movement.js'
import { cosineSimilarity, logSoftmax } from '../tensor/neural.js'
import { sort } from '../tensor/order.js'
import { argmax, max, mean, sum } from '../tensor/reduction.js'
import { at } from '../tensor/slicing.js'
import type { Tensor, TensorLike } from '../tensor/tensor.js'
import { areClasses, checkPair, type LossOptions, labelled, lossNames, perExample, reduced } from './loss.js'
import { warnOfProbabilities } from './probabilities.js'

export interface CrossEntropyOptions extends LossOptions {
  /** Moves this share of the labels' probability to all classes alike. Szegedy et al. 2016, arXiv:1512.00567, section 7. */
  readonly labelSmoothing?: number
  /** A weight per class [classes]; with classes as labels, 'mean' then divides by the sum of their weights, as torch does. */
  readonly classWeights?: Tensor
}
const crossEntropyNames: Names<CrossEntropyOptions> = { ...lossNames, labelSmoothing: true, classWeights: true }

/**
 * The cross-entropy of softmax(logits) with labels: classes, int32 [...], or probabilities, float [..., classes].
 *
 * @param logits [..., classes]; a class with logit -inf is impossible, and NaN follows from a logit of inf.
 * @returns a scalar, or [...] without reduction; NaN for an example whose class is out of range.
 * @throws if shapes or dtypes do not fit, or labelSmoothing is outside [0, 1].
 */
export function crossEntropy(logits: Tensor, labels: Tensor, options: CrossEntropyOptions = {}): Tensor {
  const op = 'crossEntropy'
  const { labelSmoothing: smoothing = 0, classWeights, ...rest } = knownOptions(op, options, crossEntropyNames)
  if (!(smoothing >= 0 && smoothing <= 1)) throw new Error(`${op}: labelSmoothing must lie in [0, 1], not ${smoothing}`)
  const sparse = areClasses(op, logits, labels)
  warnOfProbabilities(op, logits)
  const classes = logits.shape[logits.ndim - 1]
  const weights = classWeights && astype(classWeights, logits.dtype)
  if (weights && !sameShape(weights.shape, [classes]))
    throw new Error(`${op}: classWeights ${formatShape(weights.shape)} do not fit ${classes} classes`)
  if (sparse) {
    const mass = weights && take(weights, labels)
    return reduced(op, sparseCrossEntropy(logits, labels, smoothing, weights, mass), rest, mass)
  }
  const target = smoothing ? add(mul(labels, 1 - smoothing), smoothing / classes) : labels
  return reduced(
    op,
    neg(sum(expected(weights ? mul(target, weights) : target, logSoftmax(logits)), { axis: -1 })),
    rest,
  )
}

/** p·log q, where 0·-inf counts as 0: what cannot happen, and does not, costs nothing. */
const expected = (p: Tensor, logQ: Tensor): Tensor =>
  where(logicalAnd(equal(p, 0), equal(logQ, Number.NEGATIVE_INFINITY)), 0, mul(p, logQ))

/**
 * log Σ_j exp(d_j) with d_j = z_j - z_y, in a form whose gradient at the label y is -Σ_{j≠y} p_j: never p_y - 1, which
 * rounds to 0 for a confident classifier. With m = max_j d_j >= d_y = 0 the label's own term exp(-m) is 1 + expm1(-m):
 * loss = m + log1p(expm1(-m) + Σ_{j≠y} exp(d_j - m)), also precise when the loss is close to 0. The exponents d_j - m are
 * computed as z_j - max z, for a label far below the other classes would round what they differ by; their derivatives are
 * those of d. Where z_y = -inf, d is z instead, the own term is 0 and -z_y = inf is added.
 */
function sparseCrossEntropy(
  logits: Tensor,
  labels: Tensor,
  smoothing: number,
  weights?: Tensor,
  labelWeight?: Tensor,
): Tensor {
  const { isLabel, atLabel } = labelled(logits, labels)
  const lost = equal(atLabel, Number.NEGATIVE_INFINITY)
  const base = where(lost, 0, atLabel)
  const d = sub(logits, base)
  const over = { axis: -1, keepdims: true }
  const top = stopGradient(max(logits, over))
  const m = sub(top, stopGradient(base))
  const exponents = customVjp(
    (z: Tensor, _base: Tensor) => sub(z, top),
    g => [g, neg(sum(g, over))],
  )(logits, base)
  const others = sum(where(isLabel, 0, exp(exponents)), over)
  const own = where(lost, -1, expm1(neg(m)))
  const loss = sum(add(add(m, log1p(add(own, others))), where(lost, neg(atLabel), 0)), { axis: -1 })
  // The loss of class j is loss - d_j: a smoothed label adds the mean of w_j·(loss - d_j) over all classes.
  if (!weights || !labelWeight) return smoothing ? sub(loss, mul(mean(d, { axis: -1 }), smoothing)) : loss
  if (!smoothing) return mul(loss, labelWeight)
  const share = add(mul(labelWeight, 1 - smoothing), mul(mean(weights), smoothing))
  return sub(mul(loss, share), mul(mean(mul(d, weights), { axis: -1 }), smoothing))
}

export interface BinaryCrossEntropyOptions extends LossOptions {
  /** The weight of the positive part, where targets are 1: a number, or a tensor that broadcasts with the logits. */
  readonly posWeight?: TensorLike
}
const binaryNames: Names<BinaryCrossEntropyOptions> = { ...lossNames, posWeight: true }

/** The cross-entropy of sigmoid(logits) with targets in [0, 1] of the same shape, precise in both tails. */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor, options: BinaryCrossEntropyOptions = {}): Tensor {
  const { posWeight = 1, ...rest } = knownOptions('binaryCrossEntropy', options, binaryNames)
  checkPair('binaryCrossEntropy', logits, targets, 'logits and targets')
  warnOfProbabilities('binaryCrossEntropy', logits)
  const t = astype(targets, logits.dtype)
  const logLikelihood = add(
    expected(mul(t, posWeight), logSigmoid(logits)),
    expected(sub(1, t), logSigmoid(neg(logits))),
  )
  return reduced('binaryCrossEntropy', perExample(neg(logLikelihood)), rest)
}

/** The mean squared error. */
export function mse(predictions: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('mse', predictions, targets)
  return reduced('mse', perExample(square(sub(predictions, targets))), options)
}

/** The mean absolute error; its gradients are 0 where the error is. */
export function mae(predictions: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('mae', predictions, targets)
  return reduced('mae', perExample(abs(sub(predictions, targets))), options)
}

const huberNames = { ...lossNames, delta: true } as const

/** ½e² for errors |e| below delta, delta·(|e| - ½delta) from there on. Huber 1964. */
export function huber(
  predictions: Tensor,
  targets: Tensor,
  options: LossOptions & { readonly delta?: number } = {},
): Tensor {
  const { delta = 1, ...rest } = knownOptions('huber', options, huberNames)
  checkPair('huber', predictions, targets)
  if (!(delta > 0)) throw new Error(`huber: delta must be a number > 0, not ${delta}`)
  const error = sub(predictions, targets)
  const size = abs(error)
  const losses = where(less(size, delta), mul(square(error), 0.5), mul(sub(size, delta / 2), delta))
  return reduced('huber', perExample(losses), rest)
}

/** KL(softmax(targetLogits) ‖ softmax(logits)), [..., classes]; both sides have their gradient. */
export function klDivergence(logits: Tensor, targetLogits: Tensor, options: LossOptions = {}): Tensor {
  checkPair('klDivergence', logits, targetLogits, 'logits and targetLogits')
  if (logits.ndim === 0) throw new Error('klDivergence: logits must have a class axis, got a scalar')
  for (const z of [logits, targetLogits]) warnOfProbabilities('klDivergence', z)
  const target = logSoftmax(targetLogits)
  const terms = mul(exp(target), sub(target, logSoftmax(logits)))
  const impossible = equal(target, Number.NEGATIVE_INFINITY)
  return reduced('klDivergence', sum(where(impossible, 0, terms), { axis: -1 }), options)
}

/** 1 - cos of the angle between predictions and targets [..., dim]: 0 where they point the same way, 2 at most. */
export function cosineLoss(predictions: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('cosineLoss', predictions, targets)
  return reduced('cosineLoss', sub(1, cosineSimilarity(predictions, targets)), options)
}

/** max(0, 1 - t·z) of logits z and targets t of the same shape: bool, or numbers -1 and 1. The slope at t·z = 1 is 0. */
export function hinge(logits: Tensor, targets: Tensor, options: LossOptions = {}): Tensor {
  checkPair('hinge', logits, targets, 'logits and targets')
  const t = targets.dtype === 'bool' ? where(targets, 1, -1) : targets
  return reduced('hinge', perExample(relu(sub(1, mul(astype(t, logits.dtype), logits)))), options)
}

/** max_{j≠y} z_j - z_y of each row of logits z with the class y: above 0 where the row is misclassified; NaN out of range. */
function margin(op: string, logits: Tensor, labels: Tensor, classes = 2): Tensor {
  areClasses(op, logits, labels, false)
  warnOfProbabilities(op, logits)
  const count = logits.shape[logits.ndim - 1]
  if (count < classes)
    throw new Error(`${op}: needs ${classes} classes or more, got ${count} in logits ${formatShape(logits.shape)}`)
  const { isLabel, atLabel } = labelled(logits, labels)
  const rival = max(where(isLabel, Number.NEGATIVE_INFINITY, logits), { axis: -1, keepdims: true })
  return squeeze(sub(rival, atLabel), -1)
}

export interface MarginOptions extends LossOptions {
  /** A margin below -kappa counts as -kappa, and its gradient is 0: an example is safe enough there. */
  readonly kappa?: number
}
const marginNames: Names<MarginOptions> = { ...lossNames, kappa: true }

/**
 * max(max_{j≠y} z_j - z_y, -kappa): what separates an example from the nearest wrong class, above 0 once it is
 * misclassified. With a target as the label this is what a targeted attack minimises: f₆ of Carlini and Wagner 2017,
 * arXiv:1608.04644.
 *
 * @param logits [..., classes], 2 classes or more
 * @param labels int32 [...]
 * @returns a scalar, or [...] without reduction; NaN for an example whose class is out of range.
 */
export function marginLoss(logits: Tensor, labels: Tensor, options: MarginOptions = {}): Tensor {
  const { kappa, ...rest } = knownOptions('marginLoss', options, marginNames)
  if (kappa !== undefined && !(kappa >= 0)) throw new Error(`marginLoss: kappa must be a number >= 0, not ${kappa}`)
  const gap = margin('marginLoss', logits, labels)
  return reduced('marginLoss', kappa === undefined ? gap : clip(gap, -kappa), rest)
}

/**
 * max(0, 1 + max_{j≠y} z_j - z_y). Crammer and Singer, JMLR 2001. The slope at the kink is 0.
 *
 * @param logits [..., classes], 2 classes or more
 * @param labels int32 [...]
 * @returns a scalar, or [...] without reduction; NaN for an example whose class is out of range.
 */
export const multiclassHinge = (logits: Tensor, labels: Tensor, options: LossOptions = {}): Tensor =>
  reduced('multiclassHinge', relu(add(margin('multiclassHinge', logits, labels), 1)), options)

export interface DlrOptions extends LossOptions {
  /** Classes to be mistaken for, int32 [...]: the targeted form. */
  readonly targets?: Tensor
}
const dlrNames: Names<DlrOptions> = { ...lossNames, targets: true }

/**
 * The difference of logits ratio: -(z_y - max_{j≠y} z_j) / (z_π1 - z_π3), or with targets t
 * -(z_y - z_t) / (z_π1 - ½(z_π3 + z_π4)), where π sorts the logits downwards. Neither a shift nor a factor of the logits
 * changes it; where the divisor is 0 the loss is 0, with zero gradients. Croce and Hein 2020, arXiv:2003.01690, section 4.
 *
 * @param logits [..., classes], 3 classes or more, 4 with targets
 * @param labels int32 [...]
 * @returns a scalar, or [...] without reduction; NaN for an example whose class is out of range.
 */
export function dlrLoss(logits: Tensor, labels: Tensor, options: DlrOptions = {}): Tensor {
  const { targets, ...rest } = knownOptions('dlrLoss', options, dlrNames)
  let gap = margin('dlrLoss', logits, labels, targets ? 4 : 3)
  const sorted = sort(logits, { descending: true })
  let low = at(sorted, '...', 2)
  if (targets) {
    areClasses('dlrLoss', logits, targets, false)
    const [label, target] = [labels, targets].map(y => squeeze(labelled(logits, y).atLabel, -1))
    gap = sub(target, label)
    low = mul(add(low, at(sorted, '...', 3)), 0.5)
  }
  const spread = sub(at(sorted, '...', 0), low)
  return reduced('dlrLoss', div(gap, where(equal(spread, 0), Number.POSITIVE_INFINITY, spread)), rest)
}

/** The share of examples whose largest logit is the label's, a float32 scalar; labels as for crossEntropy. */
export function accuracy(logits: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
  const truth = areClasses('accuracy', logits, labels) ? astype(labels, 'int32') : argmax(labels, { axis: -1 })
  return reduced('accuracy', astype(equal(argmax(logits, { axis: -1 }), truth), 'float32'), options)
}

const clippedNames = { ...lossNames, floor: true } as const

/**
 * -ln of the label's probability, clipped to [floor, 1 - floor]: what losses on probabilities compute elsewhere. Beyond the
 * clip its gradient is exactly 0, so that attacks and training stop there: a model this loss calls robust may only be
 * confident. It is here to show that; `crossEntropy` takes logits and has no such edge.
 *
 * @param probabilities [..., classes], each row adding up to 1
 * @param labels int32 [...]
 * @returns a scalar, or [...] without reduction; NaN for an example whose class is out of range.
 */
export function clippedCrossEntropyOfProbabilities(
  probabilities: Tensor,
  labels: Tensor,
  options: LossOptions & { readonly floor?: number } = {},
): Tensor {
  const op = 'clippedCrossEntropyOfProbabilities'
  const { floor = 1e-7, ...rest } = knownOptions(op, options, clippedNames)
  areClasses(op, probabilities, labels, false)
  if (!(floor > 0 && floor < 0.5)) throw new Error(`${op}: floor must be a number between 0 and 0.5, not ${floor}`)
  const atLabel = squeeze(labelled(probabilities, labels).atLabel, -1)
  return reduced(op, neg(log(clip(atLabel, floor, 1 - floor))), rest)
}
