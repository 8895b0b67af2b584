/** Sorting: values and positions, by axis and direction, stable, NaN last. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
const { NaN: nan, Infinity: inf } = globalThis
const matrix = sp.tensor([
  [3, 1, 2],
  [0, 5, 4],
])

const rows: readonly [string, () => Tensor, sp.NestedArray][] = [
  [
    'sort',
    () => matrix.sort(),
    [
      [1, 2, 3],
      [0, 4, 5],
    ],
  ],
  [
    'sort along axis 0',
    () => matrix.sort({ axis: 0 }),
    [
      [0, 1, 2],
      [3, 5, 4],
    ],
  ],
  [
    'sort descending',
    () => matrix.sort({ descending: true }),
    [
      [3, 2, 1],
      [5, 4, 0],
    ],
  ],
  ['sort of integers', () => sp.sort(sp.tensor([3, -(2 ** 31), 0], { dtype: 'int32' })), [-(2 ** 31), 0, 3]],
  [
    'sort of integers descending',
    () => sp.sort(sp.tensor([3, -(2 ** 31), 0], { dtype: 'int32' }), { descending: true }),
    [3, 0, -(2 ** 31)],
  ],
  ['sort of booleans', () => sp.sort(sp.tensor([true, false, true])), [false, true, true]],
  ['sort with NaN', () => sp.sort(sp.tensor([nan, inf, -inf, 0])), [-inf, 0, inf, nan]],
  [
    'sort with NaN descending',
    () => sp.sort(sp.tensor([nan, inf, -inf, 0]), { descending: true }),
    [inf, 0, -inf, nan],
  ],
  ['argsort is stable', () => sp.argsort(sp.tensor([1, 0, 1, 0])), [1, 3, 0, 2]],
  ['argsort descending is stable', () => sp.argsort(sp.tensor([1, 0, 1, 0]), { descending: true }), [0, 2, 1, 3]],
  [
    'argsort along axis 0',
    () => sp.argsort(matrix, { axis: 0 }),
    [
      [1, 0, 0],
      [0, 1, 1],
    ],
  ],
  [
    'values of topk',
    () => matrix.topk(2).values,
    [
      [3, 2],
      [5, 4],
    ],
  ],
  [
    'indices of topk',
    () => matrix.topk(2).indices,
    [
      [0, 2],
      [1, 2],
    ],
  ],
  [
    'smallest',
    () => sp.topk(matrix, 2, { largest: false }).values,
    [
      [1, 2],
      [0, 4],
    ],
  ],
  ['topk along axis 0', () => sp.topk(matrix, 1, { axis: 0 }).values, [[3, 5, 4]]],
  ['indices of topk along axis 0', () => sp.topk(matrix, 1, { axis: -2 }).indices, [[0, 1, 1]]],
  [
    'topk of all',
    () => sp.topk(matrix, 3).values,
    [
      [3, 2, 1],
      [5, 4, 0],
    ],
  ],
  ['topk of none', () => sp.topk(matrix, 0).values, [[], []]],
  ['topk of none of nothing', () => sp.topk(sp.zeros([0]), 0).indices, []],
  ['topk of integers', () => sp.topk(sp.tensor([1, 3, 2], { dtype: 'int32' }), 2).values, [3, 2]],
]
test.each(rows)('%s', async (_, f, want) => {
  expect(await f().array()).toEqual(want)
})

describe('a long row', () => {
  const values = Float32Array.from(new Rng(5).order(1000), v => Math.floor(v / 3))
  test('sorts as typed arrays do', async () => {
    expect(await sp.sort(sp.tensor(values)).data()).toEqual(values.slice().sort())
  })
  test('shares the gradient among its ties', async () => {
    const places = sp.arange(0, 1000, 1, 'float32')
    const g = await sp
      .grad((x: Tensor) => sp.sum(sp.mul(sp.sort(x), places)))(sp.tensor(values))
      .data()
    // Threes of equals stand at 3v, 3v + 1, 3v + 2.
    expect([...g]).toEqual([...values].map(v => (v === 333 ? 999 : 3 * v + 1)))
  })
})
