/**
 * Loops in the order of memory, as few and as long as indices allow: an axis that indices take apart becomes several, reduced
 * loops with the widest strides come first, axes of size 1 disappear, and neighbouring axes that every index treats as
 * one become one.
 */

import { type Atom, axisFactor, axisIndex, type Index, linearIndex, substitute, sumIndex, zero } from './affine.js'
import { copyExprs } from './copy.js'
import { ExprTable, walkExprs } from './expr.js'
import { bodiesOf, kernelExprs, type LoopKernel, mapTotals } from './kernel.js'

export const collapse = (kernel: LoopKernel): LoopKernel => merge(inMemoryOrder(split(kernel)))

/** What a loop is for: `inner` is reduced; of a contraction's output loops each belongs to one or both factors. */
type Kind = 'batch' | 'rows' | 'columns' | 'outer' | 'inner'

interface Loop {
  readonly size: number
  readonly kind: Kind
}

function loopsOf({ axes, reduce }: LoopKernel): Loop[] {
  const { batch = [], rows = [] } = reduce?.contraction ?? {}
  const kindOf = (axis: number): Kind => {
    if (!reduce?.contraction) return 'outer'
    return batch.includes(axis) ? 'batch' : rows.includes(axis) ? 'rows' : 'columns'
  }
  return [
    ...axes.map((size, axis): Loop => ({ size, kind: kindOf(axis) })),
    ...(reduce?.axes ?? []).map((size): Loop => ({ size, kind: 'inner' })),
  ]
}

function indicesOf(kernel: LoopKernel): Index[] {
  const indices: Index[] = []
  walkExprs(kernelExprs(kernel), e => {
    if (e.op === 'load' || e.op === 'position') indices.push(e.index)
    if (e.op === 'load' || e.op === 'inside') for (const c of e.conditions) indices.push(c.index)
  })
  for (const c of kernel.reduce?.contraction?.inside ?? []) indices.push(c.index)
  return indices
}

/** The kernel in other loops, outer ones first: `at` has for each of its own loops the index in those. */
function inLoops(kernel: LoopKernel, loops: readonly Loop[], at: readonly Index[]): LoopKernel {
  const { reduce, outputs } = kernel
  const sizesOf = (isInner: boolean): number[] => loops.filter(l => (l.kind === 'inner') === isInner).map(l => l.size)
  const [axes, inner] = [sizesOf(false), sizesOf(true)]
  const ofKind = (kind: Kind): number[] => loops.flatMap((l, i) => (l.kind === kind ? [i] : []))
  const exprs = new ExprTable()
  const moved = (index: Index): Index => substitute(index, atom => (atom.kind === 'axis' ? at[atom.axis] : undefined))
  const rewrite = copyExprs(exprs, {
    index: moved,
    reduced: e => exprs.reduced(e.type, [...axes.keys()], e.total),
  })
  const contraction = reduce?.contraction
  return {
    ...kernel,
    axes,
    reduce: reduce && {
      ...reduce,
      // A reduction keeps a loop, so that devices need not know one without.
      axes: inner.length ? inner : [1],
      totals: mapTotals(reduce, t => ({ ...t, body: rewrite(t.body) })),
      contraction: contraction && {
        left: rewrite(contraction.left),
        right: rewrite(contraction.right),
        batch: ofKind('batch'),
        rows: ofKind('rows'),
        columns: ofKind('columns'),
        inside: contraction.inside?.map(c => ({ ...c, index: moved(c.index) })),
      },
    },
    outputs: outputs.map(o => ({ ...o, value: rewrite(o.value) })),
  }
}

/** The fewest positions that the last of a split axis may have where it may be the loop over vectors. */
const shortest = 8

/**
 * Axes of which indices know quotients and remainders, as after a reshape, become those: heads of attention side by side
 * in a row, say. All their indices are sums of strides then. Columns of a contraction stay one axis.
 */
function split(kernel: LoopKernel): LoopKernel {
  const loops = loopsOf(kernel)
  const divisors = loops.map(() => new Set<number>())
  const visit = ({ terms }: Index): void => {
    for (const { atom } of terms) {
      const axis = dividedAxis(atom)
      if (axis !== undefined) divisors[axis].add((atom as { divisor: number }).divisor)
      else if ('of' in atom) visit(atom.of)
    }
  }
  indicesOf(kernel).forEach(visit)
  const isLast = (axis: number): boolean => axis === kernel.axes.length - 1 || axis === loops.length - 1
  const parts = loops.map(({ size, kind }, axis) => {
    const sizes = kind === 'columns' ? [size] : chainOf(size, divisors[axis])
    return isLast(axis) && sizes.length > 1 && sizes[sizes.length - 1] < shortest ? [size] : sizes
  })
  if (parts.every(sizes => sizes.length === 1)) return kernel
  let next = 0
  const at = parts.map(sizes =>
    linearIndex(
      sizes.map(size => axisIndex(next++, size)),
      sizes,
    ),
  )
  return inLoops(
    kernel,
    loops.flatMap(({ kind }, axis) => parts[axis].map((size): Loop => ({ size, kind }))),
    at,
  )
}

/** The axis of which an atom is a quotient or a remainder. */
function dividedAxis(atom: Atom): number | undefined {
  if (atom.kind !== 'quotient' && atom.kind !== 'remainder') return undefined
  const [term, ...others] = atom.of.terms
  const isAxis = term?.atom.kind === 'axis' && term.factor === 1 && others.length === 0 && atom.of.constant === 0
  return isAxis ? (term.atom as { axis: number }).axis : undefined
}

/** The sizes, outermost first, of the axes that an axis becomes: one if the divisors do not divide each other. */
function chainOf(size: number, divisors: ReadonlySet<number>): number[] {
  const wholes = [size, ...[...divisors].sort((a, b) => b - a), 1]
  const sizes = wholes.slice(0, -1).map((whole, i) => whole / wholes[i + 1])
  return sizes.every(Number.isInteger) ? sizes : [size]
}

/** The reduced loops sorted by how far apart neighbours are in what is read; the order of a sum is nobody's business. */
function inMemoryOrder(kernel: LoopKernel): LoopKernel {
  const { axes, reduce } = kernel
  if (!reduce || reduce.axes.length < 2) return kernel
  const strides = new Array<number>(reduce.axes.length).fill(0)
  walkExprs(bodiesOf(kernel), e => {
    if (e.op === 'load')
      strides.forEach((_, i) => {
        strides[i] += Math.abs(axisFactor(e.index, axes.length + i) ?? Number.NaN)
      })
  })
  const order = [...strides.keys()].sort((a, b) => strides[b] - strides[a])
  if (strides.some(Number.isNaN) || order.every((from, i) => from === i)) return kernel
  const loops = loopsOf(kernel)
  const at = loops.map(({ size }, axis) => axisIndex(axis, size))
  order.forEach((from, i) => {
    at[axes.length + from] = axisIndex(axes.length + i, reduce.axes[from])
  })
  return inLoops(kernel, [...loops.slice(0, axes.length), ...order.map(from => loops[axes.length + from])], at)
}

function merge(kernel: LoopKernel): LoopKernel {
  const loops = loopsOf(kernel)
  const indices = indicesOf(kernel)
  // Each axis that stays, with the axes merged into it from the left.
  const merged: { size: number; kind: Kind; last: number }[] = []
  loops.forEach(({ size, kind }, axis) => {
    if (size === 1) return
    const previous = merged[merged.length - 1]
    if (previous && previous.kind === kind && indices.every(i => mergeable(i, previous.last, axis, size))) {
      previous.size *= size
      previous.last = axis
    } else merged.push({ size, kind, last: axis })
  })
  const at = loops.map((_, axis) => {
    const to = merged.findIndex(m => m.last === axis)
    return to < 0 ? zero : axisIndex(to, merged[to].size)
  })
  return inLoops(kernel, merged, at)
}

/** Whether an index sees axes a and b (b inside a, of the given size) only as the position a * size + b. */
function mergeable(index: Index, a: number, b: number, size: number): boolean {
  const own = sumIndex(
    0,
    index.terms.filter(t => t.atom.kind === 'axis'),
  )
  if (axisFactor(own, a) !== (axisFactor(own, b) ?? 0) * size) return false
  return index.terms.every(({ atom }) => !('of' in atom) || mergeable(atom.of, a, b, size))
}
