/** For points where a function is awkward: its derivatives there are those of a plain function, zeros, or not promised. */

import * as sp from 'saddlepoint'
import { expect, test } from 'vitest'
import { wave } from '../nn/wave.js'
import { expectClose } from '../oracle/close.js'

type F = (x: sp.Tensor) => sp.Tensor

/** [name, function, point, what has the same derivatives there]; 'NaN' is the value, of which no derivative is promised. */
export type AwkwardRow = readonly [string, F, sp.Tensor, F | 'zero' | 'NaN']

/** The gradients of order 1 to 3 of f's weighted sum, each the gradient of the last one's weighted sum. */
function derivatives(f: F, x: sp.Tensor): sp.Tensor[] {
  const weighted = (y: sp.Tensor, step: number): sp.Tensor => sp.sum(sp.mul(y, wave(step, ...y.shape)))
  const [first, second, third] = [0.9, 0.7, 1.3]
  const one = sp.grad((z: sp.Tensor) => weighted(f(z), first))
  const two = sp.grad((z: sp.Tensor) => weighted(one(z), second))
  const three = sp.grad((z: sp.Tensor) => weighted(two(z), third))
  return [one(x), two(x), three(x)]
}

export function testRows(rows: readonly AwkwardRow[]): void {
  for (const [name, f, x, same] of rows) {
    test(name, async () => {
      if (same === 'NaN') return expectClose(f(x), sp.full(f(x).shape, Number.NaN, x.dtype))
      expect(Array.from(await f(x).data()).some(Number.isNaN)).toBe(false)
      const zeros = sp.zeros(x.shape, x.dtype)
      const expected = same === 'zero' ? [zeros, zeros, zeros] : derivatives(same, x)
      for (const [i, got] of derivatives(f, x).entries()) {
        await expectClose(got, expected[i]).catch(error => {
          expect.fail(`order ${i + 1}: ${error.message}`)
        })
      }
    })
  }
}
