/** Products, norms and running sums: values, dtypes and shapes. What all reductions share is in operations.test.ts. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
const f64 = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })
const int = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'int32' })
const cube = f64([
  [
    [1, 2],
    [3, 4],
  ],
  [
    [5, 6],
    [7, 8],
  ],
])

const rows: readonly [string, () => Tensor, sp.NestedArray][] = [
  ['prod', () => cube.prod(), 40320],
  [
    'prod along the middle axis',
    () => cube.prod({ axis: 1 }),
    [
      [3, 8],
      [35, 48],
    ],
  ],
  ['prod along two axes', () => cube.prod({ axis: [0, -1] }), [60, 672]],
  ['prod keeping axes', () => cube.prod({ axis: [2, 0], keepdims: true }), [[[60], [672]]]],
  ['prod of a scalar', () => sp.prod(f64(3)), 3],
  ['prod of no axes', () => sp.prod(f64([3, 4]), { axis: [] }), [3, 4]],
  [
    'prod of integers wraps',
    () => sp.prod(int(Array.from({ length: 40 }, () => 3))),
    Number(BigInt.asIntN(32, 3n ** 40n)),
  ],
  ['prod of unsigned integers', () => sp.prod(sp.tensor(new Uint32Array([65535, 65537]))), 4294967295],
  [
    'prod of booleans',
    () =>
      sp.prod(
        sp.tensor([
          [true, true],
          [true, false],
        ]),
        { axis: 1 },
      ),
    [1, 0],
  ],
  [
    'var by both names',
    () => sp.stack([cube.var(), sp.variance(cube), cube.var({ correction: 8 })]),
    [5.25, 5.25, Infinity],
  ],
  ['norm', () => f64([3, -4]).vectorNorm(), 5],
  ['norm of order 1', () => sp.vectorNorm(f64([3, -4]), { ord: 1 }), 7],
  ['norm of order ∞', () => sp.vectorNorm(f64([3, -4]), { ord: Infinity }), 4],
  ['norm of order 3', () => sp.vectorNorm(f64([3, -4, 5]), { ord: 3 }), 6],
  ['norm of order 1/2', () => sp.vectorNorm(f64([4, -9, 0]), { ord: 0.5 }), 25],
  [
    'norm along an axis',
    () =>
      sp.vectorNorm(
        f64([
          [3, -4],
          [0, 0],
        ]),
        { axis: 1, keepdims: true },
      ),
    [[5], [0]],
  ],
  ['norm of integers', () => sp.vectorNorm(int([3, -4])), 5],
  ['norm of order 10 near overflow', () => sp.div(sp.vectorNorm(f64([1e40, 1e40]), { ord: 10 }), 1e40), 2 ** 0.1],
  ['cumulativeSum', () => sp.cumulativeSum(f64([1, 2, 3])), [1, 3, 6]],
  [
    'cumulativeSum along axis 0',
    () =>
      sp.cumulativeSum(
        f64([
          [1, 2],
          [3, 4],
        ]),
        { axis: 0 },
      ),
    [
      [1, 2],
      [4, 6],
    ],
  ],
  [
    'cumulativeSum from 0',
    () =>
      sp.cumulativeSum(
        f64([
          [1, 2],
          [3, 4],
        ]),
        { axis: -1, includeInitial: true },
      ),
    [
      [0, 1, 3],
      [0, 3, 7],
    ],
  ],
  ['cumulativeSum of nothing from 0', () => sp.cumulativeSum(f64([]), { includeInitial: true }), [0]],
  ['cumulativeSum of booleans', () => sp.cumulativeSum(sp.tensor([true, false, true])), [1, 1, 2]],
  ['cumulativeSum of integers wraps', () => sp.cumulativeSum(int([2 ** 31 - 1, 1])), [2 ** 31 - 1, -(2 ** 31)]],
  ['logsumexp of large logits', () => sp.logsumexp(f64([1e4, 1e4])), 1e4 + Math.LN2],
]
test.each(rows)('%s', async (_, f, want) => {
  await expectClose(f(), want, 1e-14)
})

test('dtypes', () => {
  expect(sp.prod(int([1, 2])).dtype).toBe('int32')
  expect(sp.prod(sp.tensor([true])).dtype).toBe('int32')
  expect(sp.prod(sp.ones([3])).dtype).toBe('float32')
  expect(sp.vectorNorm(int([1])).dtype).toBe('float32')
  expect(sp.vectorNorm(f64([1]), { ord: 3 }).dtype).toBe('float64')
  expect(sp.cumulativeSum(sp.tensor([true])).dtype).toBe('int32')
  expect(sp.cumulativeSum(int([1]), { dtype: 'float64' }).dtype).toBe('float64')
})

describe.each(['reference', 'wasm'] as const)('lengths on %s', name => {
  const lengths = [1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 1000, 1025, 33000]
  test.each(lengths)('%i', async n => {
    await sp.setDevice(name)
    const r = new Rng(n)
    const values = Float64Array.from({ length: 2 * n }, () => r.normal())
    const x = sp.tensor(values, { shape: [2, n] })
    const sums = [0, 1].flatMap(row => {
      let total = 0
      return [...values.slice(row * n, row * n + n)].map(v => (total += v))
    })
    await expectClose(sp.reshape(sp.cumulativeSum(x, { axis: 1 }), [-1]), sums, 1e-11)
    const [a, b] = [0, n].map(from => values.slice(from, from + n).reduce((p, v) => p * Math.exp(v * 1e-2), 1))
    await expectClose(sp.prod(sp.exp(sp.mul(x, 1e-2)), { axis: 1 }), [a, b], 1e-10)
  })
})
