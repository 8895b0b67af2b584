/**
 * Euler's theorem: of a function with f(cx) = cᵏ f(x), the derivatives along x itself are k f, then k(k-1) f, then
 * k(k-1)(k-2) f. An oracle at any point, for whole families of operations.
 */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { describe, test } from 'vitest'
import { holds, Rng } from '../oracle/property.js'
import { along, expectEqual, normal, type Tensor, type Vector } from './common.js'

/** [degree, f, shapes of all arguments that scale together] */
type Row = readonly [degree: number, f: (...xs: Vector) => Tensor, ...shapes: (readonly number[])[]]

const table: { readonly [name: string]: Row } = {
  sum: [1, x => sp.sum(x, { axis: 0 }), [3, 4]],
  mean: [1, x => sp.mean(x, { axis: 1 }), [3, 4]],
  max: [1, x => sp.max(x, { axis: 0 }), [3, 4]],
  min: [1, x => sp.min(x), [3, 4]],
  vectorNorm: [1, x => sp.vectorNorm(x, { axis: 1 }), [3, 4]],
  'vectorNorm of order 1': [1, x => sp.vectorNorm(x, { axis: 0, ord: 1 }), [3, 4]],
  'vectorNorm of order 3': [1, x => sp.vectorNorm(x, { axis: 0, ord: 3 }), [3, 4]],
  'the largest magnitude': [1, x => sp.vectorNorm(x, { ord: Number.POSITIVE_INFINITY }), [3, 4]],
  hypot: [1, sp.hypot, [3, 4], [4]],
  atan2: [0, sp.atan2, [3, 4], [4]],
  prod: [4, x => sp.prod(x, { axis: 1 }), [3, 4]],
  cumulativeSum: [1, x => sp.cumulativeSum(x, { axis: 1 }), [3, 4]],
  cosineSimilarity: [0, x => sp.cosineSimilarity(x, sp.flip(x)), [3, 4]],
  einsum: [3, (x, y, z) => sp.einsum('ij,jk,kl->il', x, y, z), [2, 3], [3, 4], [4, 2]],
  'convTranspose2d in both': [2, (x, w) => sp.convTranspose2d(x, w, { stride: 2 }), [1, 2, 3, 2], [2, 2, 3, 2]],
  resize: [1, x => sp.resize(x, [4, 3]), [1, 2, 5, 2]],
  variance: [2, x => sp.variance(x, { axis: 1 }), [3, 4]],
  std: [1, x => sp.std(x, { axis: 1 }), [3, 4]],
  abs: [1, sp.abs, [5]],
  relu: [1, sp.relu, [5]],
  leakyRelu: [1, x => sp.leakyRelu(x, 0.1), [5]],
  square: [2, sp.square, [5]],
  cube: [3, x => sp.pow(x, 3), [5]],
  'fourth power': [4, x => sp.pow(x, 4), [5]],
  'power -1.5': [-1.5, x => sp.pow(sp.abs(x), -1.5), [5]],
  sqrt: [0.5, x => sp.sqrt(sp.abs(x)), [5]],
  rsqrt: [-0.5, x => sp.rsqrt(sp.abs(x)), [5]],
  reciprocal: [-1, sp.reciprocal, [5]],
  maximum: [1, sp.maximum, [3, 4], [4]],
  minimum: [1, sp.minimum, [3, 4], [4]],
  remainder: [1, sp.remainder, [3, 4], [4]],
  where: [1, (x, y) => sp.where(sp.less(x, y), x, sp.mul(y, 2)), [3, 4], [4]],
  'a product of three': [3, (x, y, z) => sp.mul(sp.mul(x, y), z), [3, 4], [4], [3, 1]],
  quotient: [0, sp.div, [3, 4], [4]],
  'a product over a norm': [1, (x, y) => sp.div(sp.mul(x, y), sp.vectorNorm(x)), [3, 4], [4]],
  atan: [0, (x, y) => sp.atan(sp.div(x, y)), [4], [4]],
  'the logarithm of a quotient': [0, (x, y) => sp.log(sp.abs(sp.div(x, y))), [4], [4]],
  'softmax of logarithms': [0, x => sp.softmax(sp.log(sp.abs(x))), [3, 4]],
  'a geometric mean': [1, x => sp.exp(sp.mean(sp.log(sp.abs(x)), { axis: 0 })), [3, 4]],
  'a power mean': [1, x => sp.pow(sp.sum(sp.pow(sp.abs(x), 2.5)), 0.4), [3, 4]],
  'exp of logsumexp of logarithms': [1, x => sp.exp(sp.logsumexp(sp.log(sp.abs(x)), { axis: 1 })), [3, 4]],
  'cosine of the angle': [0, (x, y) => sp.div(sp.dot(x, y), sp.mul(sp.vectorNorm(x), sp.vectorNorm(y))), [4], [4]],
  normalised: [
    0,
    x => sp.div(sp.sub(x, sp.mean(x, { axis: 1, keepdims: true })), sp.std(x, { axis: 1, keepdims: true })),
    [3, 4],
  ],
  'matmul in both': [2, sp.matmul, [3, 4], [4, 2]],
  'batched matmul in both': [2, sp.matmul, [2, 3, 4], [2, 4, 2]],
  'quadratic form': [3, (x, A) => sp.dot(sp.matmul(x, A), x), [4], [4, 4]],
  'three layers': [3, (A, B, C) => sp.matmul(sp.relu(sp.matmul(A, B)), C), [2, 3], [3, 4], [4, 2]],
  outer: [2, sp.outer, [3], [4]],
  tensordot: [2, (x, y) => sp.tensordot(x, y, 1), [2, 3], [3, 2]],
  'conv2d in both': [2, (x, w) => sp.conv2d(x, w, { padding: 'same', stride: 2 }), [1, 4, 5, 2], [3, 2, 2, 3]],
  'grouped conv2d in both': [2, (x, w) => sp.conv2d(x, w, { groups: 2, dilation: 2 }), [1, 4, 5, 2], [2, 2, 1, 4]],
  maxPool2d: [1, x => sp.maxPool2d(x, 2), [1, 4, 4, 2]],
  avgPool2d: [1, x => sp.avgPool2d(x, 2, { padding: 'same', stride: 1 }), [1, 3, 4, 2]],
  sort: [1, x => sp.sort(x, { axis: 0 }), [4, 3]],
  'sort by another': [1, (x, y) => sp.takeAlongAxis(x, sp.argsort(y)), [3, 4], [3, 4]],
  take: [1, x => sp.take(x, sp.tensor([2, 0, 2], { dtype: 'int32' })), [3, 4]],
  'products of rows': [2, x => sp.mul(sp.at(x, 0), sp.at(x, [1, null])), [3, 4]],
  concat: [1, (x, y) => sp.concat([x, y]), [2, 3], [1, 3]],
  'pad and flip': [
    2,
    x =>
      sp.mul(
        sp.pad(x, [
          [0, 1],
          [1, 0],
        ]),
        sp.flip(
          sp.pad(x, [
            [1, 0],
            [0, 1],
          ]),
        ),
      ),
    [2, 3],
  ],
}

/** k(k-1)...: the factor of the n-th derivative along x. */
const falling = (k: number, n: number): number => (n === 0 ? 1 : k * falling(k - 1, n - 1))

describe('derivatives along x to order 3', () => {
  for (const [name, [degree, f, ...shapes]] of Object.entries(table)) {
    test(name, () =>
      holds(
        fc.asyncProperty(fc.nat(1e6), async seed => {
          const r = new Rng(seed)
          const xs = shapes.map(shape => normal(r, ...shape))
          const weights = normal(r, ...f(...xs).shape)
          const F = (at: Vector): Tensor => sp.sum(sp.mul(f(...at), weights))
          // The direction stands still while the derivative moves.
          const first = along(F, xs)
          const second = along(first, xs)
          await expectEqual(
            [first(xs), second(xs), along(second, xs)(xs)],
            [1, 2, 3].map(n => sp.mul(F(xs), falling(degree, n))),
            100,
          )
        }),
        2,
      ),
    )
  }
})
