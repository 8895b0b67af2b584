/** Indices that repeat, are out of range or are none at all: value and derivatives to order 3. */

import * as sp from 'saddlepoint'
import { describe } from 'vitest'
import { t, testAwkward } from './derivatives.js'

type Tensor = sp.Tensor
const { POSITIVE_INFINITY: inf, NaN: nan } = Number
const ints = (...values: number[]): Tensor => sp.tensor(values, { dtype: 'int32' })
const square = (f: (x: Tensor) => Tensor) => (x: Tensor) => sp.square(f(x))
const none = [0, 0]

describe('take', () => {
  testAwkward([
    ['take out of range', x => sp.take(x, ints(5, -1, 0)), [2, 3], [nan, nan, 2], [1, 0], none, none],
    ['take of one row twice', square(x => sp.take(x, ints(1, 1, 0))), [2, 3], [9, 9, 4], [4, 12], [2, 4], none],
    ['take at no index', x => sp.take(x, ints()), [2, 3], [], none, none, none],
    [
      'takeAlongAxis of one element twice',
      square(x => sp.takeAlongAxis(x, ints(1, 1, 0))),
      [2, 3],
      [9, 9, 4],
      [4, 12],
      [2, 4],
      none,
    ],
  ])
})

describe('scatter', () => {
  const updated = (...index: number[]) => square(x => sp.scatter(sp.zeros([2], 'float64'), ints(...index), x))
  testAwkward([
    ['scatter, updates that lose', updated(0, 0, 1), [1, 2, 3], [4, 9], [0, 4, 6], [0, 2, 2], [0, 0, 0]],
    ['scatter, updates out of range', updated(-1, 2, 1), [1, 2, 3], [0, 9], [0, 0, 6], [0, 0, 2], [0, 0, 0]],
    ['scatter, an infinite update that loses', updated(0, 0), [inf, 3], [9, 0], [0, 6], [0, 2], none],
    ['scatter, rows overwritten', x => sp.scatter(sp.square(x), ints(0, 0), 7), [2, 3], [7, 9], [0, 6], [0, 2], none],
    [
      'scatter, log 0 overwritten',
      x => sp.scatter(sp.log(x), ints(0), 7),
      [0, 2],
      [7, Math.LN2],
      [0, 1 / 2],
      [0, -1 / 4],
      [0, 1 / 4],
    ],
    ['scatter of nothing', square(x => sp.scatter(x, ints(), t([]))), [2, 3], [4, 9], [4, 6], [2, 2], none],
    ['scatter of itself, reversed', square(x => sp.scatter(x, ints(1, 0), x)), [2, 3], [9, 4], [4, 6], [2, 2], none],
    [
      'scatter added twice to one row',
      square(x => sp.scatter(x, ints(0, 0), x, { mode: 'add' })),
      [1, 2],
      [16, 4],
      [16, 12],
      [12, 8],
      none,
    ],
    [
      'scatter added out of range',
      square(x => sp.scatter(x, ints(-1, 2), x, { mode: 'add' })),
      [1, 2],
      [1, 4],
      [2, 4],
      [2, 2],
      none,
    ],
  ])
})

describe('segmentSum', () => {
  testAwkward([
    [
      'segmentSum with an infinity in another segment',
      x => sp.segmentSum(x, ints(0, 1, 1), 2),
      [inf, 1, 2],
      [inf, 3],
      [1, 1, 1],
      [0, 0, 0],
      [0, 0, 0],
    ],
    [
      'segmentSum, ids out of range',
      square(x => sp.segmentSum(x, ints(-1, 2, 0), 2)),
      [1, 2, 3],
      [9, 0],
      [0, 0, 6],
      [0, 0, 2],
      [0, 0, 0],
    ],
    ['segmentSum of nothing', x => sp.segmentSum(x, ints(), 2), [], none, [], [], []],
    ['scatterAdd of nothing', x => sp.scatterAdd(ints(), x, 2), [], none, [], [], []],
  ])
})
