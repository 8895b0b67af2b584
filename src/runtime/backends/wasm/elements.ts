/**
 * Emits the values of a kernel's expressions at the current point of a function under construction: each once in the
 * outermost loop it depends on, several vectors side by side where the vector loop asks for it. Which loops there are and
 * what is done with the values is decided in loops.ts.
 */

import { type Atom, axesOf, axisFactor, type Condition, type Index, range, sumIndex } from '../../../compiler/affine.js'
import { type Expr, isOperation, type Load, walkExprs } from '../../../compiler/expr.js'
import type { BufferSpec } from '../../../compiler/kernel.js'
import type { Func, Local } from './assembler.js'
import { bytesOf, loadElement, loadSplat, loadVector, pushAddress } from './memory-access.js'
import { emitOperation, isWide, type Lanes, operandsInWasm, splatBytes, type Target } from './values.js'

/** Bytes before and after every buffer that may be read (never written) beyond it. */
export const guardBytes = 128
/** Bytes behind the last buffer that may be read too: where the next rows of it would be. */
export const reachBytes = 2 ** 17
/** Bytes that come into the cache together. */
const lineBytes = 64
/** Addresses of buffers are multiples of this. */
export const alignment = 64

/** For some buffers, how many bytes ahead of what they load loops touch memory. */
export type Ahead = ReadonlyMap<number, number>

/** What loops are emitted for. */
export interface Emission {
  readonly buffers: readonly BufferSpec[]
  readonly target: Target
  readonly ahead?: Ahead
}

/** Values and addresses that are in scope at the point of emission. */
interface Scope {
  readonly values: Map<Expr, readonly Local[]>
  readonly addresses: Map<Load, Local>
}

export class Elements {
  /** Elements of a vector: two if any value has 64 bits. */
  readonly lanes: Lanes
  /** The variables of the loops. */
  readonly axisLocals: readonly Local[]
  /** Number of operations, as a measure of the work for one element. */
  readonly operations: number
  /**
   * Vectors computed side by side at the point of emission, along the copied loop, and elements wanted of each: all
   * lanes, or one.
   */
  copies = 1
  active: number
  /** The totals of the reduction, each for each copy. */
  reduced: readonly (readonly Local[])[] = []

  readonly #f: Func
  readonly #vector: number
  readonly #copied: number
  readonly #buffers: readonly BufferSpec[]
  readonly #target: Target
  readonly #ahead: Ahead | undefined
  readonly #bases = new Map<number, Local>()
  readonly #scopes: Scope[] = []
  /** All expressions, operands first, with the innermost loop each depends on. */
  readonly #exprs: { readonly e: Expr; readonly level: number }[] = []
  /** The load that is being emitted, and where it reads its first copy. */
  #reading: { readonly load: Load; readonly pointer: Local } | undefined
  /** Expressions that follow from the reduction: they are computed when asked for. */
  readonly #late = new Set<Expr>()

  /**
   * @param loops number of loops, which of them is the vector loop (-1: none), and along which copies are made
   * @param outputs buffers that are written
   */
  constructor(
    f: Func,
    roots: readonly Expr[],
    loops: { count: number; vector: number; copied: number },
    outputs: readonly number[],
    { buffers, target, ahead }: Emission,
  ) {
    this.#f = f
    this.#vector = loops.vector
    this.#copied = loops.copied
    this.#buffers = buffers
    this.#target = target
    this.#ahead = ahead
    const used = new Set(outputs)
    let wide = false
    let operations = 0
    const visit = (e: Expr): void => {
      if (isWide(e.type)) wide = true
      if (isOperation(e) && e.op !== 'keep') operations++
      if (e.op === 'load') used.add(e.buffer)
      if (e.op === 'reduced' || operandsInWasm(e).some(a => this.#late.has(a))) this.#late.add(e)
      this.#exprs.push({ e, level: Math.max(-1, ...e.axes) })
    }
    walkExprs(roots, visit, operandsInWasm)
    this.operations = operations
    this.lanes = wide ? 2 : 4
    this.active = this.lanes
    this.axisLocals = Array.from({ length: loops.count }, () => f.local('i32'))
    for (const b of used) {
      const base = f.local('i32')
      pushAddress(f, b).set(base)
      this.#bases.set(b, base)
    }
  }

  base(buffer: number): Local {
    const base = this.#bases.get(buffer)
    if (base === undefined) throw new Error(`wasm: buffer ${buffer} has no base`)
    return base
  }

  scoped(body: () => void): void {
    this.#scopes.push({ values: new Map(), addresses: new Map() })
    body()
    const scope = this.#scopes.pop()
    if (!this.#target.paired) return
    // To an engine that joins vectors, what is not cleared seems to be wanted after the loop, each vector by itself.
    for (const locals of scope?.values.values() ?? [])
      for (const local of locals) this.#f.v128(new Uint8Array(16)).set(local)
  }

  /** At the start of a loop's body: what depends on this loop and outer ones is computed here. */
  enter(level: number): void {
    // Addresses first: the loads of this level use them, and what they depend on is computed as they ask for it.
    for (const { e } of this.#exprs) if (e.op === 'load' && this.#isVectorLoad(e)) this.#advanceAddress(e, level)
    for (const { e, level: own } of this.#exprs) {
      if (own === level && !this.#late.has(e) && e.op !== 'constant') this.value(e, 0)
    }
  }

  /** Whether values differ along a loop. */
  #varies(e: Expr, axis = this.#vector): boolean {
    return e.axes.has(axis) || e.op === 'reduced' || this.#late.has(e)
  }

  /** Positions of the copied loop between copies. */
  get copyStep(): number {
    return this.#copied === this.#vector ? this.lanes : 1
  }

  /** The local that holds copy u of a value, computed now if it is not in scope. */
  value(e: Expr, u: number): Local {
    for (let s = this.#scopes.length - 1; s >= 0; s--) {
      const found = this.#scopes[s].values.get(e)
      if (found) return found[Math.min(u, found.length - 1)]
    }
    // The same bits: no instruction.
    if (e.op === 'keep' || e.op === 'bitcast') return this.value(e.args[0], u)
    if (e.op === 'reduced') {
      const total = this.reduced[e.total]
      return total[Math.min(u, total.length - 1)]
    }
    const copies = this.#varies(e, this.#copied) ? this.copies : 1
    const locals = Array.from({ length: copies }, () => this.#f.local('v128'))
    // Operands first, for all copies: their instructions interleave.
    if (isOperation(e)) for (const a of operandsInWasm(e)) this.value(a, 0)
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
        operandsInWasm(e).map(a => this.value(a, u)),
        this.lanes,
        this.#target,
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
    const factor = axisFactor(index, this.#vector)
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
    return this.active === 1 ? 1 : this.lanes
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
      if (atom.kind === 'axis' && atom.axis === this.#vector) constant += factor * lane
      if (atom.kind === 'axis' && atom.axis === this.#copied) constant += factor * u * this.copyStep
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
        f.get(this.axisLocals[atom.axis])
        return
      case 'value': {
        const local = this.value(atom.value, u)
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
    const varies = (c: Condition): boolean => axesOf(c.index).has(this.#vector)
    return { outer: e.conditions.filter(c => !varies(c)), inner: e.conditions.filter(varies) }
  }

  /** Whether neighbouring lanes read neighbouring elements, at addresses that exist even where a condition fails. */
  #isVectorLoad(e: Load): boolean {
    if (this.#late.has(e) || axisFactor(e.index, this.#vector) !== 1) return false
    const { inner } = this.#splitConditions(e)
    if (inner.length === 0) return true
    const { low, high } = range(e.index)
    const slack = guardBytes / bytesOf(e.type as BufferSpec['dtype'])
    return (
      low > -slack &&
      high < this.#buffers[e.buffer].size + slack &&
      inner.every(c => axisFactor(c.index, this.#vector) !== undefined)
    )
  }

  /** Adds this level's terms to the address of a vector load. */
  #advanceAddress(e: Load, level: number): void {
    const vector = this.#vector
    const levelOf = (atom: Atom): number => Math.max(-1, ...axesOf(sumIndex(0, [{ atom, factor: 1 }])))
    const terms = e.index.terms.filter(
      t => !(t.atom.kind === 'axis' && t.atom.axis === vector) && levelOf(t.atom) === level,
    )
    if (terms.length === 0 && level !== -1) return
    const f = this.#f
    const size = bytesOf(e.type as BufferSpec['dtype'])
    const address = f.local('i32')
    const previous = this.#address(e)
    f.get(previous ?? this.base(e.buffer))
    this.#pushIndex(sumIndex(level === -1 ? e.index.constant : 0, terms), 0, 0)
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
    const vector = this.#vector
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
    // One address for all copies, which the engine may then join into longer vectors.
    if (u === 0 || this.#reading?.load !== e) {
      this.#reading = { load: e, pointer: f.local('i32') }
      f.get(address).get(this.axisLocals[vector])
      if (size > 1) f.i32(size).op('i32.mul')
      f.op('i32.add').set(this.#reading.pointer)
    }
    if (u === 0 && outer.length === 0) this.#touchAhead(e.buffer, this.#reading.pointer)
    f.get(this.#reading.pointer)
    if (outer.length) {
      // Where the condition fails, zeros are read from the start of memory.
      f.i32(0)
      this.#pushCondition(outer, u, 0)
      f.op('select')
    }
    const between = (axisFactor(e.index, this.#copied) ?? 0) * this.copyStep * size
    loadVector(f, dtype, this.active === 1 ? 1 : this.lanes, this.lanes, u * between)
    if (inner.length) {
      this.#pushMask(inner, u)
      if (isWide(e.type)) f.op('i64x2.extend_low_i32x4_s')
      f.op('v128.and')
    }
  }

  /** Touches each line of the cache that vectors side by side will need when they come to the next rows. */
  #touchAhead(buffer: number, pointer: Local): void {
    const ahead = this.#ahead?.get(buffer)
    if (ahead === undefined || this.active === 1 || this.#copied !== this.#vector) return
    const bytes = this.copies * this.copyStep * bytesOf(this.#buffers[buffer].dtype)
    for (let line = 0; line < bytes; line += lineBytes)
      this.#f
        .get(pointer)
        .memory('i32.load8_u', ahead + line)
        .op('drop')
  }

  /** The address of one element, or of zeros where a condition fails. */
  #pushGuardedAddress(e: Load, u: number, lane: number): void {
    const f = this.#f
    const size = bytesOf(this.#buffers[e.buffer].dtype)
    f.get(this.base(e.buffer))
    this.#pushIndex(e.index, u, lane)
    if (size > 1) f.i32(size).op('i32.mul')
    f.op('i32.add')
    if (e.conditions.length === 0) return
    f.i32(0)
    this.#pushCondition(e.conditions, u, lane)
    f.op('select')
  }
}
