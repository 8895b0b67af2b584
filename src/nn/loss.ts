/** What all losses share: the options, how losses per example are reduced, the checks of their arguments. */

import { isFloat } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, sameShape } from '../graph/shape.js'
import { iota } from '../tensor/create.js'
import { astype, div, equal, less, logicalAnd, mul, where } from '../tensor/elementwise.js'
import { expandDims } from '../tensor/movement.js'
import { mean, sum } from '../tensor/reduction.js'
import { inFloat32 } from '../tensor/shared.js'
import { demandTensors, type Tensor } from '../tensor/tensor.js'

export interface LossOptions {
  /** A weight per example: 'mean' is then Σ w·loss / Σ w. Of the shape of the losses that 'none' gives. */
  readonly weights?: Tensor
  /** Of a batch without examples the sum is 0 and the mean NaN. */
  readonly reduction?: 'mean' | 'sum' | 'none'
}
export const lossNames: Names<LossOptions> = { weights: true, reduction: true }

/** The losses reduced; `mass` is what each example counts in the mean, besides its weight. */
export function reduced(op: string, losses: Tensor, options: LossOptions, mass?: Tensor): Tensor {
  const { weights, reduction = 'mean' } = knownOptions(op, options, lossNames)
  if (weights) demandTensors(op, weights)
  if (weights && !sameShape(weights.shape, losses.shape)) {
    throw new Error(
      `${op}: weights ${formatShape(weights.shape)} do not fit losses ${formatShape(losses.shape)}; one weight per example`,
    )
  }
  const w = weights && astype(weights, losses.dtype)
  const weighted = w ? mul(losses, w) : losses
  switch (reduction) {
    case 'none':
      return weighted
    case 'sum':
      return sum(weighted)
    case 'mean': {
      const [first, ...others] = [w, mass].filter(t => t !== undefined)
      if (!first) return mean(losses)
      // A few thousand float16 losses, or counts, add up to more than a float16 holds.
      return inFloat32([losses, first, ...others], (l, ...counts) =>
        div(sum(w ? mul(l, counts[0]) : l), sum(counts.reduce(mul))),
      )
    }
    default:
      throw new Error(`${op}: unknown reduction '${String(reduction)}'; one of mean, sum, none`)
  }
}

/** The mean over all axes but the first: one loss per example. */
export const perExample = (losses: Tensor): Tensor =>
  losses.ndim < 2 ? losses : mean(losses, { axis: losses.shape.slice(1).map((_, d) => d + 1) })

export function checkPair(op: string, x: Tensor, y: Tensor, names = 'predictions and targets'): void {
  demandTensors(op, x, y)
  if (!isFloat(x.dtype)) throw new Error(`${op}: ${names.split(' ')[0]} must be floats, not ${x.dtype}`)
  if (!sameShape(x.shape, y.shape))
    throw new Error(`${op}: ${names} differ in shape: ${formatShape(x.shape)} and ${formatShape(y.shape)}`)
}

/** Whether labels are classes (true) or, where `mixed` allows them, probabilities (false). */
export function areClasses(op: string, logits: Tensor, labels: Tensor, mixed = true): boolean {
  demandTensors(op, logits, labels)
  if (!isFloat(logits.dtype) || logits.ndim === 0)
    throw new Error(`${op}: logits must be floats [..., classes], got ${logits.dtype}${formatShape(logits.shape)}`)
  const classes = labels.dtype === 'int32' || labels.dtype === 'uint32'
  const expected = classes ? logits.shape.slice(0, -1) : logits.shape
  if (labels.dtype === 'bool' || !(classes || mixed) || !sameShape(labels.shape, expected)) {
    const probabilities = mixed ? ` or ${logits.dtype}${formatShape(logits.shape)} (probabilities)` : ''
    throw new Error(
      `${op}: for logits ${formatShape(logits.shape)}, labels must be int32${formatShape(logits.shape.slice(0, -1))} (classes)` +
        `${probabilities}, got ${labels.dtype}${formatShape(labels.shape)}`,
    )
  }
  return classes
}

/** Where each row's label stands, and the logit there [..., 1]: NaN for a label out of range. */
export function labelled(logits: Tensor, labels: Tensor): { readonly isLabel: Tensor; readonly atLabel: Tensor } {
  const index = expandDims(astype(labels, 'int32'), -1)
  const isLabel = equal(iota(logits.shape, logits.ndim - 1), index)
  const inRange = logicalAnd(less(-1, index), less(index, logits.shape[logits.ndim - 1]))
  const found = sum(where(isLabel, logits, 0), { axis: -1, keepdims: true })
  return { isLabel, atLabel: where(inRange, found, Number.NaN) }
}
