/** Derivatives of orders 1, 2, 3 at awkward points: as numbers, or as those of a plain function. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { wave } from '../nn/wave.js'
import { expectClose } from '../oracle/close.js'

type Tensor = sp.Tensor
type F = (x: Tensor) => Tensor
export const t = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })

/** The gradients of order 1 to 3, each of the sum of the one before; `weigh` may make its elements differ. */
function derivatives(f: F, x: Tensor, weigh: (y: Tensor, order: number) => Tensor = y => y): Tensor[] {
  const next = (g: F, order: number): F => sp.grad((z: Tensor) => sp.sum(weigh(g(z), order)))
  const first = next(f, 0)
  const second = next(first, 1)
  return [first(x), second(x), next(second, 2)(x)]
}

/** A function, where, and its value and derivatives there. */
export type Awkward = readonly [
  name: string,
  f: F,
  x: sp.NestedArray,
  value: sp.NestedArray,
  first: sp.NestedArray,
  second: sp.NestedArray,
  third: sp.NestedArray,
]

/** The same numbers, but `want` where they are close to it. */
function snapped(got: sp.NestedArray, want: sp.NestedArray, rounding: number): sp.NestedArray {
  if (Array.isArray(got))
    return got.map((g, i) => (Array.isArray(want) && i in want ? snapped(g, want[i], rounding) : g))
  const close =
    got === want || Math.abs(Number(got) - Number(want)) <= Math.max(1e-12 * Math.abs(Number(want)), rounding)
  return close ? want : got
}

/** A test for each row: errors are below 1e-12 of the value, or below `rounding`. */
export function testAwkward(rows: readonly Awkward[], rounding = 0): void {
  for (const [name, f, x, ...expected] of rows) {
    test(name, async () => {
      const got = await Promise.all([f(t(x)), ...derivatives(f, t(x))].map(y => sp.add(y, 0).array()))
      for (const [order, want] of expected.entries())
        expect(snapped(got[order], want, rounding), `order ${order}`).toEqual(want)
    })
  }
}

/** A function, where, and what has the same derivatives there; 'NaN' is the value, of which no derivative is promised. */
export type Same = readonly [name: string, f: F, x: Tensor, same: F | 'zero' | 'NaN']

/** A test for each row; the elements of each order are weighted, so that none stands for another. */
export function testSame(rows: readonly Same[]): void {
  const weigh = (y: Tensor, order: number): Tensor => sp.mul(y, wave([0.9, 0.7, 1.3][order], ...y.shape))
  for (const [name, f, x, same] of rows) {
    test(name, async () => {
      if (same === 'NaN') return expectClose(f(x), sp.full(f(x).shape, Number.NaN, x.dtype))
      expect(Array.from(await f(x).data()).some(Number.isNaN)).toBe(false)
      const expected = derivatives(same === 'zero' ? y => sp.mul(sp.stopGradient(y), 0) : same, x, weigh)
      for (const [i, got] of derivatives(f, x, weigh).entries()) {
        await expectClose(got, expected[i]).catch(error => {
          expect.fail(`order ${i + 1}: ${error.message}`)
        })
      }
    })
  }
}
