/**
 * Emits contractions (matrix products and convolutions alike) as register-blocked matrix products. The right factor is
 * packed into panels of a few vectors' width, which also evaluates whatever expression it is; the left one is read where
 * it lies, through row pointers, if its index is a sum of strides, else it is computed into a buffer, in the order of what
 * it reads. No im2col buffer is made.
 */

import {
  addIndex,
  axisFactor,
  axisIndex,
  type Condition,
  type Index,
  linearIndex,
  scaleIndex,
  substitute,
  unravel,
} from '../../../compiler/affine.js'
import { collapse } from '../../../compiler/collapse.js'
import { copyExprs } from '../../../compiler/copy.js'
import { type Expr, ExprTable, type Load, walkExprs } from '../../../compiler/expr.js'
import { type Contraction, isTiled, type LoopKernel, type Reduction } from '../../../compiler/kernel.js'
import type { DType } from '../../../graph/dtype.js'
import { sizeOf } from '../../../graph/shape.js'
import { bytesOf } from './memory-access.js'
import { type Bound, plain, withoutPadding } from './padding.js'
import { chooseTile, type Tile, type TimedTile } from './tiles.js'

/** A kernel that is worth a matrix product. */
export interface Gemm {
  readonly kernel: LoopKernel
  readonly reduce: Reduction
  readonly contraction: Contraction
  /** Inner loops that need not begin at 0 nor go to their end. */
  readonly bounds: readonly Bound[]
  /** How many neighbours of the batch share a right factor. */
  readonly positions: number
  readonly type: 'float32' | 'float64'
  readonly batch: number
  readonly rows: number
  readonly columns: number
  readonly inner: number
  readonly tile: Tile
  /** Columns of a panel: those of a tile. */
  readonly panel: number
  /** Rows that lie side by side in the left factor if it is packed: one, or whole tiles in a line of the cache. */
  readonly rowsAside: number
  /** The factors' loads, where they are read in place. */
  readonly left: Load | undefined
  readonly right: Load | undefined
}

export const lanesOf = (type: 'float32' | 'float64'): number => (type === 'float32' ? 4 : 2)

/** The loops of one kind, by axis number, with their sizes. */
export function sizesOf(kernel: LoopKernel, axes: readonly number[]): number[] {
  return axes.map(a => kernel.axes[a])
}

/** The matrix product that a kernel is, or undefined for what plain loops do as well. */
export function asGemm(kernel: LoopKernel, tiles: readonly TimedTile[]): Gemm | undefined {
  const { reduce } = kernel
  if (!reduce?.contraction) return undefined
  const [{ type }] = reduce.totals
  if (type !== 'float32' && type !== 'float64') return undefined
  const left = leftInPlace(kernel, reduce.contraction)
  const { bounds, contraction, positions } = left
    ? withoutPadding(kernel, reduce, reduce.contraction)
    : plain(reduce.contraction)
  const [batch, rows, columns] = [contraction.batch, contraction.rows, contraction.columns].map(axes =>
    sizeOf(sizesOf(kernel, axes)),
  )
  const inner = sizeOf(reduce.axes)
  // The last axis must be the columns' own.
  if (!isTiled(rows, columns, inner) || contraction.columns[0] !== kernel.axes.length - 1) return undefined
  const lanes = lanesOf(type)
  const tile = chooseTile(rows, columns / lanes, tiles)
  return {
    kernel,
    reduce,
    contraction,
    bounds,
    positions,
    type,
    batch,
    rows,
    columns,
    inner,
    tile,
    panel: tile.vectors * lanes,
    rowsAside: goesAlongRows(kernel, contraction) ? rowsOfLine(tile, rows, type) : 1,
    left,
    right: rightInPlace(kernel, contraction, rows, sizeOf([inner, columns])),
  }
}

/** The expression as a load without conditions whose index is a sum of axes times factors. */
function directLoad(kernel: LoopKernel, e: Expr): Load | undefined {
  if (e.op !== 'load' || e.conditions.length > 0) return undefined
  return e.index.terms.every(t => t.atom.kind === 'axis') && kernel.axes.length > 0 ? e : undefined
}

/** The number of the innermost loop of a product, as indices know it. */
const innermost = ({ axes, reduce }: LoopKernel): number => axes.length + (reduce?.axes.length ?? 0) - 1

/**
 * Whether the left factor is packed with its rows side by side, as what it loads lies; else the inner positions are
 * neighbours. What a row or an inner position has for itself, such as the id of a word, is read once for many.
 */
function goesAlongRows(kernel: LoopKernel, { left, rows }: Contraction): boolean {
  const lastRow = rows.findLast(axis => kernel.axes[axis] > 1)
  const lastInner = innermost(kernel)
  let alongRows = 0
  walkExprs([left], e => {
    if (e.op !== 'load' || lastRow === undefined || !e.axes.has(lastRow) || !e.axes.has(lastInner)) return
    if (axisFactor(e.index, lastRow) === 1) alongRows++
    if (axisFactor(e.index, lastInner) === 1) alongRows--
  })
  return alongRows > 0
}

/** Rows of whole tiles that a line of the cache holds, and no more than there are. */
function rowsOfLine(tile: Tile, rows: number, type: 'float32' | 'float64'): number {
  const tiles = Math.min(Math.ceil(rows / tile.rows), Math.floor(lineBytes / bytesOf(type) / tile.rows))
  return Math.max(1, tiles) * tile.rows
}

/** Of the first cache. */
const lineBytes = 64
/** A left factor with so many lines is packed if it serves so many columns. */
const manyLines = 128
const worthPacking = 64

/**
 * The left factor's load, unless its rows lie side by side and many inner positions have a line of the cache each: where
 * those are a power of two apart, as in the gradient of a weight, they drive each other out.
 */
function leftInPlace(kernel: LoopKernel, contraction: Contraction): Load | undefined {
  const load = directLoad(kernel, contraction.left)
  if (!load || !goesAlongRows(kernel, contraction)) return load
  const inner = sizeOf(kernel.reduce?.axes ?? [])
  const isFar = (axisFactor(load.index, innermost(kernel)) ?? 0) * bytesOf(load.type as DType) >= lineBytes
  const columns = sizeOf(sizesOf(kernel, contraction.columns))
  return isFar && inner >= manyLines && columns >= worthPacking ? undefined : load
}

/** Rows that are too few to be worth packing the right factor, and elements of it that the second cache holds. */
const fewRows = 64
const cachedElements = 2 ** 16

/** The right factor's load, if its columns are neighbours in memory and packing it would cost more than it saves. */
function rightInPlace(
  kernel: LoopKernel,
  { right, columns }: Contraction,
  rows: number,
  size: number,
): Load | undefined {
  if (rows > fewRows || size > cachedElements) return undefined
  const load = directLoad(kernel, right)
  if (!load) return undefined
  const stride = (axis: number): number => sizeOf(columns.filter(a => a > axis).map(a => kernel.axes[a]))
  const areNeighbours = columns.every(a => kernel.axes[a] === 1 || axisFactor(load.index, a) === stride(a))
  // The loops count by the pointer to it.
  const moves = axisFactor(load.index, innermost(kernel))
  return areNeighbours && moves ? load : undefined
}

export const sides = ['left', 'right'] as const
export type Side = (typeof sides)[number]

/** The loops that belong to one factor only: rows to the left, columns to the right. */
export const ownAxes = ({ contraction }: Gemm, side: Side): readonly number[] =>
  side === 'left' ? contraction.rows : contraction.columns
/** Tiles of rows, the last of which may have fewer. */
export const tilesOf = (g: Gemm): number => Math.ceil(g.rows / g.tile.rows)
/** How many rows or columns lie side by side when a factor is packed, and the number of such blocks. */
export const widthOf = (g: Gemm, side: Side): number => (side === 'left' ? g.rowsAside : g.panel)
export const blocksOf = (g: Gemm, side: Side): number =>
  Math.ceil((side === 'left' ? g.rows : g.columns) / widthOf(g, side))
/** Elements of a packed factor. */
export const packedSize = (g: Gemm, side: Side): number =>
  (g.batch / sharersOf(g, side)) * blocksOf(g, side) * g.inner * widthOf(g, side)
/** Neighbours of the batch that have a factor in common. */
export const sharersOf = (g: Gemm, side: Side): number => (side === 'left' ? 1 : g.positions)

/**
 * A loop kernel that packs a factor into a buffer: [batch, blocks, ...inner, width], zeros beyond the last column; no last
 * axis where the width is 1.
 */
export function packKernel(g: Gemm, side: Side, buffer: number): LoopKernel {
  const { kernel, contraction, reduce } = g
  const [axes, width, blocks] = [ownAxes(g, side), widthOf(g, side), blocksOf(g, side)]
  const limit = sizeOf(sizesOf(kernel, axes))
  const sizes = [g.batch / sharersOf(g, side), blocks, ...reduce.axes, ...(width > 1 ? [width] : [])]
  const loops = sizes.map((size, axis) => axisIndex(axis, size))
  const at = width > 1 ? addIndex(scaleIndex(loops[1], width), loops[sizes.length - 1]) : loops[1]
  const conditions: Condition[] = limit % width === 0 ? [] : [{ index: at, low: 0, high: limit }]
  const own = unravel(at, sizesOf(kernel, axes))
  const shared = contraction.batch.filter(a => side === 'left' || !g.bounds.some(b => b.outer === a))
  const batch = unravel(loops[0], sizesOf(kernel, shared))
  const replaced = new Map<number, Index>()
  axes.forEach((a, i) => replaced.set(a, own[i]))
  shared.forEach((a, i) => replaced.set(a, batch[i]))
  reduce.axes.forEach((_, i) => replaced.set(kernel.axes.length + i, loops[2 + i]))
  const exprs = new ExprTable()
  const copy = copyExprs(exprs, {
    index: index => substitute(index, atom => (atom.kind === 'axis' ? replaced.get(atom.axis) : undefined)),
    conditions,
  })
  const value = copy(contraction[side])
  return collapse({ kind: 'loop', name: `pack_${side}`, axes: sizes, outputs: [{ buffer, value }] })
}

/** The kernel of a contraction's outputs, reading the raw product from a buffer. */
export function epilogueKernel({ kernel, type }: Gemm, raw: number): LoopKernel | undefined {
  if (kernel.outputs.length === 1 && kernel.outputs[0].value.op === 'reduced') return undefined
  const exprs = new ExprTable()
  const loops = kernel.axes.map((size, axis) => axisIndex(axis, size))
  const reduced = exprs.load(raw, type, linearIndex(loops, kernel.axes), [])
  const rewrite = copyExprs(exprs, { reduced: () => reduced })
  const outputs = kernel.outputs.filter(o => !(o.value.op === 'reduced' && o.buffer === raw))
  return outputs.length
    ? {
        kind: 'loop',
        name: `${kernel.name}_epilogue`,
        axes: kernel.axes,
        outputs: outputs.map(o => ({ ...o, value: rewrite(o.value) })),
      }
    : undefined
}
