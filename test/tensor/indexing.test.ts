/** Scatter and segment sums: values, and which update wins. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { Rng } from '../oracle/property.js'
import { testValues } from './rows.js'

const { NaN: nan } = Number
const m = (...shape: number[]): sp.Tensor => sp.reshape(sp.arange(shape.reduce((n, s) => n * s, 1)), shape)
const int = (values: sp.NestedArray): sp.Tensor => sp.tensor(values, { dtype: 'int32' })

testValues([
  [
    'takeAlongAxis, NaN where an index is out of range',
    () => sp.takeAlongAxis(sp.astype(m(3, 2), 'float64'), int([[2], [-1], [1]])),
    [3, 1],
    [nan, nan, 5],
  ],
  ['scatter', () => sp.scatter(m(4), int([1, 3]), sp.tensor([10, 30])), [4], [0, 10, 2, 30]],
  [
    'scatter of rows',
    () =>
      sp.scatter(
        m(3, 2),
        int([2, 0]),
        sp.tensor([
          [7, 8],
          [9, 10],
        ]),
      ),
    [3, 2],
    [9, 10, 2, 3, 7, 8],
  ],
  [
    'scatter, the last update of a row stays',
    () => sp.scatter(m(3), int([1, 0, 1, 1, 0]), sp.tensor([5, 6, 7, 8, 9])),
    [3],
    [9, 8, 2],
  ],
  [
    'scatter with indices of rank 2',
    () =>
      sp.scatter(
        m(3),
        int([
          [1, 1],
          [2, 1],
        ]),
        sp.tensor([
          [5, 6],
          [7, 8],
        ]),
      ),
    [3],
    [0, 8, 7],
  ],
  ['scatter with an index of rank 0', () => sp.scatter(m(3), int(1), sp.tensor(5)), [3], [0, 5, 2]],
  ['scatter out of range', () => sp.scatter(m(3), int([-1, 3, 2, 99]), sp.tensor([5, 6, 7, 8])), [3], [0, 1, 7]],
  ['scatter of one value', () => sp.scatter(m(4), int([0, 2]), 9), [4], [9, 1, 9, 3]],
  ['scatter of one row', () => sp.scatter(m(3, 2), int([0, 2]), sp.tensor([8, 9])), [3, 2], [8, 9, 2, 3, 8, 9]],
  ['scatter of nothing', () => sp.scatter(m(3), int([]), sp.zeros([0])), [3], [0, 1, 2]],
  ['scatter into nothing', () => sp.scatter(sp.zeros([0, 2]), int([0, 1]), sp.ones([2, 2])), [0, 2], []],
  [
    'scatter over NaN, past a losing NaN',
    () => sp.scatter(sp.tensor([nan, 1]), int([0, 0]), sp.tensor([nan, 5])),
    [2],
    [5, 1],
  ],
  [
    'scatter added',
    () => sp.scatter(m(3), int([1, 1, 0, 3, -1]), sp.tensor([10, 20, 30, 40, 50]), { mode: 'add' }),
    [3],
    [30, 31, 2],
  ],
  ['segmentSum', () => sp.segmentSum(sp.tensor([1, 2, 4, 8]), int([0, 2, 0, 5]), 3), [3], [5, 0, 2]],
  ['segmentSum of rows', () => sp.segmentSum(m(3, 2), int([1, 1, 0]), 2), [2, 2], [4, 5, 2, 4]],
  ['segmentSum of nothing', () => sp.segmentSum(sp.zeros([0, 2]), int([]), 2), [2, 2], [0, 0, 0, 0]],
])

test('scatter against a loop', async () => {
  const r = new Rng(3)
  for (let i = 0; i < 20; i++) {
    const [rows, n] = [r.int(1, 6), r.int(0, 12)]
    const index = Array.from({ length: n }, () => r.int(-1, rows))
    const expected = Array.from({ length: rows }, (_, k) => 100 + k)
    index.forEach((k, update) => {
      if (k >= 0 && k < rows) expected[k] = update
    })
    const x = sp.arange(100, 100 + rows)
    expect(await sp.scatter(x, int(index), sp.arange(n)).array(), `${index}`).toEqual(expected)
  }
})

test('the dtype follows tensor and updates', () => {
  const bools = sp.tensor([true, false])
  expect(sp.scatter(bools, int([0]), sp.tensor([false])).dtype).toBe('bool')
  expect(sp.scatter(sp.arange(2), int([0]), sp.tensor([1], { dtype: 'float64' })).dtype).toBe('float64')
  expect(sp.scatter(sp.ones([2], 'float64'), int([0]), 1, { mode: 'add' }).dtype).toBe('float64')
})
