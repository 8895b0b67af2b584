/** Movement and replaced elements at empty axes, copies and infinities: value and derivatives to order 3. */

import * as sp from 'saddlepoint'
import { describe } from 'vitest'
import { testAwkward } from './derivatives.js'

type Tensor = sp.Tensor
const { POSITIVE_INFINITY: inf } = Number
const { LN2: ln2 } = Math
const square = (f: (x: Tensor) => Tensor) => (x: Tensor) => sp.square(f(x))
const zeros = [0, 0, 0]

describe('copies add up', () => {
  testAwkward([
    [
      'pad by reflection',
      square(x => sp.pad(x, [[2, 1]], { mode: 'reflect' })),
      [1, 2, 3],
      [9, 4, 1, 4, 9, 4],
      [2, 12, 12],
      [2, 6, 4],
      zeros,
    ],
    [
      'pad with the edge',
      square(x => sp.pad(x, [[2, 1]], { mode: 'edge' })),
      [1, 2],
      [1, 1, 1, 4, 4],
      [6, 8],
      [6, 4],
      [0, 0],
    ],
    [
      'windows that overlap',
      square(x => sp.windows(x, 2)),
      [1, 2, 3],
      [
        [1, 4],
        [4, 9],
      ],
      [2, 8, 6],
      [2, 4, 2],
      zeros,
    ],
    [
      'windows that skip elements',
      square(x => sp.windows(x, 1, { stride: 2 })),
      [1, 2, 3],
      [[1], [9]],
      [2, 0, 6],
      [2, 0, 2],
      zeros,
    ],
    ['tile', square(x => sp.tile(x, [2])), [1, 2], [1, 4, 1, 4], [4, 8], [4, 4], [0, 0]],
    ['repeat', square(x => sp.repeat(x, 3)), [1, 2], [1, 1, 1, 4, 4, 4], [6, 12], [6, 6], [0, 0]],
    ['concat with itself', square(x => sp.concat([x, x])), [1, 2], [1, 4, 1, 4], [4, 8], [4, 4], [0, 0]],
  ])
})

describe('nothing to move', () => {
  testAwkward([
    ['tile no times', x => sp.tile(x, [0]), [1, 2], [], [0, 0], [0, 0], [0, 0]],
    ['repeat no times', x => sp.repeat(x, 0), [1, 2], [], [0, 0], [0, 0], [0, 0]],
    ['diagonal outside of the matrix', x => sp.diagonal(x, { offset: 2 }), [[1, 2]], [], [[0, 0]], [[0, 0]], [[0, 0]]],
    ['roll of nothing', x => sp.roll(x, 1), [], [], [], [], []],
    ['roll of one element', square(x => sp.roll(x, 5)), [3], [9], [6], [2], [0]],
    ['concat of empty tensors', x => sp.concat([x, x]), [], [], [], [], []],
    ['concat with an empty tensor', square(x => sp.concat([sp.at(x, [0, 0]), x])), [3], [9], [6], [2], [0]],
    ['stack of empty tensors', x => sp.stack([x, x]), [], [[], []], [], [], []],
    ['split into nothing and the rest', square(x => sp.concat(sp.split(x, [0]))), [3], [9], [6], [2], [0]],
    ['pad of nothing', x => sp.pad(x, [[1, 1]], 5), [], [5, 5], [], [], []],
    [
      'windows beside an empty axis',
      x => sp.windows(x, 1, { axis: 0 }),
      [[], []],
      [[], []],
      [[], []],
      [[], []],
      [[], []],
    ],
    ['setAt of no element', square(x => sp.setAt(x, [[1, 1]], 5)), [1, 2], [1, 4], [2, 4], [2, 2], [0, 0]],
    ['setAt of all elements', square(x => sp.setAt(x, [], 5)), [1, 2], [25, 25], [0, 0], [0, 0], [0, 0]],
  ])
})

describe('infinities stay where they are', () => {
  testAwkward([
    ['pad of an infinity', x => sp.pad(x, [[1, 1]]), [inf, 1], [0, inf, 1, 0], [1, 1], [0, 0], [0, 0]],
    ['concat of infinities', x => sp.concat([x, sp.neg(x)]), [inf, 1], [inf, 1, -inf, -1], [0, 0], [0, 0], [0, 0]],
    [
      'tril with an infinity above',
      x => sp.tril(x),
      [
        [1, inf],
        [2, 3],
      ],
      [
        [1, 0],
        [2, 3],
      ],
      [
        [1, 0],
        [1, 1],
      ],
      [
        [0, 0],
        [0, 0],
      ],
      [
        [0, 0],
        [0, 0],
      ],
    ],
    [
      'tril of 1/0 above',
      x => sp.tril(sp.reciprocal(x)),
      [
        [1, 0],
        [2, 4],
      ],
      [
        [1, 0],
        [1 / 2, 1 / 4],
      ],
      [
        [-1, 0],
        [-1 / 4, -1 / 16],
      ],
      [
        [2, 0],
        [1 / 4, 1 / 32],
      ],
      [
        [-6, 0],
        [-6 / 16, -6 / 256],
      ],
    ],
    [
      'triu of log 0 below',
      x => sp.triu(sp.log(x)),
      [
        [1, 1],
        [0, 1],
      ],
      [
        [0, 0],
        [0, 0],
      ],
      [
        [1, 1],
        [0, 1],
      ],
      [
        [-1, -1],
        [0, -1],
      ],
      [
        [2, 2],
        [0, 2],
      ],
    ],
    [
      'setAt in place of log 0',
      x => sp.setAt(sp.log(x), [0], 7),
      [0, 2],
      [7, ln2],
      [0, 1 / 2],
      [0, -1 / 4],
      [0, 1 / 4],
    ],
    ['setAt in place of an infinity', square(x => sp.setAt(x, [0], 7)), [inf, 2], [49, 4], [0, 4], [0, 2], [0, 0]],
    [
      'setAt to an element of its own',
      x => sp.setAt(x, [0], sp.square(sp.at(x, 1))),
      [1, 3],
      [9, 3],
      [0, 7],
      [0, 2],
      [0, 0],
    ],
    ['addAt beside an infinity', square(x => sp.addAt(x, [1], 1)), [inf, 2], [inf, 9], [inf, 6], [2, 2], [0, 0]],
    ['addAt of itself', square(x => sp.addAt(x, [[null, null, -1]], x)), [1, 2], [9, 9], [12, 12], [8, 8], [0, 0]],
  ])
})
