/** Derivatives of orders 1, 2, 3 as numbers, for tables of awkward points. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'

type Tensor = sp.Tensor
export const t = (values: sp.NestedArray): Tensor => sp.tensor(values, { dtype: 'float64' })

/** f' and the derivatives after it, each the gradient of the sum of the one before. */
export async function derivatives(f: (x: Tensor) => Tensor, x: Tensor, order = 3): Promise<unknown[]> {
  const out: unknown[] = []
  let g: (x: Tensor) => Tensor = f
  for (let n = 0; n < order; n++) {
    const previous = g
    g = y => sp.grad((z: Tensor) => sp.sum(previous(z)))(y)
    out.push(await sp.add(g(x), 0).array())
  }
  return out
}

/** A function, where, and its value and derivatives there, as many as are promised. */
export type Awkward = readonly [
  name: string,
  f: (x: Tensor) => Tensor,
  x: sp.NestedArray,
  value: sp.NestedArray,
  ...orders: sp.NestedArray[],
]

const flat = (x: sp.NestedArray): number[] => (Array.isArray(x) ? x.flatMap(flat) : [Number(x)])

/** A test for each row: errors are below 1e-12 of the value, or below `rounding`. */
export function testAwkward(rows: readonly Awkward[], rounding = 0): void {
  for (const [name, f, x, value, ...orders] of rows) {
    test(name, async () => {
      const got = [await f(t(x)).array(), ...(await derivatives(f, t(x), orders.length))] as sp.NestedArray[]
      for (const [order, want] of [value, ...orders].entries()) {
        const [g, w] = [flat(got[order]), flat(want)]
        // Compared as lists, so that a failure shows all elements.
        const close = (v: number, i: number): boolean =>
          v === g[i] || Math.abs(g[i] - v) <= Math.max(1e-12 * Math.abs(v), rounding)
        expect(
          w.map((v, i) => (close(v, i) ? v : g[i])),
          `order ${order}`,
        ).toEqual(w)
      }
    })
  }
}
