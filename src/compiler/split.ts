/**
 * Splits a long reduction with few results: a kernel reduces parts of the loops, each into an element of its own, and a
 * second one reduces those and computes the results. On devices with many more threads than results both keep them busy.
 * Whether that is worth a kernel more is for the device to say.
 */

import type { DType } from '../graph/dtype.js'
import { sizeOf } from '../graph/shape.js'
import {
  addIndex,
  axisIndex,
  type Condition,
  type Index,
  linearIndex,
  range,
  scaleIndex,
  substitute,
} from './affine.js'
import { collapse } from './collapse.js'
import { copyExprs } from './copy.js'
import { type Expr, ExprTable } from './expr.js'
import { identityOf, type LoopKernel, mapTotals, type Reduction } from './kernel.js'

/**
 * Into how many parts each of the reduced loops falls for about `wanted` parts in all. Loops are divided evenly, outer
 * ones first, if that gives at least half as many; else the longest alone is, and its last part is shorter.
 */
export function partsOf(sizes: readonly number[], wanted: number): number[] {
  let missing = wanted
  const even = sizes.map(size => {
    let parts = Math.max(1, Math.min(size, missing))
    while (size % parts !== 0) parts--
    if (parts < size && 2 * parts < missing) return 1
    missing = Math.floor(missing / parts)
    return parts
  })
  if (2 * sizeOf(even) >= Math.min(wanted, sizeOf(sizes))) return even
  const longest = sizes.indexOf(Math.max(...sizes))
  const chunk = Math.ceil(sizes[longest] / wanted)
  return sizes.map((size, i) => (i === longest ? Math.ceil(size / chunk) : 1))
}

export type ReducingKernel = LoopKernel & { readonly reduce: Reduction }

export const isReducing = (kernel: LoopKernel): kernel is ReducingKernel => kernel.reduce !== undefined

/**
 * The kernel of the parts' results, [...parts, ...axes] in a scratch buffer for each total, and the kernel of the results.
 * The first is a contraction if the kernel is one, with the parts as batch.
 */
export function splitReduction(
  kernel: ReducingKernel,
  parts: readonly number[],
  scratch: (type: DType, size: number) => number,
): readonly [LoopKernel, LoopKernel] {
  const size = sizeOf(parts) * sizeOf(kernel.axes)
  const buffers = kernel.reduce.totals.map(({ type }) => scratch(type, size))
  return [partialKernel(kernel, parts, buffers), finalKernel(kernel, sizeOf(parts), buffers)]
}

function partialKernel(
  { name, axes, reduce }: ReducingKernel,
  parts: readonly number[],
  buffers: readonly number[],
): LoopKernel {
  const split = parts.flatMap((count, i) => (count > 1 ? [i] : []))
  const before = split.length
  const own = before + axes.length
  const chunks = reduce.axes.map((size, i) => Math.ceil(size / parts[i]))
  // The position of each loop, old axis by old axis: the loops over parts come first.
  const conditions: Condition[] = []
  const positions: Index[] = [
    ...axes.map((size, a) => axisIndex(before + a, size)),
    ...reduce.axes.map((size, i) => {
      const rest = axisIndex(own + i, chunks[i])
      const part = split.indexOf(i)
      if (part < 0) return rest
      const position = addIndex(scaleIndex(axisIndex(part, parts[i]), chunks[i]), rest)
      if (range(position).high >= size) conditions.push({ index: position, low: 0, high: size })
      return position
    }),
  ]
  const exprs = new ExprTable()
  const copy = copyExprs(exprs, {
    index: index => substitute(index, atom => (atom.kind === 'axis' ? positions[atom.axis] : undefined)),
    conditions,
  })
  /** An expression that is `neutral` behind the end of a loop; a load is 0 there by itself. */
  const within = (e: Expr, neutral: number): Expr => {
    const value = copy(e)
    if (conditions.length === 0 || (value.op === 'load' && neutral === 0)) return value
    return exprs.operation('select', e.type, exprs.inside(conditions), value, exprs.constant(neutral, e.type))
  }
  const shift = (of: readonly number[]): number[] => of.map(a => a + before)
  const factors = reduce.contraction
  const [left, right] = factors ? [within(factors.left, 0), within(factors.right, 0)] : []
  return collapse({
    kind: 'loop',
    name: `${name}_parts`,
    axes: [...split.map(i => parts[i]), ...axes],
    reduce: {
      axes: chunks,
      totals: mapTotals(reduce, t => ({
        ...t,
        body: left && right ? exprs.operation('mul', t.type, left, right) : within(t.body, identityOf(t)),
      })),
      contraction: factors &&
        left &&
        right && {
          left,
          right,
          batch: [...split.keys(), ...shift(factors.batch)],
          rows: shift(factors.rows),
          columns: shift(factors.columns),
        },
    },
    outputs: reduce.totals.map(({ type }, i) => ({
      buffer: buffers[i],
      value: exprs.reduced(type, [...Array(own).keys()], i),
    })),
  })
}

function finalKernel(kernel: ReducingKernel, parts: number, buffers: readonly number[]): LoopKernel {
  const { axes, reduce, outputs } = kernel
  const exprs = new ExprTable()
  const position = linearIndex(
    axes.map((size, a) => axisIndex(a, size)),
    axes,
  )
  const part = axisIndex(axes.length, parts)
  const place = addIndex(scaleIndex(part, sizeOf(axes)), position)
  const copy = copyExprs(exprs)
  return collapse({
    ...kernel,
    reduce: {
      axes: [parts],
      totals: mapTotals(reduce, (t, i) => ({ ...t, body: exprs.load(buffers[i], t.type, place, []) })),
    },
    outputs: outputs.map(o => ({ ...o, value: copy(o.value) })),
  })
}
