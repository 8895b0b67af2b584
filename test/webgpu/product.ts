/** Matrix products made by hand, for tests of how one is planned, printed and run. */

import { addIndex, axisIndex, scaleIndex } from '../../src/compiler/affine.js'
import { type Expr, ExprTable } from '../../src/compiler/expr.js'
import type { BufferSpec, LoopKernel } from '../../src/compiler/kernel.js'
import { type Plan, type Product, planStages } from '../../src/runtime/backends/webgpu/contraction.js'
import { makeStage, type Stage, type StageList } from '../../src/runtime/backends/webgpu/stage.js'
import type { Runner } from './gpu.js'

/** b2[b, i, j] = -Σ factor(b0[b, i, k]) b1[b, k, j], each of the two as it is or transposed in memory. */
export function productKernel(
  { batch, rows, columns, inner }: Product,
  transposed: boolean,
  factor: (exprs: ExprTable, a: Expr) => Expr = (_, a) => a,
): LoopKernel {
  const exprs = new ExprTable()
  const [b, i, j, k] = [batch, rows, columns, inner].map((size, a) => axisIndex(a, size))
  const [x, y, width, height] = transposed ? [k, i, rows, columns] : [i, k, inner, columns]
  const left = addIndex(scaleIndex(b, rows * inner), addIndex(scaleIndex(x, width), y))
  const right = addIndex(
    scaleIndex(b, inner * columns),
    transposed ? addIndex(scaleIndex(j, inner), k) : addIndex(scaleIndex(k, height), j),
  )
  const a = factor(exprs, exprs.load(0, 'float32', left, []))
  const w = exprs.load(1, 'float32', right, [])
  const reduced = exprs.reduced('float32', [0, 1, 2])
  return {
    kind: 'loop',
    name: 'product',
    axes: [batch, rows, columns],
    reduce: {
      axes: [inner],
      totals: [{ op: 'sum', type: 'float32', body: exprs.operation('mul', 'float32', a, w) }],
      contraction: { left: a, right: w, batch: [0], rows: [1], columns: [2] },
    },
    outputs: [{ buffer: 2, value: exprs.operation('neg', 'float32', reduced) }],
  }
}

/** Runs such a product of small integers, whose sums are exact, by the stages of a plan; whether it gives the same. */
export async function isExact(
  gpu: Runner,
  { batch, rows, columns, inner }: Product,
  transposed: boolean,
  {
    plan,
    factor,
    value = x => x,
    matrices,
    change = code => code,
  }: {
    plan: Plan
    /** What the left factor is of what is in memory, as an expression and as a function. */
    factor?: (exprs: ExprTable, a: Expr) => Expr
    value?: (x: number) => number
    matrices?: StageList['matrices']
    /** What is run instead of the code. */
    change?: (code: string) => string
  },
): Promise<boolean> {
  const make = (size: number, seed: number): Float32Array =>
    Float32Array.from({ length: size }, (_, i) => Math.round(8 * Math.sin(i * i + seed)))
  const [a, w] = [make(batch * rows * inner, 0), make(batch * inner * columns, 1)]
  const out = new Float32Array(batch * rows * columns).fill(Number.NaN)
  const dtype = matrices ? 'float16' : 'float32'
  const buffers: BufferSpec[] = [
    { dtype, size: a.length, role: 'leaf' },
    { dtype, size: w.length, role: 'leaf' },
    { dtype: 'float32', size: out.length, role: 'result' },
  ]
  const stages: Stage[] = []
  const storage = { half: matrices !== undefined }
  planStages(productKernel({ batch, rows, columns, inner }, transposed, factor), plan, {
    storage,
    matrices,
    dtypeOf: b => buffers[b].dtype,
    scratch: (dtype, size) => buffers.push({ dtype, size, role: 'temporary' }) - 1,
    add: source => stages.push(makeStage(source, buffers, storage)),
  })
  const data = [a, w, out, ...buffers.slice(3).map(b => new Float32Array(b.size))]
  for (const { code, bindings, groups } of stages) {
    const arrays = bindings.map(({ buffer }) => data[buffer])
    await gpu.run(change(code), arrays, [...groups, 1])
  }
  return out.every((got, at) => {
    const [b, row, column] = [Math.floor(at / rows / columns), Math.floor(at / columns) % rows, at % columns]
    let want = 0
    for (let k = 0; k < inner; k++) {
      const x = a[b * rows * inner + (transposed ? k * rows + row : row * inner + k)]
      want -= value(x) * w[b * inner * columns + (transposed ? column * inner + k : k * columns + column)]
    }
    return got === want
  })
}
