/** What becomes of common expressions: how many kernels, and which of them are recognised as matrix products. */

import * as sp from 'saddlepoint'
import { LayerNorm } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { costOf } from '../../src/compiler/cost.js'
import { schedule } from '../../src/compiler/schedule.js'

type Tensor = sp.Tensor
const r = (...shape: number[]): Tensor =>
  sp.tensor(new Float32Array(shape.reduce((n, s) => n * s, 1)).fill(0.5), { shape })
const labels = sp.tensor([0, 1, 2, 0], { dtype: 'int32' })
const order = sp.tensor([3, 1, 0, 2], { dtype: 'int32' })

const kernelsOf = async (t: unknown): Promise<{ kernels: number; contractions: number }> => {
  const { schedule } = await sp.inspect(t)
  return {
    kernels: schedule.split('\n').filter(line => / over \[/.test(line) && !line.startsWith(' ')).length,
    contractions: schedule.split('(contraction)').length - 1,
  }
}
const crossEntropy = (logits: Tensor): Tensor =>
  sp.neg(sp.mean(sp.takeAlongAxis(sp.logSoftmax(logits), sp.reshape(labels, [4, 1]))))

const differences = (t: Tensor): Tensor => sp.sub(t.at([], [1, null]), t.at([], [0, -1]))

describe('kernels', () => {
  const x = r(4, 8)
  const w = r(8, 3)
  const square = r(8, 8)
  const rows: readonly [string, () => unknown, number, number][] = [
    ['a chain of element-wise operations', () => sp.mul(sp.tanh(sp.add(x, 1)), sp.exp(x)), 1, 0],
    ['movement between them', () => sp.mul(sp.flip(sp.at(sp.permuteDims(sp.exp(x), [1, 0]), [0, 4])), r(4, 4)), 1, 0],
    [
      'cheap values under padding',
      () =>
        sp.exp(
          sp.pad(sp.neg(x), [
            [1, 1],
            [0, 0],
          ]),
        ),
      1,
      0,
    ],
    [
      'a convolution with bias and activation',
      () => sp.relu(sp.add(sp.conv2d(r(2, 6, 6, 3), r(3, 3, 3, 4)), r(4))),
      1,
      1,
    ],
    ['a reduction with prologue and epilogue', () => sp.sqrt(sp.sum(sp.square(x), { axis: 1 })), 1, 0],
    ['a linear layer with bias and activation', () => sp.relu(sp.add(sp.matmul(x, w), r(3))), 1, 1],
    ['a transposed operand', () => sp.matmul(sp.matrixTranspose(w), sp.matrixTranspose(x)), 1, 1],
    [
      'the padded copy for a convolution',
      () => sp.relu(sp.add(sp.conv2d(r(2, 6, 6, 3), r(3, 3, 3, 4), { padding: 'same' }), r(4))),
      2,
      1,
    ],
    ['softmax', () => sp.softmax(x), 4, 0],
    // The mean, two more sums in one pass, and the result: differences from what a row shares are computed again.
    ['layer normalisation', () => new LayerNorm(8).apply(x), 3, 0],
    ['neighbours of what is dear', () => differences(sp.tanh(x)), 2, 0],
    ['neighbours of what is cheap', () => differences(sp.mul(x, 2)), 1, 0],
    ['what is dear beside itself turned round', () => sp.mul(sp.tanh(x), sp.flip(sp.tanh(x))), 2, 0],
    ['what is dear beside its transpose', () => sp.mul(sp.tanh(square), sp.tanh(square).matrixTranspose()), 2, 0],
    ['what is dear in two orders', () => sp.add(sp.take(sp.tanh(x), labels), sp.take(sp.tanh(x), order)), 2, 0],
    ['a few rows of what is dear', () => sp.mul(sp.take(sp.exp(sp.tanh(r(99, 8))), labels), 2), 1, 0],
    ['halves of what is dear', () => sp.split(sp.exp(sp.tanh(x)), 2, 1).reduce((a, b) => sp.mul(a, b)), 1, 0],
    ['an embedding and what follows', () => sp.mul(sp.take(x, labels), 2), 1, 0],
    ['max pooling, overlapping', () => sp.maxPool2d(r(1, 6, 6, 2), 3, { stride: 1 }), 1, 0],
    ['random numbers', () => sp.random.normal(sp.random.key(1), [100]), 1, 0],
    ['gradients of a linear layer', () => sp.grad((w: Tensor) => crossEntropy(sp.matmul(x, w)))(w), 9, 2],
  ]
  test.each(rows)('%s', async (_, make, kernels, contractions) => {
    const got = await kernelsOf(make())
    expect(got.kernels).toBe(kernels)
    expect(got.contractions).toBe(contractions)
  })
})

test('what only its own kernel reads is no buffer: few are enough for a long expression with shared parts', () => {
  const numbers = sp.random.normal(sp.random.key(1), [100])
  expect(schedule(canonicalize([numbers.node]), 8).kernels).toHaveLength(1)
})

test('a root that is safe to differentiate is a plain one when it is computed; a choice of another kind is not', async () => {
  const x = sp.tensor([4, 0, 9])
  const zero = sp.equal(x, 0)
  const guarded = (otherwise: number, inside: number): Tensor =>
    sp.where(zero, otherwise, sp.sqrt(sp.where(zero, inside, x)))
  expect((await sp.inspect(guarded(0, 1))).schedule).not.toContain('select')
  expect(await guarded(0, 1).array()).toEqual([2, 0, 3])
  expect(await guarded(5, 1).array()).toEqual([2, 5, 3])
  const other = sp.where(zero, 0, sp.sqrt(sp.where(sp.equal(x, 4), 1, x)))
  expect(await other.array()).toEqual([1, 0, 3])
  const slope = (x: Tensor): Tensor => sp.where(sp.equal(x, 0), 0, sp.sqrt(sp.where(sp.equal(x, 0), 1, x)))
  expect(
    await sp
      .grad((x: Tensor) => slope(x).sum())(x)
      .array(),
  ).toEqual([0.25, 0, Math.fround(1 / 6)])
})

const places = (step: number): Tensor =>
  sp.tensor(
    Int32Array.from({ length: 4000 }, (_, i) => (i * step) % 4000),
    { dtype: 'int32' },
  )
const [thirds, sevenths] = [places(3), places(7)]
const transposed = (t: Tensor, rows: number): Tensor => t.reshape([rows, -1]).matrixTranspose().reshape([-1])
const twice: readonly [string, (t: Tensor, i: number) => Tensor][] = [
  ['moved', (t, i) => sp.add(t, sp.pad(t.at([0, -(2 ** i)]), [[2 ** i, 0]]))],
  ['in two orders', t => sp.add(sp.take(t, thirds), sp.take(t, sevenths))],
  ['transposed as two shapes', t => sp.add(transposed(t, 2), transposed(t, 2000))],
]
test.each(twice)('what is read at two places again and again does not double in cost each time: %s', (_, next) => {
  let total = sp.tanh(r(4000))
  const steps = 10
  for (let i = 0; i < steps; i++) total = next(total, i)
  const { kernels, buffers } = schedule(canonicalize([total.node]))
  const flops = kernels.reduce((sum, kernel) => sum + costOf(kernel, buffers, () => 4).flops, 0)
  expect(flops).toBeLessThanOrEqual(3 * steps * total.size)
})

test('a choice that is known is none, as between windows and a padding that they do not have', async () => {
  const [x, y] = [r(4, 8), r(4, 8)]
  expect(sp.where(sp.ones([4, 8], 'bool'), x, y).node).toBe(x.node)
  expect(sp.where(sp.zeros([4, 8], 'bool'), x, y).node).toBe(y.node)
  const images = r(2, 6, 6, 3)
  expect((await sp.inspect(sp.maxPool2d(images, 2))).graph).not.toContain('where')
  expect((await sp.inspect(sp.maxPool2d(images, 3, { padding: 1 }))).graph).toContain('where')
})

test('nothing is stored that is not asked for', async () => {
  const x = r(4, 8)
  const { schedule } = await sp.inspect(sp.sum(sp.exp(sp.mul(x, 2))))
  expect(schedule).not.toContain('temporary')
})

test('a kernel has a limit: long chains are computed in several', async () => {
  const x = sp.tensor([0.3], { dtype: 'float64' })
  let [waves, wrapped, sines] = [x, x, 0.3]
  for (let i = 0; i < 1200; i++) {
    waves = sp.sin(waves)
    wrapped = sp.add(sp.remainder(wrapped, 0.7), 0.25)
    sines = Math.sin(sines)
  }
  expect(await waves.item()).toBeCloseTo(sines, 12)
  expect(await wrapped.item()).toBeGreaterThan(0.2)
})
