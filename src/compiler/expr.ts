/**
 * The scalar expression: what one element of a kernel computes. It is shared by all devices, which print it as
 * JavaScript, WebAssembly or WGSL. Expressions are interned per kernel, so a repeated subexpression is one object.
 */

import type { DType } from '../graph/dtype.js'
import type { BinaryOp, CompareOp, UnaryOp } from '../graph/node.js'
import { axesOf, type Condition, type Index, printIndex } from './affine.js'

/**
 * `fma` is a * b + c, rounded once or twice as the device likes; no other operation is ever fused. `roundToHalf` is the
 * float32 nearest to its operand that a float16 holds, halves to even. `keep` is its operand, as a value that no
 * compiler looks through: those of WGSL may reassociate and contract. `expBelow0` is `exp` of what is at most 0, with
 * fewer operations.
 */
export type ScalarOp =
  | UnaryOp
  | BinaryOp
  | CompareOp
  | 'select'
  | 'cast'
  | 'bitcast'
  | 'fma'
  | 'keep'
  | 'roundToHalf'
  | 'expBelow0'
  | FarOp
/** Functions of numbers that a device's expansion does not reach; 0 stands for the others, and its result is not used. */
export type FarOp = 'sinFar' | 'cosFar' | 'remainderFar'
/**
 * What a scalar may be. int64 exists only within a device's expansion of float64 functions; of float16 there are
 * buffers only.
 */
export type ScalarType = DType | 'int64'

interface Common {
  readonly id: number
  readonly type: ScalarType
  /** The loop axes that the value depends on. */
  readonly axes: ReadonlySet<number>
}
export type Expr = Common &
  (
    | { readonly op: 'constant'; readonly value: number }
    /** An index as an int32 value. */
    | { readonly op: 'position'; readonly index: Index }
    /** Whether all conditions hold. */
    | { readonly op: 'inside'; readonly conditions: readonly Condition[] }
    /** An element of a buffer; 0 where a condition fails, and then nothing is read. */
    | { readonly op: 'load'; readonly buffer: number; readonly index: Index; readonly conditions: readonly Condition[] }
    /** The result of the kernel's reduction: which of its totals. */
    | { readonly op: 'reduced'; readonly total: number }
    | { readonly op: ScalarOp; readonly args: readonly Expr[] }
  )
export type Operation = Extract<Expr, { op: ScalarOp }>
export type Load = Extract<Expr, { op: 'load' }>
export type Reduced = Extract<Expr, { op: 'reduced' }>

export const isOperation = (e: Expr): e is Operation => 'args' in e

const conditionKey = (cs: readonly Condition[]): string => cs.map(c => `${c.low}<=${c.index.key}<${c.high}`).join('&')

/** Makes and interns the expressions of one kernel. */
export class ExprTable {
  readonly #table = new Map<string, Expr>()

  #intern(key: string, make: (id: number) => Expr): Expr {
    const found = this.#table.get(key)
    if (found) return found
    const made = make(this.#table.size)
    this.#table.set(key, made)
    return made
  }

  constant(value: number, type: ScalarType): Expr {
    const key = `c${Object.is(value, -0) ? '-0' : value}:${type}`
    return this.#intern(key, id => ({ id, op: 'constant', type, value, axes: new Set() }))
  }

  position(index: Index): Expr {
    if (index.terms.length === 0) return this.constant(index.constant, 'int32')
    return this.#intern(`p${index.key}`, id => ({ id, op: 'position', type: 'int32', index, axes: axesOf(index) }))
  }

  inside(conditions: readonly Condition[]): Expr {
    if (conditions.length === 0) return this.constant(1, 'bool')
    const axes = new Set<number>()
    for (const c of conditions) axesOf(c.index, axes)
    return this.#intern(`g${conditionKey(conditions)}`, id => ({ id, op: 'inside', type: 'bool', conditions, axes }))
  }

  load(buffer: number, type: ScalarType, index: Index, conditions: readonly Condition[]): Expr {
    const axes = axesOf(index)
    for (const c of conditions) axesOf(c.index, axes)
    const key = `l${buffer}:${index.key}?${conditionKey(conditions)}`
    return this.#intern(key, id => ({ id, op: 'load', type, buffer, index, conditions, axes }))
  }

  reduced(type: ScalarType, axes: readonly number[], total = 0): Expr {
    return this.#intern(`r${total}`, id => ({ id, op: 'reduced', type, total, axes: new Set(axes) }))
  }

  operation(op: ScalarOp, type: ScalarType, ...args: Expr[]): Expr {
    const axes = new Set(args.flatMap(a => [...a.axes]))
    return this.#intern(`${op}:${type}(${args.map(a => a.id).join()})`, id => ({ id, op, type, args, axes }))
  }
}

/** What printed code calls a total. */
export const reducedName = (total: number): string => (total === 0 ? 'reduced' : `reduced_${total}`)

/** The expressions that an expression is computed from, those within indices and conditions included. */
export function operandsOf(e: Expr): readonly Expr[] {
  if (isOperation(e)) return e.args
  const found: Expr[] = []
  const fromIndex = (index: Index): void => {
    for (const { atom } of index.terms) {
      if (atom.kind === 'value') found.push(atom.value)
      else if (atom.kind !== 'axis') fromIndex(atom.of)
    }
  }
  if (e.op === 'load' || e.op === 'position') fromIndex(e.index)
  if (e.op === 'load' || e.op === 'inside') for (const c of e.conditions) fromIndex(c.index)
  return found
}

/** Every expression below the roots once, operands first. */
export function walkExprs(
  roots: readonly Expr[],
  visit: (e: Expr) => void,
  operands: (e: Expr) => readonly Expr[] = operandsOf,
): void {
  const seen = new Set<Expr>()
  const walk = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    operands(e).forEach(walk)
    visit(e)
  }
  roots.forEach(walk)
}

/** Whether expressions read a buffer at one position only, and unconditionally. */
export function loadsOnlyAt(roots: readonly Expr[], buffer: number, { key }: Index): boolean {
  let only = true
  walkExprs(roots, e => {
    if (e.op === 'load' && e.buffer === buffer) only &&= e.index.key === key && e.conditions.length === 0
  })
  return only
}

/** The roots as text; before them a line `%n = ...` for each operation that is used more than once or by an index. */
export function printExprs(roots: readonly Expr[]): { shared: string[]; texts: string[] } {
  const uses = new Map<Expr, number>()
  const use = (e: Expr, times: number): unknown => uses.set(e, (uses.get(e) ?? 0) + times)
  const useIndex = ({ terms }: Index): void => {
    for (const { atom } of terms) {
      if (atom.kind === 'value') use(atom.value, 2)
      else if (atom.kind !== 'axis') useIndex(atom.of)
    }
  }
  const order: Expr[] = []
  walkExprs(roots, e => {
    order.push(e)
    if (isOperation(e)) for (const arg of e.args) use(arg, 1)
    if (e.op === 'load' || e.op === 'position') useIndex(e.index)
    if (e.op === 'load' || e.op === 'inside') for (const c of e.conditions) useIndex(c.index)
  })
  const guard = (cs: readonly Condition[]): string =>
    cs.map(c => `${c.low} <= ${printIndex(c.index)} < ${c.high}`).join(' && ')
  const named = new Set<Expr>()
  const text = (e: Expr): string => (named.has(e) ? `%${e.id}` : definition(e))
  const definition = (e: Expr): string => {
    if (isOperation(e))
      return `${e.op}${e.op === 'cast' || e.op === 'bitcast' ? `<${e.type}>` : ''}(${e.args.map(text).join(', ')})`
    switch (e.op) {
      case 'constant':
        return Object.is(e.value, -0) ? '-0' : String(e.value)
      case 'position':
        return `(${printIndex(e.index)})`
      case 'inside':
        return `(${guard(e.conditions)})`
      case 'load':
        return `b${e.buffer}[${printIndex(e.index)}${e.conditions.length ? ` if ${guard(e.conditions)}` : ''}]`
      case 'reduced':
        return reducedName(e.total)
    }
  }
  const shared: string[] = []
  for (const e of order) {
    const times = uses.get(e) ?? 0
    if (times < 2 || e.op === 'constant' || e.op === 'reduced') continue
    shared.push(`%${e.id} = ${definition(e)}`)
    named.add(e)
  }
  return { shared, texts: roots.map(text) }
}
