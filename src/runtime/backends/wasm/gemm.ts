/**
 * Emits contractions (matrix products and convolutions alike) as register-blocked matrix products. The right factor is
 * packed into panels of a few vectors' width, which also evaluates whatever expression it is; the left one is read where
 * it lies, through row pointers, if its index is a sum of strides, else it is packed too. No im2col buffer is made.
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
import { copyExprs } from '../../../compiler/copy.js'
import { type Expr, ExprTable, type Load } from '../../../compiler/expr.js'
import { type Contraction, isTiled, type LoopKernel, type Reduction } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import { Func, type Local } from './assembler.js'
import { bytesOf } from './memory-access.js'
import type { Target } from './values.js'

/** A kernel that is worth a matrix product. */
export interface Gemm {
  readonly kernel: LoopKernel
  readonly reduce: Reduction
  readonly contraction: Contraction
  readonly type: 'float32' | 'float64'
  readonly batch: number
  readonly rows: number
  readonly columns: number
  readonly inner: number
  /** Columns of a panel and rows of a tile. */
  readonly panel: number
  readonly tile: number
  /** The left factor's load, if it is read in place. */
  readonly left: Load | undefined
}

const lanesOf = (type: 'float32' | 'float64'): number => (type === 'float32' ? 4 : 2)

/** The loops of one kind, by axis number, with their sizes. */
function sizesOf(kernel: LoopKernel, axes: readonly number[]): number[] {
  return axes.map(a => kernel.axes[a])
}

/** The matrix product that a kernel is, or undefined for what plain loops do as well. */
export function asGemm(kernel: LoopKernel): Gemm | undefined {
  const { reduce } = kernel
  const contraction = reduce?.contraction
  if (!reduce || !contraction || (reduce.type !== 'float32' && reduce.type !== 'float64')) return undefined
  const [batch, rows, columns] = [contraction.batch, contraction.rows, contraction.columns].map(axes =>
    sizeOf(sizesOf(kernel, axes)),
  )
  const inner = sizeOf(reduce.axes)
  // The last axis must be the columns' own.
  if (!isTiled(rows, columns, inner) || contraction.columns[0] !== kernel.axes.length - 1) return undefined
  const lanes = lanesOf(reduce.type)
  const vectors = columns >= 3 * lanes && columns % (3 * lanes) === 0 && columns % (2 * lanes) !== 0 ? 3 : 2
  const panel = vectors * lanes
  return {
    kernel,
    reduce,
    contraction,
    type: reduce.type,
    batch,
    rows,
    columns,
    inner,
    panel,
    tile: vectors === 3 ? 3 : 4,
    left: directLoad(kernel, contraction.left),
  }
}

/** The expression as a load without conditions whose index is a sum of axes times factors. */
function directLoad(kernel: LoopKernel, e: Expr): Load | undefined {
  if (e.op !== 'load' || e.conditions.length > 0) return undefined
  return e.index.terms.every(t => t.atom.kind === 'axis') && kernel.axes.length > 0 ? e : undefined
}

export const panelsOf = (g: Gemm): number => Math.ceil(g.columns / g.panel)
const tilesOf = (g: Gemm): number => Math.ceil(g.rows / g.tile)
/** Elements of the packed right factor, and of the packed left one. */
export const packedRightSize = (g: Gemm): number => g.batch * panelsOf(g) * g.inner * g.panel
export const packedLeftSize = (g: Gemm): number => (g.left ? 0 : g.batch * tilesOf(g) * g.inner * g.tile)

/** A loop kernel that packs a factor: [batch, blocks, ...inner, width], zeros beyond `limit`. */
function packKernel(g: Gemm, side: 'left' | 'right', buffer: number): LoopKernel {
  const { kernel, contraction, reduce } = g
  const [axes, width, limit] =
    side === 'left' ? [contraction.rows, g.tile, g.rows] : [contraction.columns, g.panel, g.columns]
  const blocks = Math.ceil(limit / width)
  const sizes = [g.batch, blocks, ...reduce.axes, width]
  const loops = sizes.map((size, axis) => axisIndex(axis, size))
  const at = addIndex(scaleIndex(loops[1], width), loops[sizes.length - 1])
  const conditions: Condition[] = limit % width === 0 ? [] : [{ index: at, low: 0, high: limit }]
  const own = unravel(at, sizesOf(kernel, axes))
  const batch = unravel(loops[0], sizesOf(kernel, contraction.batch))
  const replaced = new Map<number, Index>()
  axes.forEach((a, i) => replaced.set(a, own[i]))
  contraction.batch.forEach((a, i) => replaced.set(a, batch[i]))
  reduce.axes.forEach((_, i) => replaced.set(kernel.axes.length + i, loops[2 + i]))
  const exprs = new ExprTable()
  const copy = copyExprs(exprs, {
    index: index => substitute(index, atom => (atom.kind === 'axis' ? replaced.get(atom.axis) : undefined)),
    conditions,
  })
  const value = copy(contraction[side])
  return { kind: 'loop', name: `pack_${side}`, axes: sizes, outputs: [{ buffer, value }] }
}

export const packRight = (g: Gemm, buffer: number): LoopKernel => packKernel(g, 'right', buffer)
export const packLeft = (g: Gemm, buffer: number): LoopKernel => packKernel(g, 'left', buffer)

/** The kernel of a contraction's outputs, reading the raw product from a buffer. */
export function epilogueKernel({ kernel, type }: Gemm, raw: number): LoopKernel | undefined {
  if (kernel.outputs.length === 1 && kernel.outputs[0].value.op === 'reduced') return undefined
  const exprs = new ExprTable()
  const loops = kernel.axes.map((size, axis) => axisIndex(axis, size))
  const reduced = exprs.load(raw, type, linearIndex(loops, kernel.axes), [])
  const rewrite = copyExprs(exprs, { reduced })
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

/** Rows that one call of the product works on. */
export const rowBlock = 128

/** Inner positions between two visits of the same result: so many that a panel's block stays in the first cache. */
const innerBlock = 384
/** Bytes of the panels that a tile of rows meets in one call: about half of the first cache. */
const panelBytes = 16384

/**
 * A function `name(begin, end)` that computes tiles of rows begin .. end - 1 (counted through all batches) of the raw
 * product. The functions that it calls are handed to `indexOf`, which adds them to the module and returns their index.
 */
export function emitGemm(
  name: string,
  g: Gemm,
  buffers: { right: number; left: number | undefined; raw: number },
  target: Target,
  indexOf: (f: Func) => number,
): Func {
  const full = new Micro(`${name}_tile`, g, g.tile, buffers, target).emit()
  const single = g.rows % g.tile === 0 ? undefined : new Micro(`${name}_row`, g, 1, buffers, target).emit()
  const tileIndex = indexOf(full)
  const rowIndex = single ? indexOf(single) : 0
  const f = new Func(name, ['i32', 'i32'])
  const [b, row, end, last, panel, block] = Array.from({ length: 6 }, () => f.local('i32'))
  const blockPositions = outerBlock(g)
  const group = panelGroup(g)
  const [outer] = g.reduce.axes
  // begin and end may span batches: batch by batch.
  f.get(0).i32(g.rows).op('i32.div_u').set(b)
  f.for(b, g.batch, 1, () => {
    f.get(b)
      .i32(g.rows)
      .op('i32.mul')
      .get(1)
      .op('i32.ge_s')
      .if(() => f.op('return'))
    // The part of this batch's rows that lies in begin .. end.
    f.get(1)
      .get(b)
      .i32(g.rows)
      .op('i32.mul', 'i32.sub')
      .tee(end)
      .i32(g.rows)
      .get(end)
      .i32(g.rows)
      .op('i32.lt_s', 'select')
      .set(end)
    f.i32(0).set(block)
    f.for(block, outer, blockPositions, () => {
      f.i32(0).set(panel)
      f.for(panel, panelsOf(g), group, () => {
        const start = f.local('i32')
        f.get(0)
          .get(b)
          .i32(g.rows)
          .op('i32.mul', 'i32.sub')
          .tee(start)
          .i32(0)
          .get(start)
          .i32(0)
          .op('i32.gt_s', 'select')
          .set(row)
        f.get(end)
          .i32(g.tile - 1)
          .op('i32.sub')
          .set(last)
        const call = (index: number): void => {
          f.get(b).get(row).get(panel).get(block).call(index)
        }
        f.for(row, { local: last }, g.tile, () => call(tileIndex))
        if (single) f.for(row, { local: end }, 1, () => call(rowIndex))
      })
    })
  })
  return f
}

/** Positions of the outermost inner loop in one block. */
function outerBlock(g: Gemm): number {
  const [outer, ...rest] = g.reduce.axes
  return Math.min(outer, Math.max(1, Math.floor(innerBlock / sizeOf(rest))))
}

/** Panels that one call goes through: the fewer inner positions there are, the more, for what is done once a call. */
function panelGroup(g: Gemm): number {
  const bytes = outerBlock(g) * sizeOf(g.reduce.axes.slice(1)) * g.panel * bytesOf(g.type)
  return Math.max(1, Math.min(panelsOf(g), Math.floor(panelBytes / bytes)))
}

/** The innermost function: a tile of rows times a group of panels over one block of inner positions, in registers. */
class Micro {
  readonly #f: Func
  readonly #g: Gemm
  readonly #rows: number
  readonly #buffers: { right: number; left: number | undefined; raw: number }
  readonly #target: Target

  constructor(
    name: string,
    g: Gemm,
    rows: number,
    buffers: { right: number; left: number | undefined; raw: number },
    target: Target,
  ) {
    this.#f = new Func(name, ['i32', 'i32', 'i32', 'i32'])
    this.#g = g
    this.#rows = rows
    this.#buffers = buffers
    this.#target = target
  }

  emit(): Func {
    const f = this.#f
    const g = this.#g
    const [batch, row, firstPanel, block] = [0, 1, 2, 3]
    const size = bytesOf(g.type)
    const lanes = lanesOf(g.type)
    const vectors = g.panel / lanes
    const [outer, ...rest] = g.reduce.axes
    const perOuter = sizeOf(rest)
    const base = (buffer: number): Func => f.globalGet(0).memory('i32.load', 4 * buffer)

    // Left: one pointer a row, and where it starts.
    const strides = this.#leftStrides()
    const start = Array.from({ length: this.#rows }, () => f.local('i32'))
    const left = Array.from({ length: this.#rows }, () => f.local('i32'))
    start.forEach((pointer, r) => this.#setRowPointer(pointer, r, batch, row, block))

    // Result: one pointer a row, at the panel's first column.
    const result = Array.from({ length: this.#rows }, () => f.local('i32'))
    result.forEach((pointer, r) => {
      base(this.#buffers.raw)
      this.#pushOutputOffset(batch, row, r)
      f.get(firstPanel).i32(g.panel).op('i32.mul', 'i32.add').i32(size).op('i32.mul', 'i32.add').set(pointer)
    })

    const right = f.local('i32')
    const accumulators = Array.from({ length: this.#rows * vectors }, () => f.local('v128'))
    const factors = Array.from({ length: vectors }, () => f.local('v128'))
    const splat = f.local('v128')
    const step = (): void => {
      for (let v = 0; v < vectors; v++)
        f.get(right)
          .memory('v128.load', v * 16)
          .set(factors[v])
      for (let r = 0; r < this.#rows; r++) {
        f.get(left[r])
          .memory(size === 8 ? 'v128.load64_splat' : 'v128.load32_splat')
          .set(splat)
        for (let v = 0; v < vectors; v++) {
          const a = accumulators[r * vectors + v]
          if (this.#target.relaxed)
            f.get(splat)
              .get(factors[v])
              .get(a)
              .op(size === 8 ? 'f64x2.relaxed_madd' : 'f32x4.relaxed_madd')
              .set(a)
          else
            f.get(a)
              .get(splat)
              .get(factors[v])
              .op(size === 8 ? 'f64x2.mul' : 'f32x4.mul', size === 8 ? 'f64x2.add' : 'f32x4.add')
              .set(a)
        }
      }
      f.get(right)
        .i32(g.panel * size)
        .op('i32.add')
        .set(right)
    }
    const advance = (by: number): void => {
      if (by !== 0) for (const pointer of left) f.get(pointer).i32(by).op('i32.add').set(pointer)
    }
    const nest = (d: number): void => {
      if (d === g.reduce.axes.length) {
        step()
        return
      }
      const i = f.local('i32')
      const limit = f.local('i32')
      if (d === 0) {
        const last = f.local('i32')
        f.get(block)
          .i32(outerBlock(g))
          .op('i32.add')
          .tee(last)
          .i32(outer)
          .get(last)
          .i32(outer)
          .op('i32.lt_s', 'select')
          .get(block)
          .op('i32.sub')
          .set(limit)
      } else f.i32(g.reduce.axes[d]).set(limit)
      f.i32(0).set(i)
      // Inner loops have moved the pointers by their whole extent already.
      const moved = d + 1 < g.reduce.axes.length ? strides[d + 1] * g.reduce.axes[d + 1] : 0
      f.for(i, d === 0 ? { local: limit } : g.reduce.axes[d], 1, () => {
        nest(d + 1)
        advance((strides[d] - moved) * size)
      })
    }
    const [panel, lastPanel] = [f.local('i32'), f.local('i32')]
    const group = panelGroup(g)
    f.get(firstPanel).i32(group).op('i32.add').tee(lastPanel).i32(panelsOf(g)).get(lastPanel)
    f.i32(panelsOf(g)).op('i32.lt_s', 'select').set(lastPanel)
    f.get(firstPanel).set(panel)
    f.for(panel, { local: lastPanel }, 1, () => {
      // Right: base + ((batch * panels + panel) * inner + block * perOuter) * panel width.
      base(this.#buffers.right)
      f.get(batch).i32(panelsOf(g)).op('i32.mul').get(panel).op('i32.add').i32(g.inner).op('i32.mul')
      f.get(block)
        .i32(perOuter)
        .op('i32.mul', 'i32.add')
        .i32(g.panel * size)
        .op('i32.mul', 'i32.add')
        .set(right)
      start.forEach((pointer, r) => f.get(pointer).set(left[r]))
      for (const a of accumulators) f.v128(new Uint8Array(16)).set(a)
      nest(0)
      this.#storeTile(accumulators, result, panel, block)
      for (const pointer of result)
        f.get(pointer)
          .i32(g.panel * size)
          .op('i32.add')
          .set(pointer)
    })
    return f
  }

  /** Elements between neighbours of each inner loop in the left factor. */
  #leftStrides(): number[] {
    const { left, reduce, kernel, tile } = this.#g
    if (left) return reduce.axes.map((_, i) => axisFactor(left.index, kernel.axes.length + i) ?? 0)
    return reduce.axes.map((_, i) => sizeOf(reduce.axes.slice(i + 1)) * tile)
  }

  #setRowPointer(pointer: Local, r: number, batch: Local, row: Local, block: Local): void {
    const f = this.#f
    const g = this.#g
    const size = bytesOf(g.type)
    if (g.left) {
      const { left, kernel, contraction } = g
      f.globalGet(0).memory('i32.load', 4 * left.buffer)
      f.i32(left.index.constant)
      this.#pushStrided(contraction.rows, a => axisFactor(left.index, a) ?? 0, row, r)
      f.op('i32.add')
      this.#pushStrided(contraction.batch, a => axisFactor(left.index, a) ?? 0, batch, 0)
      f.op('i32.add')
      f.get(block)
        .i32(axisFactor(left.index, kernel.axes.length) ?? 0)
        .op('i32.mul', 'i32.add')
    } else {
      const tiles = tilesOf(g)
      f.globalGet(0).memory('i32.load', 4 * (this.#buffers.left as number))
      const at = f.local('i32')
      f.get(row).i32(r).op('i32.add').set(at)
      f.get(batch)
        .i32(tiles)
        .op('i32.mul')
        .get(at)
        .i32(g.tile)
        .op('i32.div_u', 'i32.add')
        .i32(g.inner * g.tile)
        .op('i32.mul')
      f.get(at).i32(g.tile).op('i32.rem_u', 'i32.add')
      f.get(block)
        .i32(sizeOf(g.reduce.axes.slice(1)) * g.tile)
        .op('i32.mul', 'i32.add')
    }
    f.i32(size).op('i32.mul', 'i32.add').set(pointer)
  }

  /** Pushes Σ index * stride of the axes that a flattened position stands for. */
  #pushStrided(axes: readonly number[], stride: (axis: number) => number, flat: Local, plus: number): void {
    const f = this.#f
    const sizes = sizesOf(this.#g.kernel, axes)
    f.i32(0)
    axes.forEach((axis, i) => {
      const below = sizeOf(sizes.slice(i + 1))
      f.get(flat)
      if (plus) f.i32(plus).op('i32.add')
      if (below > 1) f.i32(below).op('i32.div_u')
      if (i > 0) f.i32(sizes[i]).op('i32.rem_u')
      f.i32(stride(axis)).op('i32.mul', 'i32.add')
    })
  }

  /** Pushes the element offset of a row's first column in the result. */
  #pushOutputOffset(batch: Local, row: Local, r: number): void {
    const { kernel, contraction } = this.#g
    const stride = (axis: number): number => sizeOf(kernel.axes.slice(axis + 1))
    this.#pushStrided(contraction.rows, stride, row, r)
    this.#pushStrided(contraction.batch, stride, batch, 0)
    this.#f.op('i32.add')
  }

  #storeTile(accumulators: readonly Local[], result: readonly Local[], panel: Local, block: Local): void {
    const f = this.#f
    const g = this.#g
    const size = bytesOf(g.type)
    const lanes = lanesOf(g.type)
    const vectors = g.panel / lanes
    const several = outerBlock(g) < g.reduce.axes[0]
    const partial = g.columns % g.panel
    const add = size === 8 ? 'f64x2.add' : 'f32x4.add'
    const store = (columns: number): void => {
      for (let r = 0; r < result.length; r++) {
        for (let v = 0; v * lanes < columns; v++) {
          const a = accumulators[r * vectors + v]
          const count = Math.min(lanes, columns - v * lanes)
          if (several) {
            // Beyond the first block the result so far is added; reading past a row's end does no harm.
            f.get(block).if(() =>
              f
                .get(a)
                .get(result[r])
                .memory('v128.load', v * 16)
                .op(add)
                .set(a),
            )
          }
          if (count === lanes)
            f.get(result[r])
              .get(a)
              .memory('v128.store', v * 16)
          else
            for (let c = 0; c < count; c++)
              f.get(result[r])
                .get(a)
                .laneMemory(size === 8 ? 'v128.store64_lane' : 'v128.store32_lane', c, v * 16 + c * size)
        }
      }
    }
    if (partial === 0) store(g.panel)
    else
      f.get(panel)
        .i32(panelsOf(g) - 1)
        .op('i32.eq')
        .if(
          () => store(partial),
          () => store(g.panel),
        )
  }
}
