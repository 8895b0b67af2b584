/** Where the compiler sees that an exponent is at most 0, and where it must not. */

import * as sp from 'saddlepoint'
import { crossEntropy } from 'saddlepoint/nn'
import { describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { type Expr, walkExprs } from '../../src/compiler/expr.js'
import { kernelExprs } from '../../src/compiler/kernel.js'
import { schedule } from '../../src/compiler/schedule.js'

type Tensor = sp.Tensor

/** The kinds of exponentials that a tensor's kernels compute. */
function exponentialsIn(t: Tensor): string[] {
  const found = new Set<string>()
  for (const k of schedule(canonicalize([t.node])).kernels)
    if (k.kind === 'loop') walkExprs(kernelExprs(k), (e: Expr) => e.op.startsWith('exp') && found.add(e.op))
  return [...found].sort()
}

const x = sp.tensor(
  Float32Array.from({ length: 32 }, (_, i) => Math.cos(i * i)),
  { shape: [4, 8] },
)
const y = sp.tensor(
  Float32Array.from({ length: 32 }, (_, i) => Math.sin(i)),
  { shape: [4, 8] },
)
const labels = sp.tensor(Int32Array.of(1, 2, 3, 4))
const kept = { axis: 1, keepdims: true }
const lessTop = (t: Tensor): Tensor => x.sub(t).exp()

describe('at most 0', () => {
  const below: readonly [string, Tensor][] = [
    ['softmax', sp.softmax(x)],
    ['softmax of columns, and its gradient', sp.grad((t: Tensor) => sp.softmax(t, { axis: 0 }).mul(y).sum())(x)],
    ['attention with a mask', sp.scaledDotProductAttention(x, x, y, { causal: true })],
    ['logsumexp', sp.logsumexp(x)],
    ['sigmoid', x.sigmoid()],
    ['silu', sp.silu(x)],
    ['softplus', sp.softplus(x).sum()],
    ['e to the -x²', x.square().neg().exp()],
    ['e to the -|x|', x.abs().neg().exp()],
    ['logaddexp', sp.logaddexp(x, y)],
    ['the largest of all', lessTop(x.max())],
    ['the largest of each column', lessTop(x.max({ axis: 0 }))],
    ['rows of one element', sp.softmax(x.reshape([32, 1]))],
  ]
  test.each(below)('%s', (_, t) => {
    expect(exponentialsIn(t)).toEqual(['expBelow0'])
  })
  test('sparse cross entropy', () => {
    expect(exponentialsIn(crossEntropy(x, labels))).toContain('expBelow0')
    expect(exponentialsIn(crossEntropy(x, labels))).not.toContain('exp')
  })
})

describe('not at most 0, or not seen to be', () => {
  const others: readonly [string, Tensor][] = [
    ['x', x.exp()],
    ['the distance', sp.where(sp.lessEqual(x, y), y.sub(x), x.sub(y)).exp()],
    ['half of a distance', sp.where(sp.lessEqual(x, y), x.sub(y), x.sub(y)).exp()],
    ['less a distance, in float16', sp.logaddexp(x.astype('float16'), y.astype('float16'))],
    ['less the largest, in float16', sp.astype(x, 'float16').sub(sp.astype(x, 'float16').max(kept)).exp()],
    ['x²', x.square().exp()],
    ['-x', x.neg().exp()],
    ['-xy', x.mul(y).neg().exp()],
    ['less the largest of others', lessTop(y.max(kept))],
    ['less the smallest', lessTop(x.min(kept))],
    ['less the smaller of the largest and something', lessTop(sp.minimum(x.max(kept), y))],
    ['less half of the largest', lessTop(x.max(kept).mul(0.5))],
    ['the largest less x', x.max(kept).sub(x).exp()],
    ['x where 0 <= x, else -x', sp.where(sp.lessEqual(0, x), x, x.neg()).exp()],
    ['-x where 0 <= y, else x', sp.where(sp.lessEqual(0, y), x.neg(), x).exp()],
    ['-x where 1 <= x, else x', sp.where(sp.lessEqual(1, x), x.neg(), x).exp()],
    ['-x where x <= 0, else x', sp.where(sp.lessEqual(x, 0), x.neg(), x).exp()],
    ['-x where x = 0, else x', sp.where(sp.equal(0, x), x.neg(), x).exp()],
    ['-y where 0 <= x, else x', sp.where(sp.lessEqual(0, x), y.neg(), x).exp()],
    ['|x| where 0 <= x, else x', sp.where(sp.lessEqual(0, x), x.abs(), x).exp()],
    ['0 or 1', sp.where(sp.lessEqual(0, x), sp.zeros([4, 8]), 1).exp()],
  ]
  test.each(others)('%s', (_, t) => {
    expect(exponentialsIn(t)).toEqual(['exp'])
  })
})

test.each(['reference', 'wasm'] as const)('rows with infinities, NaN and the lowest numbers, on %s', async name => {
  const device = await sp.setDevice(name)
  const rows = (type: sp.DType, lowest: number): Promise<sp.NestedArray> =>
    sp
      .softmax(
        sp.tensor(
          [
            [1, -Infinity, 1],
            [-Infinity, -Infinity, -Infinity],
            [1, Infinity, 2],
            [NaN, 1, 2],
            [lowest, lowest, -Infinity],
            [-lowest, -lowest, lowest],
          ],
          { dtype: type },
        ),
      )
      .array()
  const gone = [NaN, NaN, NaN]
  const wanted = [[0.5, 0, 0.5], gone, gone, gone, [0.5, 0.5, 0], [0.5, 0.5, 0]]
  expect(await rows('float32', -(2 - 2 ** -23) * 2 ** 127)).toEqual(wanted)
  expect(await rows('float64', -Number.MAX_VALUE)).toEqual(wanted)
  expect(await rows('float16', -65504)).toEqual(wanted)
  // Nowhere to attend to: zeros, with zero gradients.
  const mask = sp.tensor([
    [true, true],
    [false, false],
  ])
  const attend = (q: Tensor): Tensor => sp.scaledDotProductAttention(q, sp.ones([2, 3]), sp.ones([2, 1]), { mask })
  expect(await attend(sp.ones([2, 3])).array()).toEqual([[1], [0]])
  expect(
    await sp
      .grad((q: Tensor) => attend(q).at(1).sum())(sp.ones([2, 3]))
      .array(),
  ).toEqual([0, 0].map(() => [0, 0, 0]))
  await device.close()
  await sp.setDevice('reference')
})
