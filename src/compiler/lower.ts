/**
 * From graph nodes to scalar expressions: what is the element of a node at given indices? Movement becomes index
 * arithmetic, element-wise operations become scalar ones, and nodes that have a buffer become loads.
 */

import { computeType, type DType, isFloat } from '../graph/dtype.js'
import { labelOf, type Node, type Primitive } from '../graph/node.js'
import { type Shape, sameShape } from '../graph/shape.js'
import {
  axisIndex,
  boundedIndex,
  type Condition,
  constantIndex,
  divide,
  type Index,
  linearIndex,
  offsetIndex,
  range,
  scaleIndex,
  unbounded,
  unravel,
  valueIndex,
  zero,
} from './affine.js'
import type { Expr, ExprTable, ScalarOp } from './expr.js'
import { isBelow0 } from './signs.js'

/** Nodes that are computed by a kernel of their own kind and never inlined. */
const heavy: ReadonlySet<Primitive> = new Set<Primitive>([
  'sum',
  'prod',
  'max',
  'matmul',
  'conv',
  'scatterAdd',
  'firstIndex',
  'argsort',
])
export const isHeavy = (node: Node): boolean => heavy.has(node.op)

export class Lowering {
  readonly exprs: ExprTable
  /** The buffer of a node, or undefined where it is to be inlined. */
  readonly #bufferOf: (node: Node) => number | undefined
  /** Values known without a load: what this kernel computes itself, at these indices. */
  readonly #known = new Map<Node, { indices: readonly Index[]; value: Expr }>()
  readonly #done = new Map<string, Expr>()

  constructor(exprs: ExprTable, bufferOf: (node: Node) => number | undefined) {
    this.exprs = exprs
    this.#bufferOf = bufferOf
  }

  /** From now on the node's element at exactly these indices is this value. */
  define(node: Node, indices: readonly Index[], value: Expr): void {
    this.#known.set(node, { indices, value })
  }

  /** The element of a node at the row-major position of loops over another shape of the same size. */
  inLoops(node: Node, shape: Shape): { value: Expr; position: Index; indices: Index[] } {
    const loops = shape.map((size, axis) => axisIndex(axis, size))
    const position = linearIndex(loops, shape)
    const indices = sameShape(node.shape, shape) ? loops : unravel(position, node.shape)
    return { value: this.element(node, indices), position, indices }
  }

  /** The element of a node at the given indices; read only where the conditions hold, else anything. */
  element(node: Node, indices: readonly Index[], conditions: readonly Condition[] = []): Expr {
    const key = `${node.id}@${indices.map(i => i.key).join()}?${conditions.map(c => `${c.low}<=${c.index.key}<${c.high}`).join('&')}`
    const done = this.#done.get(key)
    if (done) return done
    const known = this.#known.get(node)
    const same = known && linearIndex(known.indices, node.shape).key === linearIndex(indices, node.shape).key
    const buffer = same ? undefined : this.#bufferOf(node)
    const value = same
      ? known.value
      : buffer === undefined
        ? this.#inline(node, indices, conditions)
        : this.#load(node, buffer, indices, conditions)
    this.#done.set(key, value)
    return value
  }

  #load(node: Node, buffer: number, indices: readonly Index[], conditions: readonly Condition[]): Expr {
    return this.exprs.load(buffer, computeType(node.dtype), unbounded(linearIndex(indices, node.shape)), conditions)
  }

  #inline(node: Node, indices: readonly Index[], conditions: readonly Condition[]): Expr {
    const { exprs } = this
    const [x] = node.inputs
    const type = computeType(node.dtype)
    switch (node.op) {
      case 'constant':
        return exprs.constant(node.attrs.value, computeType(node.dtype))
      case 'iota':
        return exprs.position(unbounded(indices[node.attrs.axis]))
      case 'barrier':
        return this.element(x, indices, conditions)
      case 'reshape':
        return this.element(x, unravel(linearIndex(indices, node.shape), x.shape), conditions)
      case 'expand':
        return this.element(
          x,
          indices.map((i, d) => (x.shape[d] === 1 ? zero : i)),
          conditions,
        )
      case 'permute': {
        const source = new Array<Index>(indices.length)
        for (const [i, d] of node.attrs.axes.entries()) source[d] = indices[i]
        return this.element(x, source, conditions)
      }
      case 'slice':
        return this.element(
          x,
          indices.map((i, d) => offsetIndex(scaleIndex(i, node.attrs.step[d]), node.attrs.start[d])),
          conditions,
        )
      case 'flip': {
        const { axes } = node.attrs
        return this.element(
          x,
          indices.map((i, d) => (axes.includes(d) ? offsetIndex(scaleIndex(i, -1), x.shape[d] - 1) : i)),
          conditions,
        )
      }
      case 'pad':
        return this.#pad(node, indices, conditions)
      case 'gather':
        return this.#gather(node, indices, conditions)
      case 'where':
        return exprs.operation('select', type, ...node.inputs.map(n => this.element(n, indices, conditions)))
      case 'exp':
        return exprs.operation(isBelow0(x) ? 'expBelow0' : 'exp', type, this.element(x, indices, conditions))
      case 'cast':
        return castTo(exprs, node.dtype, this.element(x, indices, conditions))
      case 'threefry': {
        const words = node.inputs.map(n => this.element(n, indices, conditions))
        return threefry(exprs, words)[node.attrs.word]
      }
      case 'input':
      case 'variable':
      case 'stopGradient':
      case 'custom':
      case 'sum':
      case 'prod':
      case 'max':
      case 'matmul':
      case 'conv':
      case 'scatterAdd':
      case 'firstIndex':
      case 'argsort':
        throw new Error(`lowering: ${labelOf(node)} has no buffer`)
      default:
        return exprs.operation(
          node.op satisfies ScalarOp,
          type,
          ...node.inputs.map(n => this.element(n, indices, conditions)),
        )
    }
  }

  #pad(node: Node<'pad'>, indices: readonly Index[], conditions: readonly Condition[]): Expr {
    const { before, interior } = node.attrs
    const [x] = node.inputs
    const added: Condition[] = []
    const source = indices.map((i, d) => {
      const step = interior[d] + 1
      const shifted = offsetIndex(i, -before[d])
      const { quotient, remainder } = divide(shifted, step)
      if (step > 1) added.push({ index: unbounded(remainder), low: 0, high: 1 })
      added.push({ index: unbounded(quotient), low: 0, high: x.shape[d] })
      return boundedIndex(quotient, x.shape[d])
    })
    const needed = added.filter(c => {
      const { low, high } = range(c.index)
      return low < c.low || high >= c.high
    })
    if (needed.length === 0) return this.element(x, source, conditions)
    const value = this.element(x, source, [...conditions, ...needed])
    if (value.op === 'load') return value
    const type = computeType(node.dtype)
    return this.exprs.operation('select', type, this.exprs.inside(needed), value, this.exprs.constant(0, type))
  }

  #gather(node: Node<'gather'>, indices: readonly Index[], conditions: readonly Condition[]): Expr {
    const { exprs } = this
    const [x, index] = node.inputs
    const rows = x.shape[0]
    const row = this.element(index, indices.slice(0, index.shape.length), conditions)
    const raw =
      row.op === 'constant'
        ? constantIndex(row.value)
        : row.op === 'position'
          ? row.index
          : valueIndex(row, Math.max(0, rows - 1))
    const { low, high } = range(raw)
    const rest = indices.slice(index.shape.length)
    // A value read at run time may be anything, whatever range its atom claims for the sake of the arithmetic.
    if (raw.terms.every(t => t.atom.kind === 'axis') && low >= 0 && high < rows)
      return this.element(x, [raw, ...rest], conditions)
    const valid: Condition = { index: raw, low: 0, high: rows }
    const value = this.element(x, [boundedIndex(raw, rows), ...rest], [...conditions, valid])
    const type = computeType(node.dtype)
    const missing = exprs.constant(isFloat(type) ? Number.NaN : 0, type)
    return exprs.operation('select', type, exprs.inside([valid]), value, missing)
  }
}

/** A value in another dtype. To float16 it is rounded; from float16 to float32 it is what was computed, or stored. */
function castTo(exprs: ExprTable, dtype: DType, x: Expr): Expr {
  if (dtype === 'float16')
    return exprs.operation(
      'roundToHalf',
      'float32',
      x.type === 'float64' ? oddFloat32(exprs, x) : castTo(exprs, 'float32', x),
    )
  return x.type === dtype ? x : exprs.operation('cast', dtype, x)
}

/**
 * A float64 as float32, rounded to odd: what a float32 does not hold becomes the neighbour whose last bit is 1. Rounded
 * again, that is rounded once (Boldo and Melquiond 2008, "Emulation of a FMA and correctly rounded sums").
 */
function oddFloat32(exprs: ExprTable, x: Expr): Expr {
  const int = (value: number): Expr => exprs.constant(value, 'int32')
  const nearest = exprs.operation('cast', 'float32', x)
  const [size, rounded] = [x, exprs.operation('cast', 'float64', nearest)].map(a =>
    exprs.operation('abs', 'float64', a),
  )
  const bits = exprs.operation('bitcast', 'int32', nearest)
  const isEven = exprs.operation('equal', 'bool', exprs.operation('and', 'int32', bits, int(1)), int(0))
  const [below, above] = [
    exprs.operation('less', 'bool', rounded, size),
    exprs.operation('less', 'bool', size, rounded),
  ]
  const towards = exprs.operation(
    'select',
    'int32',
    below,
    int(1),
    exprs.operation('select', 'int32', above, int(-1), int(0)),
  )
  const step = exprs.operation('select', 'int32', isEven, towards, int(0))
  return exprs.operation('bitcast', 'float32', exprs.operation('add', 'int32', bits, step))
}

/** What a node's buffer holds of its value: a float16 is rounded, where it is not by itself. */
export function storedValue(exprs: ExprTable, { dtype }: Node, value: Expr): Expr {
  const isHalf = value.op === 'roundToHalf' || value.op === 'load' || value.op === 'constant'
  return dtype === 'float16' && !isHalf ? exprs.operation('roundToHalf', 'float32', value) : value
}

/** Threefry-2x32 with 20 rounds: (key0, key1, counter0, counter1) to two words. */
function threefry(exprs: ExprTable, [k0, k1, c0, c1]: readonly Expr[]): [Expr, Expr] {
  const type: DType = 'uint32'
  const word = (value: number): Expr => exprs.constant(value >>> 0, type)
  const add = (a: Expr, b: Expr): Expr => exprs.operation('add', type, a, b)
  const xor = (a: Expr, b: Expr): Expr => exprs.operation('xor', type, a, b)
  const rotate = (a: Expr, n: number): Expr =>
    exprs.operation(
      'or',
      type,
      exprs.operation('shiftLeft', type, a, word(n)),
      exprs.operation('shiftRight', type, a, word(32 - n)),
    )
  const keys = [k0, k1, xor(xor(k0, k1), word(0x1bd11bda))]
  const rotations = [13, 15, 26, 6, 17, 29, 16, 24]
  let x0 = add(c0, k0)
  let x1 = add(c1, k1)
  for (let round = 0; round < 20; round++) {
    x0 = add(x0, x1)
    x1 = xor(rotate(x1, rotations[round % 8]), x0)
    if (round % 4 === 3) {
      const i = (round + 1) / 4
      x0 = add(x0, keys[i % 3])
      x1 = add(add(x1, keys[(i + 1) % 3]), word(i))
    }
  }
  return [x0, x1]
}
