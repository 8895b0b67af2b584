/** Tensors rearranged: values that numpy and torch find, and what happens at empty axes. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { testValues } from './rows.js'

/** 0, 1, 2, ... in a shape. */
const m = (...shape: number[]): sp.Tensor => sp.reshape(sp.arange(shape.reduce((n, s) => n * s, 1)), shape)

testValues([
  ['unstack', () => sp.unstack(m(3, 4))[1], [4], [4, 5, 6, 7]],
  ['unstack along another axis', () => sp.unstack(m(3, 4), -1)[2], [3], [2, 6, 10]],
  ['tile', () => sp.tile(m(2), [3]), [6], [0, 1, 0, 1, 0, 1]],
  ['tile with more repetitions than axes', () => sp.tile(m(2), [2, 2]), [2, 4], [0, 1, 0, 1, 0, 1, 0, 1]],
  ['tile with fewer', () => sp.tile(m(2, 2), [2]), [2, 4], [0, 1, 0, 1, 2, 3, 2, 3]],
  ['tile no times', () => sp.tile(m(2), [0]), [0], []],
  ['tile of a scalar', () => sp.tile(sp.tensor(5), [2]), [2], [5, 5]],
  ['repeat of all', () => sp.repeat(m(2, 2), 2), [8], [0, 0, 1, 1, 2, 2, 3, 3]],
  ['repeat along an axis', () => sp.repeat(m(2, 2), 2, { axis: 0 }), [4, 2], [0, 1, 0, 1, 2, 3, 2, 3]],
  [
    'repeat along the last axis',
    () => sp.repeat(m(2, 2), 3, { axis: -1 }),
    [2, 6],
    [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3],
  ],
  ['repeat no times', () => sp.repeat(m(2, 1), 0, { axis: 0 }), [0, 1], []],
  ['roll of all', () => sp.roll(m(2, 3), 1), [2, 3], [5, 0, 1, 2, 3, 4]],
  ['roll along an axis', () => sp.roll(m(2, 3), 1, { axis: 1 }), [2, 3], [2, 0, 1, 5, 3, 4]],
  ['roll back', () => sp.roll(m(4), -1, { axis: 0 }), [4], [1, 2, 3, 0]],
  ['roll by more than the size', () => sp.roll(m(3), 7), [3], [2, 0, 1]],
  [
    'roll along two axes',
    () => sp.roll(m(3, 4), [1, -1], { axis: [0, 1] }),
    [3, 4],
    [9, 10, 11, 8, 1, 2, 3, 0, 5, 6, 7, 4],
  ],
  ['roll twice along one axis', () => sp.roll(m(4), [1, 2], { axis: [0, 0] }), [4], [1, 2, 3, 0]],
  ['pad with a value by name', () => sp.pad(m(2), [[1, 2]], { value: 7 }), [5], [7, 0, 1, 7, 7]],
  ['pad by reflection', () => sp.pad(m(4), [[3, 2]], { mode: 'reflect' }), [9], [3, 2, 1, 0, 1, 2, 3, 2, 1]],
  [
    'pad by reflection of two axes',
    () =>
      sp.pad(
        m(2, 3),
        [
          [1, 0],
          [0, 2],
        ],
        { mode: 'reflect' },
      ),
    [3, 5],
    [3, 4, 5, 4, 3, 0, 1, 2, 1, 0, 3, 4, 5, 4, 3],
  ],
  [
    'pad with the edge',
    () =>
      sp.pad(
        m(2, 2),
        [
          [1, 0],
          [0, 3],
        ],
        { mode: 'edge' },
      ),
    [3, 5],
    [0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 2, 3, 3, 3, 3],
  ],
  ['pad with the edge of one element', () => sp.pad(sp.tensor([5]), [[2, 1]], { mode: 'edge' }), [4], [5, 5, 5, 5]],
  ['diagonal', () => sp.diagonal(m(3, 4)), [3], [0, 5, 10]],
  ['diagonal above', () => sp.diagonal(m(3, 4), { offset: 2 }), [2], [2, 7]],
  ['diagonal below', () => sp.diagonal(m(3, 4), { offset: -1 }), [2], [4, 9]],
  ['diagonal outside', () => sp.diagonal(m(3, 4), { offset: 4 }), [0], []],
  ['diagonal of the last two axes', () => sp.diagonal(m(2, 3, 2)), [2, 2], [0, 3, 6, 9]],
  ['diagonal of two others', () => sp.diagonal(m(2, 3, 2), { offset: 1, axis1: 0, axis2: 1 }), [2, 2], [2, 10, 3, 11]],
  ['windows', () => sp.windows(m(4), 3), [2, 3], [0, 1, 2, 1, 2, 3]],
  ['windows with a stride', () => sp.windows(m(6), 3, { stride: 2 }), [2, 3], [0, 1, 2, 2, 3, 4]],
  ['windows side by side', () => sp.windows(m(7), 3, { stride: 3 }), [2, 3], [0, 1, 2, 3, 4, 5]],
  ['windows with gaps', () => sp.windows(m(6), 2, { dilation: 3 }), [3, 2], [0, 3, 1, 4, 2, 5]],
  [
    'windows with gaps and a stride of their size',
    () => sp.windows(m(7), 2, { dilation: 3, stride: 2 }),
    [2, 2],
    [0, 3, 2, 5],
  ],
  ['windows along one axis', () => sp.windows(m(3, 2), 2, { axis: 0 }), [2, 2, 2], [0, 2, 1, 3, 2, 4, 3, 5]],
  [
    'windows along two axes',
    () => sp.windows(m(3, 4), [2, 3]),
    [2, 2, 2, 3],
    [0, 1, 2, 4, 5, 6, 1, 2, 3, 5, 6, 7, 4, 5, 6, 8, 9, 10, 5, 6, 7, 9, 10, 11],
  ],
  [
    'windows along two axes in the other order',
    () => sp.windows(m(3, 4), [3, 2], { axis: [1, 0] }),
    [2, 2, 3, 2],
    [0, 4, 1, 5, 2, 6, 1, 5, 2, 6, 3, 7, 4, 8, 5, 9, 6, 10, 5, 9, 6, 10, 7, 11],
  ],
  ['a window of everything', () => sp.windows(m(3), 3), [1, 3], [0, 1, 2]],
])

describe('axes of size 0 and 1', () => {
  const shapes = [[0], [1], [0, 3], [3, 0], [2, 1], [1, 0, 2]]
  const same: readonly [string, (x: sp.Tensor) => sp.Tensor][] = [
    [
      'flip twice',
      x =>
        sp.flip(
          sp.flip(x),
          x.shape.map((_, d) => d),
        ),
    ],
    ['roll and back', x => sp.roll(sp.roll(x, 3), -3)],
    ['roll by the size', x => sp.roll(x, x.shape, { axis: x.shape.map((_, d) => d) })],
    ['moveaxis', x => sp.moveaxis(sp.moveaxis(x, 0, -1), -1, 0)],
    [
      'permuteDims',
      x =>
        sp.permuteDims(
          x,
          x.shape.map((_, d) => d),
        ),
    ],
    ['concat of one', x => sp.concat([x])],
    ['concat of unstacked', x => (x.shape[0] ? sp.stack(sp.unstack(x)) : x)],
    ['concat with nothing', x => sp.concat([x, sp.at(x, [0, 0])])],
    ['concat of split', x => sp.concat(sp.split(x, [0]))],
    ['tile once', x => sp.tile(x, [1])],
    ['repeat once', x => sp.repeat(x, 1, { axis: 0 })],
    [
      'pad by nothing',
      x =>
        sp.pad(
          x,
          x.shape.map(() => [0, 0]),
          { mode: 'reflect' },
        ),
    ],
    [
      'pad, then cut',
      x =>
        sp.at(
          sp.pad(
            x,
            x.shape.map(() => [1, 2]),
          ),
          ...x.shape.map(() => [1, -2]),
        ),
    ],
    ['setAt of everything', x => sp.setAt(sp.zerosLike(x), [], x)],
    ['squeeze of expandDims', x => sp.squeeze(sp.expandDims(x, 1), 1)],
  ]
  for (const [name, f] of same)
    test(name, async () => {
      for (const shape of shapes) {
        const x = m(...shape)
        const y = f(x)
        expect(y.shape, `${shape}`).toEqual(shape)
        expect(await y.array()).toEqual(await x.array())
      }
    })
  test('what is left of a tensor without elements', () => {
    const x = sp.zeros([0, 3])
    expect(sp.tile(x, [2, 2]).shape).toEqual([0, 6])
    expect(sp.repeat(x, 2).shape).toEqual([0])
    expect(sp.diagonal(x).shape).toEqual([0])
    expect(sp.windows(x, 2, { axis: 1 }).shape).toEqual([0, 2, 2])
    expect(sp.unstack(x)).toEqual([])
    expect(sp.unstack(x, 1).map(y => y.shape)).toEqual([[0], [0], [0]])
    expect(sp.stack([x, x], 1).shape).toEqual([0, 2, 3])
    expect(
      sp.pad(x, [
        [1, 1],
        [0, 0],
      ]).shape,
    ).toEqual([2, 3])
    expect(sp.tril(x).shape).toEqual([0, 3])
  })
  test('dtypes stay', () => {
    for (const dtype of ['float64', 'int32', 'uint32', 'bool'] as const) {
      const x = sp.ones([3, 3], dtype)
      const made = [
        sp.tile(x, [2]),
        sp.repeat(x, 2),
        sp.roll(x, 1),
        sp.diagonal(x),
        sp.windows(x, 2),
        sp.pad(
          x,
          [
            [1, 1],
            [1, 1],
          ],
          { mode: 'reflect' },
        ),
      ]
      expect(made.map(y => y.dtype)).toEqual(made.map(() => dtype))
    }
  })
})
