/** Elements replaced by position: values that numpy finds, and dtypes. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { testValues } from './rows.js'

const { NaN: nan, POSITIVE_INFINITY: inf } = Number
const m = (...shape: number[]): sp.Tensor => sp.reshape(sp.arange(shape.reduce((n, s) => n * s, 1)), shape)

testValues([
  ['setAt one element', () => sp.setAt(m(2, 2), [1, 0], 9), [2, 2], [0, 1, 9, 3]],
  ['setAt a row', () => sp.setAt(m(2, 3), [-1], sp.tensor([7, 8, 9])), [2, 3], [0, 1, 2, 7, 8, 9]],
  ['setAt a column with one value', () => sp.setAt(m(2, 3), ['...', 1], sp.tensor([7])), [2, 3], [0, 7, 2, 3, 7, 5]],
  ['setAt with a step', () => sp.setAt(m(5), [[1, null, 2]], sp.tensor([7, 8])), [5], [0, 7, 2, 8, 4]],
  ['setAt with a negative step', () => sp.setAt(m(5), [[null, null, -2]], sp.tensor([7, 8, 9])), [5], [9, 1, 8, 3, 7]],
  ['setAt with a new axis', () => sp.setAt(m(3), [null, [0, 2]], sp.tensor([[7, 8]])), [3], [7, 8, 2]],
  ['setAt of nothing', () => sp.setAt(m(3), [[2, 1]], 9), [3], [0, 1, 2]],
  ['setAt of everything', () => sp.setAt(m(2), [], 9), [2], [9, 9]],
  ['setAt of a scalar', () => sp.setAt(sp.tensor(1), [], sp.tensor(9)), [], [9]],
  ['setAt in place of NaN', () => sp.setAt(sp.tensor([nan, 1]), [0], 2), [2], [2, 1]],
  ['setAt with NaN beside', () => sp.setAt(sp.tensor([inf, 1]), [1], nan), [2], [inf, nan]],
  ['addAt', () => sp.addAt(m(2, 3), [0, [1, null]], sp.tensor([10, 20])), [2, 3], [0, 11, 22, 3, 4, 5]],
  ['addAt a number', () => sp.addAt(m(3), [[null, null, -2]], 10), [3], [10, 1, 12]],
  ['addAt infinity beside infinity', () => sp.addAt(sp.tensor([inf, 1]), [1], -inf), [2], [inf, -inf]],
])

test('the dtype follows tensor and value', () => {
  const x = sp.arange(3)
  expect(sp.setAt(x, [0], 5).dtype).toBe('int32')
  expect(sp.setAt(x, [0], 0.5).dtype).toBe('float32')
  expect(sp.addAt(x, [0], sp.tensor(1, { dtype: 'float64' })).dtype).toBe('float64')
  expect(sp.setAt(sp.tensor([true]), [0], false).dtype).toBe('bool')
})

test('x stays as it was', async () => {
  const x = sp.tensor([1, 2])
  x.setAt([0], 5)
  expect(await x.array()).toEqual([1, 2])
})
