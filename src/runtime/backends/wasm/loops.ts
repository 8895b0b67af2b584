/**
 * Emits a loop kernel as one WebAssembly function of a range of its leading loops. The last output loop, or the last
 * reduced one, becomes the vector loop; whatever does not depend on a loop is computed outside of it. Contractions that
 * are worth a matrix product are not handled here.
 */

import { type Atom, axesOf, axisFactor, type Condition, type Index, range } from '../../../compiler/affine.js'
import { type Expr, isOperation, type Load, operandsOf, walkExprs } from '../../../compiler/expr.js'
import type { BufferSpec, LoopKernel } from '../../../compiler/kernel.js'
import { isFloat } from '../../../graph/dtype.js'
import { Func, type Local } from './assembler.js'
import { bytesOf, loadElement, loadSplat, loadVector, storeVector } from './memory-access.js'
import { classOf, emitOperation, isWide, type Lanes, splatBytes } from './values.js'

export interface Target {
  /** Whether relaxed SIMD, hence a fused multiply-add, is there. */
  readonly relaxed: boolean
}

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

const product = (sizes: readonly number[]): number => sizes.reduce((n, s) => n * s, 1)

/** The expressions of a kernel. */
const rootsOf = (k: LoopKernel): Expr[] => [...(k.reduce ? [k.reduce.body] : []), ...k.outputs.map(o => o.value)]

export function layoutOf(kernel: LoopKernel): Layout {
  const n = kernel.axes.length
  const { reduce } = kernel
  const mode = !reduce ? 'map' : reducesRows(kernel) ? 'rows' : 'columns'
  const vector = mode === 'rows' ? n + (reduce as { axes: readonly number[] }).axes.length - 1 : n - 1
  const total = product(kernel.axes) * product(reduce?.axes ?? [])
  // A single loop is its own range; otherwise as few leading loops as give enough positions to share out.
  const available = mode === 'rows' || n === 1 ? n : n - 1
  let lead = Math.min(1, available)
  while (lead < available && product(kernel.axes.slice(0, lead)) < 64) lead++
  const leadCount = product(kernel.axes.slice(0, lead))
  return { lead, leadCount, inner: total / leadCount, vector, mode }
}

/** Whether the reduction runs along memory, so that the vector loop is the last reduced one. */
function reducesRows({ axes, reduce }: LoopKernel): boolean {
  if (!reduce || reduce.axes.length === 0) return false
  const outer = axes.length - 1
  const inner = axes.length + reduce.axes.length - 1
  if (outer < 0) return true
  let score = 0
  walkExprs([reduce.body], e => {
    if (e.op !== 'load') return
    if (axisFactor(e.index, inner) === 1) score++
    if (axisFactor(e.index, outer) === 1) score--
  })
  if (score !== 0) return score > 0 ? reduce.axes[reduce.axes.length - 1] >= 4 || axes[outer] < 4 : axes[outer] < 4
  return axes[outer] < 8
}

/** A function `name(begin, end)` that computes the positions begin .. end - 1 of the layout's leading loops. */
export function emitLoops(
  name: string,
  kernel: LoopKernel,
  layout: Layout,
  buffers: readonly BufferSpec[],
  target: Target,
): Func {
  return new LoopEmitter(name, kernel, layout, buffers, target).emit()
}

/** Values and addresses that are in scope at the point of emission. */
interface Scope {
  readonly values: Map<Expr, readonly Local[]>
  readonly addresses: Map<Load, Local>
}

class LoopEmitter {
  readonly #f: Func
  readonly #kernel: LoopKernel
  readonly #layout: Layout
  readonly #target: Target
  readonly #lanes: Lanes
  readonly #axisLocals: Local[]
  readonly #bases = new Map<number, Local>()
  readonly #scopes: Scope[] = []
  /** All expressions, operands first, with the innermost loop each depends on; late ones follow from the reduction. */
  readonly #exprs: { readonly e: Expr; readonly level: number; readonly late: boolean }[] = []
  readonly #late = new Set<Expr>()
  readonly #buffers: readonly BufferSpec[]
  /** Vectors computed side by side at the point of emission, and elements stored of each. */
  #copies = 1
  #active: number
  #reduced: readonly Local[] = []

  constructor(name: string, kernel: LoopKernel, layout: Layout, buffers: readonly BufferSpec[], target: Target) {
    this.#f = new Func(name, ['i32', 'i32'])
    this.#kernel = kernel
    this.#layout = layout
    this.#buffers = buffers
    this.#target = target
    let wide = false
    walkExprs(rootsOf(kernel), e => {
      if (isWide(e.type)) wide = true
      if (e.op === 'reduced' || operandsOf(e).some(a => this.#late.has(a))) this.#late.add(e)
      this.#exprs.push({ e, level: Math.max(-1, ...e.axes), late: this.#late.has(e) })
    })
    this.#lanes = wide ? 2 : 4
    this.#active = this.#lanes
    const loops = kernel.axes.length + (kernel.reduce?.axes.length ?? 0)
    this.#axisLocals = Array.from({ length: loops }, () => this.#f.local('i32'))
  }

  emit(): Func {
    const { lead, mode } = this.#layout
    const { axes } = this.#kernel
    const used = new Set(this.#kernel.outputs.map(o => o.buffer))
    for (const { e } of this.#exprs) if (e.op === 'load') used.add(e.buffer)
    for (const b of used) {
      const base = this.#f.local('i32')
      this.#f
        .globalGet(0)
        .memory('i32.load', 4 * b)
        .set(base)
      this.#bases.set(b, base)
    }
    this.#scoped(() => {
      this.#enter(-1)
      if (mode !== 'rows' && axes.length === 1) this.#vectorLoop({ local: 0 }, { local: 1 }, () => this.#position())
      else if (lead === 0) this.#inside(0)
      else this.#leadLoop()
    })
    return this.#f
  }

  /** The loop over the range of flattened leading axes. */
  #leadLoop(): void {
    const f = this.#f
    const { lead } = this.#layout
    const { axes } = this.#kernel
    const flat = lead === 1 ? this.#axisLocals[0] : f.local('i32')
    f.get(0).set(flat)
    f.for(flat, { local: 1 }, 1, () => {
      let stride = product(axes.slice(0, lead))
      for (let d = 0; lead > 1 && d < lead; d++) {
        stride /= axes[d]
        f.get(flat).i32(stride).op('i32.div_u')
        if (d > 0) f.i32(axes[d]).op('i32.rem_u')
        f.set(this.#axisLocals[d])
      }
      this.#scoped(() => {
        for (let d = 0; d < lead; d++) this.#enter(d)
        this.#inside(lead)
      })
    })
  }

  /** The output loops from `axis` on. */
  #inside(axis: number): void {
    const { mode } = this.#layout
    const { axes } = this.#kernel
    const scalarLoops = mode === 'rows' ? axes.length : axes.length - 1
    if (axis < scalarLoops) this.#loop(axis, axes[axis], () => this.#inside(axis + 1))
    else if (mode === 'rows') this.#rowReduction()
    else if (axes.length === 0) {
      this.#active = 1
      this.#position()
    } else this.#vectorLoop(0, axes[axis], () => this.#position())
  }

  #loop(axis: number, size: number, body: () => void): void {
    const i = this.#axisLocals[axis]
    this.#f.i32(0).set(i)
    this.#f.for(i, size, 1, () => {
      this.#scoped(() => {
        this.#enter(axis)
        body()
      })
    })
  }

  /** The vector loop in up to three parts: several vectors at once, single vectors, single elements. */
  #vectorLoop(
    from: number | { local: Local },
    to: number | { local: Local },
    body: () => void,
    copies = this.#unroll(),
  ): void {
    const f = this.#f
    const axis = this.#layout.vector
    const i = this.#axisLocals[axis]
    const size = [...this.#kernel.axes, ...(this.#kernel.reduce?.axes ?? [])][axis]
    if (typeof from === 'number') f.i32(from)
    else f.get(from.local)
    f.set(i)
    const part = (count: number, active: number): void => {
      const width = count * active
      const limit = f.local('i32')
      if (typeof to === 'number') f.i32(to - width + 1)
      else
        f.get(to.local)
          .i32(width - 1)
          .op('i32.sub')
      f.set(limit)
      this.#copies = count
      this.#active = active
      f.for(i, { local: limit }, width, () => {
        this.#scoped(() => {
          this.#enter(axis)
          body()
        })
      })
      this.#copies = 1
      this.#active = this.#lanes
    }
    const widths = [copies * this.#lanes, this.#lanes, 1]
    if (copies > 1 && size >= widths[0]) part(copies, this.#lanes)
    if (size >= this.#lanes && (copies === 1 || size % widths[0] >= this.#lanes || size < widths[0]))
      part(1, this.#lanes)
    if (size % this.#lanes !== 0) part(1, 1)
  }

  /** How many vectors to compute side by side: enough to hide latencies, few enough to stay in registers. */
  #unroll(): number {
    const work = this.#exprs.filter(({ e }) => isOperation(e)).length
    if (this.#kernel.reduce) return work < 8 ? 4 : work < 24 ? 2 : 1
    return work < 60 ? 2 : 1
  }

  /** One position of the output loops: the reduction over columns, if any, then the outputs. */
  #position(): void {
    const { reduce } = this.#kernel
    if (reduce) {
      const accumulators = this.#accumulators(this.#copies)
      const nest = (r: number): void => {
        if (r === reduce.axes.length) this.#accumulate(accumulators)
        else this.#loop(this.#kernel.axes.length + r, reduce.axes[r], () => nest(r + 1))
      }
      nest(0)
      this.#reduced = accumulators
    }
    this.#store()
  }

  /** The reduction along the vector loop, then the outputs at one position. */
  #rowReduction(): void {
    const { reduce, axes } = this.#kernel
    if (!reduce) return
    const copies = this.#unroll()
    const accumulators = this.#accumulators(copies)
    const nest = (r: number): void => {
      if (r === reduce.axes.length - 1)
        this.#vectorLoop(0, reduce.axes[r], () => this.#accumulate(accumulators), copies)
      else this.#loop(axes.length + r, reduce.axes[r], () => nest(r + 1))
    }
    nest(0)
    const f = this.#f
    const [total] = accumulators
    for (let u = 1; u < copies; u++) {
      f.get(total).get(accumulators[u])
      this.#combine()
      f.set(total)
    }
    const halves = isWide(reduce.type) ? [8] : this.#lanes === 4 ? [8, 4] : [4]
    for (const shift of halves) {
      f.get(total).get(total).get(total)
      f.shuffle(...Array.from({ length: 16 }, (_, b) => (b + shift) % 16))
      this.#combine()
      f.set(total)
    }
    this.#reduced = [total]
    this.#active = 1
    this.#store()
    this.#active = this.#lanes
  }

  #accumulators(count: number): Local[] {
    return Array.from({ length: count }, () => {
      const local = this.#f.local('v128')
      this.#f.v128(this.#identity()).set(local)
      return local
    })
  }

  #identity(): Uint8Array {
    const { op, type } = this.#kernel.reduce as NonNullable<LoopKernel['reduce']>
    const lowest = isFloat(type) ? Number.NEGATIVE_INFINITY : type === 'int32' ? -(2 ** 31) : 0
    return splatBytes(op === 'sum' ? 0 : lowest, type)
  }

  /** accumulator = accumulator ∘ body, for each vector. */
  #accumulate(accumulators: readonly Local[]): void {
    const { body, op, type } = this.#kernel.reduce as NonNullable<LoopKernel['reduce']>
    const f = this.#f
    const fused = op === 'sum' && this.#target.relaxed && isFloat(type) && isOperation(body) && body.op === 'mul'
    for (let u = 0; u < this.#copies; u++) {
      if (fused && this.#active > 1) {
        for (const arg of body.args) f.get(this.#value(arg, u))
        f.get(accumulators[u]).op(type === 'float64' ? 'f64x2.relaxed_madd' : 'f32x4.relaxed_madd')
      } else {
        f.get(accumulators[u]).get(this.#value(body, u))
        // Of a single element the other lanes are no part of the reduction along the vector.
        if (this.#active === 1 && this.#layout.mode === 'rows') {
          const first = new Uint8Array(16).fill(255, 0, isWide(type) ? 8 : 4)
          f.v128(this.#identity()).v128(first).op('v128.bitselect')
        }
        this.#combine()
      }
      f.set(accumulators[u])
    }
  }

  #combine(): void {
    const { op, type } = this.#kernel.reduce as NonNullable<LoopKernel['reduce']>
    const cls = classOf(type)
    if (cls === 'f32') this.#f.op(op === 'sum' ? 'f32x4.add' : 'f32x4.max')
    else if (cls === 'f64') this.#f.op(op === 'sum' ? 'f64x2.add' : 'f64x2.max')
    else this.#f.op(op === 'sum' ? 'i32x4.add' : cls === 'u32' ? 'i32x4.max_u' : 'i32x4.max_s')
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
      f.get(this.#axisLocals[d]).i32(stride).op('i32.mul', 'i32.add')
      stride *= axes[d]
    }
    f.set(position)
    const varying = mode !== 'rows' && vector >= 0
    for (const { buffer, value } of outputs) {
      const { dtype } = this.#buffers[buffer]
      for (let u = 0; u < this.#copies; u++) {
        const local = this.#value(value, u)
        f.get(this.#base(buffer)).get(position).i32(bytesOf(dtype)).op('i32.mul', 'i32.add')
        storeVector(
          f,
          dtype,
          local,
          this.#active === 1 ? 1 : this.#lanes,
          varying ? u * this.#lanes * bytesOf(dtype) : 0,
        )
      }
    }
  }

  #base(buffer: number): Local {
    const base = this.#bases.get(buffer)
    if (base === undefined) throw new Error(`wasm: buffer ${buffer} has no base`)
    return base
  }

  #scoped(body: () => void): void {
    this.#scopes.push({ values: new Map(), addresses: new Map() })
    body()
    this.#scopes.pop()
  }

  /** At the start of a loop's body: what depends on this loop and outer ones is computed here. */
  #enter(level: number): void {
    // Addresses first: the loads of this level use them, and what they depend on is computed as they ask for it.
    for (const { e } of this.#exprs) if (e.op === 'load' && this.#isVectorLoad(e)) this.#advanceAddress(e, level)
    for (const { e, level: own, late } of this.#exprs) {
      if (own === level && !late && this.#wanted(e)) this.#value(e, 0)
    }
  }

  /** Constants and the like cost nothing where they are used. */
  #wanted(e: Expr): boolean {
    return e.op !== 'constant'
  }

  #varies(e: Expr): boolean {
    return e.axes.has(this.#layout.vector) || e.op === 'reduced' || this.#late.has(e)
  }

  /** The local that holds copy u of a value, computed now if it is not in scope. */
  #value(e: Expr, u: number): Local {
    for (let s = this.#scopes.length - 1; s >= 0; s--) {
      const found = this.#scopes[s].values.get(e)
      if (found) return found[Math.min(u, found.length - 1)]
    }
    if (e.op === 'reduced') return this.#reduced[Math.min(u, this.#reduced.length - 1)]
    const copies = this.#varies(e) ? this.#copies : 1
    const locals = Array.from({ length: copies }, () => this.#f.local('v128'))
    // Operands first, for all copies: their instructions interleave.
    if (isOperation(e)) for (const a of e.args) this.#value(a, 0)
    for (let c = 0; c < copies; c++) {
      this.#push(e, c)
      this.#f.set(locals[c])
    }
    this.#scopes[this.#scopes.length - 1].values.set(e, locals)
    return locals[Math.min(u, copies - 1)]
  }

  #push(e: Expr, u: number): void {
    const f = this.#f
    if (isOperation(e)) {
      emitOperation(
        f,
        e,
        e.args.map(a => this.#value(a, u)),
        this.#lanes,
        this.#target.relaxed,
      )
      return
    }
    switch (e.op) {
      case 'constant':
        f.v128(splatBytes(e.value, e.type))
        return
      case 'position':
        this.#pushIndexVector(e.index, u)
        return
      case 'inside':
        this.#pushMask(e.conditions, u)
        return
      case 'load':
        this.#pushLoad(e, u)
        return
      case 'reduced':
        throw new Error('wasm: a reduction is read before it is computed')
    }
  }

  /** An index as a vector of int32. */
  #pushIndexVector(index: Index, u: number): void {
    const f = this.#f
    const factor = axisFactor(index, this.#layout.vector)
    if (factor === undefined) {
      f.v128(new Uint8Array(16))
      for (let lane = 0; lane < this.#activeLanes(); lane++) {
        this.#pushIndex(index, u, lane)
        f.lane('i32x4.replace_lane', lane)
      }
      return
    }
    this.#pushIndex(index, u, 0)
    f.op('i32x4.splat')
    if (factor !== 0) f.v128(new Uint8Array(new Int32Array([0, factor, 2 * factor, 3 * factor]).buffer)).op('i32x4.add')
  }

  #activeLanes(): number {
    return this.#active === 1 ? 1 : this.#lanes
  }

  /** A mask of the lanes in which all conditions hold. */
  #pushMask(conditions: readonly Condition[], u: number): void {
    const f = this.#f
    conditions.forEach(({ index, low, high }, i) => {
      // One unsigned comparison for both bounds.
      this.#pushIndexVector(index, u)
      f.v128(splatBytes(low, 'int32')).op('i32x4.sub')
      f.v128(splatBytes(high - low, 'int32')).op('i32x4.lt_u')
      if (i > 0) f.op('v128.and')
    })
  }

  /** Pushes 1 if all conditions hold for one lane, else 0. */
  #pushCondition(conditions: readonly Condition[], u: number, lane: number): void {
    const f = this.#f
    conditions.forEach(({ index, low, high }, i) => {
      this.#pushIndex(index, u, lane)
      f.i32(low)
        .op('i32.sub')
        .i32(high - low)
        .op('i32.lt_u')
      if (i > 0) f.op('i32.and')
    })
  }

  /** Pushes an index as i32, for copy u and one lane of the vector loop. */
  #pushIndex(index: Index, u: number, lane: number): void {
    const f = this.#f
    let constant = index.constant
    let pushed = false
    for (const { atom, factor } of index.terms) {
      if (atom.kind === 'axis' && atom.axis === this.#layout.vector) constant += factor * (u * this.#lanes + lane)
      this.#pushAtom(atom, u, lane)
      if (factor !== 1) f.i32(factor).op('i32.mul')
      if (pushed) f.op('i32.add')
      pushed = true
    }
    if (!pushed) f.i32(constant)
    else if (constant !== 0) f.i32(constant).op('i32.add')
  }

  #pushAtom(atom: Atom, u: number, lane: number): void {
    const f = this.#f
    switch (atom.kind) {
      case 'axis':
        f.get(this.#axisLocals[atom.axis])
        return
      case 'value': {
        const local = this.#value(atom.value, u)
        f.get(local).lane('i32x4.extract_lane', this.#varies(atom.value) ? lane : 0)
        return
      }
      case 'bounded':
        this.#pushIndex(atom.of, u, lane)
        return
      case 'quotient':
      case 'remainder': {
        // Shifted to be non-negative, where it may be negative, so that unsigned division rounds down.
        const shift = Math.max(0, Math.ceil(-range(atom.of).low / atom.divisor))
        this.#pushIndex(atom.of, u, lane)
        if (shift > 0) f.i32(shift * atom.divisor).op('i32.add')
        f.i32(atom.divisor).op(atom.kind === 'quotient' ? 'i32.div_u' : 'i32.rem_u')
        if (shift > 0 && atom.kind === 'quotient') f.i32(shift).op('i32.sub')
        return
      }
    }
  }

  /** Conditions that hold or fail for a whole vector, and those that may differ between its lanes. */
  #splitConditions(e: Load): { outer: Condition[]; inner: Condition[] } {
    const varies = (c: Condition): boolean => axesOf(c.index).has(this.#layout.vector)
    return { outer: e.conditions.filter(c => !varies(c)), inner: e.conditions.filter(varies) }
  }

  /** Whether neighbouring lanes read neighbouring elements, at addresses that exist even where a condition fails. */
  #isVectorLoad(e: Load): boolean {
    if (this.#late.has(e) || axisFactor(e.index, this.#layout.vector) !== 1) return false
    const { inner } = this.#splitConditions(e)
    if (inner.length === 0) return true
    const { low, high } = range(e.index)
    const slack = guardBytes / bytesOf(e.type as BufferSpec['dtype'])
    return (
      low > -slack &&
      high < this.#buffers[e.buffer].size + slack &&
      inner.every(c => axisFactor(c.index, this.#layout.vector) !== undefined)
    )
  }

  /** Adds this level's terms to the address of a vector load. */
  #advanceAddress(e: Load, level: number): void {
    const { vector } = this.#layout
    const levelOf = (atom: Atom): number =>
      Math.max(-1, ...axesOf({ constant: 0, key: '', terms: [{ atom, factor: 1 }] }))
    const terms = e.index.terms.filter(
      t => !(t.atom.kind === 'axis' && t.atom.axis === vector) && levelOf(t.atom) === level,
    )
    if (terms.length === 0 && level !== -1) return
    const f = this.#f
    const size = bytesOf(e.type as BufferSpec['dtype'])
    const address = f.local('i32')
    const previous = this.#address(e)
    f.get(previous ?? this.#base(e.buffer))
    this.#pushIndex({ constant: level === -1 ? e.index.constant : 0, key: '', terms }, 0, 0)
    if (size > 1) f.i32(size).op('i32.mul')
    f.op('i32.add').set(address)
    this.#scopes[this.#scopes.length - 1].addresses.set(e, address)
  }

  #address(e: Load): Local | undefined {
    for (let s = this.#scopes.length - 1; s >= 0; s--) {
      const found = this.#scopes[s].addresses.get(e)
      if (found !== undefined) return found
    }
    return undefined
  }

  #pushLoad(e: Load, u: number): void {
    const f = this.#f
    const dtype = this.#buffers[e.buffer].dtype
    const size = bytesOf(dtype)
    const { vector } = this.#layout
    if (!e.axes.has(vector) || vector < 0) {
      this.#pushGuardedAddress(e, u, 0)
      loadSplat(f, dtype)
      return
    }
    const { outer, inner } = this.#splitConditions(e)
    if (!this.#isVectorLoad(e)) {
      const local = f.local('v128')
      f.v128(new Uint8Array(16)).set(local)
      for (let lane = 0; lane < this.#activeLanes(); lane++) {
        this.#pushGuardedAddress(e, u, lane)
        loadElement(f, dtype, local, lane)
      }
      f.get(local)
      if (dtype === 'bool') f.op('i32x4.neg')
      return
    }
    const address = this.#address(e)
    if (address === undefined) throw new Error('wasm: a load has no address')
    f.get(address).get(this.#axisLocals[vector])
    if (size > 1) f.i32(size).op('i32.mul')
    f.op('i32.add')
    if (outer.length) {
      // Where the condition fails, zeros are read from the start of memory.
      f.i32(0)
      this.#pushCondition(outer, u, 0)
      f.op('select')
    }
    loadVector(f, dtype, this.#active === 1 ? 1 : this.#lanes, this.#lanes, u * this.#lanes * size)
    if (inner.length) {
      this.#pushMask(inner, u)
      if (isWide(e.type)) f.op('i64x2.extend_low_i32x4_s')
      f.op('v128.and')
    }
  }

  /** The address of one element, or of zeros where a condition fails. */
  #pushGuardedAddress(e: Load, u: number, lane: number): void {
    const f = this.#f
    const size = bytesOf(this.#buffers[e.buffer].dtype)
    f.get(this.#base(e.buffer))
    this.#pushIndex(e.index, u, lane)
    if (size > 1) f.i32(size).op('i32.mul')
    f.op('i32.add')
    if (e.conditions.length === 0) return
    f.i32(0)
    this.#pushCondition(e.conditions, u, lane)
    f.op('select')
  }
}

/** Bytes before and after every buffer that may be read (never written) beyond it. */
export const guardBytes = 128
