/**
 * Rewrites that are exact (up to the sign of a zero: x + 0 is x) and need to look no further than a node and its
 * operands: constants are folded, identities disappear, movement of movement becomes one. Everything else is left to
 * the compiler.
 */

import { type DType, isFloat, toDType } from './dtype.js'
import { type Attrs, makeNode, type Node, type Primitive } from './node.js'
import { type Shape, sameShape, sizeOf } from './shape.js'

const folds: { readonly [P in Primitive]?: (...values: number[]) => number } = {
  neg: a => -a,
  abs: Math.abs,
  sqrt: Math.sqrt,
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  maximum: Math.max,
  minimum: Math.min,
}

const constant = (value: number, shape: Shape, dtype: DType): Node =>
  makeNode('constant', [], { value: toDType(value, dtype), shape, dtype }, shape, dtype)

const isConstant = (node: Node): node is Node<'constant'> => node.op === 'constant'
const isValue = (node: Node, value: number): boolean => isConstant(node) && Object.is(node.attrs.value, value)

const movement: ReadonlySet<Primitive> = new Set<Primitive>(['reshape', 'expand', 'permute', 'slice', 'flip'])

/** Primitives whose nodes differentiation finds by themselves. */
const identities: ReadonlySet<Primitive> = new Set<Primitive>(['variable', 'barrier', 'custom'])

/** Primitives that give zeros for an operand without elements. */
const fromNothing: ReadonlySet<Primitive> = new Set<Primitive>(['sum', 'pad', 'matmul', 'conv', 'scatterAdd'])

/** A smaller expression equal to `op(inputs)`, or undefined. */
export function simplify<P extends Primitive>(
  op: P,
  inputs: readonly Node[],
  attrs: Attrs[P],
  shape: Shape,
  dtype: DType,
): Node | undefined {
  const [a, b] = inputs
  const fold = folds[op]
  if (fold && inputs.every(isConstant)) {
    // Products of int32 beyond 2^53 would not wrap exactly.
    const value = fold(...inputs.map(n => n.attrs.value))
    if (Math.abs(value) < 2 ** 53 || isFloat(dtype)) return constant(value, shape, dtype)
  }
  // Nothing to compute, and nothing to compute it from.
  if (a && shape.includes(0) && !identities.has(op)) return constant(0, shape, dtype)
  if (fromNothing.has(op) && inputs.some(n => n.shape.includes(0))) return constant(0, shape, dtype)
  if (op === 'firstIndex' && sizeOf(a.shape) === 0) return constant(-1, shape, dtype)
  if (op === 'gather' && sizeOf(a.shape) === 0) return constant(isFloat(dtype) ? Number.NaN : 0, shape, dtype)
  if (movement.has(op) && isConstant(a)) return constant(a.attrs.value, shape, dtype)
  switch (op) {
    case 'add':
      return isValue(a, 0) ? b : isValue(b, 0) ? a : undefined
    case 'sub':
      return isValue(b, 0) ? a : undefined
    case 'mul':
      return isValue(a, 1) ? b : isValue(b, 1) ? a : undefined
    case 'div':
      return isValue(b, 1) ? a : undefined
    case 'where':
      return isConstant(a) ? inputs[a.attrs.value === 0 ? 2 : 1] : undefined
    case 'neg':
      return a.op === 'neg' ? a.inputs[0] : undefined
    case 'cast':
      if (a.dtype === dtype) return a
      // What an integer dtype does not hold is left to the device.
      return isConstant(a) && (isFloat(dtype) || (Math.abs(a.attrs.value) < 2 ** 31 && a.attrs.value >= 0))
        ? constant(a.attrs.value, shape, dtype)
        : undefined
    case 'reshape':
      if (sameShape(a.shape, shape)) return a
      return a.op === 'reshape' ? reshape(a.inputs[0], shape) : undefined
    case 'expand':
    case 'pad':
      return sameShape(a.shape, shape) ? a : undefined
    case 'slice':
      return sameShape(a.shape, shape) && (attrs as Attrs['slice']).start.every(s => s === 0) ? a : undefined
    case 'permute': {
      const { axes } = attrs as Attrs['permute']
      if (axes.every((d, i) => d === i)) return a
      if (a.op !== 'permute') return undefined
      const inner = a as Node<'permute'>
      const composed = axes.map(d => inner.attrs.axes[d])
      return composed.every((d, i) => d === i)
        ? a.inputs[0]
        : makeNode('permute', a.inputs, { axes: composed }, shape, dtype)
    }
    case 'flip':
      return (attrs as Attrs['flip']).axes.every(d => shape[d] <= 1) ? a : undefined
    case 'sum':
      if (sizeOf(shape) === sizeOf(a.shape)) return a
      return isConstant(a) && isFloat(dtype)
        ? constant((a.attrs.value * sizeOf(a.shape)) / Math.max(1, sizeOf(shape)), shape, dtype)
        : undefined
    case 'prod':
    case 'max':
      return sizeOf(shape) === sizeOf(a.shape) ? a : undefined
    case 'stopGradient':
      return a.op === 'stopGradient' || a.op === 'constant' ? a : undefined
    default:
      return undefined
  }
}

function reshape(x: Node, shape: Shape): Node {
  return sameShape(x.shape, shape) ? x : makeNode('reshape', [x], { shape }, shape, x.dtype)
}
