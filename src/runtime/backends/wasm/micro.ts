/**
 * Emits a matrix product as code: tiles of a few rows times panels of a few vectors' columns, accumulated in registers.
 * What is a product, and how its factors come into memory, is in gemm.ts.
 */

import { axisFactor } from '../../../compiler/affine.js'
import { sizeOf } from '../../../graph/shape.js'
import { Func, type Local } from './assembler.js'
import {
  blocksOf,
  type Gemm,
  lanesOf,
  ownAxes,
  type Side,
  sharersOf,
  sides,
  sizesOf,
  tilesOf,
  widthOf,
} from './gemm.js'
import { bytesOf, pushAddress } from './memory-access.js'
import { emitRanges, type Range } from './padding.js'
import type { Target } from './values.js'

/** The buffers of a product: the factors, packed or where they lie, and the result. */
export interface GemmBuffers {
  readonly right: number
  readonly left: number
  readonly raw: number
}

/**
 * Inner positions between two visits of the same result, unless one of the outermost loop has more: a panel's block
 * stays in the first cache.
 */
const innerBlock = 384
/** Bytes of the panels that a tile of rows meets in one call: as many as the first cache has. */
const panelBytes = 32768

/** Positions of the outermost inner loop in one block. */
function outerBlock(g: Gemm): number {
  const [outer, ...rest] = g.reduce.axes
  return Math.min(outer, Math.max(1, Math.floor(innerBlock / sizeOf(rest))))
}

/** Panels that one call goes through: the fewer inner positions there are, the more, for what is done once a call. */
function panelGroup(g: Gemm): number {
  const bytes = outerBlock(g) * sizeOf(g.reduce.axes.slice(1)) * g.panel * bytesOf(g.type)
  return Math.max(1, Math.min(blocksOf(g, 'right'), Math.floor(panelBytes / bytes)))
}

/**
 * A function `name(begin, end)` that computes the tiles begin .. end - 1, counted through all batches, of the raw product.
 * The functions that it calls are handed to `indexOf`, which adds them to the module and returns their index.
 */
export function emitGemm(
  name: string,
  g: Gemm,
  buffers: GemmBuffers,
  target: Target,
  indexOf: (f: Func) => number,
): Func {
  const { rows } = g.tile
  const rest = g.rows % rows
  const add = (suffix: string, height: number): number =>
    indexOf(new Micro(`${name}_${suffix}`, g, height, buffers, target).emit())
  const tileIndex = g.rows < rows ? 0 : add('tile', rows)
  const restIndex = rest ? add('rest', rest) : 0
  // A tile's positions one after another: neighbours read much the same.
  const { positions } = g
  const [tiles, fullTiles] = [tilesOf(g) * positions, Math.floor(g.rows / rows) * positions]
  const f = new Func(name, ['i32', 'i32'])
  const [b, from, to, tile, lastFull, panel, block] = Array.from({ length: 7 }, () => f.local('i32'))
  const [outer] = g.reduce.axes
  /** The part of this batch's tiles that lies in begin .. end. */
  const within = (bound: number, target: Local): void => {
    f.get(bound).get(b).i32(tiles).op('i32.mul', 'i32.sub').set(target)
  }
  f.get(0).i32(tiles).op('i32.div_u').set(b)
  f.for(b, g.batch / positions, 1, () => {
    within(1, to)
    f.get(to)
      .i32(0)
      .op('i32.le_s')
      .if(() => f.op('return'))
    f.extreme('i32.lt_s', to, tiles)
    f.set(to)
    within(0, from)
    f.extreme('i32.gt_s', from, 0)
    f.set(from)
    f.extreme('i32.lt_s', to, fullTiles)
    f.set(lastFull)
    f.i32(0).set(block)
    f.for(block, outer, outerBlock(g), () => {
      f.i32(0).set(panel)
      f.for(panel, blocksOf(g, 'right'), panelGroup(g), () => {
        const call = (index: number): void => {
          f.get(b)
          if (positions > 1) f.i32(positions).op('i32.mul').get(tile).i32(positions).op('i32.rem_u', 'i32.add')
          f.get(tile)
          if (positions > 1) f.i32(positions).op('i32.div_u')
          f.i32(rows).op('i32.mul').get(panel).get(block).call(index)
        }
        f.get(from).set(tile)
        if (fullTiles > 0) f.for(tile, { local: lastFull }, 1, () => call(tileIndex))
        if (rest) f.for(tile, { local: to }, 1, () => call(restIndex))
      })
    })
  })
  return f
}

/** A tile's rows of the left factor: a pointer each, or one and the bytes from row to row. */
interface Rows {
  readonly pointers: readonly Local[]
  readonly stride: number
}

/** The innermost function: a tile of rows times a group of panels over one block of inner positions, in registers. */
class Micro {
  readonly #f: Func
  readonly #g: Gemm
  readonly #rows: number
  readonly #buffers: GemmBuffers
  readonly #target: Target

  constructor(name: string, g: Gemm, rows: number, buffers: GemmBuffers, target: Target) {
    // Batch, first row, first panel, first position of the outermost inner loop.
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
    const perRow = (): Local[] => Array.from({ length: this.#rows }, () => f.local('i32'))
    const at = f.local('i32')

    // Left: one pointer a row, and where it starts.
    const start = perRow()
    const left = perRow()
    start.forEach((pointer, r) => {
      f.get(row).i32(r).op('i32.add').set(at)
      this.#pushAddress('left', batch, at, block)
      f.set(pointer)
    })

    // Result: one pointer a row, at the panel's first column.
    const result = perRow()
    result.forEach((pointer, r) => {
      f.get(row).i32(r).op('i32.add').set(at)
      pushAddress(f, this.#buffers.raw)
      this.#pushOutputOffset(batch, at)
      f.get(firstPanel).i32(g.panel).op('i32.mul', 'i32.add').i32(size).op('i32.mul', 'i32.add').set(pointer)
    })

    const right = f.local('i32')
    const accumulators = Array.from({ length: this.#rows * g.tile.vectors }, () => f.local('v128'))
    const limit = f.local('i32')
    f.get(block).i32(outerBlock(g)).op('i32.add').set(limit)
    f.extreme('i32.lt_s', limit, g.reduce.axes[0])
    f.get(block).op('i32.sub').set(limit)
    const ranges = emitRanges(f, g, batch, block, limit)

    const clear = (): void => {
      for (const a of accumulators) f.v128(new Uint8Array(16)).set(a)
    }
    const [panel, lastPanel] = [f.local('i32'), f.local('i32')]
    f.get(firstPanel).i32(panelGroup(g)).op('i32.add').set(lastPanel)
    f.extreme('i32.lt_s', lastPanel, blocksOf(g, 'right'))
    f.set(lastPanel)
    f.get(firstPanel).set(panel)
    f.for(panel, { local: lastPanel }, 1, () => {
      f.get(panel).i32(g.panel).op('i32.mul').set(at)
      this.#pushAddress('right', batch, at, block)
      f.set(right)
      start.forEach((pointer, r) => f.get(pointer).set(left[r]))
      clear()
      this.#innerLoops(ranges, left, right, accumulators)
      this.#storeTile(accumulators, result, panel, block)
      // To an engine that joins vectors, sums that are not cleared seem to be wanted later, each by itself.
      if (this.#target.paired) clear()
      for (const pointer of result) this.#advance(pointer, g.panel * size)
    })
    return f
  }

  #advance(pointer: Local, bytes: number): void {
    if (bytes !== 0) this.#f.get(pointer).i32(bytes).op('i32.add').set(pointer)
  }

  /** Elements between neighbours of each inner loop in a factor. */
  #strides(side: Side): number[] {
    const { [side]: load, reduce, kernel } = this.#g
    if (load) return reduce.axes.map((_, i) => axisFactor(load.index, kernel.axes.length + i) ?? 0)
    return reduce.axes.map((_, i) => sizeOf(reduce.axes.slice(i + 1)) * widthOf(this.#g, side))
  }

  /** Pushes the address of a factor's first element of a block, at a row or a column. */
  #pushAddress(side: Side, batch: Local, at: Local, block: Local): void {
    const f = this.#f
    const g = this.#g
    const load = g[side]
    pushAddress(f, this.#buffers[side])
    if (load) {
      const stride = (axis: number): number => axisFactor(load.index, axis) ?? 0
      f.i32(load.index.constant)
      this.#pushStrided(ownAxes(g, side), stride, at)
      f.op('i32.add')
      this.#pushStrided(g.contraction.batch, stride, batch)
      f.op('i32.add')
    } else {
      // [batch, blocks, ...inner, width]
      const width = widthOf(g, side)
      f.get(batch)
      if (sharersOf(g, side) > 1) f.i32(sharersOf(g, side)).op('i32.div_u')
      f.i32(blocksOf(g, side)).op('i32.mul')
      f.get(at)
        .i32(width)
        .op('i32.div_u', 'i32.add')
        .i32(g.inner * width)
        .op('i32.mul')
      f.get(at).i32(width).op('i32.rem_u', 'i32.add')
    }
    f.get(block).i32(this.#strides(side)[0]).op('i32.mul', 'i32.add')
    f.i32(bytesOf(g.type)).op('i32.mul', 'i32.add')
  }

  /**
   * The rows of a tile in the left factor: how far apart they are where that is the same for all, and whether every tile
   * is so, or those only that do not go on in another row of the image, say.
   */
  #rowStride(): { readonly stride: number; readonly always: boolean } | undefined {
    const g = this.#g
    const { left, rows } = g
    const size = bytesOf(g.type)
    if (!left) return { stride: g.rowsAside > 1 ? size : g.inner * size, always: true }
    const axes = ownAxes(g, 'left')
    const strides = axes.map(axis => axisFactor(left.index, axis) ?? 0)
    const sizes = sizesOf(g.kernel, axes)
    let [stride, run] = [0, 1]
    for (let i = axes.length - 1; i >= 0; i--) {
      if (sizes[i] === 1) continue
      if (run === 1) stride = strides[i]
      else if (strides[i] !== stride * run) break
      run *= sizes[i]
    }
    const always = run === rows || run % g.tile.rows === 0
    // Where a run is shorter than a tile, its ends may be as far apart as in a run and its rows not.
    return always || run >= this.#rows ? { stride: stride * size, always } : undefined
  }

  /** The loops over one block of inner positions, with one pointer to the left factor where its rows are evenly spaced. */
  #innerLoops(ranges: readonly Range[], left: readonly Local[], right: Local, accumulators: readonly Local[]): void {
    const f = this.#f
    const even = this.#rows > 1 ? this.#rowStride() : undefined
    const loops = (rows: Rows): void => this.#loops(ranges, rows, right, accumulators)
    const anyRows = { pointers: left, stride: 0 }
    // Offsets of instructions are not negative.
    if (!even || even.stride < 0) loops(anyRows)
    else {
      const evenRows = { pointers: left.slice(0, 1), stride: even.stride }
      const last = left.length - 1
      if (even.always) loops(evenRows)
      else
        f.get(left[last])
          .get(left[0])
          .op('i32.sub')
          .i32(last * even.stride)
          .op('i32.eq')
          .if(
            () => loops(evenRows),
            () => loops(anyRows),
          )
    }
  }

  /** The loops over inner positions. */
  #loops(ranges: readonly Range[], left: Rows, right: Local, accumulators: readonly Local[]): void {
    const f = this.#f
    const { reduce, type, tile } = this.#g
    const [ofLeft, ofRight] = sides.map(side => this.#strides(side).map(s => s * bytesOf(type)))
    const innermost = reduce.axes.length - 1
    const factors = Array.from({ length: tile.vectors }, () => f.local('v128'))
    const splat = f.local('v128')
    const end = f.local('i32')
    /** Moves the pointers by what is pushed, in positions of a loop. */
    const pass = (d: number, pushCount: () => void): void => {
      const move = (pointer: Local, bytes: number): void => {
        f.get(pointer)
        pushCount()
        f.i32(bytes).op('i32.mul', 'i32.add').set(pointer)
      }
      for (const pointer of left.pointers) move(pointer, ofLeft[d])
      move(right, ofRight[d])
    }
    const nest = (d: number): void => {
      const { from, to, bounded } = ranges[d]
      if (bounded) pass(d, () => f.get(from))
      if (d < innermost) {
        const i = f.local('i32')
        f.get(from).set(i)
        // Inner loops move the pointers by their whole extent.
        const [l, r] = [ofLeft, ofRight].map(strides => strides[d] - strides[d + 1] * reduce.axes[d + 1])
        f.for(i, { local: to }, 1, () => {
          nest(d + 1)
          for (const pointer of left.pointers) this.#advance(pointer, l)
          this.#advance(right, r)
        })
      } else {
        // The pointer to the right factor counts: it moves at every step.
        f.get(right).get(to).get(from).op('i32.sub').i32(ofRight[d]).op('i32.mul', 'i32.add').set(end)
        f.until(right, end, () => {
          this.#step(left, right, accumulators, factors, splat)
          if (this.#target.paired) for (const local of [...factors, splat]) f.v128(new Uint8Array(16)).set(local)
          for (const pointer of left.pointers) this.#advance(pointer, ofLeft[d])
          this.#advance(right, ofRight[d])
        })
      }
      if (bounded && d > 0) pass(d, () => f.i32(reduce.axes[d]).get(to).op('i32.sub'))
    }
    nest(0)
  }

  /** One inner position: every row's element times the panel's vectors. */
  #step(left: Rows, right: Local, accumulators: readonly Local[], factors: readonly Local[], splat: Local): void {
    const f = this.#f
    const wide = this.#g.type === 'float64'
    factors.forEach((factor, v) =>
      f
        .get(right)
        .memory('v128.load', v * 16)
        .set(factor),
    )
    for (let r = 0; r < this.#rows; r++) {
      f.get(left.pointers[r] ?? left.pointers[0])
        .memory(wide ? 'v128.load64_splat' : 'v128.load32_splat', r * left.stride)
        .set(splat)
      factors.forEach((factor, v) => {
        const a = accumulators[r * factors.length + v]
        if (this.#target.relaxed)
          f.get(splat)
            .get(factor)
            .get(a)
            .op(wide ? 'f64x2.relaxed_madd' : 'f32x4.relaxed_madd')
        else
          f.get(a)
            .get(splat)
            .get(factor)
            .op(wide ? 'f64x2.mul' : 'f32x4.mul', wide ? 'f64x2.add' : 'f32x4.add')
        f.set(a)
      })
    }
  }

  /** Pushes Σ index * stride of the axes that a flattened position stands for. */
  #pushStrided(axes: readonly number[], stride: (axis: number) => number, flat: Local): void {
    const f = this.#f
    const sizes = sizesOf(this.#g.kernel, axes)
    f.i32(0)
    axes.forEach((axis, i) => {
      const below = sizeOf(sizes.slice(i + 1))
      f.get(flat)
      if (below > 1) f.i32(below).op('i32.div_u')
      if (i > 0) f.i32(sizes[i]).op('i32.rem_u')
      f.i32(stride(axis)).op('i32.mul', 'i32.add')
    })
  }

  /** Pushes the element offset of a row's first column in the result. */
  #pushOutputOffset(batch: Local, row: Local): void {
    const { kernel, contraction } = this.#g
    const stride = (axis: number): number => sizeOf(kernel.axes.slice(axis + 1))
    this.#pushStrided(contraction.rows, stride, row)
    this.#pushStrided(contraction.batch, stride, batch)
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
    const each = (columns: number, visit: (a: Local, r: number, v: number) => void): void => {
      for (let r = 0; r < result.length; r++)
        for (let v = 0; v * lanes < columns; v++) visit(accumulators[r * vectors + v], r, v)
    }
    const store = (columns: number): void => {
      // Beyond the first block the results so far are added; reading past a row's end does no harm.
      if (several)
        f.get(block).if(() =>
          each(columns, (a, r, v) =>
            f
              .get(a)
              .get(result[r])
              .memory('v128.load', v * 16)
              .op(add)
              .set(a),
          ),
        )
      each(columns, (a, r, v) => {
        const count = Math.min(lanes, columns - v * lanes)
        if (count === lanes)
          f.get(result[r])
            .get(a)
            .memory('v128.store', v * 16)
        else
          for (let c = 0; c < count; c++)
            f.get(result[r])
              .get(a)
              .laneMemory(size === 8 ? 'v128.store64_lane' : 'v128.store32_lane', c, v * 16 + c * size)
      })
    }
    if (partial === 0) store(g.panel)
    else
      f.get(panel)
        .i32(blocksOf(g, 'right') - 1)
        .op('i32.eq')
        .if(
          () => store(partial),
          () => store(g.panel),
        )
  }
}
