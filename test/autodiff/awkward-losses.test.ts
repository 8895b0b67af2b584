/** Losses at infinite logits, at their kinks and at ties: derivatives to order 3. */

import * as sp from 'saddlepoint'
import * as nn from 'saddlepoint/nn'
import { describe } from 'vitest'
import { t, testAwkward, testSame } from './derivatives.js'

type Tensor = sp.Tensor
const label = (y: number): Tensor => sp.full([], y, 'int32')
const { POSITIVE_INFINITY: inf } = Number
const kept = (x: Tensor): Tensor => sp.take(x, sp.tensor([0, 2], { dtype: 'int32' }))
const mean = (x: Tensor, ...i: number[]): Tensor => sp.mean(sp.take(x, sp.tensor(i, { dtype: 'int32' })))

const sparse =
  (y: number, options: nn.CrossEntropyOptions = {}) =>
  (z: Tensor): Tensor =>
    nn.crossEntropy(z, label(y), options)
const dense =
  (p: number[]) =>
  (z: Tensor): Tensor =>
    nn.crossEntropy(z, t(p))

describe('a confident cross-entropy', () => {
  const other = 2 * Math.exp(-50)
  testAwkward([
    ['crossEntropy, certain by 50', z => sparse(0)(sp.stack([z, t(0), t(0)])), 50, other, -other, other, -other],
  ])
})

describe('cross-entropy', () =>
  testSame([
    ['crossEntropy, another logit -inf', sparse(2), t([0, -inf, 1]), z => sparse(1)(kept(z))],
    ['crossEntropy, the label at -inf', sparse(1), t([0, -inf, 1]), z => sp.sub(sp.logsumexp(kept(z)), sp.at(z, 1))],
    ['crossEntropy of -inf alone', sparse(0), t([-inf, -inf]), 'NaN'],
    ['crossEntropy, a logit of inf', sparse(0), t([0, inf]), 'NaN'],
    ['crossEntropy, the label at inf', sparse(1), t([0, inf]), 'NaN'],
    ['crossEntropy, a class out of range', sparse(2), t([0, 1]), 'NaN'],
    ['crossEntropy of large logits', sparse(1), t([1e4, 1e4 - 1, 0]), z => sparse(1)(sp.sub(z, 1e4))],
    [
      'crossEntropy, smoothed, of large logits',
      sparse(1, { labelSmoothing: 0.1 }),
      t([1e4, 1e4 - 1, 0]),
      z => sparse(1, { labelSmoothing: 0.1 })(sp.sub(z, 1e4)),
    ],
    ['crossEntropy, hopeless by 1e4', sparse(1), t([1e4, 0, 0]), z => sp.sub(sp.at(z, 0), sp.at(z, 1))],
    ['crossEntropy, hopeless by 1e30', sparse(1), t([5, -1e30, 1.3]), z => sp.sub(sp.logsumexp(kept(z)), sp.at(z, 1))],
    ['crossEntropy, certain by 1e4', sparse(0), t([1e4, 0, 0]), 'zero'],
    [
      'crossEntropy with probabilities, an impossible class at -inf',
      dense([0.25, 0, 0.75]),
      t([0, -inf, 1]),
      z => dense([0.25, 0.75])(kept(z)),
    ],
    [
      'crossEntropy with probabilities of large logits',
      dense([0.25, 0, 0.75]),
      t([1e4, 1e4 - 1, 0]),
      z => dense([0.25, 0, 0.75])(sp.sub(z, 1e4)),
    ],
    [
      'binaryCrossEntropy, certain and hopeless by 1e4',
      z => nn.binaryCrossEntropy(z, t([0, 1])),
      t([-1e4, -1e4]),
      z => sp.mul(sp.at(z, 1), -0.5),
    ],
    [
      'binaryCrossEntropy, certain by inf',
      z => nn.binaryCrossEntropy(z, t([1, 0]), { reduction: 'none' }),
      t([inf, -inf]),
      'zero',
    ],
    ['binaryCrossEntropy, hopeless by inf', z => nn.binaryCrossEntropy(z, t([1])), t([-inf]), z => sp.neg(sp.sum(z))],
    [
      'klDivergence, a class impossible in the target',
      z => nn.klDivergence(t([0, 2, 1]), z),
      t([0, -inf, 1]),
      z => sp.add(nn.klDivergence(t([0, 1]), kept(z)), Math.log((1 + Math.E + Math.E ** 2) / (1 + Math.E))),
    ],
    [
      'klDivergence, a class impossible in both',
      z => nn.klDivergence(z, sp.flip(z)),
      t([0, -inf, 1]),
      z => nn.klDivergence(kept(z), sp.flip(kept(z))),
    ],
    ['klDivergence of the same', z => nn.klDivergence(z, z), t([0, 1]), 'zero'],
  ]))

const zero = t([0])
const loss =
  (f: (x: Tensor, y: Tensor) => Tensor, y = zero) =>
  (x: Tensor): Tensor =>
    f(x, y)
const line =
  (slope: number) =>
  (x: Tensor): Tensor =>
    sp.mul(sp.sum(x), slope)

describe('kinks', () =>
  testSame([
    ['mae at 0', loss(nn.mae), t([0]), 'zero'],
    ['huber at delta', loss(nn.huber), t([1]), line(1)],
    ['huber at -delta', loss(nn.huber), t([-1]), line(-1)],
    ['huber at 0', loss(nn.huber), t([0]), x => sp.mul(sp.square(sp.sum(x)), 0.5)],
    ['hinge at its kink', loss(nn.hinge, t([1])), t([1]), 'zero'],
    ['multiclassHinge at its kink', z => nn.multiclassHinge(z, label(0)), t([2, 1]), 'zero'],
    [
      'marginLoss at -kappa',
      z => nn.marginLoss(z, label(0), { kappa: 1 }),
      t([2, 1]),
      z => sp.sub(sp.at(z, 1), sp.at(z, 0)),
    ],
    ['marginLoss below -kappa', z => nn.marginLoss(z, label(0), { kappa: 1 }), t([3, 1]), 'zero'],
    ['cosineLoss of a zero vector', x => nn.cosineLoss(x, t([3, -4])), t([0, 0]), 'zero'],
  ]))

const dlr =
  (y: number, target?: number) =>
  (z: Tensor): Tensor =>
    nn.dlrLoss(z, label(y), target === undefined ? {} : { targets: label(target) })

describe('ties of logits', () =>
  testSame([
    [
      'marginLoss, two equal rivals',
      z => sp.exp(nn.marginLoss(z, label(1))),
      t([1, 0, 1]),
      z => sp.exp(sp.sub(mean(z, 0, 2), sp.at(z, 1))),
    ],
    [
      'marginLoss, a rival equal to the label',
      z => sp.exp(nn.marginLoss(z, label(1))),
      t([1, 1, 0]),
      z => sp.exp(sp.sub(sp.at(z, 0), sp.at(z, 1))),
    ],
    [
      'marginLoss, a rival at -inf',
      z => nn.marginLoss(z, label(0)),
      t([1, -inf, 0]),
      z => sp.sub(sp.at(z, 2), sp.at(z, 0)),
    ],
    [
      'dlrLoss, two largest equal',
      dlr(3),
      t([3, 3, 1, 0]),
      z => sp.div(sp.sub(mean(z, 0, 1), sp.at(z, 3)), sp.sub(mean(z, 0, 1), sp.at(z, 2))),
    ],
    [
      'dlrLoss, second and third equal',
      dlr(3),
      t([1, 3, 1, 0]),
      z => sp.div(sp.sub(sp.at(z, 1), sp.at(z, 3)), sp.sub(sp.at(z, 1), mean(z, 0, 2))),
    ],
    [
      'dlrLoss with targets, third and fourth equal',
      dlr(1, 3),
      t([2, 3, 1, 1, 0]),
      z => sp.div(sp.sub(sp.at(z, 3), sp.at(z, 1)), sp.sub(sp.at(z, 1), mean(z, 2, 3))),
    ],
    ['dlrLoss of three equal logits', dlr(1), t([2, 2, 2, 0]), 'zero'],
    ['dlrLoss of equal logits, targets', dlr(1, 2), t([2, 2, 2, 2]), 'zero'],
    ['dlrLoss, a class out of range', dlr(4), t([3, 2, 1, 0]), 'NaN'],
  ]))
