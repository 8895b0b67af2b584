/**
 * Fewer, longer loops, in the order of memory: reduced loops with the widest strides come first, axes of size 1 disappear,
 * and neighbouring axes that every index treats as one become one.
 */

import { axisFactor, axisIndex, type Index, substitute, zero } from './affine.js'
import { copyExprs } from './copy.js'
import { ExprTable, walkExprs } from './expr.js'
import { kernelExprs, type LoopKernel } from './kernel.js'

export const collapse = (kernel: LoopKernel): LoopKernel => merge(inMemoryOrder(kernel))

/** The reduced loops sorted by how far apart neighbours are in what is read; the order of a sum is nobody's business. */
function inMemoryOrder(kernel: LoopKernel): LoopKernel {
  const { axes, reduce } = kernel
  if (!reduce || reduce.axes.length < 2) return kernel
  const strides = new Array<number>(reduce.axes.length).fill(0)
  walkExprs([reduce.body], e => {
    if (e.op === 'load')
      strides.forEach((_, i) => {
        strides[i] += Math.abs(axisFactor(e.index, axes.length + i) ?? Number.NaN)
      })
  })
  const order = [...strides.keys()].sort((a, b) => strides[b] - strides[a])
  if (strides.some(Number.isNaN) || order.every((from, i) => from === i)) return kernel
  const sizes = order.map(i => reduce.axes[i])
  const target = new Map(order.map((from, i) => [axes.length + from, axisIndex(axes.length + i, sizes[i])]))
  const exprs = new ExprTable()
  const moved = (index: Index): Index =>
    substitute(index, atom => (atom.kind === 'axis' ? target.get(atom.axis) : undefined))
  const copy = copyExprs(exprs, { index: moved })
  const { contraction } = reduce
  return {
    ...kernel,
    reduce: {
      ...reduce,
      axes: sizes,
      body: copy(reduce.body),
      contraction: contraction && {
        ...contraction,
        left: copy(contraction.left),
        right: copy(contraction.right),
        inside: contraction.inside?.map(c => ({ ...c, index: moved(c.index) })),
      },
    },
    outputs: kernel.outputs.map(o => ({ ...o, value: copy(o.value) })),
  }
}

function merge(kernel: LoopKernel): LoopKernel {
  const sizes = [...kernel.axes, ...(kernel.reduce?.axes ?? [])]
  const outer = kernel.axes.length
  const contraction = kernel.reduce?.contraction
  const kind = (axis: number): string => {
    if (axis >= outer) return 'inner'
    if (!contraction) return 'outer'
    return contraction.batch.includes(axis) ? 'batch' : contraction.rows.includes(axis) ? 'rows' : 'columns'
  }
  const indices: Index[] = []
  walkExprs(kernelExprs(kernel), e => {
    if (e.op === 'load' || e.op === 'position') indices.push(e.index)
    if (e.op === 'load' || e.op === 'inside') for (const c of e.conditions) indices.push(c.index)
  })
  for (const c of contraction?.inside ?? []) indices.push(c.index)

  // Each axis that stays, with the axes merged into it from the left.
  const merged: { size: number; kind: string; last: number }[] = []
  const target = new Map<number, number>()
  sizes.forEach((size, axis) => {
    if (size === 1) return
    const previous = merged[merged.length - 1]
    if (previous && previous.kind === kind(axis) && indices.every(i => mergeable(i, previous.last, axis, size))) {
      previous.size *= size
      previous.last = axis
    } else merged.push({ size, kind: kind(axis), last: axis })
  })
  merged.forEach(({ last }, i) => target.set(last, i))
  const replaced = sizes.map((_, axis) => {
    const to = target.get(axis)
    return to === undefined ? zero : axisIndex(to, merged[to].size)
  })

  const isOuter = (m: { kind: string }): boolean => m.kind !== 'inner'
  const axes = merged.filter(isOuter).map(m => m.size)
  const ofKind = (k: string): number[] => merged.flatMap((m, i) => (m.kind === k ? [i] : []))
  const { reduce } = kernel
  const exprs = new ExprTable()
  const merging = (index: Index): Index =>
    substitute(index, atom => (atom.kind === 'axis' ? replaced[atom.axis] : undefined))
  const rewrite = copyExprs(exprs, {
    index: merging,
    reduced: reduce && exprs.reduced(reduce.type, [...axes.keys()]),
  })
  const inner = merged.filter(m => !isOuter(m)).map(m => m.size)
  return {
    ...kernel,
    axes,
    reduce: reduce && {
      ...reduce,
      // A reduction keeps a loop, so that devices need not know one without.
      axes: inner.length ? inner : [1],
      body: rewrite(reduce.body),
      contraction: contraction && {
        left: rewrite(contraction.left),
        right: rewrite(contraction.right),
        batch: ofKind('batch'),
        rows: ofKind('rows'),
        columns: ofKind('columns'),
        inside: contraction.inside?.map(c => ({ ...c, index: merging(c.index) })),
      },
    },
    outputs: kernel.outputs.map(o => ({ buffer: o.buffer, value: rewrite(o.value) })),
  }
}

/** Whether an index sees axes a and b (b inside a, of the given size) only as the position a * size + b. */
function mergeable(index: Index, a: number, b: number, size: number): boolean {
  const own = { constant: 0, key: '', terms: index.terms.filter(t => t.atom.kind === 'axis') }
  if (axisFactor(own, a) !== (axisFactor(own, b) ?? 0) * size) return false
  return index.terms.every(({ atom }) => !('of' in atom) || mergeable(atom.of, a, b, size))
}
