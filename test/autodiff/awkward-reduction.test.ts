/** Reductions at zeros, ties, infinities and empty axes: value and derivatives to order 3. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { t, testAwkward } from './derivatives.js'

type Tensor = sp.Tensor
const { Infinity: inf, NaN: nan } = globalThis
const zeros = [0, 0, 0]
const norm =
  (ord: number) =>
  (x: Tensor): Tensor =>
    sp.vectorNorm(x, { ord })
const square = (f: (x: Tensor) => Tensor) => (x: Tensor) => sp.square(f(x))

describe('products with zeros', () => {
  // The derivatives are of the sum of the gradient before: for xyz they are yz + xz + xy, then 2(x + y + z), then 6.
  testAwkward([
    ['prod without a zero', x => sp.prod(x), [2, 3, 5], 30, [15, 10, 6], [8, 7, 5], [2, 2, 2]],
    ['prod with one zero', x => sp.prod(x), [2, 0, 5], 0, [0, 10, 0], [5, 7, 2], [2, 2, 2]],
    ['prod with two zeros', x => sp.prod(x), [0, 0, 5], 0, zeros, [5, 5, 0], [2, 2, 2]],
    ['prod with three zeros', x => sp.prod(x), zeros, 0, zeros, zeros, [2, 2, 2]],
    ['prod of one element', x => sp.prod(x), [0], 0, [1], [0], [0]],
    ['prod of a square at 0', x => sp.prod(sp.stack([x, x])), 0, 0, 0, 2, 0],
    ['prod with an infinity', x => sp.prod(x), [2, inf], inf, [inf, 2], [1, 1], [0, 0]],
  ])
  test('prod of twenty with two zeros in different eighths', async () => {
    const x = t(Array.from({ length: 20 }, (_, i) => (i === 1 || i === 15 ? 0 : i % 2 ? 2 : 0.5)))
    const h = (await sp
      .hessian((y: Tensor) => sp.prod(y))(x)
      .array()) as number[][]
    // 8 twos and 10 halves are left.
    h.forEach((row, i) => {
      expect(row).toEqual(row.map((_, j) => (i + j === 16 && (i === 1 || j === 1) ? 0.25 : 0)))
    })
  })
})

describe('norms', () => {
  testAwkward([
    ...[1, 1.5, 2, 3, 4, inf].map(
      ord => [`norm of order ${ord} at 0`, norm(ord), zeros, 0, zeros, zeros, zeros] as const,
    ),
    ['norm of order 2 beside zeros', norm(2), [0, 2, 0], 2, [0, 1, 0], [0.5, 0, 0.5], [-0.5, -0.5, -0.5]],
    ['norm of order 1 beside zeros', norm(1), [0, -2, 0], 2, [0, -1, 0], zeros, zeros],
    [
      'gradient of the norm of order 4 at one zero',
      sp.grad((z: Tensor) => norm(4)(sp.stack([z, t(1)]))),
      0,
      0,
      0,
      0,
      6,
    ],
    ['norm of order ∞ with ties', norm(inf), [3, -3, 1], 3, [0.5, -0.5, 0], zeros, zeros],
    ['square of the norm of order ∞ with ties', square(norm(inf)), [3, -3, 1], 9, [3, -3, 0], zeros, zeros],
    // The third derivative is beyond the range.
    ['norm of tiny numbers', norm(2), [3e-200, 4e-200], 5e-200, [0.6, 0.8], [3.2e198, -2.4e198], [nan, nan]],
    ['norm of huge numbers', norm(2), [3e200, 4e200], 5e200, [0.6, 0.8], [3.2e-202, -2.4e-202], [0, 0]],
    ['norm of order 10', norm(10), [1e60, 0], 1e60, [1, 0], [0, 0], [0, 0]],
    ['norm with an infinity', norm(2), [inf, 1], inf, [nan, 0], [nan, nan], [nan, nan]],
    ['norm with NaN', norm(2), [nan, 1], nan, [nan, nan], [nan, nan], [nan, nan]],
    ['std of equals', x => sp.std(x), [2, 2, 2], 0, zeros, zeros, zeros],
    ['var of equals', x => sp.var(x), [2, 2, 2], 0, zeros, zeros, zeros],
    ['var of one', x => sp.var(x), [2], 0, [0], [0], [0]],
  ])
  testAwkward(
    [
      ['norm of order 3 beside zeros', norm(3), [0, -2, 0], 2, [0, -1, 0], zeros, zeros],
      ['norm of order 1.5 beside zeros', norm(1.5), [0, -2], 2, [0, -1], [0, 0], [0, 0]],
      ['norm of order 0.5 beside zeros', norm(0.5), [0, -2], 2, [0, -1], [0, 0], [0, 0]],
      ['norm of order 4 beside zeros', norm(4), [0, 2], 2, [0, 1], [0, 0], [0, 0]],
    ],
    1e-14,
  )
  test('norm of tiny numbers in float32', async () => {
    const x = sp.tensor([3e-20, 4e-20])
    const [n, g] = [sp.vectorNorm(x), sp.grad((y: Tensor) => sp.vectorNorm(y))(x)]
    expect((await n.item()) / 5e-20).toBeCloseTo(1, 6)
    expect([...(await g.data())].map(v => Math.round(v * 1e6) / 1e6)).toEqual([0.6, 0.8])
  })
})

describe('the largest, the smallest', () => {
  testAwkward([
    ['max with ties', x => sp.max(x), [3, 1, 3], 3, [0.5, 0, 0.5], zeros, zeros],
    ['min with ties', x => sp.min(x), [1, 1, 3], 1, [0.5, 0.5, 0], zeros, zeros],
    ['square of min with ties', square(x => sp.min(x)), [2, 2, 3], 4, [2, 2, 0], [1, 1, 0], zeros],
    ['max of infinities', x => sp.max(x), [inf, inf, 0], inf, [0.5, 0.5, 0], zeros, zeros],
    ['max of one', x => sp.max(x), [5], 5, [1], [0], [0]],
    ['max of 0 and -0', x => sp.max(x), [0, -0], 0, [0.5, 0.5], [0, 0], [0, 0]],
  ])
})

describe('logsumexp', () => {
  const lse = (x: Tensor): Tensor => sp.logsumexp(x)
  testAwkward([
    ['logsumexp of equals', lse, [2, 2], 2 + Math.LN2, [0.5, 0.5], [0, 0], [0, 0]],
    ['logsumexp of large logits', lse, [1e4, 1e4, -1e4], 1e4 + Math.LN2, [0.5, 0.5, 0], zeros, zeros],
    ['logsumexp with -∞', lse, [-inf, 3], 3, [0, 1], [0, 0], [0, 0]],
    ['logsumexp of -∞ alone', lse, [-inf, -inf], -inf, [0, 0], [0, 0], [0, 0]],
    ['logsumexp with ∞', lse, [inf, 3], inf, [0, 0], [0, 0], [0, 0]],
    ['logsumexp of one', lse, [7], 7, [1], [0], [0]],
  ])
})

describe('running sums', () => {
  const running = (x: Tensor): Tensor => sp.cumulativeSum(x)
  testAwkward([
    ['cumulativeSum', running, [1, 2, 3], [1, 3, 6], [3, 2, 1], zeros, zeros],
    ['cumulativeSum with an infinity', running, [1, inf, 2], [1, inf, inf], [3, 2, 1], zeros, zeros],
    ['cumulativeSum with NaN', running, [1, nan, 2], [1, nan, nan], [3, 2, 1], zeros, zeros],
    ['square of cumulativeSum', x => sp.square(running(x)), [1, 2, 3], [1, 9, 36], [20, 18, 12], [12, 10, 6], zeros],
  ])
})

describe('axes of size 1', () => {
  const column = [[2], [3]]
  const [ones, none] = [
    [[1], [1]],
    [[0], [0]],
  ]
  const lost = [[nan], [nan]]
  testAwkward([
    ['max over one element', x => sp.max(x, { axis: 1 }), column, [2, 3], ones, none, none],
    ['mean over one element', x => sp.mean(x, { axis: 1 }), column, [2, 3], ones, none, none],
    ['var over one element', x => sp.var(x, { axis: 1 }), column, [0, 0], none, none, none],
    ['std over one element', x => sp.std(x, { axis: 1 }), column, [0, 0], none, none, none],
    ['var of one with correction 1', x => sp.var(x, { axis: 1, correction: 1 }), column, [nan, nan], lost, lost, none],
    ['prod over one element', x => sp.prod(x, { axis: 1 }), [[0], [3]], [0, 3], ones, none, none],
    ['norm over one element', x => sp.vectorNorm(x, { axis: 1 }), [[0], [-3]], [0, 3], [[0], [-1]], none, none],
    ['softmax of one', x => sp.softmax(x), [[2], [-1e4]], ones, none, none, none],
    ['logSoftmax of one', x => sp.logSoftmax(x), [[2], [-1e4]], none, none, none, none],
    [
      'an axis of size 1 that is stretched',
      x => sp.square(sp.mul(x, t([1, 2]))),
      [[3]],
      [[9, 36]],
      [[30]],
      [[10]],
      [[0]],
    ],
    [
      'an axis of size 1 stretched to nothing',
      x => sp.add(x, sp.zeros([2, 0], 'float64')),
      [[3]],
      [[], []],
      [[0]],
      [[0]],
      [[0]],
    ],
  ])
})

describe('empty axes', () => {
  const empty = sp.zeros([2, 0], 'float64')
  const along = { axis: 1 }
  const none = [[], []]
  const asFloat = (x: Tensor): Tensor => sp.astype(x, 'float64')
  const rows: readonly [string, (x: Tensor) => Tensor, sp.NestedArray][] = [
    ['sum over an empty axis', x => sp.sum(x, along), [0, 0]],
    ['prod over an empty axis', x => sp.prod(x, along), [1, 1]],
    ['mean over an empty axis', x => sp.mean(x, along), [nan, nan]],
    ['var over an empty axis', x => sp.var(x, along), [nan, nan]],
    ['std over an empty axis', x => sp.std(x, along), [nan, nan]],
    ['logsumexp over an empty axis', x => sp.logsumexp(x, along), [-inf, -inf]],
    ['any over an empty axis', x => asFloat(sp.any(sp.astype(x, 'bool'), along)), [0, 0]],
    ['all over an empty axis', x => asFloat(sp.all(sp.astype(x, 'bool'), along)), [1, 1]],
    ...[0.5, 1, 2, 3, inf].map(
      ord =>
        [
          `norm of order ${ord} over an empty axis`,
          x => sp.vectorNorm(x, { ...along, ord }),
          [0, 0],
        ] satisfies (typeof rows)[0],
    ),
    ['sort along an empty axis', x => sp.sort(x), none],
    ['softmax along an empty axis', x => sp.softmax(x), none],
    ['cumulativeSum along an empty axis', x => sp.cumulativeSum(x, along), none],
    ['max along the other axis', x => sp.max(x, { axis: 0 }), []],
    ['prod along the other axis', x => sp.prod(x, { axis: 0 }), []],
    ['cumulativeSum along the other axis', x => sp.cumulativeSum(x, { axis: 0, includeInitial: true }), [[], [], []]],
  ]
  testAwkward(rows.map(([name, f, value]) => [name, f, none, value, none, none, none]))
  test.each([sp.max, sp.min, sp.argmax, sp.argmin])('%o', f => {
    expect(() => f(empty, along)).toThrow(`${f.name}: an axis of [2,0] is empty`)
    expect(f(empty, { axis: 0 }).shape).toEqual([0])
  })
})

test.each([
  ...[sp.sum, sp.prod, sp.max, sp.min, sp.mean, sp.var, sp.std, sp.logsumexp, sp.cumulativeSum],
  ...[0.5, 1, 2, 3, inf].map(norm),
])('NaN spreads through reduction %#', async f => {
  for (const values of [
    [nan, 1, 2],
    [1, 2, nan],
    [inf, nan, -inf],
  ]) {
    const got = await f(t(values)).data()
    expect(got[got.length - 1]).toBeNaN()
  }
})
