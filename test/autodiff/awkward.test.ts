/** Kinks, ties, infinite branches, NaN and integers: the values that the rules promise, to order 3. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { build } from '../../src/tensor/tensor.js'
import { t, testAwkward, testSame } from './derivatives.js'

type Tensor = sp.Tensor
const { POSITIVE_INFINITY: inf, NaN: nan } = Number

describe('kinks', () => {
  testAwkward([
    ['abs at 0', sp.abs, 0, 0, 0, 0, 0],
    ['relu at 0', sp.relu, 0, 0, 0, 0, 0],
    ['leakyRelu at 0', x => sp.leakyRelu(x, 0.1), 0, 0, 0.1, 0, 0],
    ['elu at 0', sp.elu, 0, 0, 1, 1, 1],
    ['clip at its lower edge', x => sp.clip(x, -1, 1), -1, -1, 1, 0, 0],
    ['clip at its upper edge', x => sp.clip(x, -1, 1), 1, 1, 1, 0, 0],
    ['clip outside', x => sp.clip(x, -1, 1), 1.5, 1, 0, 0, 0],
    ['maximum of equals', x => sp.maximum(x, 0), 0, 0, 0.5, 0, 0],
    ['minimum of equals', x => sp.minimum(x, 0), 0, 0, 0.5, 0, 0],
    ['maximum with itself', x => sp.maximum(x, x), 2, 2, 1, 0, 0],
    ['sqrt(x²) by vectorNorm at 0', x => sp.vectorNorm(x), 0, 0, 0, 0, 0],
    ['x² at 0', x => sp.pow(x, 2), 0, 0, 0, 2, 0],
    ['x³ at 0', x => sp.pow(x, 3), 0, 0, 0, 0, 6],
    ['x⁴ at 0', x => sp.pow(x, 4), 0, 0, 0, 0, 0],
    ['x¹ at 0, exponent a tensor', x => sp.pow(x, t(1)), 0, 0, 1, 0, 0],
    ['x² at 0, exponent a tensor', x => sp.pow(x, t(2)), 0, 0, 0, 2, 0],
    ['x³ at 0, exponent a tensor', x => sp.pow(x, t(3)), 0, 0, 0, 0, 6],
    ['√ by pow at 0', x => sp.pow(x, 0.5), 0, 0, inf, -inf, inf],
    ['1/x by pow at 0', x => sp.pow(x, -1), 0, inf, -inf, inf, -inf],
    ['x⁰ at 0', x => sp.pow(x, t(0)), 0, 1, 0, 0, 0],
    ['x³ below 0, exponent a tensor', x => sp.pow(x, t(3)), -2, -8, 12, -12, 6],
    ['2ˣ at 0', x => sp.pow(t(2), x), 0, 1, Math.LN2, Math.LN2 ** 2, Math.LN2 ** 3],
    ['0ˣ at 0', x => sp.pow(t(0), x), 0, 1, 0, 0, 0],
    ['0ˣ above 0', x => sp.pow(t(0), x), 1.5, 0, 0, 0, 0],
    ['x/x', x => sp.div(x, x), 3, 1, 0, 0, 0],
    ['sigmoid at 0', sp.sigmoid, 0, 0.5, 0.25, 0, -0.125],
    ['softplus at 0', sp.softplus, 0, Math.LN2, 0.5, 0.25, 0],
    ['logSigmoid at 0', sp.logSigmoid, 0, -Math.LN2, 0.5, -0.25, 0],
    ['sigmoid far right', sp.sigmoid, 800, 1, 0, 0, 0],
    ['softplus far right', sp.softplus, 800, 800, 1, 0, 0],
    ['softplus far left', sp.softplus, -800, 0, 0, 0, 0],
    ['logSigmoid far left', sp.logSigmoid, -800, -800, 1, 0, 0],
    ['silu at 0', sp.silu, 0, 0, 0.5, 0.5, 0],
    ['gelu at 0', sp.gelu, 0, 0, 0.5, Math.sqrt(2 / Math.PI), 0],
    ['tanh far out', sp.tanh, 400, 1, 0, 0, 0],
    ['atan far out', x => sp.atan(x), 1e200, Math.PI / 2, 0, 0, 0],
    ['erf far out', sp.erf, 40, 1, 0, 0, 0],
    ['logsumexp with itself', x => sp.logsumexp(sp.stack([x, x])), 5, 5 + Math.LN2, 1, 0, 0],
    ['stopGradient', x => sp.mul(sp.stopGradient(x), x), 3, 9, 3, 0, 0],
    [
      'where with an infinite dead branch',
      x => sp.where(sp.less(0, x), sp.sqrt(sp.where(sp.less(0, x), x, 1)), 0),
      0,
      0,
      0,
      0,
      0,
    ],
    ['where with log 0 in the dead branch', x => sp.where(sp.less(0, x), sp.log(x), 0), 0, 0, 0, 0, 0],
    ['where with √0 in the dead branch', x => sp.where(sp.less(0, x), sp.sqrt(x), x), 0, 0, 1, 0, 0],
    [
      'where with 1/0 in the dead branch',
      x => sp.where(sp.less(x, 1), sp.mul(x, x), sp.reciprocal(sp.sub(x, 0.5))),
      0.5,
      0.25,
      1,
      2,
      0,
    ],
    ['where with 0^-1.5 in the dead branch', x => sp.where(sp.less(0, x), sp.pow(x, -1.5), 0), 0, 0, 0, 0, 0],
    [
      'where with x log x in the dead branch',
      x => sp.where(sp.less(0, x), sp.mul(sp.mul(x, sp.log(x)), 3), x),
      0,
      0,
      1,
      0,
      0,
    ],
    ['where in where', x => sp.where(sp.less(-1, x), sp.where(sp.less(0, x), sp.log(x), x), sp.sqrt(x)), 0, 0, 1, 0, 0],
    ['clip of log 0', x => sp.clip(sp.log(x), -5, 5), 0, -5, 0, 0, 0],
    ['maximum with log 0', x => sp.maximum(sp.log(x), -5), 0, -5, 0, 0, 0],
    ['minimum with 1/0', x => sp.minimum(sp.reciprocal(x), 5), 0, 5, 0, 0, 0],
    ['where with a live log', x => sp.where(sp.less(0, x), sp.log(x), 0), 2, Math.LN2, 0.5, -0.25, 0.25],
    ['where with a dead log', x => sp.where(sp.less(x, 1), sp.mul(x, x), sp.log(sp.sub(x, 1))), 0.5, 0.25, 1, 2, 0],
  ])
})

const zeros = [0, 0, 0]
const nans = [nan, nan, nan]
const thirds = [1 / 3, 1 / 3, 1 / 3]
const matrix = [zeros, zeros, zeros]
const ints = (...values: number[]): Tensor => sp.tensor(values, { dtype: 'int32' })

describe('ties of max', () => {
  testAwkward([
    // d/dx of Σ gᵢ = 2 max x: again shared.
    ['√ of max at 0', x => sp.sqrt(sp.max(x)), [-1, 0], 0, [0, inf], [0, -inf], [0, inf]],
    ['square of max with ties', x => sp.square(sp.max(x)), [1, 3, 3, 2], 9, [0, 3, 3, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
    [
      'max along an axis with ties',
      x => sp.max(x, { axis: 1 }),
      [
        [1, 1, 0],
        [2, 3, 4],
        [5, 5, 5],
      ],
      [1, 4, 5],
      [
        [0.5, 0.5, 0],
        [0, 0, 1],
        [1 / 3, 1 / 3, 1 / 3],
      ],
      matrix,
      matrix,
    ],
    [
      'maxPool2d with ties',
      x => sp.flatten(sp.maxPool2d(sp.reshape(x, [1, 2, 2, 1]), 2)),
      [2, 2, 0, 1],
      [2],
      [0.5, 0.5, 0, 0],
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ],
  ])
})

describe('norms at 0', () => {
  testSame([
    ['vectorNorm of zeros', x => sp.vectorNorm(x), t(zeros), 'zero'],
    ['vectorNorm of order 1 of zeros', x => sp.vectorNorm(x, { ord: 1 }), t(zeros), 'zero'],
    ['std of zeros', x => sp.std(x), t(zeros), 'zero'],
  ])
  testAwkward(
    [
      [
        'rows at 0 beside rows that are not',
        x => sp.vectorNorm(x, { axis: 1 }),
        [
          [0, 0],
          [3, 4],
        ],
        [0, 5],
        [
          [0, 0],
          [0.6, 0.8],
        ],
        [
          [0, 0],
          [0.032, -0.024],
        ],
        [
          [0, 0],
          [-0.01888, 0.01216],
        ],
      ],
    ],
    1e-15,
  )
})

describe('indices', () => {
  testAwkward([
    [
      'repeated ids add up',
      x => sp.pow(sp.take(x, ints(1, 1, 0, 1)), 3),
      [2, 3, 5],
      [27, 27, 8, 27],
      [12, 81, 0],
      [12, 54, 0],
      [6, 18, 0],
    ],
    [
      'updates out of range get no gradient',
      x => sp.square(sp.scatterAdd(ints(-1, 0, 9), x, 2)),
      [1, 2, 3],
      [4, 0],
      [0, 4, 0],
      [0, 2, 0],
      zeros,
    ],
    [
      'argsort, argmax and comparisons',
      x => sp.astype(sp.add(sp.argsort(x), sp.add(sp.argmax(x), sp.less(x, 2))), 'float64'),
      [3, 1, 2],
      [1, 3, 0],
      zeros,
      zeros,
      zeros,
    ],
    [
      'floor, ceil, round, trunc and casts',
      x => sp.stack([sp.floor(x), sp.ceil(x), sp.round(x), sp.trunc(x), sp.astype(sp.astype(x, 'int32'), 'float64')]),
      2,
      [2, 2, 2, 2, 2],
      0,
      0,
      0,
    ],
  ])
})

describe('a product with zeros', () => {
  const product = (x: Tensor): Tensor => sp.mul(sp.mul(sp.at(x, 0), sp.at(x, 1)), sp.at(x, 2))
  testAwkward([
    ['a product of elements, one of them 0', product, [0, 3, 5], 0, [15, 0, 0], [8, 5, 3], [2, 2, 2]],
    ['a product of elements, two of them 0', product, [0, 0, 5], 0, zeros, [5, 5, 0], [2, 2, 2]],
  ])
})

describe('NaN', () => {
  const places = (x: Tensor): Tensor => sp.mul(x, t([1, 10, 100]))
  const float = (x: Tensor): Tensor => sp.astype(x, 'float64')
  const compared = (x: Tensor): Tensor =>
    sp.stack([sp.less(x, 1), sp.greaterEqual(x, 1), sp.equal(x, x), sp.notEqual(x, x)])
  testAwkward([
    ['sum with NaN', x => sp.square(sp.sum(x)), [1, nan], nan, [nan, nan], [4, 4], [0, 0]],
    ['max with NaN', x => sp.max(x), [1, nan, 2], nan, thirds, zeros, zeros],
    ['min with NaN', x => sp.min(x), [1, nan, 2], nan, thirds, zeros, zeros],
    ['prod with NaN', x => sp.prod(x), [1, nan, 2], nan, [nan, 2, nan], [nan, 3, nan], [nan, 2, nan]],
    ['std with NaN', x => sp.std(x), [1, nan, 2], nan, nans, nans, nans],
    ['softmax with NaN', x => sp.softmax(x), [1, nan, 2], nans, nans, nans, nans],
    ['logsumexp with NaN', x => sp.logsumexp(x), [1, nan, 2], nan, nans, nans, nans],
    ['squares beside NaN', x => sp.square(x), [nan, 1], [nan, 1], [nan, 2], [2, 2], [0, 0]],
    ['square of relu of NaN', x => sp.square(sp.relu(x)), [nan, 1], [nan, 1], [nan, 2], [2, 2], [0, 0]],
    ['abs of NaN', sp.abs, [nan, 1], [nan, 1], [nan, 1], [0, 0], [0, 0]],
    ['clip of NaN', x => sp.clip(x, -1, 1), [nan, 0.5], [nan, 0.5], [1, 1], [0, 0], [0, 0]],
    ['maximum of NaN and 0', x => sp.maximum(x, 0), [nan, 1], [nan, 1], [1, 1], [0, 0], [0, 0]],
    ['maximum of 0 and NaN', x => sp.maximum(x, nan), [0, 1], [nan, nan], [1, 1], [0, 0], [0, 0]],
    ['minimum of NaN and 0', x => sp.minimum(x, 0), [nan, -1], [nan, -1], [1, 1], [0, 0], [0, 0]],
    [
      'where with NaN in the dead branch',
      x => sp.where(sp.isnan(x), 0, sp.square(x)),
      [nan, 3],
      [0, 9],
      [0, 6],
      [0, 2],
      [0, 0],
    ],
    [
      'where with log -1 in the dead branch',
      x => sp.where(sp.less(0, x), sp.log(x), 0),
      [-1, 1],
      [0, 0],
      [0, 1],
      [0, -1],
      [0, 2],
    ],
    [
      'where with NaN in the live branch',
      x => sp.where(sp.isnan(x), sp.square(x), 0),
      [nan, 3],
      [nan, 0],
      [nan, 0],
      [2, 0],
      [0, 0],
    ],
    ['comparisons with NaN', x => float(compared(x)), nan, [0, 0, 0, 1], 0, 0, 0],
    ['argmax with NaN', x => float(sp.argmax(x)), [1, nan, 2], 1, zeros, zeros, zeros],
    ['sort with NaN', x => places(sp.sort(x)), [nan, 2, 1], [1, 20, nan], [100, 10, 1], zeros, zeros],
    [
      'descending sort with NaN',
      x => places(sp.sort(x, { descending: true })),
      [nan, 2, 1],
      [2, 10, nan],
      [100, 1, 10],
      zeros,
      zeros,
    ],
    ['sqrt of -1', sp.sqrt, -1, nan, nan, nan, nan],
  ])
})

describe('integers', () => {
  // Integers have no derivative: a cast to them cuts.
  const of =
    (dtype: sp.DType, f: (x: Tensor) => Tensor) =>
    (x: Tensor): Tensor =>
      sp.astype(f(sp.astype(x, dtype)), 'float64')
  const top = 2 ** 31 - 1
  testAwkward([
    ['int32 sum past the end', of('int32', x => sp.add(x, 1)), top, -(2 ** 31), 0, 0, 0],
    [
      'int32 product past the end',
      of('int32', x => sp.mul(x, x)),
      [65536, 46341],
      [0, 46341 ** 2 - 2 ** 32],
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    [
      'int32 negation and abs of the least',
      of('int32', x => sp.stack([sp.neg(x), sp.abs(x)])),
      -(2 ** 31),
      [-(2 ** 31), -(2 ** 31)],
      0,
      0,
      0,
    ],
    ['uint32 difference below 0', of('uint32', x => sp.sub(x, 1)), 0, 2 ** 32 - 1, 0, 0, 0],
    [
      'int32 reductions past the end',
      of('int32', x => sp.stack([sp.sum(x), sp.prod(x)])),
      [top, 2],
      [1 - 2 ** 31, -2],
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    [
      'int32 running sum past the end',
      of('int32', x => sp.cumulativeSum(x)),
      [top, 1],
      [top, -(2 ** 31)],
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    ['integer floorDivide by 0', of('int32', x => sp.floorDivide(x, 0)), [7, -7, 0], zeros, zeros, zeros, zeros],
    ['integer remainder by 0', of('int32', x => sp.remainder(x, 0)), [7, -7, 0], zeros, zeros, zeros, zeros],
    [
      'integer division of the least by -1',
      of('int32', x => sp.stack([sp.floorDivide(x, -1), sp.remainder(x, -1)])),
      -(2 ** 31),
      [-(2 ** 31), 0],
      0,
      0,
      0,
    ],
    [
      'integer division rounds down',
      of('int32', x => sp.concat([sp.floorDivide(x, 2), sp.remainder(x, 3)])),
      [7, -7],
      [3, -4, 1, 2],
      [0, 0],
      [0, 0],
      [0, 0],
    ],
    ['integer div by 0', of('int32', x => sp.div(x, 0)), [7, -7, 0], [inf, -inf, nan], zeros, zeros, zeros],
    ['casts past the end', of('int32', x => x), [3e9, -3e9, nan], [top, -(2 ** 31), 0], zeros, zeros, zeros],
  ])
})

test('a variable is the identity', async () => {
  expect(await build('variable', [t([1, 2])], {}).array()).toEqual([1, 2])
})
