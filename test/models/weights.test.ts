/** Stored weights into the leaves of models: layouts, and what is said where they do not fit. */

import { random, tensor, zeros } from 'saddlepoint'
import { fromFlattened, fromOihw, fromOutIn, loadWeights, type WeightMap } from 'saddlepoint/models'
import { Linear } from 'saddlepoint/nn'
import { expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'

const host = (shape: number[], from = 0) => ({
  dtype: 'float32' as const,
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => from + i),
})
const map: WeightMap = [
  [/^(.*)weight$/, '$1kernel', fromOutIn],
  [/^(.*)bias$/, '$1bias'],
]
const model = () => ({ body: new Linear(2, 3, { key: random.key(0) }), head: new Linear(3, 1, { key: random.key(1) }) })
const stored = {
  'body.kernel:0': host([3, 2]),
  'body.bias': host([3], 10),
  'head.kernel': host([1, 3], 20),
  'head.bias': host([1], 30),
}

test('leaves by name, in place, laid out anew', async () => {
  const m = model()
  expect(await loadWeights(m, stored, map)).toBe(m)
  await expectClose(m.body.weight, [
    [0, 2, 4],
    [1, 3, 5],
  ])
  await expectClose(m.head.apply(m.body.apply(tensor([[1, 1]]))), [[20 * 11 + 21 * 16 + 22 * 21 + 30]])
})

test('floats become the dtype of the leaf; integers do not', async () => {
  const m = { bias: zeros([2], 'float64') }
  await loadWeights(m, { bias: host([2], 1) }, map)
  await expectClose(m.bias, [1, 2])
  const integers = { dtype: 'int32', shape: [2], data: Int32Array.of(1, 2) } as const
  await expect(loadWeights(m, { bias: integers }, map)).rejects.toThrow('bias is int32[2], but bias is float64[2]')
})

test('everything that does not fit is listed, and nothing is loaded', async () => {
  const m = model()
  const before = await m.head.bias?.data()
  const wrong = { 'body.kernel': host([2]), 'head.kernel': host([3, 1]), 'head.bias': host([1], 9), other: host([1]) }
  await expect(loadWeights({ ...m, extra: zeros([1]) }, wrong, map)).rejects.toThrow(
    'loadWeights: missing: body.bias (for body.bias), extra (not in the map); unexpected: other; of another shape or ' +
      'dtype: body.kernel is float32[2], but body.weight is float32[2,3], head.kernel is float32[3,1], laid out [1,3], ' +
      'but head.weight is float32[3,1]; nothing was loaded',
  )
  expect(await m.head.bias?.data()).toEqual(before)
})

test('what may be left over or stay', async () => {
  const m = model()
  const { 'head.bias': _, ...rest } = stored
  await loadWeights(m, { ...rest, 'body.steps': host([1]) }, map, { ignore: /steps$/, keep: /^head\./ })
  await expectClose(m.head.weight, [[20], [21], [22]])
  await expect(loadWeights(m, rest, map)).rejects.toThrow('missing: head.bias')
})

test('a pattern stands for the whole name of a leaf', async () => {
  const bias = zeros([1])
  await expect(loadWeights({ bias }, { bias: host([1]) }, [[/ias/, 'bias']])).rejects.toThrow('bias (not in the map)')
  await loadWeights({ bias }, { bias: host([1], 3) }, [
    [/ias/, 'other'],
    [/bias/, 'bias'],
  ])
  await expectClose(bias, [3])
})

test('layouts', async () => {
  await expectClose(fromOihw(tensor(host([1, 2, 1, 3]))), [
    [
      [[0], [3]],
      [[1], [4]],
      [[2], [5]],
    ],
  ])
  // Two channels of 1 x 3 pixels: channels first they are 0 1 2, 3 4 5.
  await expectClose(fromFlattened(2, 1, 3)(tensor(host([1, 6]))), [[0], [3], [1], [4], [2], [5]])
})
