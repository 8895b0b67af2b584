/** Reductions on the webgpu device: rows, columns, short and long loops, splits, epilogues, types. */

import * as sp from 'saddlepoint'
import { BatchNorm, LayerNorm } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { expectClose, expectEqual, type Make, onGpu, type Programs } from './against-reference.js'

const { grad, random, tensor } = sp

/** Reductions that one kernel makes. */
const totals = (a: sp.Tensor, b: sp.Tensor, axis: number): sp.Tensor =>
  sp.concat([a.sum({ axis }), a.mul(b).sum({ axis }), a.max({ axis }), b.min({ axis })])

const floating: Programs = {
  'one element': u => u(1, 1).sum(),
  'few elements': u => u(1, 7).sum(),
  'a row of one workgroup': u => u(1, 1000).square().sum(),
  'all of a matrix': u => u(1, 300, 333).square().sum(),
  'a million': u => u(1, 1_000_000).sum(),
  'a prime number': u => u(1, 100_003).square().sum(),
  rows: u => u(1, 70, 455).square().sum({ axis: 1 }),
  'many short rows': u => u(1, 9000, 5).sum({ axis: 1 }),
  'many rows': u => u(1, 5000, 40).sum({ axis: 1 }),
  'few long rows': u => u(1, 3, 50_000).sum({ axis: 1 }),
  columns: u => u(1, 700, 45).square().sum({ axis: 0 }),
  'few long columns': u => u(1, 40_000, 3).sum({ axis: 0 }),
  'many columns': u => u(1, 6, 9000).sum({ axis: 0 }),
  'columns of images': u => u(1, 8, 27, 26, 16).sum({ axis: [0, 1, 2] }),
  'a middle axis': u => u(1, 9, 50, 37).sum({ axis: 1 }),
  'outer axes': u => u(1, 9, 50, 37).sum({ axis: [0, 2] }),
  'outer axes, long': u => u(1, 60, 3, 700).sum({ axis: [0, 2] }),
  'axes in another order': u =>
    u(1, 30, 40, 50)
      .permuteDims([2, 0, 1])
      .sum({ axis: [0, 2] }),
  'under padding': u =>
    u(1, 33, 50)
      .pad([
        [1, 2],
        [3, 40],
      ])
      .square()
      .sum({ axis: 1 }),
  product: u => u(1, 50, 37).add(1.5).prod({ axis: 1 }),
  'product, split': u => u(1, 20_000).mul(0.01).add(1).prod(),
  'rows of an expression that is the same in all': u =>
    u(1, 40, 1)
      .exp()
      .mul(u(2, 40, 300))
      .sum({ axis: 1 }),
  'with an epilogue that reads other values': u => u(1, 70, 455).sum({ axis: 1 }).add(u(2, 70)).tanh().mul(u(3, 70)),
  'with an epilogue, split': u => u(1, 4, 30_000).sum({ axis: 1 }).mul(u(2, 4)).relu(),
  'with two results': u => {
    const s = u(1, 70, 455).sum({ axis: 1 })
    return sp.concat([s.tanh(), s.square()])
  },
  'several totals of rows': u => totals(u(1, 70, 455), u(2, 70, 455), 1),
  'several totals of few long rows': u => totals(u(1, 3, 50_000), u(2, 3, 50_000), 1),
  'several totals of columns': u => totals(u(1, 700, 45), u(2, 700, 45), 0),
  'several totals of many short rows': u => totals(u(1, 9000, 5), u(2, 9000, 5), 1),
  'normalised rows with their gradient': u =>
    sp.vjp((t: sp.Tensor) => new LayerNorm(200).apply(t), u(1, 60, 200))[1](u(2, 60, 200))[0],
  'normalised columns with their gradient': u =>
    sp.vjp((t: sp.Tensor) => new BatchNorm(7).apply(t, { training: true }), u(1, 4000, 7))[1](u(2, 4000, 7))[0],
  softmax: u => u(1, 60, 37).mul(5).softmax(),
  'softmax of long rows': u => u(1, 2, 9001).mul(5).softmax(),
  variance: u => u(1, 60, 37).variance({ axis: 0 }),
  'gradient of max': u => grad((x: sp.Tensor) => x.max({ axis: 1 }).square().sum())(u(1, 50, 23)),
  'max pooling': u => sp.maxPool2d(u(1, 4, 13, 13, 20), 2),
  'max pooling, overlapping': u => sp.maxPool2d(u(1, 4, 13, 13, 20), 3, { stride: 2, padding: 1 }),
  'average pooling': u => sp.avgPool2d(u(1, 4, 13, 13, 20), 3, { stride: 1, padding: 1 }),
  'second derivative through pooling': u =>
    grad((x: sp.Tensor) =>
      grad((y: sp.Tensor) => sp.maxPool2d(y, 2).pow(4).sum())(x)
        .square()
        .sum(),
    )(u(1, 2, 9, 9, 12)),
  'embedding, summed': u =>
    sp.take(u(1, 100, 33), tensor(Int32Array.from({ length: 64 }, (_, i) => (i * 79) % 100))).sum({ axis: 0 }),
  'one value many times': u => sp.broadcastTo(u(1, 1, 4), [9000, 4]).sum({ axis: 0 }),
  'constants and positions': () => sp.ones([70, 33]).mul(sp.arange(33)).sum({ axis: 1 }),
  'matrix times vector': u => sp.matmul(u(1, 300, 200), u(2, 200)),
  'vector times matrix': u => sp.matmul(u(1, 200), u(2, 200, 300)),
  'two long vectors': u => sp.matmul(u(1, 1, 60_000), u(2, 60_000, 2)),
  'conv, depthwise': u => sp.conv2d(u(1, 2, 9, 9, 8), u(2, 3, 3, 1, 8), { groups: 8 }),
}

const integers = (seed: number, ...shape: number[]): sp.Tensor => random.randint(random.key(seed), shape, -1000, 1000)
const wide = (seed: number, ...shape: number[]): sp.Tensor =>
  random.randint(random.key(seed), shape, -(2 ** 31), 2 ** 31)
/** Random numbers of which the given positions are others. */
const withValues = (u: Make, values: Readonly<Record<number, number>>, ...shape: number[]): sp.Tensor => {
  const size = shape.reduce((n, s) => n * s, 1)
  const data = new Float32Array(size).fill(Number.POSITIVE_INFINITY)
  for (const [i, v] of Object.entries(values)) data[Number(i)] = v
  const replacement = tensor(data).reshape(shape)
  return sp.where(sp.equal(replacement, Number.POSITIVE_INFINITY), u(1, ...shape), replacement)
}

const exact: Programs = {
  'sum of integers': () => integers(1, 70, 33).sum({ axis: 0 }),
  'several totals of integers': () => totals(integers(1, 70, 33), integers(2, 70, 33), 0),
  'sums wrap': () => wide(1, 30_000).sum(),
  'products wrap': () => wide(1, 60, 33).prod({ axis: 1 }),
  'max of integers': () => wide(1, 60, 33).max({ axis: 1 }),
  'max of negative integers': () => wide(1, 40_000).abs().neg().minimum(-5).max(),
  'sum of uint32': () => random.bits(random.key(1), [70, 33]).sum({ axis: 1 }),
  'max of uint32': () => random.bits(random.key(1), [20_000]).max(),
  any: () => integers(1, 70, 33).greater(990).any({ axis: 1 }),
  all: () => integers(1, 70, 33).less(990).all({ axis: 0 }),
  count: () => integers(1, 50_000).greater(0).sum(),
  'max of rows': u => u(1, 70, 45).max({ axis: 1 }),
  'max of columns': u => u(1, 70, 45).max({ axis: 0 }),
  'max of negative numbers': u => u(1, 100_003).abs().neg().sub(1).max(),
  'max of -Infinity': () => tensor(new Float32Array(300).fill(Number.NEGATIVE_INFINITY)).max(),
  'max with NaN': u => withValues(u, { 77: Number.NaN, 400: Number.NaN }, 10, 50).max({ axis: 1 }),
  'max with NaN, split': u => withValues(u, { 39999: Number.NaN }, 2, 40_000).max({ axis: 1 }),
  argmax: u => u(1, 50, 33).argmax({ axis: 1 }),
  'sum with NaN': u => withValues(u, { 7: Number.NaN }, 3, 5).mul(8).round().sum({ axis: 1 }),
  'sum of nothing': () => sp.zeros([3, 0]).sum({ axis: 1 }),
  'product of nothing': u => sp.at(u(1, 3, 5), null, [2, 2]).prod({ axis: 1 }),
}

describe('float32', () => {
  test.each(Object.entries(floating))('%s', (_, program) => expectClose(program, 2e-6, 'float32'))
})

describe('float64', () => {
  const names = [
    'few elements',
    'rows',
    'columns',
    'a prime number',
    'product',
    'with an epilogue, split',
    'several totals of rows',
    'several totals of few long rows',
    'vector times matrix',
  ]
  test.each(names)('%s', name => expectClose(floating[name], 1e-13, 'float64'))
  test('max with NaN', () => expectEqual(u => withValues(u, { 77: Number.NaN }, 10, 50).max({ axis: 1 }), 'float64'))
})

test('float16', () => expectClose(u => u(1, 70, 455).astype('float16').sum({ axis: 1 }), 1e-3, 'float32'))

describe('to the bit', () => {
  test.each(Object.entries(exact))('%s', (_, program) => expectEqual(program))
})

test('a sum of millions of float32 stays accurate', async () => {
  await onGpu()
  const got = await sp
    .full([3_000_000], 0.1)
    .add(random.uniform(random.key(1), [3_000_000]).mul(0))
    .sum()
    .item()
  expect(Math.abs(got / (3_000_000 * Math.fround(0.1)) - 1)).toBeLessThan(1e-6)
})

test('the same sum twice gives the same bits', async () => {
  await onGpu()
  const x = random.uniform(random.key(1), [200_001])
  const [a, b] = [await x.sum().item(), await x.add(0).sum().item()]
  expect(a).toBe(b)
})
