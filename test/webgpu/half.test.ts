/** float16 in two bytes, which the software driver lacks: that the code is valid where a GPU has it, and stores so. */

import * as sp from 'saddlepoint'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { buildProgram } from '../../src/runtime/backends/webgpu/program.js'
import { type Judge, openJudge } from './empty.js'

let judge: Judge
beforeAll(async () => void (judge = await openJudge()))
afterAll(() => judge.close())

const half = (...shape: number[]): sp.Tensor =>
  sp.tensor(new Float32Array(shape.reduce((n, s) => n * s, 1)), { shape }).astype('float16')
const loss = (w: sp.Tensor): sp.Tensor => sp.matmul(half(12, 20), w).tanh().square().mean()

const programs: { readonly [name: string]: () => sp.Tensor } = {
  'element by element': () => half(5, 7).exp().mul(half(7)).sub(1),
  sum: () => half(300, 40).sum({ axis: 0 }),
  softmax: () => half(30, 40).softmax(),
  'temporaries, which alone are in float16': () => {
    const e = sp
      .tensor(new Float32Array(1200), { shape: [30, 40] })
      .astype('float16')
      .exp()
    return e.div(e.sum({ axis: -1, keepdims: true })).astype('float32')
  },
  normalisation: () => {
    const x = half(30, 40)
    const centred = x.sub(x.mean({ axis: -1, keepdims: true }))
    return centred.div(centred.square().mean({ axis: -1, keepdims: true }).add(1e-3).sqrt())
  },
  product: () => sp.matmul(half(33, 40), half(40, 36)),
  'product, one by one': () => sp.matmul(half(33, 41), half(41, 37)),
  convolution: () => sp.conv2d(half(2, 9, 9, 8), half(3, 3, 8, 12), { padding: 1 }),
  lookup: () => half(50, 16).take(sp.tensor(Int32Array.of(3, 1, 49))),
  'sum of rows': () =>
    sp.grad((t: sp.Tensor) =>
      t
        .take(sp.tensor(Int32Array.of(3, 1, 3)))
        .square()
        .sum(),
    )(half(50, 16)),
  sort: () => half(5, 300).sort(),
  gradient: () => sp.grad(loss)(half(20, 16)),
  'second derivative': () => sp.grad((w: sp.Tensor) => sp.grad(loss)(w).square().sum())(half(20, 16)),
  'random normals': () => sp.random.normal(sp.random.key(1), [100]).astype('float16'),
}

test.each(Object.entries(programs))('%s', async (_, program) => {
  const matrices = { m: 16, n: 16, k: 16 }
  const { stages } = buildProgram(schedule(canonicalize([program().node]), 10), {
    half: true,
    matrices,
    maxBuffers: 10,
  })
  expect(stages.some(({ code }) => /f16[>,]/.test(code))).toBe(true)
  for (const { code } of stages) expect(await judge.messages(code)).toEqual([])
})
