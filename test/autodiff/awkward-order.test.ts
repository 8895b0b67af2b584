/** Sorting with ties, NaN and axes of size 0 and 1: value and derivatives to order 3. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { t, testAwkward } from './derivatives.js'

type Tensor = sp.Tensor
const { Infinity: inf, NaN: nan } = globalThis

/** Places of the sorted elements made to differ, so that the gradient shows who got which. */
const weighted = (x: Tensor): Tensor => {
  const places = t(Array.from({ length: x.shape[x.ndim - 1] }, (_, i) => 10 ** i))
  return sp.mul(x, places)
}
const top =
  (k: number, largest = true) =>
  (x: Tensor): Tensor =>
    sp.topk(x, k, { largest }).values

describe('sort', () => {
  testAwkward([
    ['sort', x => weighted(sp.sort(x)), [3, 1, 2], [1, 20, 300], [100, 1, 10], [0, 0, 0], [0, 0, 0]],
    ['sort with ties', x => weighted(sp.sort(x)), [2, 1, 2], [1, 20, 200], [55, 1, 55], [0, 0, 0], [0, 0, 0]],
    ['sort of equals', x => weighted(sp.sort(x)), [5, 5], [5, 50], [5.5, 5.5], [0, 0], [0, 0]],
    ['sort of 0 and -0', x => weighted(sp.sort(x)), [0, -0], [0, 0], [5.5, 5.5], [0, 0], [0, 0]],
    [
      'descending sort with ties',
      x => weighted(sp.sort(x, { descending: true })),
      [2, 1, 2],
      [2, 20, 100],
      [5.5, 100, 5.5],
      [0, 0, 0],
      [0, 0, 0],
    ],
    [
      'cubes of a sort with ties',
      x => weighted(sp.pow(sp.sort(x), 3)),
      [2, 1, 2],
      [1, 80, 800],
      [12 * 55, 3, 12 * 55],
      // The shares of 6·2·10 and 6·2·100, and each gradient is added up before the next.
      [12 * 55, 6, 12 * 55],
      [6 * 55, 6, 6 * 55],
    ],
    [
      'sort along axis 0 with ties in one column',
      x => sp.mul(sp.sort(x, { axis: 0 }), t([[1], [10]])),
      [
        [1, 3],
        [1, 2],
      ],
      [
        [1, 2],
        [10, 30],
      ],
      [
        [5.5, 10],
        [5.5, 1],
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
      'equal rows are no ties',
      x => weighted(sp.sort(x)),
      [
        [1, 2],
        [2, 3],
      ],
      [
        [1, 20],
        [2, 30],
      ],
      [
        [1, 10],
        [1, 10],
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
      'sort with NaN and infinities',
      x => weighted(sp.sort(x)),
      [nan, inf, -inf],
      [-inf, inf, nan],
      [100, 10, 1],
      [0, 0, 0],
      [0, 0, 0],
    ],
    ['sort of one', x => sp.sort(x), [4], [4], [1], [0], [0]],
    ['sort of nothing', x => sp.sort(x), [], [], [], [], []],
  ])
})

describe('topk', () => {
  testAwkward([
    ['topk of 1 is max', top(1), [3, 1, 3], [3], [0.5, 0, 0.5], [0, 0, 0], [0, 0, 0]],
    ['smallest of 1 is min', top(1, false), [1, 1, 3], [1], [0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]],
    [
      'topk with ties across the last place',
      top(2),
      [2, 3, 2, 2],
      [3, 2],
      [1 / 3, 1, 1 / 3, 1 / 3],
      [0, 0, 0, 0],
      [0, 0, 0, 0],
    ],
    ['square of topk with ties across the last place', x => sp.square(top(1)(x)), [2, 2], [4], [2, 2], [1, 1], [0, 0]],
    ['topk of all', x => weighted(top(3)(x)), [1, 3, 2], [3, 20, 100], [100, 1, 10], [0, 0, 0], [0, 0, 0]],
    ['topk of none', top(0), [1, 3], [], [0, 0], [0, 0], [0, 0]],
    ['topk with NaN', top(2), [nan, 1, 2], [2, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]],
  ])
  test('the Hessian of a symmetric function of the two largest', async () => {
    const f = (x: Tensor): Tensor => sp.prod(top(2)(x))
    expect(
      await sp
        .hessian(f)(t([1, 3, 2]))
        .array(),
    ).toEqual([
      [0, 0, 0],
      [0, 0, 1],
      [0, 1, 0],
    ])
  })
})
