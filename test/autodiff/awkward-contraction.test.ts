/** Products, convolutions and pooling over empty axes, at infinities and ties: value and derivatives to order 3. */

import * as sp from 'saddlepoint'
import { describe } from 'vitest'
import { t, testAwkward } from './derivatives.js'

type Tensor = sp.Tensor
const { POSITIVE_INFINITY: inf, NaN: nan } = Number
const none = [0, 0]
const square = (f: (x: Tensor) => Tensor) => (x: Tensor) => sp.square(f(x))
/** As a sequence [1, n, 1], and back. */
const sequence = (f: (x: Tensor) => Tensor) => (x: Tensor) => sp.flatten(f(sp.reshape(x, [1, x.size, 1])))
const zeros = (...shape: number[]): Tensor => sp.zeros(shape, 'float64')

describe('products over nothing', () => {
  testAwkward([
    [
      'matmul over an empty axis',
      x => sp.matmul(x, zeros(0, 3)),
      [[], []],
      [
        [0, 0, 0],
        [0, 0, 0],
      ],
      [[], []],
      [[], []],
      [[], []],
    ],
    ['matmul of no rows', x => sp.matmul(zeros(0, 2), x), [[1], [2]], [], [[0], [0]], [[0], [0]], [[0], [0]]],
    ['dot of empty vectors', x => sp.dot(x, x), [], 0, [], [], []],
    ['outer with an empty vector', x => sp.outer(x, zeros(0)), [1, 2], [[], []], none, none, [0, 0]],
    [
      'einsum over an empty index',
      x => sp.einsum('ij,jk->ik', sp.reshape(x, [2, 0]), zeros(0, 2)),
      [],
      [
        [0, 0],
        [0, 0],
      ],
      [],
      [],
      [],
    ],
    ['trace of an empty matrix', x => sp.trace(sp.reshape(x, [0, 0])), [], 0, [], [], []],
  ])
})

describe('products with infinities', () => {
  testAwkward([
    ['matmul with an infinity', x => sp.matmul(x, t([[1], [3]])), [[inf, 1]], [[inf]], [[1, 3]], [[0, 0]], [[0, 0]]],
    [
      'matmul of an infinity with 0',
      x => sp.matmul(x, t([[0], [3]])),
      [[inf, 1]],
      [[nan]],
      [[0, 3]],
      [[0, 0]],
      [[0, 0]],
    ],
    [
      'matmul with an infinity in another row',
      square(x => sp.matmul(x, t([2, 1]))),
      [
        [inf, 1],
        [1, 1],
      ],
      [inf, 9],
      [
        [inf, inf],
        [12, 6],
      ],
      [
        [12, 6],
        [12, 6],
      ],
      [
        [0, 0],
        [0, 0],
      ],
    ],
    [
      'trace with an infinity beside the diagonal',
      square(x => sp.trace(x)),
      [
        [1, inf],
        [inf, 2],
      ],
      9,
      [
        [6, 0],
        [0, 6],
      ],
      [
        [4, 0],
        [0, 4],
      ],
      [
        [0, 0],
        [0, 0],
      ],
    ],
    [
      'einsum of a diagonal beside an infinity',
      square(x => sp.einsum('ii->i', x)),
      [
        [1, inf],
        [inf, 2],
      ],
      [1, 4],
      [
        [2, 0],
        [0, 4],
      ],
      [
        [2, 0],
        [0, 2],
      ],
      [
        [0, 0],
        [0, 0],
      ],
    ],
    ['einsum with itself', x => sp.einsum('i,i', x, x), [1, 2], 5, [2, 4], [2, 2], none],
    ['einsum of three of itself', x => sp.einsum('i,i,i->', x, x, x), [1, 2], 9, [3, 12], [6, 12], [6, 6]],
  ])
})

describe('pooling and convolutions', () => {
  testAwkward([
    ['maxPool1d of ties', square(sequence(x => sp.maxPool1d(x, 2))), [3, 3], [9], [3, 3], [1, 1], none],
    ['maxPool1d of -inf alone', sequence(x => sp.maxPool1d(x, 2)), [-inf, -inf], [-inf], [0.5, 0.5], none, none],
    [
      'maxPool1d, negative beside padding',
      square(sequence(x => sp.maxPool1d(x, 2, { padding: 1 }))),
      [-1, -2],
      [1, 4],
      [-2, -4],
      [2, 2],
      none,
    ],
    [
      'avgPool1d with an infinity in another window',
      square(sequence(x => sp.avgPool1d(x, 1))),
      [inf, 2],
      [inf, 4],
      [inf, 4],
      [2, 2],
      none,
    ],
    ['conv1d of no channels', x => sp.conv1d(sp.reshape(x, [1, 2, 0]), zeros(2, 0, 1)), [], [[[0]]], [], [], []],
    ['conv1d of no batch', x => sp.conv1d(zeros(0, 3, 1), sp.reshape(x, [2, 1, 1])), [1, 2], [], none, none, [0, 0]],
    [
      'convTranspose1d, rows that nothing reaches',
      square(sequence(x => sp.convTranspose1d(x, sp.ones([1, 1, 1], 'float64'), { stride: 3 }))),
      [1, 2],
      [1, 0, 0, 4],
      [2, 4],
      [2, 2],
      none,
    ],
  ])
})
