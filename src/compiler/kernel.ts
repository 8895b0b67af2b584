/**
 * What a schedule is made of: kernels over numbered buffers, described by loops and scalar expressions. Nothing here
 * knows a device; a device turns each kernel into code of its own.
 */

import { type DType, isFloat } from '../graph/dtype.js'
import type { Node } from '../graph/node.js'
import { formatShape } from '../graph/shape.js'
import type { Condition } from './affine.js'
import { type Expr, printExprs, reducedName, walkExprs } from './expr.js'

/** A value that kernels read and write: a leaf, a result, or something in between that lives inside one run. */
export interface BufferSpec {
  readonly dtype: DType
  readonly size: number
  readonly role: 'leaf' | 'result' | 'temporary'
}

/** out[i] = value for every position of the axes; with a reduction, `reduced` stands for a total of it there. */
export interface LoopKernel {
  readonly kind: 'loop'
  readonly name: string
  /** Sizes of the output loops, outermost first: axes 0 .. n-1 of the expressions. */
  readonly axes: readonly number[]
  readonly reduce?: Reduction
  /** Each is stored at the row-major position of the output loops. */
  readonly outputs: readonly { readonly buffer: number; readonly value: Expr }[]
}

export interface Reduction {
  /** Sizes of the reduced loops: axes n, n+1, ... of the bodies. */
  readonly axes: readonly number[]
  /** What is reduced in these loops: all of it in one pass. */
  readonly totals: readonly [Total, ...Total[]]
  /** The only body is a product of two loads and the loops fall into the classes of a matrix product. */
  readonly contraction?: Contraction
}

export interface Total {
  readonly op: 'sum' | 'prod' | 'max'
  readonly type: DType
  readonly body: Expr
}

/** What a total starts from. */
export function identityOf({ op, type }: Pick<Total, 'op' | 'type'>): number {
  if (op !== 'max') return op === 'sum' ? 0 : 1
  return isFloat(type) ? Number.NEGATIVE_INFINITY : type === 'int32' ? -(2 ** 31) : 0
}

/** The loops of a (batched) matrix product: rows and columns each belong to one factor, batch loops to both. */
export interface Contraction {
  readonly left: Expr
  readonly right: Expr
  readonly batch: readonly number[]
  readonly rows: readonly number[]
  readonly columns: readonly number[]
  /** The left factor is 0 where one of these does not hold: what lies around images. A device need not multiply it. */
  readonly inside?: readonly Condition[]
}

/**
 * Whether a matrix product is worth tiles; a smaller one is computed by plain loops, which read its factors again and
 * again.
 */
export const isTiled = (rows: number, columns: number, inner: number): boolean => Math.min(rows, columns, inner) >= 4

/** out[index[i], j] += updates[i, j] for i < count, j < width; out starts at 0; indices out of range are dropped. */
export interface ScatterKernel {
  readonly kind: 'scatterAdd'
  readonly name: string
  readonly type: DType
  readonly rows: number
  readonly count: number
  readonly width: number
  readonly index: number
  readonly updates: number
  readonly output: number
}

/** out[r] = the least i < count with index[i] = r, -1 where there is none, for r < rows. */
export interface FirstKernel {
  readonly kind: 'firstIndex'
  readonly name: string
  readonly rows: number
  readonly count: number
  readonly index: number
  readonly output: number
}

/** For each of `rows` rows of `length`: the stable ascending order, NaN last. */
export interface ArgsortKernel {
  readonly kind: 'argsort'
  readonly name: string
  readonly type: DType
  readonly rows: number
  readonly length: number
  readonly input: number
  readonly output: number
}

export type Kernel = LoopKernel | ScatterKernel | FirstKernel | ArgsortKernel

/** A program over buffers: kernels in order, and which buffers are the leaves and the results. */
export interface Schedule {
  readonly buffers: readonly BufferSpec[]
  readonly kernels: readonly Kernel[]
  /** Buffers of the graph's leaves, in the order in which the plan meets them. */
  readonly leaves: readonly number[]
  /** Buffers of the requested roots. */
  readonly results: readonly number[]
}

export const mapTotals = (
  { totals: [first, ...rest] }: Reduction,
  f: (total: Total, i: number) => Total,
): Reduction['totals'] => [f(first, 0), ...rest.map((t, i) => f(t, i + 1))]

/** What a kernel reduces. */
export const bodiesOf = ({ reduce }: LoopKernel): Expr[] => reduce?.totals.map(t => t.body) ?? []

/** The expressions of a kernel: what it reduces, then its results. */
export const kernelExprs = (kernel: LoopKernel): Expr[] => [...bodiesOf(kernel), ...kernel.outputs.map(o => o.value)]

export function bufferReads(kernel: Kernel): Set<number> {
  const reads = new Set<number>()
  if (kernel.kind === 'scatterAdd') return reads.add(kernel.index).add(kernel.updates)
  if (kernel.kind === 'firstIndex') return reads.add(kernel.index)
  if (kernel.kind === 'argsort') return reads.add(kernel.input)
  walkExprs(kernelExprs(kernel), e => e.op === 'load' && reads.add(e.buffer))
  return reads
}

export const bufferWrites = (kernel: Kernel): number[] =>
  kernel.kind === 'loop' ? kernel.outputs.map(o => o.buffer) : [kernel.output]

export function printKernel(kernel: Kernel): string {
  switch (kernel.kind) {
    case 'loop': {
      const { reduce, outputs } = kernel
      const lines = [`${kernel.name} over ${formatShape(kernel.axes)}`]
      const indent = (text: string): unknown => lines.push(`  ${text}`)
      if (reduce) {
        const { shared, texts } = printExprs(bodiesOf(kernel))
        for (const line of shared) indent(line)
        const over = `over ${formatShape(reduce.axes)}${reduce.contraction ? ' (contraction)' : ''}`
        for (const [i, { op }] of reduce.totals.entries()) indent(`${reducedName(i)} = ${op} ${over} of ${texts[i]}`)
      }
      const { shared, texts } = printExprs(outputs.map(o => o.value))
      for (const line of shared) indent(line)
      for (const [i, { buffer }] of outputs.entries()) indent(`b${buffer} = ${texts[i]}`)
      return lines.join('\n')
    }
    case 'scatterAdd':
      return `${kernel.name}\n  b${kernel.output}[b${kernel.index}[i]] += b${kernel.updates}[i]  (${kernel.count} x ${kernel.width} into ${kernel.rows} rows)`
    case 'firstIndex':
      return `${kernel.name}\n  b${kernel.output} = first positions in b${kernel.index}[${kernel.count}]  (of ${kernel.rows} rows)`
    case 'argsort':
      return `${kernel.name}\n  b${kernel.output} = argsort(b${kernel.input})  (${kernel.rows} rows of ${kernel.length})`
  }
}

export function printSchedule(schedule: Schedule): string {
  const buffers = schedule.buffers.map((b, i) => `b${i}: ${b.dtype}[${b.size}] ${b.role}`)
  return [...buffers, ...schedule.kernels.map(printKernel)].join('\n')
}

/** A name for a kernel that says which primitives it computes. */
export const kernelName = (nodes: readonly Node[]): string => [...new Set(nodes.map(n => n.op))].slice(0, 4).join('_')
