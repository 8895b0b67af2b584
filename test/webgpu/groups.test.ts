/** Kernels whose rows go through one dispatch on the webgpu device: which they are, what they bind, and that values stay right. */

import * as sp from 'saddlepoint'
import { describe, expect, test } from 'vitest'
import { canonicalize } from '../../src/compiler/canonical.js'
import { schedule } from '../../src/compiler/schedule.js'
import { buildProgram, type Program, printProgram } from '../../src/runtime/backends/webgpu/program.js'
import { expectClose, expectEqual, type Make, onGpu, type Programs } from './against-reference.js'

const { grad, softmax } = sp

const programOf = (t: sp.Tensor, maxBuffers = 10, half = false): Program =>
  buildProgram(schedule(canonicalize([t.node]), maxBuffers), { half, maxBuffers })
const namesOf = (program: Program): string[] => program.stages.map(s => s.name)

const x = (...shape: number[]): sp.Tensor => sp.tensor(new Float32Array(shape.reduce((n, s) => n * s, 1)), { shape })
const mean = (t: sp.Tensor): sp.Tensor => t.mean({ axis: -1, keepdims: true })
const normalised = (t: sp.Tensor): sp.Tensor => {
  const centred = t.sub(mean(t))
  return centred.mul(mean(centred.square()).add(1e-5).rsqrt())
}

describe('dispatches', () => {
  const one: readonly [string, sp.Tensor][] = [
    ['softmax', softmax(x(2048, 768))],
    ['softmax of short rows', softmax(x(5000, 3))],
    ['normalised rows', normalised(x(2048, 768))],
    ['few numbers are one row', softmax(softmax(x(8, 10)), { axis: 0 }).sum()],
    ['normalised rows and their gradient', sp.vjp(normalised, x(2048, 768))[1](x(2048, 768))[0]],
    ['softmax and its gradient', grad((t: sp.Tensor) => softmax(t).mul(x(2048, 768)).sum())(x(2048, 768))],
  ]
  test.each(one)('one: %s', (_, t) => {
    const program = programOf(t)
    expect(namesOf(program).length, printProgram(program)).toBe(1)
    expect(schedule(canonicalize([t.node])).kernels.length).toBeGreaterThan(2)
  })
  test('exponents that are at most 0 have no exp of their own', () => {
    const code = (t: sp.Tensor): string => printProgram(programOf(t))
    // Half of the power of two, for the other half may be too large for one factor.
    expect(code(x(8).exp())).toContain('>> 1u')
    expect(code(x(8).abs().neg().exp())).toContain('>> 1u')
  })
  test('what needs other rows is a dispatch of its own', () => {
    const [first, ...others] = namesOf(programOf(softmax(softmax(x(2048, 768)), { axis: 0 })))
    expect(first).toBe('max + exp + sum + mul')
    expect(others.length).toBeGreaterThan(3)
  })
  test('few long rows, and sums of all, are shared out among workgroups', () => {
    expect(namesOf(programOf(softmax(x(16, 60_000)))).length).toBeGreaterThan(4)
    expect(namesOf(programOf(x(300, 300).square().sum().sqrt().add(x(300, 300)))).length).toBe(3)
  })
  test('long loops over few numbers are shared out among workgroups', () => {
    const first = softmax(x(1, 36)).reshape([36, 1, 1])
    const pairs = first.mul(x(36, 1)).tanh().mul(x(36)).sum({ axis: 2 })
    expect(namesOf(programOf(pairs)).length).toBeGreaterThan(1)
  })
  test('long chains are several shaders', () => {
    let t = x(64, 30)
    for (let i = 0; i < 40; i++) t = softmax(t.mul(2))
    const { stages } = programOf(t)
    expect(stages.length).toBeGreaterThan(5)
    expect(stages.length).toBeLessThan(40)
  })
  test('a step joins what it reads of over a product that it does not need', () => {
    const attended = softmax(x(2048, 64).matmul(x(64, 256))).matmul(x(256, 300).matmul(x(300, 64)))
    const names = namesOf(programOf(attended))
    expect(names).toContain('max + exp + sum')
    expect(names.length).toBe(4)
  })
  test('float64 stays apart: its functions are too long to share a shader', () => {
    expect(namesOf(programOf(softmax(x(64, 48).astype('float64')))).length).toBeGreaterThan(3)
  })
  test('no group binds more buffers than a kernel may; what stays in the workgroup is not bound', () => {
    const many = Array.from({ length: 6 }, () => x(2048, 64))
    const sum = many.reduce((a, b) => softmax(a.mul(b)).add(b))
    for (const maxBuffers of [4, 5, 8, 20]) {
      const { stages } = programOf(sum, maxBuffers)
      for (const { bindings } of stages) expect(bindings.length).toBeLessThanOrEqual(maxBuffers)
    }
    const counts = [4, 8, 20].map(maxBuffers => programOf(sum, maxBuffers).stages.length)
    expect(counts).toEqual([...counts].sort((a, b) => b - a))
    expect(counts[2]).toBeLessThan(counts[0])
    const three = { half: false, maxBuffers: 3 }
    expect(buildProgram(schedule(canonicalize([softmax(x(2048, 768)).node])), three).stages.length).toBe(1)
  })
})

test('what only a group knows needs no memory, unless a workgroup has no room for it', () => {
  expect(programOf(softmax(x(2048, 768))).slots.bytes).toEqual([])
  const { slots, stages } = programOf(softmax(x(2048, 4096)))
  expect(stages.length).toBe(1)
  expect(slots.bytes).toEqual([4 * 2048 * 4096])
})

test('the cost of a group leaves out what stays in the workgroup', () => {
  const [{ cost }] = programOf(softmax(x(2048, 768))).stages
  // The numbers once for the maximum and once for the exponentials, and the results.
  expect(cost.bytes).toBe(3 * 4 * 2048 * 768)
  expect(cost.flops).toBeGreaterThan(4 * 2048 * 768)
})

const programs: Programs = {
  softmax: u => softmax(u(1, 129, 33).mul(5)),
  'rows of one': u => softmax(u(1, 500, 1).mul(5)).add(u(2, 500, 1)),
  'rows of two': u => softmax(u(1, 3000, 2).mul(5)),
  'many rows': u => softmax(u(1, 70_000, 3).mul(5)),
  'rows longer than a workgroup': u => softmax(u(1, 40, 1111).mul(5)),
  'rows that do not fit a workgroup': u => softmax(u(1, 130, 4000).mul(5)),
  'logarithms of softmax': u => sp.logSoftmax(u(1, 129, 33).mul(5)),
  normalised: u => normalised(u(1, 96, 40)),
  'normalised, with its gradient': u =>
    grad((t: sp.Tensor) =>
      normalised(t)
        .mul(u(2, 96, 40))
        .sum(),
    )(u(1, 96, 40)),
  'gradient of softmax': u =>
    grad((t: sp.Tensor) =>
      softmax(t)
        .mul(u(2, 80, 24))
        .sum(),
    )(u(1, 80, 24)),
  'second derivative of softmax': u =>
    grad((t: sp.Tensor) =>
      grad((y: sp.Tensor) => softmax(y).square().sum())(t)
        .square()
        .sum(),
    )(u(1, 80, 24)),
  'several outputs a row': u => {
    const heads = softmax(u(1, 64, 12, 20))
    return softmax(heads.sum({ axis: 2 }))
  },
  'outputs across a row': u => {
    const rows = softmax(u(1, 40, 9, 16))
    return rows.add(rows.max({ axis: 1, keepdims: true })).add(rows.sum({ axis: 1, keepdims: true }))
  },
  'more outputs a row than threads': u => {
    const rows = softmax(u(1, 33, 300, 2)).mul(u(2, 33, 300, 2))
    return normalised(rows.sum({ axis: 2 }))
  },
  'functions that round': u => {
    const t = softmax(u(1, 64, 32)).mul(50)
    return t
      .sub(t.log2().round())
      .sum({ axis: 1 })
      .add(t.remainder(3).sum({ axis: 1 }).round())
  },
  'halves of rows': u =>
    softmax(u(1, 32, 64))
      .reshape([64, 32])
      .sum({ axis: 1 }),
  'under padding': u =>
    softmax(u(1, 64, 30))
      .pad([
        [0, 0],
        [3, 5],
      ])
      .sub(0.5)
      .square()
      .sum({ axis: 1 }),
  'reversed rows': u => sp.flip(softmax(u(1, 64, 32)), [0]).add(1),
  'reversed within rows': u => sp.flip(softmax(u(1, 64, 32)), [1]).add(u(2, 64, 32)),
  'shifted by one row': u =>
    softmax(u(1, 64, 32))
      .slice([1])
      .exp(),
  'chosen in each row': u =>
    sp.takeAlongAxis(sp.logSoftmax(u(1, 64, 10)), sp.argmax(u(1, 64, 10), { axis: 1, keepdims: true })),
  'all in one row': u => {
    const p = softmax(u(1, 7, 9))
    return p.div(p.square().sum().sqrt()).add(p.max())
  },
  'over a product between': u => softmax(u(1, 130, 20).matmul(u(2, 20, 24))).matmul(u(3, 24, 50).matmul(u(4, 50, 8))),
  attention: u =>
    sp.scaledDotProductAttention(u(1, 3, 2, 17, 8), u(2, 3, 2, 17, 8), u(3, 3, 2, 17, 8), { causal: true }),
}

describe('values', () => {
  test.each(Object.entries(programs))('%s', async (_, program) => expectClose(program, 2e-6, 'float32'))

  const exact: Programs = {
    'largest and where it is': u => {
      const t = u(1, 70, 20)
      return sp.concat([sp.argmax(t, { axis: 1 }), sp.argmin(t, { axis: 1 })])
    },
    'bools and integers': u => {
      const t = u(1, 70, 20).mul(10).astype('int32')
      const top = t.max({ axis: 1, keepdims: true })
      return sp
        .any(t.equal(top).logicalAnd(t.greater(0)), { axis: 1 })
        .astype('int32')
        .add(top.reshape([70]))
    },
    'unsigned products': u => {
      const t = u(1, 70, 20).mul(3).abs().add(1).astype('uint32')
      return t.mul(t.prod({ axis: 1, keepdims: true })).sum({ axis: 1 })
    },
    'infinities and NaN': u => {
      const t = u(1, 40, 6)
      return softmax(sp.where(t.greater(0.9), Number.POSITIVE_INFINITY, sp.where(t.less(-0.9), Number.NaN, t)))
        .isnan()
        .astype('int32')
    },
  }
  test.each(Object.entries(exact))('%s', async (_, program) => expectEqual(program))

  test('a run leaves the next one alone', async () => {
    await onGpu()
    const make: Make = (seed, ...shape) =>
      sp.tensor(
        Float32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.sin(i * seed)),
        { shape },
      )
    const t = make(1, 300, 50)
    const first = await softmax(t).data()
    await softmax(make(2, 500, 60)).data()
    expect(await softmax(t).data()).toEqual(first)
  })
})
