/** Fewer, longer loops: axes of size 1 disappear, and neighbouring axes that every index treats as one become one. */

import { axisFactor, axisIndex, type Index, substitute, zero } from './affine.js'
import { copyExprs } from './copy.js'
import { ExprTable, walkExprs } from './expr.js'
import { kernelExprs, type LoopKernel } from './kernel.js'

export function collapse(kernel: LoopKernel): LoopKernel {
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
  const rewrite = copyExprs(exprs, {
    index: index => substitute(index, atom => (atom.kind === 'axis' ? replaced[atom.axis] : undefined)),
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
