/** Softmax, attention, normalisation, dropout and cosines at infinities, without spread and at 0: derivatives to order 3. */

import * as sp from 'saddlepoint'
import { BatchNorm, GroupNorm, LayerNorm, RMSNorm } from 'saddlepoint/nn'
import { describe } from 'vitest'
import { wave } from '../nn/wave.js'
import { t, testSame } from './derivatives.js'

type Tensor = sp.Tensor
const ints = (...values: number[]): Tensor => sp.tensor(values, { dtype: 'int32' })
const { POSITIVE_INFINITY: inf } = Number
const kept = (x: Tensor): Tensor => sp.take(x, ints(0, 2))

describe('softmax', () =>
  testSame([
    ['softmax with a logit of -inf', sp.softmax, t([0, -inf, 1]), x => pad(sp.softmax(kept(x)))],
    ['softmax of large logits', sp.softmax, t([1e4, 1e4 - 1, 0]), x => sp.softmax(sp.sub(x, 1e4))],
    ['softmax with one certain', sp.softmax, t([1e4, 0, 0]), 'zero'],
    ['softmax of -inf alone', sp.softmax, t([-inf, -inf]), 'NaN'],
    ['softmax with a logit of inf', x => sp.softmax(x).at(1), t([0, inf]), 'NaN'],
    ['logSoftmax with a logit of -inf', x => kept(sp.logSoftmax(x)), t([0, -inf, 1]), x => sp.logSoftmax(kept(x))],
    ['logSoftmax of large logits', sp.logSoftmax, t([1e4, 1e4 - 1, 0]), x => sp.logSoftmax(sp.sub(x, 1e4))],
    ['logSoftmax of -inf alone', sp.logSoftmax, t([-inf, -inf]), 'NaN'],
    ['logsumexp with a logit of -inf', x => sp.logsumexp(x), t([0, -inf, 1]), x => sp.logsumexp(kept(x))],
    ['logsumexp of large logits', x => sp.logsumexp(x), t([1e4, 1e4 - 1, 0]), x => sp.logsumexp(sp.sub(x, 1e4))],
  ]))
/** Two values at 0 and 2 of three. */
const pad = (y: Tensor): Tensor => sp.scatterAdd(ints(0, 2), y, 3)

// Queries, keys and values as the rows of one tensor: 3, 2 and 2 of them.
const all = wave(0.8, 7, 2)
const parts = (x: Tensor): [Tensor, Tensor, Tensor] => [x.at([0, 3]), x.at([3, 5]), x.at([5, 7])]
const attend =
  (mask: sp.NestedArray | Tensor, causal = false) =>
  (x: Tensor): Tensor =>
    sp.scaledDotProductAttention(...parts(x), { mask: mask instanceof sp.Tensor ? mask : sp.tensor(mask), causal })
const [yes, no] = [true, false]
const hidden = [
  [yes, no],
  [no, no],
  [yes, yes],
]
/** What rows 0 and 2 attend to by themselves. */
const others = (x: Tensor): Tensor => {
  const [q, k, v] = parts(x)
  const first = sp.add(v.at([0, 1]), sp.mul(q.at([0, 1]), 0))
  return sp.concat([first, sp.zeros([1, 2], 'float64'), sp.scaledDotProductAttention(q.at([2, 3]), k, v)])
}

describe('attention', () =>
  testSame([
    ['attention, all hidden by a mask', attend([[no], [no], [no]]), all, 'zero'],
    ['attention, one query sees nothing', attend(hidden), all, others],
    ['attention, a float mask of -inf', attend(sp.where(sp.tensor(hidden), t(0), -inf)), all, others],
    [
      'attention, a mask that leaves nothing of causal',
      attend([[no, yes]], true),
      sp.mul(all, 1),
      x => {
        const [, , v] = parts(x)
        return sp.concat([sp.zeros([1, 2], 'float64'), v.at([1, 2]), v.at([1, 2])])
      },
    ],
    [
      'attention, the gradient of a float mask of -inf',
      mask => sp.scaledDotProductAttention(...parts(all), { mask }),
      sp.full([3, 2], -inf, 'float64'),
      'zero',
    ],
    [
      'attention with certain weights',
      attend([[yes]]),
      sp.concat([
        t([
          [1e3, 0],
          [0, 1e3],
          [1e3, 0],
          [1e3, 0],
          [0, 1e3],
        ]),
        all.at([5, 7]),
      ]),
      x => sp.take(x, ints(5, 6, 5)),
    ],
  ]))

/** Where x is constant, x·h(mean x²) with h(s) = (s + ε)^-½ is x·(h(0) + h'(0)·mean x²) to order 3; P x for x if centred. */
const normed =
  (epsilon: number, axis: number | number[], centre = true) =>
  (x: Tensor): Tensor => {
    const over = { axis, keepdims: true }
    const c = centre ? sp.sub(x, sp.mean(x, over)) : x
    return sp.mul(c, sp.add(epsilon ** -0.5, sp.mul(sp.mean(sp.square(c), over), -0.5 * epsilon ** -1.5)))
  }
const dtype = 'float64'
const epsilon = 0.25
const [layer, group] = [new LayerNorm(4, { dtype, epsilon }), new GroupNorm(2, 4, { dtype, epsilon })]
const [batch, rms] = [new BatchNorm(4, { dtype, epsilon }), new RMSNorm(4, { dtype, epsilon })]
const train = { training: true }
const constant = sp.full([2, 4], 3, dtype)
const zeros = sp.zeros([2, 4], dtype)
const grouped = (x: Tensor): Tensor => sp.reshape(normed(epsilon, 2)(sp.reshape(x, [2, 2, 2])), [2, 4])

describe('normalisation', () =>
  testSame([
    ['LayerNorm of constants', x => layer.apply(x), constant, normed(epsilon, 1)],
    ['GroupNorm of constants', x => group.apply(x), constant, grouped],
    ['BatchNorm of constants', x => batch.apply(x, train), constant, normed(epsilon, 0)],
    ['RMSNorm of zeros', x => rms.apply(x), zeros, normed(epsilon, 1, false)],
    ['LayerNorm of constants, epsilon 0', x => new LayerNorm(4, { dtype, epsilon: 0 }).apply(x), constant, 'zero'],
    ['GroupNorm of constants, epsilon 0', x => new GroupNorm(2, 4, { dtype, epsilon: 0 }).apply(x), constant, 'zero'],
    [
      'BatchNorm of constants, epsilon 0',
      x => new BatchNorm(4, { dtype, epsilon: 0 }).apply(x, train),
      constant,
      'zero',
    ],
    ['RMSNorm of zeros, epsilon 0', x => new RMSNorm(4, { dtype, epsilon: 0 }).apply(x), zeros, 'zero'],
    ['LayerNorm of one value', x => new LayerNorm(1, { dtype }).apply(x), t([[2], [-5]]), 'zero'],
    ['LayerNorm of one value, epsilon 0', x => new LayerNorm(1, { dtype, epsilon: 0 }).apply(x), t([[2]]), 'zero'],
    ['BatchNorm of one example', x => batch.apply(x, train), t([[1, 2, 3, 4]]), 'zero'],
    ['GroupNorm with one value a group', x => new GroupNorm(4, 4, { dtype }).apply(x), t([[1, 2, 3, 4]]), 'zero'],
  ]))

const key = sp.random.key(1)
const direction = t([3, -4])

describe('dropout, cosines, pools', () =>
  testSame([
    ['dropout with rate 0', x => sp.dropout(sp.exp(x), key, 0), t([1, -2, 0.5]), sp.exp],
    ['dropout with rate 1', x => sp.dropout(sp.exp(x), key, 1), t([1, -2, 0.5]), 'zero'],
    ['cosineSimilarity of a zero vector', x => sp.cosineSimilarity(x, direction), t([0, 0]), 'zero'],
    ['cosineSimilarity to a zero vector', x => sp.cosineSimilarity(direction, x), t([0, 0]), 'zero'],
    ['cosineSimilarity of a zero vector to itself', x => sp.cosineSimilarity(x, x), t([0, 0]), 'zero'],
    [
      'cosineSimilarity of a zero vector beside others',
      x => sp.cosineSimilarity(x, direction),
      t([
        [0, 0],
        [1, 2],
      ]),
      x => sp.stack([t(0), sp.cosineSimilarity(x.at(1), direction)]),
    ],
    ['cosineSimilarity of the same vector', x => sp.cosineSimilarity(x, x), t([1, 2]), 'zero'],
    [
      'globalMaxPool2d with ties',
      x => sp.square(sp.globalMaxPool2d(sp.reshape(x, [1, 2, 2, 1]))),
      t([3, 1, 3, 2]),
      x => sp.reshape(sp.square(sp.mean(kept(x))), [1, 1]),
    ],
  ]))
