/** The losses of saddlepoint/nn. */

import * as sp from 'saddlepoint'
import * as nn from 'saddlepoint/nn'
import type { Rng } from '../../oracle/property.js'
import {
  between,
  booleans,
  broken,
  type Catalog,
  type Fill,
  filled,
  flat,
  integers,
  type Make,
  normal,
  smooth,
  type Tensor,
} from '../cases.js'

type Loss = (x: Tensor, y: Tensor, options: nn.LossOptions) => Tensor

/** A loss of two tensors with every reduction, weighted or not. The sine is for losses that are linear in parts. */
const cases =
  (loss: (r: Rng) => Loss, argsOf: (r: Rng) => Tensor[], losses: (x: Tensor) => number[]): Make =>
  r => {
    const args = argsOf(r)
    const reduction = r.pick(['mean', 'sum', 'none'] as const)
    const f = loss(r)
    const shape = losses(args[0])
    return {
      f: (x, y, weights) => sp.sin(f(x, y, { reduction, weights })),
      args: r.int(0, 1) ? [...args, between(0.5, 2)(r, shape)] : args,
    }
  }

const rows = (x: Tensor): number[] => x.shape.slice(0, -1)
const examples = (x: Tensor): number[] => x.shape.slice(0, 1)

/** Logits [..., classes] with classes as labels. */
const sparse = (loss: (r: Rng) => Loss, fill: Fill = normal, least = 2): Make =>
  cases(
    loss,
    r => {
      const [batch, classes] = [r.shape(r.int(0, 2)), r.int(least, 5)]
      return [fill(r, [...batch, classes]), integers(0, classes - 1)(r, batch)]
    },
    rows,
  )
/** Two tensors [..., classes]. */
const dense = (loss: (r: Rng) => Loss, right: Fill = normal): Make =>
  cases(
    loss,
    r => {
      const shape = [...r.shape(r.int(0, 2)), r.int(2, 4)]
      return [normal(r, shape), right(r, shape)]
    },
    rows,
  )
/** Two tensors of one shape, [examples, ...]. */
const pairs = (loss: (r: Rng) => Loss, left: Fill, right: Fill): Make =>
  cases(
    loss,
    r => {
      const shape = r.shape(r.int(1, 3))
      return [left(r, shape), right(r, shape)]
    },
    examples,
  )

const always = (loss: Loss) => () => loss
const chance = between(0.1, 0.9)
const whole: Fill = (r, shape) => filled(shape, () => r.int(-2, 2))
const signs: Fill = (r, shape) => sp.where(booleans(r, shape), 1, -1)
/** Values at least 0.5 apart. */
const apart: Fill = (r, shape) => {
  const order = r.order(shape.reduce((n, s) => n * s, 1))
  let k = 0
  return filled(shape, () => order[k++] - order.length / 2 + r.uniform(0, 0.5))
}
const classWeighted: Make = r => {
  const [batch, classes] = [r.int(1, 3), r.int(2, 4)]
  const options = { reduction: r.pick(['mean', 'sum', 'none'] as const), labelSmoothing: r.pick([0, 0.2]) }
  const labels = r.int(0, 1) ? integers(0, classes - 1)(r, [batch]) : chance(r, [batch, classes])
  return {
    f: (z, y, classWeights) => sp.sin(nn.crossEntropy(z, y, { ...options, classWeights })),
    args: [normal(r, [batch, classes]), labels, between(0.5, 2)(r, [classes])],
  }
}
const smoothed = (r: Rng): Loss => {
  const labelSmoothing = r.pick([0, 0.1, 1])
  return (z, y, o) => nn.crossEntropy(z, y, { ...o, labelSmoothing })
}

export const losses: Catalog = {
  crossEntropy: smooth(sparse(smoothed), dense(smoothed, chance), classWeighted),
  binaryCrossEntropy: smooth(
    pairs(
      r => {
        const posWeight = r.pick([1, 2.5])
        return (x, y, o) => nn.binaryCrossEntropy(x, y, { ...o, posWeight })
      },
      normal,
      chance,
    ),
  ),
  klDivergence: smooth(dense(always(nn.klDivergence), apart)),
  mse: smooth(pairs(always(nn.mse), normal, normal)),
  mae: smooth(pairs(always(nn.mae), broken, whole)),
  huber: smooth(
    pairs(
      r => {
        const delta = r.pick([1, 2])
        return (x, y, o) => nn.huber(x, y, { ...o, delta })
      },
      broken,
      whole,
    ),
  ),
  cosineLoss: smooth(dense(always(nn.cosineLoss))),
  hinge: smooth(pairs(always(nn.hinge), broken, booleans), r => ({
    f: (z, t) => sp.sin(nn.hinge(z, t)),
    args: [broken(r, [2, 3]), sp.astype(signs(r, [2, 3]), 'float64')],
  })),
  marginLoss: smooth(
    sparse(always(nn.marginLoss), apart),
    sparse(r => {
      const kappa = r.pick([0, 0.75])
      return (z, y, o) => nn.marginLoss(z, y, { ...o, kappa })
    }, apart),
  ),
  clippedCrossEntropyOfProbabilities: smooth(
    sparse(always(nn.clippedCrossEntropyOfProbabilities), chance),
    // Some of these are beyond the clip.
    sparse(
      always((z, y, o) => nn.clippedCrossEntropyOfProbabilities(z, y, { ...o, floor: 0.3 })),
      chance,
    ),
  ),
  multiclassHinge: smooth(sparse(always(nn.multiclassHinge), apart)),
  dlrLoss: smooth(
    sparse(always(nn.dlrLoss), apart, 3),
    sparse(
      always((z, y, o) => nn.dlrLoss(z, y, { ...o, targets: sp.mul(y, 0) })),
      apart,
      4,
    ),
  ),
  accuracy: flat('constant between its jumps', sparse(always(nn.accuracy), apart), dense(always(nn.accuracy), chance)),
}
