/** Reductions of what one loop reads: which are made in one pass, and that they stay what they are. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { LayerNorm } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { costOf } from '../../src/compiler/cost.js'
import type { LoopKernel, Schedule } from '../../src/compiler/kernel.js'
import { schedule } from '../../src/compiler/schedule.js'
import { expectInterpreted } from '../oracle/close.js'
import { holds } from '../oracle/property.js'

type Tensor = sp.Tensor
let made = 0
/** Numbers that no other call gives. */
const x = (...shape: number[]): Tensor => {
  const phase = ++made
  const length = shape.reduce((n, s) => n * s, 1)
  const numbers = Float32Array.from({ length }, (_, i) => Math.cos(i * i + phase))
  return sp.tensor(numbers, { shape })
}
const scheduleOf = (roots: readonly Tensor[], maxBuffers?: number): Schedule =>
  schedule(canonicalize(roots.map(t => t.node)), maxBuffers)
/** How many totals each kernel has, in the order in which they run. */
const totalsOf = (roots: readonly Tensor[], maxBuffers?: number): number[] =>
  scheduleOf(roots, maxBuffers).kernels.map(k => (k as LoopKernel).reduce?.totals.length ?? 0)

const a = x(6, 40)
const b = x(6, 40)
const c = x(6, 40)
const stored = a.exp().mul(b)
const numbers = x(6, 1)
const chain = (t: Tensor, length: number): Tensor => (length ? chain(t.sin(), length - 1) : t)
const rows = { axis: 1 }
const kept = { axis: 1, keepdims: true }

describe('one kernel', () => {
  const one: readonly [string, readonly Tensor[], number[]][] = [
    ['a sum and a sum of squares', [a.sum(rows), a.square().sum(rows)], [2]],
    ['a sum, a maximum and a minimum', [a.sum(rows), a.max(rows), a.min(rows)], [3]],
    ['sums of two, and of their product', [a.sum(rows), b.sum(rows), a.mul(b).sum(rows)], [3]],
    ['with what is computed of both', [a.square().mean(rows).sub(a.mean(rows).square()).sqrt()], [2]],
    ['of what another kernel stores', [stored.sum(rows), stored.square().sum(rows)], [0, 2]],
    ['sums over columns', [a.sum({ axis: 0 }), a.mul(b).sum({ axis: 0 })], [2]],
  ]
  test.each(one)('%s', (_, roots, totals) => expect(totalsOf(roots)).toEqual(totals))
  test('normalised rows and their gradient: two passes and the result', () => {
    const [, pull] = sp.vjp((t: Tensor) => new LayerNorm(40).apply(t), a)
    expect(totalsOf(pull(b))).toEqual([1, 4, 0])
  })
  test('it reads once what both read, and adds for each', () => {
    const costs = [[a.sum(rows)], [a.square().sum(rows)], [a.sum(rows), a.square().sum(rows)]].map(roots => {
      const { kernels, buffers } = scheduleOf(roots)
      return costOf(kernels[0], buffers, () => 4)
    })
    expect(costs.map(c => c.flops)).toEqual([240, 480, 720])
    expect(costs.map(c => c.bytes)).toEqual([4 * 246, 4 * 246, 4 * 252])
  })
})

test('what a factor of a product is computed with counts once for each of its elements', () => {
  const [m, k, n] = [5, 6, 7]
  const product = (of: (t: Tensor) => Tensor): Tensor => sp.matmul(of(x(m, k)), x(k, n))
  const flops = (t: Tensor): number => {
    const { kernels, buffers } = scheduleOf([t])
    return kernels.reduce((sum, kernel) => sum + costOf(kernel, buffers, () => 4).flops, 0)
  }
  expect(flops(product(t => t))).toBe(2 * m * k * n)
  expect(flops(product(t => t.mul(3).add(1)))).toBe(2 * m * k * n + 2 * m * k)
})

describe('several kernels', () => {
  const several: readonly [string, readonly Tensor[], number[]][] = [
    ['of different numbers', [a.sum(rows), b.sum(rows)], [1, 1]],
    ['over different axes', [a.sum(rows), a.sum({ axis: 0 })], [1, 1]],
    ['of different shapes', [a.sum(rows), a.reshape([6, 2, 20]).sum(rows)], [1, 1]],
    ['of different dtypes', [a.sum(rows), a.astype('float64').sum(rows)], [1, 1]],
    ['where one needs the other', [a.sub(a.mean(kept)).square().sum(rows)], [1, 1]],
    [
      'where one needs what needs the other',
      [
        a
          .sub(stored.mul(a.mean(kept)).max(kept))
          .square()
          .sum(rows),
      ],
      [1, 1, 1],
    ],
    ['where one needs the other for another row', [sp.flip(c.sum(rows)).sub(c.square().sum(rows))], [1, 1]],
    ['that share only a number of each row', [a, b].map(t => t.mul(numbers).sum(rows)), [1, 1]],
    ['of long expressions', [3, 4].map(n => chain(a.mul(n), 30).sum(rows)), [1, 1]],
    ['more than four', [1, 2, 3, 4, 5].map(n => a.pow(n).sum(rows)), [1, 4]],
  ]
  test.each(several)('%s', (_, roots, totals) => expect(totalsOf(roots).sort()).toEqual(totals))
  test('where together they would touch more buffers than a kernel may', () => {
    const roots = [a.mul(b).sum(rows), a.mul(x(6, 40)).sum(rows)]
    expect(totalsOf(roots, 5)).toEqual([2])
    expect(totalsOf(roots, 4)).toEqual([1, 1])
  })
  const sum = a.sum(rows)
  const products = [a.mul(b), a.mul(c), b.mul(c)].map(t => t.sum(rows))
  const limits: readonly [string, readonly Tensor[], number, number[]][] = [
    ['with what is read for their results', products.slice(0, 2).map(t => t.mul(x(6))), 7, [2]],
    ['the parts of a long one', [products.reduce((t, p) => t.mul(p), sum)], 7, [4]],
    ['what combines those', [sum.mul(x(6)), sum.mul(x(6)), a.square().sum(rows).mul(x(6))], 8, [2]],
  ]
  test.each(limits)('where that would be too many: %s', (_, roots, least, totals) => {
    expect(totalsOf(roots, least)).toEqual(totals)
    expect(totalsOf(roots, least - 1)).not.toEqual(totals)
  })
})

/** Reductions of a few numbers over the same axes, and what is computed of them. */
const programs = fc.record({
  shape: fc
    .array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 3 })
    .filter(shape => shape.reduce((n, k) => n * k) < 20_000),
  axes: fc.array(fc.nat(2), { maxLength: 3 }),
  terms: fc.array(fc.tuple(fc.nat(3), fc.nat(2), fc.nat(2), fc.boolean()), { minLength: 2, maxLength: 5 }),
  back: fc.boolean(),
})

test('they are what the interpreter finds', () =>
  holds(
    fc.asyncProperty(programs, async ({ shape, axes, terms, back }) => {
      const axis = [...new Set(axes.map(d => d % shape.length))]
      const data = [x(...shape), x(...shape), x(...shape).sin()]
      const size = shape.reduce((n, k) => n * k)
      const results = terms.map(([how, i, j, keepdims]) => {
        const t = how % 2 ? data[i].mul(data[j]).add(1) : data[i].abs()
        const over = { axis, keepdims }
        const total = how === 3 ? t.max(over) : how === 2 ? t.div(size).add(1).prod(over) : t.sum(over)
        return keepdims && back ? data[j].mul(total) : total
      })
      const average = results.map(t => t.mean()).reduce((sum, t) => sum.add(t.abs().sqrt()))
      await expectInterpreted([...results, average], 1e-4)
    }),
    60,
  ))
