/** Losses of the largest logits. */

import { grad, type Tensor, tensor } from 'saddlepoint'
import { dlrLoss, hinge, marginLoss, multiclassHinge } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose } from '../oracle/close.js'
import { wave } from './wave.js'

const f64 = (values: number[] | number[][]): Tensor => tensor(values, { dtype: 'float64' })
const ints = (values: number[]): Tensor => tensor(values, { dtype: 'int32' })
const none = { reduction: 'none' } as const

// A confident classifier's probabilities of the classes; those of losses.test.ts.
const p = [
  2.9802322e-8, 3.9100647e-4, 8.3446503e-7, 7.8368187e-4, 3.361702e-5, 9.9810326e-1, 8.8602304e-5, 7.6818466e-4,
  5.9614644e-7, 9.8974469e-6,
]

describe.each(['float64', 'float32'] as const)('a confident classifier, %s', dtype => {
  const z = tensor([p.map(Math.log)], { dtype })
  const tolerance = dtype === 'float64' ? 3e-8 : 1e-6
  test('margin', () => expectClose(marginLoss(z, ints([0])), 17.326781, tolerance))
  test('DLR', () => expectClose(dlrLoss(z, ints([5])), -0.9972142, tolerance))
  test('targeted DLR', () => expectClose(dlrLoss(z, ints([5]), { targets: ints([0]) }), -2.308011, tolerance))
})

const z = f64([
  [1, 4, 2, -3],
  [0, 1, 7, 5],
])

test('margin, clipped at -kappa, and the hinge of Crammer and Singer', async () => {
  const labels = ints([0, 2])
  await expectClose(marginLoss(z, labels, none), [3, -2])
  await expectClose(marginLoss(z, labels, { ...none, kappa: 1.5 }), [3, -1.5])
  await expectClose(marginLoss(z, labels, { ...none, kappa: 0 }), [3, 0])
  await expectClose(multiclassHinge(z, labels, none), [4, 0])
  await expectClose(multiclassHinge(z, ints([1, 3]), none), [0, 3])
  await expectClose(marginLoss(z, labels), 0.5)
  await expectClose(marginLoss(z, labels, { weights: f64([1, 3]) }), -0.75)
  const g = grad((z: Tensor) => marginLoss(z, labels, { reduction: 'sum', kappa: 1.5 }))(z)
  await expectClose(g, [
    [-1, 1, 0, 0],
    [0, 0, 0, 0],
  ])
})

test('DLR divides by what lies between the first and the third', async () => {
  await expectClose(dlrLoss(z, ints([0, 2]), none), [3 / 3, -2 / 6])
  await expectClose(dlrLoss(z, ints([1, 1]), none), [-2 / 3, 6 / 6])
  await expectClose(dlrLoss(z, ints([1, 2]), { ...none, targets: ints([0, 3]) }), [-3 / (4 + 1), -2 / (7 - 0.5)])
  const scaled = z.mul(100).add(7)
  await expectClose(dlrLoss(scaled, ints([1, 1])), dlrLoss(z, ints([1, 1])))
})

test('hinge', async () => {
  const x = f64([[0.5, -2, 3]])
  const expected = (0.5 + 0 + 4) / 3
  await expectClose(hinge(x, tensor([[true, false, false]])), expected)
  await expectClose(hinge(x, tensor([[1, -1, -1]], { dtype: 'int32' })), expected)
  await expectClose(hinge(x, f64([[1, -1, -1]]), none), [expected])
})

test('a sequence of classes, and one that does not exist', async () => {
  const rows = wave(1.9, 2, 3, 4)
  const labels = ints([0, 1, 2, 3, 4, -1]).reshape([2, 3])
  for (const loss of [marginLoss, multiclassHinge, dlrLoss]) {
    const each = loss(rows, labels, none)
    expect(each.shape).toEqual([2, 3])
    const flat = await each.flatten().data()
    expect([...flat].map(Number.isNaN)).toEqual([false, false, false, false, true, true])
    await expectClose(loss(rows.at(1, 0), ints([3]).at(0)), flat[3])
    // Also where the divisor of DLR is 0.
    await expectClose(loss(f64([[1, 1, 1]]), ints([5])), Number.NaN)
  }
  await expectClose(dlrLoss(rows, ints([0, 1, 2, 3, 0, 1]).reshape([2, 3]), { targets: labels, reduction: 'sum' }), NaN)
})

test('wrong arguments are named', () => {
  const [two, labels] = [f64([[1, 2]]), ints([0])]
  expect(() => marginLoss(f64([[1]]), labels)).toThrow('marginLoss: needs 2 classes or more, got 1 in logits [1,1]')
  expect(() => multiclassHinge(f64([[1]]), labels)).toThrow('multiclassHinge: needs 2 classes or more')
  expect(() => dlrLoss(two, labels)).toThrow('dlrLoss: needs 3 classes or more, got 2 in logits [1,2]')
  expect(() => dlrLoss(f64([[1, 2, 3]]), labels, { targets: labels })).toThrow(
    'dlrLoss: needs 4 classes or more, got 3',
  )
  expect(() => dlrLoss(z, ints([1, 2]), { targets: ints([1]) })).toThrow('dlrLoss: for logits [2,4]')
  expect(() => marginLoss(two, two)).toThrow(
    'marginLoss: for logits [1,2], labels must be int32[1] (classes), got float64[1,2]',
  )
  expect(() => marginLoss(two, labels, { kappa: -1 })).toThrow('marginLoss: kappa must be a number >= 0, not -1')
  expect(() => hinge(two, f64([1]))).toThrow('hinge: logits and targets differ in shape: [1,2] and [1]')
})
