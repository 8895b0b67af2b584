/**
 * Emits a loop kernel as one WebAssembly function of a range of its leading loops. The last output loop, or the last
 * reduced one, becomes the vector loop; whatever does not depend on a loop is computed outside of it. Contractions that
 * are worth a matrix product are not handled here.
 */

import { axisFactor } from '../../../compiler/affine.js'
import { type Expr, isOperation, walkExprs } from '../../../compiler/expr.js'
import { type BufferSpec, bodiesOf, type LoopKernel, type Reduction, type Total } from '../../../compiler/kernel.js'
import { isFloat } from '../../../graph/dtype.js'
import { sizeOf } from '../../../graph/shape.js'
import { Func, type Local } from './assembler.js'
import { Elements, type Emission } from './elements.js'
import { bytesOf, storeVector } from './memory-access.js'
import { finish, type Held, type Part, pushDoubts, totalParts } from './totals.js'
import { isWide, type Target } from './values.js'

/** How a kernel's loops are laid out. */
export interface Layout {
  /** The leading output loops that are flattened into the range a call works on. */
  readonly lead: number
  /** Number of positions of the flattened loops. */
  readonly leadCount: number
  /** Elements computed at each of those positions. */
  readonly inner: number
  /** The loop that runs over vectors, or -1: every position on its own. */
  readonly vector: number
  readonly mode: 'map' | 'columns' | 'rows'
}

export function layoutOf(kernel: LoopKernel): Layout {
  const n = kernel.axes.length
  const { reduce } = kernel
  const mode = !reduce ? 'map' : reducesRows(kernel) ? 'rows' : 'columns'
  const vector = mode === 'rows' ? n + (reduce as { axes: readonly number[] }).axes.length - 1 : n - 1
  const total = sizeOf(kernel.axes) * sizeOf(reduce?.axes ?? [])
  // A single loop is its own range; otherwise as few leading loops as give enough positions to share out.
  const available = mode === 'rows' || n === 1 ? n : n - 1
  let lead = Math.min(1, available)
  while (lead < available && sizeOf(kernel.axes.slice(0, lead)) < 64) lead++
  const leadCount = sizeOf(kernel.axes.slice(0, lead))
  return { lead, leadCount, inner: total / leadCount, vector, mode }
}

/**
 * Whether the reduction runs along memory, so that the vector loop is the last reduced one: what the most loads that know
 * both loops would have. A load that knows one of them only is read once for many positions.
 */
function reducesRows(kernel: LoopKernel): boolean {
  const { axes, reduce } = kernel
  if (!reduce || reduce.axes.length === 0) return false
  const outer = axes.length - 1
  const inner = axes.length + reduce.axes.length - 1
  if (outer < 0) return true
  let score = 0
  walkExprs(bodiesOf(kernel), e => {
    if (e.op !== 'load' || !e.axes.has(inner) || !e.axes.has(outer)) return
    if (axisFactor(e.index, inner) === 1) score++
    if (axisFactor(e.index, outer) === 1) score--
  })
  if (score !== 0) return score > 0 ? reduce.axes[reduce.axes.length - 1] >= 4 || axes[outer] < 4 : axes[outer] < 4
  return axes[outer] < 8
}

/** Rows that share a vector and go along it together, and how long it must be not to stay in the first cache anyway. */
const rowsAtOnce = 4
const longVector = 2048

/**
 * Whether rows are reduced that all read one long vector, as in a matrix times a vector, at addresses that are sums of
 * strides.
 */
function sharesVector(kernel: LoopKernel, { mode, vector }: Layout): boolean {
  const { axes, reduce } = kernel
  if (mode !== 'rows' || !reduce || axes.length !== 1 || axes[0] < rowsAtOnce) return false
  if ((reduce.axes.at(-1) ?? 0) < longVector) return false
  let [shared, plain] = [false, true]
  walkExprs(bodiesOf(kernel), e => {
    if (e.op === 'load') shared ||= e.axes.has(vector) && !e.axes.has(0)
    if (e.op === 'load') plain &&= e.conditions.length === 0 && (axisFactor(e.index, 0) ?? -1) >= 0
    else plain &&= e.op !== 'position' && e.op !== 'inside'
  })
  return shared && plain
}

/** Vectors that a block of columns has, and the fewest columns that are worth blocks. */
const blockVectors = 4
const fewestColumns = 32
/** Bytes of the first cache, about. */
const firstCache = 2 ** 15

/**
 * Whether a map reads down the columns of something that has its rows in memory, as a transposed matrix, so far that the first
 * cache loses what it met: the next position of another loop wants the same lines again.
 */
function isTransposed({ axes, outputs }: LoopKernel, { mode, vector }: Layout): boolean {
  if (mode !== 'map' || axes[vector] < fewestColumns) return false
  let found = false
  walkExprs(
    outputs.map(o => o.value),
    e => {
      if (e.op !== 'load') return
      const columnBytes =
        axes[vector] * Math.abs(axisFactor(e.index, vector) ?? 0) * bytesOf(e.type as BufferSpec['dtype'])
      found ||= columnBytes > firstCache && axes.some((_, d) => axisFactor(e.index, d) === 1)
    },
  )
  return found
}

/** A function `name(begin, end)` that computes the positions begin .. end - 1 of the layout's leading loops. */
export const emitLoops = (name: string, kernel: LoopKernel, layout: Layout, emission: Emission): Func =>
  new LoopEmitter(name, kernel, layout, emission).emit()

/** A total, the parts that make it up, and for each copy the vectors that hold them. */
interface Accumulators {
  readonly total: Total
  readonly parts: readonly Part[]
  readonly copies: readonly Held[]
}

/** Where a loop begins or ends. */
type Bound = number | { readonly local: Local }

/** Operations on an element that are so few that haste saves a good part and doubt costs little. */
const cheap = 8

class LoopEmitter {
  readonly #f: Func
  readonly #kernel: LoopKernel
  readonly #layout: Layout
  readonly #target: Target
  readonly #buffers: readonly BufferSpec[]
  readonly #elements: Elements
  /** Rows that are reduced side by side. */
  readonly #rows: number
  /** The columns that the vector loop goes through in one turn, where that is not all. */
  #columns: { readonly from: Bound; readonly to: Bound } | undefined

  constructor(name: string, kernel: LoopKernel, layout: Layout, emission: Emission) {
    this.#f = new Func(name, ['i32', 'i32'])
    this.#kernel = kernel
    this.#layout = layout
    this.#buffers = emission.buffers
    this.#target = emission.target
    this.#rows = sharesVector(kernel, layout) ? rowsAtOnce : 1
    const loops = {
      count: kernel.axes.length + (kernel.reduce?.axes.length ?? 0),
      vector: layout.vector,
      copied: this.#rows > 1 ? 0 : layout.vector,
    }
    const written = kernel.outputs.map(o => o.buffer)
    // A product that is added by the instruction that multiplies is no value of its own.
    const totals = kernel.reduce?.totals ?? []
    const roots = [...totals.flatMap(t => this.#fusedFactors(t) ?? t.body), ...kernel.outputs.map(o => o.value)]
    this.#elements = new Elements(this.#f, roots, loops, written, emission)
  }

  emit(): Func {
    const { lead, mode } = this.#layout
    const { axes } = this.#kernel
    this.#elements.scoped(() => {
      this.#elements.enter(-1)
      if (mode !== 'rows' && axes.length === 1) this.#vectorLoop({ local: 0 }, { local: 1 }, () => this.#position())
      else if (lead === 0) this.#inside(0)
      else if (isTransposed(this.#kernel, this.#layout)) this.#columnBlocks(() => this.#leadLoop())
      else this.#leadLoop()
    })
    return this.#f
  }

  /** All rows for some columns of the result, then for the next ones. */
  #columnBlocks(body: () => void): void {
    const f = this.#f
    const size = this.#kernel.axes[this.#layout.vector]
    const block = blockVectors * this.#elements.lanes
    const [from, to] = [f.local('i32'), f.local('i32')]
    this.#columns = { from: { local: from }, to: { local: to } }
    f.i32(0).set(from)
    f.for(from, size, block, () => {
      f.get(from).i32(block).op('i32.add').set(to)
      f.extreme('i32.lt_s', to, size).set(to)
      body()
    })
  }

  /** The loop over the range of flattened leading axes, a few rows at a time where they share a vector. */
  #leadLoop(): void {
    const f = this.#f
    const { lead } = this.#layout
    const { axes } = this.#kernel
    const flat = lead === 1 ? this.#elements.axisLocals[0] : f.local('i32')
    f.get(0).set(flat)
    const loopTo = (limit: Local, copies: number): void => {
      this.#elements.copies = copies
      f.for(flat, { local: limit }, copies, () => {
        let stride = sizeOf(axes.slice(0, lead))
        for (let d = 0; lead > 1 && d < lead; d++) {
          stride /= axes[d]
          f.get(flat).i32(stride).op('i32.div_u')
          if (d > 0) f.i32(axes[d]).op('i32.rem_u')
          f.set(this.#elements.axisLocals[d])
        }
        this.#elements.scoped(() => {
          for (let d = 0; d < lead; d++) this.#elements.enter(d)
          this.#inside(lead)
        })
      })
      this.#elements.copies = 1
    }
    if (this.#rows > 1) {
      const last = f.local('i32')
      f.get(1)
        .i32(this.#rows - 1)
        .op('i32.sub')
        .set(last)
      loopTo(last, this.#rows)
    }
    loopTo(1, 1)
  }

  /** The output loops from `axis` on. */
  #inside(axis: number): void {
    const { mode } = this.#layout
    const { axes } = this.#kernel
    const scalarLoops = mode === 'rows' ? axes.length : axes.length - 1
    if (axis < scalarLoops) this.#loop(axis, axes[axis], () => this.#inside(axis + 1))
    else if (mode === 'rows') this.#rowReduction()
    else if (axes.length === 0) {
      this.#elements.active = 1
      this.#position()
    } else {
      const { from, to } = this.#columns ?? { from: 0, to: axes[axis] }
      this.#vectorLoop(from, to, () => this.#position())
    }
  }

  #loop(axis: number, size: number, body: () => void): void {
    const i = this.#elements.axisLocals[axis]
    this.#f.i32(0).set(i)
    this.#f.for(i, size, 1, () => {
      this.#elements.scoped(() => {
        this.#elements.enter(axis)
        body()
      })
    })
  }

  /** The vector loop in up to three parts: several vectors at once, single vectors, single elements. */
  #vectorLoop(from: Bound, to: Bound, body: () => void, wanted?: number): void {
    const f = this.#f
    const axis = this.#layout.vector
    const i = this.#elements.axisLocals[axis]
    const size = [...this.#kernel.axes, ...(this.#kernel.reduce?.axes ?? [])][axis]
    let copies = wanted ?? this.#unroll()
    // A short loop is a turn with fewer vectors rather than turns with one.
    while (wanted === undefined && copies > 1 && copies * this.#elements.lanes > size) copies /= 2
    if (typeof from === 'number') f.i32(from)
    else f.get(from.local)
    f.set(i)
    const rows = this.#elements.copies
    const part = (count: number, active: number): void => {
      const width = count * active
      const limit = f.local('i32')
      if (typeof to === 'number') f.i32(to - width + 1)
      else
        f.get(to.local)
          .i32(width - 1)
          .op('i32.sub')
      f.set(limit)
      this.#elements.copies = rows * count
      this.#elements.active = active
      f.for(i, { local: limit }, width, () => {
        this.#elements.scoped(() => {
          this.#elements.enter(axis)
          body()
        })
      })
      this.#elements.copies = rows
      this.#elements.active = this.#elements.lanes
    }
    const widths = [copies * this.#elements.lanes, this.#elements.lanes, 1]
    if (copies > 1 && size >= widths[0]) part(copies, this.#elements.lanes)
    if (size >= this.#elements.lanes && (copies === 1 || size % widths[0] >= this.#elements.lanes || size < widths[0]))
      part(1, this.#elements.lanes)
    if (size % this.#elements.lanes !== 0) part(1, 1)
  }

  /**
   * How many vectors to compute side by side: each waits for its last operation most of the time, so four, spills and all;
   * two where there are more than two totals, which do not wait for each other. Vectors in pairs are as many pairs.
   */
  #unroll(): number {
    if (this.#elements.operations >= 400) return 1
    if (this.#columns) return blockVectors
    const count = (this.#kernel.reduce?.totals.length ?? 0) > 2 ? 2 : 4
    return this.#target.paired && this.#layout.mode !== 'rows' ? 2 * count : count
  }

  /** One position of the output loops: the reduction over columns, if any, then the outputs. */
  #position(): void {
    const { reduce } = this.#kernel
    if (reduce) {
      const accumulators = this.#accumulators(reduce, this.#elements.copies)
      const nest = (r: number): void => {
        if (r === reduce.axes.length) for (const total of accumulators) this.#accumulate(total)
        else this.#loop(this.#kernel.axes.length + r, reduce.axes[r], () => nest(r + 1))
      }
      nest(0)
      this.#elements.reduced = accumulators.map(({ copies }) => copies.map(held => finish(this.#f, held)))
    }
    this.#store()
  }

  /** The reduction along the vector loop, in haste first where it is cheap, then the outputs at one position. */
  #rowReduction(): void {
    const { reduce, axes } = this.#kernel
    if (!reduce) return
    const f = this.#f
    const rows = this.#elements.copies
    const copies = this.#rows > 1 ? 1 : this.#unroll()
    const reduceRows = (inHaste: boolean): (readonly Held[])[] => {
      const accumulators = this.#accumulators(reduce, rows * copies, inHaste)
      const nest = (r: number): void => {
        if (r === reduce.axes.length - 1)
          this.#vectorLoop(0, reduce.axes[r], () => accumulators.forEach(total => this.#accumulate(total)), copies)
        else this.#loop(axes.length + r, reduce.axes[r], () => nest(r + 1))
      }
      nest(0)
      return accumulators.map(a => this.#together(a, rows))
    }
    // Where values of 32 bits leave lanes unused, those would raise doubts.
    const fills = reduce.totals.every(({ type }) => isWide(type) === (this.#elements.lanes === 2))
    const inHaste = fills && this.#elements.operations <= cheap
    const found = reduceRows(inHaste)
    const totals = found.map(sums => sums.map(held => (inHaste ? held[0] : finish(f, held))))
    // Other totals of the kernel are made again too, with the same bits.
    if (inHaste && pushDoubts(f, reduce.totals, found))
      f.if(() =>
        reduceRows(false).forEach((sums, t) => {
          sums.forEach((held, row) => f.get(finish(f, held)).set(totals[t][row]))
        }),
      )
    this.#elements.reduced = totals
    this.#elements.active = 1
    this.#store()
    this.#elements.active = this.#elements.lanes
  }

  #accumulators({ totals }: Reduction, count: number, inHaste = false): Accumulators[] {
    const held = ({ start }: Part): Local => {
      const local = this.#f.local('v128')
      this.#f.v128(start).set(local)
      return local
    }
    return totals.map(total => {
      const parts = totalParts(total, inHaste)
      return { total, parts, copies: Array.from({ length: count }, () => parts.map(held)) }
    })
  }

  /** What the copies hold after the vector loop, of rows side by side or of one row, in all lanes. */
  #together({ total, parts, copies }: Accumulators, rows: number): readonly Held[] {
    const f = this.#f
    const sums = copies.slice(0, rows)
    const halves = isWide(total.type) ? [8] : this.#elements.lanes === 4 ? [8, 4] : [4]
    parts.forEach(({ op }, p) => {
      for (const other of copies.slice(rows)) f.get(sums[0][p]).get(other[p]).op(op).set(sums[0][p])
      for (const { [p]: sum } of sums)
        for (const shift of halves) {
          f.get(sum).get(sum).get(sum)
          f.shuffle(...Array.from({ length: 16 }, (_, b) => (b + shift) % 16))
          f.op(op).set(sum)
        }
    })
    return sums
  }

  /** The factors of the terms of a sum, where one instruction multiplies and adds. */
  #fusedFactors({ op, type, body }: Total): readonly Expr[] | undefined {
    if (op !== 'sum' || !this.#target.relaxed || !isFloat(type)) return undefined
    return isOperation(body) && body.op === 'mul' ? body.args : undefined
  }

  /** accumulator = accumulator ∘ body, for each vector. */
  #accumulate({ total, parts, copies }: Accumulators): void {
    const { body, type } = total
    const f = this.#f
    const factors = this.#fusedFactors(total)
    for (let u = 0; u < this.#elements.copies; u++) {
      if (factors && this.#elements.active > 1) {
        const [sum] = copies[u]
        for (const arg of factors) f.get(this.#elements.value(arg, u))
        f.get(sum)
          .op(type === 'float64' ? 'f64x2.relaxed_madd' : 'f32x4.relaxed_madd')
          .set(sum)
        continue
      }
      let x = this.#elements.value(body, u)
      // Of a single element the other lanes are no part of the reduction along the vector.
      if (this.#elements.active === 1 && this.#layout.mode === 'rows') {
        const first = new Uint8Array(16).fill(255, 0, isWide(type) ? 8 : 4)
        f.get(x)
          .v128(parts[0].start)
          .v128(first)
          .op('v128.bitselect')
          .set((x = f.local('v128')))
      }
      parts.forEach(({ op }, p) => f.get(copies[u][p]).get(x).op(op).set(copies[u][p]))
    }
  }

  #store(): void {
    const { axes, outputs } = this.#kernel
    const f = this.#f
    const { vector, mode } = this.#layout
    // The row-major position, once for all outputs.
    const position = f.local('i32')
    f.i32(0)
    let stride = 1
    for (let d = axes.length - 1; d >= 0; d--) {
      f.get(this.#elements.axisLocals[d]).i32(stride).op('i32.mul', 'i32.add')
      stride *= axes[d]
    }
    f.set(position)
    const varying = mode !== 'rows' && vector >= 0
    for (const { buffer, value } of outputs) {
      const { dtype } = this.#buffers[buffer]
      // One address for all copies, which an engine may then join into longer vectors. Those of 64 bits have their own: V8 13
      // joins some of them wrongly, as in a choice between y and -y by the sign of x.
      const address = f.local('i32')
      f.get(this.#elements.base(buffer)).get(position).i32(bytesOf(dtype)).op('i32.mul', 'i32.add').set(address)
      const locals = Array.from({ length: this.#elements.copies }, (_, u) => this.#elements.value(value, u))
      for (const [u, local] of locals.entries()) {
        const offset = varying || this.#elements.copies > 1 ? u * this.#elements.copyStep * bytesOf(dtype) : 0
        const isApart = bytesOf(dtype) === 8 && offset > 0
        f.get(address)
        if (isApart) f.i32(offset).op('i32.add')
        storeVector(f, dtype, local, this.#elements.active === 1 ? 1 : this.#elements.lanes, isApart ? 0 : offset)
      }
    }
  }
}
