/**
 * Zeros that products need not multiply. Of a convolution of padded images, an inner loop over the kernel's rows (or
 * columns) meets padding at its beginning or its end, how much is known from the row (or column) of the result. So the
 * images take the place of the product's rows, positions that of its batch, and each position has loops of its own.
 */

import type { Condition } from '../../../compiler/affine.js'
import type { Contraction, LoopKernel, Reduction } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import type { Func, Local } from './assembler.js'

/** What is not padding along a loop: low <= outer * factor + inner * step < high. */
export interface Bound {
  /** The output loop, and the inner one by its number among those. */
  readonly outer: number
  readonly inner: number
  readonly factor: number
  readonly step: number
  readonly low: number
  readonly high: number
}

/** A product with its bounds, and how many positions they moved into the batch: neighbours there have one right factor. */
export interface Skipping {
  readonly bounds: readonly Bound[]
  readonly contraction: Contraction
  readonly positions: number
}

/** Images that are too few for tiles of their own, and the share of products that must go for the change to pay. */
const fewImages = 16
const worthSkipping = 1 / 8

/** The product with its padding left out, where there is enough of it: the loops that have bounds move from rows to batch. */
export function withoutPadding(kernel: LoopKernel, reduce: Reduction, contraction: Contraction): Skipping {
  const bounds = (contraction.inside ?? []).flatMap(c => boundOf(kernel, contraction, c) ?? [])
  const isBound = (axis: number): boolean => bounds.some(b => b.outer === axis)
  const rows = contraction.rows.filter(axis => !isBound(axis))
  const images = sizeOf(rows.map(a => kernel.axes[a]))
  const share = bounds.reduce((all, b) => all * shareOf(b, kernel.axes[b.outer], reduce.axes[b.inner]), 1)
  if (images < fewImages || share > 1 - worthSkipping) return plain(contraction)
  const moved = contraction.rows.filter(isBound)
  return {
    bounds,
    contraction: { ...contraction, batch: [...contraction.batch, ...moved], rows },
    positions: sizeOf(moved.map(a => kernel.axes[a])),
  }
}

/** A product as it is. */
export const plain = (contraction: Contraction): Skipping => ({ bounds: [], contraction, positions: 1 })

function boundOf(kernel: LoopKernel, { rows }: Contraction, { index, low, high }: Condition): Bound | undefined {
  const terms = index.terms.map(({ atom, factor }) => ({ axis: atom.kind === 'axis' ? atom.axis : -1, atom, factor }))
  const outer = terms.find(t => rows.includes(t.axis))
  const [inner] = terms.filter(t => t.axis >= kernel.axes.length).sort((a, b) => b.factor - a.factor)
  if (!outer || !inner || inner.factor < 0) return undefined
  // Loops over less than the unit of all others change nothing.
  const [lowest, beyond] = [low - index.constant, high - index.constant]
  const unit = [inner.factor, outer.factor, lowest, beyond].reduce(gcd)
  const rest = terms.filter(t => t !== outer && t !== inner)
  if (rest.some(t => t.axis < 0 || t.factor < 0)) return undefined
  if (rest.reduce((sum, t) => sum + t.factor * t.atom.high, 0) >= unit) return undefined
  return {
    outer: outer.axis,
    inner: inner.axis - kernel.axes.length,
    factor: outer.factor / unit,
    step: inner.factor / unit,
    low: lowest / unit,
    high: beyond / unit,
  }
}

const gcd = (a: number, b: number): number => (b === 0 ? Math.abs(a) : gcd(b, a % b))

/** Where an inner loop of `size` begins and ends at a position of the outer one: ⌈(edge - outer * factor) / step⌉. */
function rangeAt({ factor, step, low, high }: Bound, outer: number, size: number): { from: number; to: number } {
  const first = (edge: number): number => Math.min(size, Math.max(0, Math.ceil((edge - outer * factor) / step)))
  return { from: first(low), to: first(high) }
}

/** The share of an inner loop, of all positions of the outer one, that is no padding. */
function shareOf(bound: Bound, outer: number, inner: number): number {
  const ranges = Array.from({ length: outer }, (_, o) => rangeAt(bound, o, inner))
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0) / (outer * inner)
}

/** Where an inner loop begins and ends. */
export interface Range {
  readonly from: Local
  readonly to: Local
  /** Whether that is another place for each position of the batch. */
  readonly bounded: boolean
}

/** Emits where each inner loop begins and ends, the outermost counted from the start of a block of `limit` positions. */
export function emitRanges(
  f: Func,
  { bounds, contraction, kernel, reduce }: Skipping & { readonly kernel: LoopKernel; readonly reduce: Reduction },
  batch: Local,
  block: Local,
  limit: Local,
): readonly Range[] {
  const zero = f.local('i32')
  return reduce.axes.map((size, inner) => {
    const bound = bounds.find(b => b.inner === inner)
    const count = f.local('i32')
    if (inner === 0) f.get(limit).set(count)
    else f.i32(size).set(count)
    if (!bound) return { from: zero, to: count, bounded: false }
    const outer = f.local('i32')
    const after = contraction.batch.slice(contraction.batch.indexOf(bound.outer) + 1)
    f.get(batch)
      .i32(sizeOf(after.map(a => kernel.axes[a])))
      .op('i32.div_u')
      .i32(kernel.axes[bound.outer])
      .op('i32.rem_u')
      .set(outer)
    const first = (edge: number): Local => {
      const result = emitFirst(f, bound, edge, outer)
      if (inner === 0) f.get(result).get(block).op('i32.sub').set(result)
      f.extreme('i32.gt_s', result, 0).set(result)
      f.extreme('i32.lt_s', result, { local: count }).set(result)
      return result
    }
    return { from: first(bound.low), to: first(bound.high), bounded: true }
  })
}

/** Emits the first position behind an edge, as `rangeAt` has it, at the least 0. */
function emitFirst(f: Func, { factor, step }: Bound, edge: number, outer: Local): Local {
  const result = f.local('i32')
  f.i32(edge + step - 1)
    .get(outer)
    .i32(factor)
    .op('i32.mul', 'i32.sub')
    .set(result)
  // The division is unsigned.
  f.extreme('i32.gt_s', result, 0).i32(step).op('i32.div_u').set(result)
  return result
}
