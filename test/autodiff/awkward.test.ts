/** Derivatives where a function has a kink, a tie or an infinite branch: the values that the rules promise, to order 3. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { build } from '../../src/tensor/tensor.js'
import { expectClose } from '../oracle/close.js'
import { derivatives, t } from './derivatives.js'

type Tensor = sp.Tensor

/** f(x), f'(x), f''(x) and f'''(x) of a function of one number. */
const at = async (f: (x: Tensor) => Tensor, x: number): Promise<unknown[]> => derivatives(f, t(x))

describe('kinks', () => {
  const rows: readonly [string, (x: Tensor) => Tensor, number, readonly number[]][] = [
    ['abs at 0', sp.abs, 0, [0, 0, 0]],
    ['relu at 0', sp.relu, 0, [0, 0, 0]],
    ['leakyRelu at 0', x => sp.leakyRelu(x, 0.1), 0, [0.1, 0, 0]],
    ['elu at 0', sp.elu, 0, [1, 1, 1]],
    ['clip at its lower edge', x => sp.clip(x, -1, 1), -1, [1, 0, 0]],
    ['clip at its upper edge', x => sp.clip(x, -1, 1), 1, [1, 0, 0]],
    ['clip outside', x => sp.clip(x, -1, 1), 1.5, [0, 0, 0]],
    ['maximum of equals', x => sp.maximum(x, 0), 0, [0.5, 0, 0]],
    ['minimum of equals', x => sp.minimum(x, 0), 0, [0.5, 0, 0]],
    ['maximum with itself', x => sp.maximum(x, x), 2, [1, 0, 0]],
    ['sqrt(x²) by vectorNorm at 0', x => sp.vectorNorm(x), 0, [0, 0, 0]],
    ['x² at 0', x => sp.pow(x, 2), 0, [0, 2, 0]],
    ['x³ at 0', x => sp.pow(x, 3), 0, [0, 0, 6]],
    ['x⁴ at 0', x => sp.pow(x, 4), 0, [0, 0, 0]],
    ['x¹ at 0, exponent a tensor', x => sp.pow(x, t(1)), 0, [1, 0, 0]],
    ['x² at 0, exponent a tensor', x => sp.pow(x, t(2)), 0, [0, 2, 0]],
    ['x³ at 0, exponent a tensor', x => sp.pow(x, t(3)), 0, [0, 0, 6]],
    ['x⁰ at 0', x => sp.pow(x, t(0)), 0, [0, 0, 0]],
    ['x³ below 0, exponent a tensor', x => sp.pow(x, t(3)), -2, [12, -12, 6]],
    ['2ˣ at 0', x => sp.pow(t(2), x), 0, [Math.LN2, Math.LN2 ** 2, Math.LN2 ** 3]],
    ['0ˣ above 0', x => sp.pow(t(0), x), 1.5, [0, 0, 0]],
    ['x/x', x => sp.div(x, x), 3, [0, 0, 0]],
    ['sigmoid at 0', sp.sigmoid, 0, [0.25, 0, -0.125]],
    ['softplus at 0', sp.softplus, 0, [0.5, 0.25, 0]],
    ['logSigmoid at 0', sp.logSigmoid, 0, [0.5, -0.25, 0]],
    ['sigmoid far right', sp.sigmoid, 800, [0, 0, 0]],
    ['softplus far right', sp.softplus, 800, [1, 0, 0]],
    ['softplus far left', sp.softplus, -800, [0, 0, 0]],
    ['logSigmoid far left', sp.logSigmoid, -800, [1, 0, 0]],
    ['silu at 0', sp.silu, 0, [0.5, 0.5, 0]],
    ['gelu at 0', sp.gelu, 0, [0.5, Math.sqrt(2 / Math.PI), 0]],
    ['tanh far out', sp.tanh, 400, [0, 0, 0]],
    ['atan far out', x => sp.atan(x), 1e200, [0, 0, 0]],
    ['erf far out', sp.erf, 40, [0, 0, 0]],
    ['logsumexp with itself', x => sp.logsumexp(sp.stack([x, x])), 5, [1, 0, 0]],
    ['stopGradient', x => sp.mul(sp.stopGradient(x), x), 3, [3, 0, 0]],
    [
      'where with an infinite dead branch',
      x => sp.where(sp.less(0, x), sp.sqrt(sp.where(sp.less(0, x), x, 1)), 0),
      0,
      [0, 0, 0],
    ],
    ['where with log 0 in the dead branch', x => sp.where(sp.less(0, x), sp.log(x), 0), 0, [0, 0, 0]],
    ['where with √0 in the dead branch', x => sp.where(sp.less(0, x), sp.sqrt(x), x), 0, [1, 0, 0]],
    [
      'where with 1/0 in the dead branch',
      x => sp.where(sp.less(x, 1), sp.mul(x, x), sp.reciprocal(sp.sub(x, 0.5))),
      0.5,
      [1, 2, 0],
    ],
    ['where with 0^-1.5 in the dead branch', x => sp.where(sp.less(0, x), sp.pow(x, -1.5), 0), 0, [0, 0, 0]],
    [
      'where with x log x in the dead branch',
      x => sp.where(sp.less(0, x), sp.mul(sp.mul(x, sp.log(x)), 3), x),
      0,
      [1, 0, 0],
    ],
    ['where in where', x => sp.where(sp.less(-1, x), sp.where(sp.less(0, x), sp.log(x), x), sp.sqrt(x)), 0, [1, 0, 0]],
    ['clip of log 0', x => sp.clip(sp.log(x), -5, 5), 0, [0, 0, 0]],
    ['maximum with log 0', x => sp.maximum(sp.log(x), -5), 0, [0, 0, 0]],
    ['minimum with 1/0', x => sp.minimum(sp.reciprocal(x), 5), 0, [0, 0, 0]],
    ['where with a live log', x => sp.where(sp.less(0, x), sp.log(x), 0), 2, [0.5, -0.25, 0.25]],
    ['where with a dead log', x => sp.where(sp.less(x, 1), sp.mul(x, x), sp.log(sp.sub(x, 1))), 0.5, [1, 2, 0]],
  ]
  for (const [name, f, x, expected] of rows) {
    test(name, async () => {
      const got = await at(f, x)
      got.forEach((g, i) => {
        expect(g, `order ${i + 1}`).toBeCloseTo(expected[i], 9)
      })
    })
  }
})

describe('ties of max', () => {
  test('share the gradient equally, and the second derivative is that of the shares', async () => {
    const [g, h] = await derivatives(x => sp.square(sp.max(x)), t([1, 3, 3, 2]))
    expect(g).toEqual([0, 3, 3, 0])
    // d/dx of Σ gᵢ = 2 max x: again shared.
    expect(h).toEqual([0, 1, 1, 0])
  })
  test('along an axis', async () => {
    const [g] = await derivatives(
      x => sp.max(x, { axis: 1 }),
      t([
        [1, 1, 0],
        [2, 3, 4],
        [5, 5, 5],
      ]),
      1,
    )
    expect(g).toEqual([
      [0.5, 0.5, 0],
      [0, 0, 1],
      [1 / 3, 1 / 3, 1 / 3],
    ])
  })
  test('min and maxPool2d too', async () => {
    const [g] = await derivatives(x => sp.min(x), t([1, 1, 4]), 1)
    expect(g).toEqual([0.5, 0.5, 0])
    const image = t([
      [2, 2],
      [0, 1],
    ]).reshape([1, 2, 2, 1])
    const [p] = await derivatives(x => sp.maxPool2d(x, 2), image, 1)
    expect(
      await sp
        .tensor(p as sp.NestedArray)
        .flatten()
        .array(),
    ).toEqual([0.5, 0.5, 0, 0])
  })
})

describe('norms at 0', () => {
  const norms = { L2: sp.vectorNorm, L1: (y: Tensor) => sp.vectorNorm(y, { ord: 1 }), std: sp.std }
  for (const [name, norm] of Object.entries(norms)) {
    test(name, async () => {
      const x = t([0, 0, 0])
      expect(
        await sp
          .grad((y: Tensor) => norm(y))(x)
          .array(),
      ).toEqual([0, 0, 0])
      const h = await sp.hvp((y: Tensor) => norm(y), x, t([1, 2, 3])).array()
      expect(h).toEqual([0, 0, 0])
      const third = sp.grad((y: Tensor) => sp.sum(sp.hvp((z: Tensor) => norm(z), y, t([1, 2, 3]))))(x)
      expect(await third.array()).toEqual([0, 0, 0])
    })
  }
  test('rows at 0 beside rows that are not', async () => {
    const x = t([
      [0, 0],
      [3, 4],
    ])
    await expectClose(sp.grad((y: Tensor) => sp.sum(sp.vectorNorm(y, { axis: 1 })))(x), [
      [0, 0],
      [0.6, 0.8],
    ])
  })
})

describe('indices', () => {
  test('repeated ids add up', async () => {
    const ids = sp.tensor([1, 1, 0, 1], { dtype: 'int32' })
    const f = (x: Tensor): Tensor => sp.sum(sp.pow(sp.take(x, ids), 3))
    const x = t([2, 3, 5])
    expect(await sp.grad(f)(x).array()).toEqual([12, 81, 0])
    expect(await sp.hvp(f, x, t([1, 1, 1])).array()).toEqual([12, 54, 0])
  })
  test('updates out of range get no gradient', async () => {
    const ids = sp.tensor([-1, 0, 9], { dtype: 'int32' })
    const g = sp.grad((u: Tensor) => sp.sum(sp.square(sp.scatterAdd(ids, u, 2))))(t([1, 2, 3]))
    expect(await g.array()).toEqual([0, 4, 0])
  })
  test('sort passes the gradient to where the value came from', async () => {
    const g = sp.grad((x: Tensor) => sp.sum(sp.mul(sp.sort(x), t([1, 10, 100]))))(t([3, 1, 2]))
    expect(await g.array()).toEqual([100, 1, 10])
  })
  test('argmax, argsort and comparisons give zeros', async () => {
    const f = (x: Tensor): Tensor => sp.sum(sp.astype(sp.add(sp.argsort(x), sp.argmax(x)), 'float64'))
    expect(
      await sp
        .grad(f)(t([3, 1, 2]))
        .array(),
    ).toEqual([0, 0, 0])
  })
})

test('a product with zeros', async () => {
  const f = (x: Tensor): Tensor => sp.mul(sp.mul(sp.at(x, 0), sp.at(x, 1)), sp.at(x, 2))
  expect(
    await sp
      .grad(f)(t([0, 0, 5]))
      .array(),
  ).toEqual([0, 0, 0])
  expect(
    await sp
      .grad(f)(t([0, 3, 5]))
      .array(),
  ).toEqual([15, 0, 0])
  expect(
    await sp
      .hessian(f)(t([0, 0, 5]))
      .array(),
  ).toEqual([
    [0, 5, 0],
    [5, 0, 0],
    [0, 0, 0],
  ])
})

test('a variable is the identity', async () => {
  expect(await build('variable', [t([1, 2])], {}).array()).toEqual([1, 2])
})
