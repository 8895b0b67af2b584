/** A reduction in two kernels computes what one computes: hand-made kernels on the reference device. */

import { describe, expect, test } from 'vitest'
import { addIndex, axisIndex, type Index, linearIndex, scaleIndex } from '../../src/compiler/affine.js'
import { ExprTable } from '../../src/compiler/expr.js'
import type { BufferSpec, LoopKernel, Total } from '../../src/compiler/kernel.js'
import { identityOf, printKernel } from '../../src/compiler/kernel.js'
import { partsOf, type ReducingKernel, splitReduction } from '../../src/compiler/split.js'
import type { DType } from '../../src/graph/dtype.js'
import { referenceDevice } from '../../src/runtime/backends/reference/device.js'

interface Program {
  readonly kernel: ReducingKernel
  /** Dtypes and sizes of the leaves, then of the result. */
  readonly buffers: readonly (readonly [DType, number])[]
}

const device = referenceDevice()

/** What the kernels make of fixed numbers; scratch buffers stand behind the result. */
async function run(
  kernels: readonly LoopKernel[],
  { buffers }: Program,
  scratch: readonly BufferSpec[] = [],
): Promise<number[]> {
  const result = buffers.length - 1
  const specs = buffers.map(([dtype, size], i): BufferSpec => ({ dtype, size, role: i < result ? 'leaf' : 'result' }))
  const leaves = [...Array(result).keys()]
  const schedule = {
    buffers: [...specs, ...scratch],
    kernels,
    leaves,
    results: [result],
  }
  const number = (i: number, b: number): number => Math.fround(Math.sin(i * 12.9898 + b * 78.233) + 0.01)
  const values = leaves.map(b => {
    const [dtype, size] = buffers[b]
    const data = Float64Array.from({ length: size }, (_, i) => number(i, b) * (dtype === 'float64' ? 1 : 1e9))
    return device.upload(dtype === 'float64' ? data : Int32Array.from(data), dtype)
  })
  const out = device.allocate(...buffers[result])
  device.compile(schedule).run(values, [out])
  return Array.from(await device.read(out))
}

/** One load of the first leaf at the row-major position of all loops. */
function plain(op: Total['op'], type: DType, axes: number[], inner: number[]): Program {
  const exprs = new ExprTable()
  const all = [...axes, ...inner]
  const position = linearIndex(
    all.map((size, a) => axisIndex(a, size)),
    all,
  )
  const size = (sizes: readonly number[]): number => sizes.reduce((n, s) => n * s, 1)
  const kernel: ReducingKernel = {
    kind: 'loop',
    name: op,
    axes,
    reduce: { axes: inner, totals: [{ op, type, body: exprs.load(0, type, position, []) }] },
    outputs: [{ buffer: 1, value: exprs.reduced(type, [...axes.keys()]) }],
  }
  return {
    kernel,
    buffers: [
      [type, size(all)],
      [type, size(axes)],
    ],
  }
}

/** exp(a[i, k]) with an epilogue that adds an element of another leaf, and a condition on the reduced loop. */
function dressed(op: Total['op'], rows: number, inner: number): Program {
  const exprs = new ExprTable()
  const [i, k] = [axisIndex(0, rows), axisIndex(1, inner)]
  const conditions = [{ index: k, low: 2, high: inner - 3 }]
  const load = exprs.load(0, 'float64', addIndex(scaleIndex(i, inner), k), conditions)
  const reduced = exprs.reduced('float64', [0])
  const value = exprs.operation('add', 'float64', reduced, exprs.load(1, 'float64', i, []))
  const kernel: ReducingKernel = {
    kind: 'loop',
    name: op,
    axes: [rows],
    reduce: { axes: [inner], totals: [{ op, type: 'float64', body: exprs.operation('exp', 'float64', load) }] },
    outputs: [{ buffer: 2, value }],
  }
  return {
    kernel,
    buffers: [
      ['float64', rows * inner],
      ['float64', rows],
      ['float64', rows],
    ],
  }
}

/** The sum, the product and the maximum of a load and of its exponential, of which an epilogue makes one number. */
function several(rows: number, inner: number): Program {
  const exprs = new ExprTable()
  const load = exprs.load(0, 'float64', addIndex(scaleIndex(axisIndex(0, rows), inner), axisIndex(1, inner)), [])
  const exponential = exprs.operation('exp', 'float64', load)
  const reduced = [0, 1, 2].map(i => exprs.reduced('float64', [0], i))
  const kernel: ReducingKernel = {
    kind: 'loop',
    name: 'several',
    axes: [rows],
    reduce: {
      axes: [inner],
      totals: [
        { op: 'sum', type: 'float64', body: exponential },
        { op: 'prod', type: 'float64', body: exponential },
        { op: 'max', type: 'float64', body: exprs.operation('neg', 'float64', load) },
      ],
    },
    outputs: [{ buffer: 1, value: reduced.reduce((a, b) => exprs.operation('sub', 'float64', a, b)) }],
  }
  return {
    kernel,
    buffers: [
      ['float64', rows * inner],
      ['float64', rows],
    ],
  }
}

/** A convolution of [n, h, w, c] by [kh, kw, c, o]: a contraction over three loops. */
function convolution(exp: boolean): Program {
  const [n, h, w, c, kh, kw, o] = [2, 9, 8, 3, 5, 4, 4]
  const [oh, ow] = [h - kh + 1, w - kw + 1]
  const exprs = new ExprTable()
  const sizes = [n, oh, ow, o, kh, kw, c]
  const loops = sizes.map((size, a) => axisIndex(a, size))
  const at = (a: Index, b: Index): Index => addIndex(a, b)
  const image = linearIndex([loops[0], at(loops[1], loops[4]), at(loops[2], loops[5]), loops[6]], [n, h, w, c])
  const weight = linearIndex([loops[4], loops[5], loops[6], loops[3]], [kh, kw, c, o])
  const load = exprs.load(0, 'float64', image, [])
  const left = exp ? exprs.operation('exp', 'float64', load) : load
  const right = exprs.load(1, 'float64', weight, [])
  const kernel: ReducingKernel = {
    kind: 'loop',
    name: 'conv',
    axes: [n, oh, ow, o],
    reduce: {
      axes: [kh, kw, c],
      totals: [{ op: 'sum', type: 'float64', body: exprs.operation('mul', 'float64', left, right) }],
      contraction: { left, right, batch: [], rows: [0, 1, 2], columns: [3] },
    },
    outputs: [{ buffer: 2, value: exprs.reduced('float64', [0, 1, 2, 3]) }],
  }
  const buffers = [n * h * w * c, kh * kw * c * o, n * oh * ow * o].map(size => ['float64', size] as const)
  return { kernel, buffers }
}

const cases: readonly (readonly [string, Program, readonly number[]])[] = [
  ['a sum, evenly', plain('sum', 'float64', [], [24]), [4]],
  ['a sum, unevenly', plain('sum', 'float64', [], [23]), [4]],
  ['rows, unevenly', plain('sum', 'float64', [5, 3], [10, 7]), [1, 3]],
  ['rows, two loops', plain('sum', 'float64', [5], [10, 7]), [5, 7]],
  ['a product, unevenly', plain('prod', 'float64', [3], [23]), [5]],
  ['a maximum of negative numbers, unevenly', dressed('max', 3, 17), [4]],
  ['a maximum of integers', plain('max', 'int32', [3], [17]), [4]],
  ['a sum of integers that wraps', plain('sum', 'int32', [], [50]), [7]],
  ['an expression, an epilogue and a condition', dressed('sum', 4, 29), [6]],
  ['three totals of one loop, unevenly', several(4, 29), [6]],
  ['a convolution, evenly', convolution(false), [5, 2, 1]],
  ['a convolution, unevenly', convolution(false), [3, 1, 1]],
  ['a convolution of an expression, unevenly', convolution(true), [2, 3, 2]],
]

describe('two kernels compute what one does', () => {
  test.each(cases)('%s', async (_, program, parts) => {
    const { kernel, buffers } = program
    const scratch: BufferSpec[] = []
    const split = splitReduction(kernel, parts, (dtype, size) => {
      const length = scratch.push({ dtype, size, role: 'temporary' })
      return buffers.length + length - 1
    })
    const want = await run([kernel], program)
    const got = await run(split, program, scratch)
    const count = [...parts, ...kernel.axes].reduce((n, size) => n * size, 1)
    expect(scratch.map(s => s.size)).toEqual(kernel.reduce.totals.map(() => count))
    const scale = Math.max(...want.map(Math.abs))
    expect(scale).toBeGreaterThan(0)
    got.forEach((x, i) => expect(Math.abs(x - want[i])).toBeLessThanOrEqual(1e-13 * scale))
    expect(split[0].outputs.map(o => o.buffer)).toEqual(scratch.map((_, i) => buffers.length + i))
  })
})

test('the first kernel of a contraction is one, its parts are batches', () => {
  const [partial, final] = splitReduction(convolution(false).kernel, [5, 1, 1], () => 3)
  expect(partial.axes[0]).toBe(5)
  expect(partial.reduce?.contraction).toMatchObject({ batch: [0], rows: [1, 2, 3], columns: [4] })
  expect(final.reduce?.contraction).toBeUndefined()
})

test('a plain load behind the end needs no select, a factor that is an expression does', () => {
  const text = (exp: boolean): string => printKernel(splitReduction(convolution(exp).kernel, [3, 1, 1], () => 3)[0])
  expect(text(false)).not.toContain('select')
  expect(text(true).split('select')).toHaveLength(2)
})

describe('parts', () => {
  const rows: readonly (readonly [string, number[], number, number[]])[] = [
    ['a divisor', [1000], 16, [10]],
    ['whole outer loops first', [26, 26, 32], 64, [26, 2, 1]],
    ['a loop that divides well before one that does not', [27, 32], 8, [1, 8]],
    ['the longest loop, unevenly', [3, 1009], 16, [1, 16]],
    ['a prime number', [101], 10, [10]],
    ['no more than there are positions', [3, 5], 100, [3, 5]],
    ['one', [7, 9], 1, [1, 1]],
  ]
  test.each(rows)('%s', (_, sizes, wanted, parts) => {
    expect(partsOf(sizes, wanted)).toEqual(parts)
  })
})

test('what a reduction starts from changes nothing', () => {
  expect(identityOf({ op: 'sum', type: 'float32' })).toBe(0)
  expect(identityOf({ op: 'prod', type: 'int32' })).toBe(1)
  expect(identityOf({ op: 'max', type: 'float32' })).toBe(Number.NEGATIVE_INFINITY)
  expect(identityOf({ op: 'max', type: 'int32' })).toBe(-(2 ** 31))
  expect(identityOf({ op: 'max', type: 'uint32' })).toBe(0)
})
