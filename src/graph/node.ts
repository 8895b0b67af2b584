/**
 * The expression graph: immutable, hash-consed nodes over a closed set of primitives.
 * What a primitive accepts is said in primitives.ts, what it means in the compiler, its derivative in autodiff.
 */

import type { DType, TypedArray } from './dtype.js'
import { formatShape, type Shape, sameShape } from './shape.js'

/** Element-wise primitives on one operand; all keep shape and dtype. */
export type UnaryOp =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'sqrt'
  | 'exp'
  | 'expm1'
  | 'log'
  | 'log1p'
  | 'sin'
  | 'cos'
  | 'tanh'
  | 'atan'
  | 'erf'
  | 'floor'
  | 'ceil'
  | 'round'
  | 'trunc'
  | 'not'

/** Element-wise primitives on two operands of one shape and dtype. */
export type BinaryOp = 'add' | 'sub' | 'mul' | 'div' | 'pow' | 'maximum' | 'minimum' | 'remainder' | BitOp
export type BitOp = 'and' | 'or' | 'xor' | 'shiftLeft' | 'shiftRight'

/** Comparisons: operands of one shape and dtype, result bool. */
export type CompareOp = 'less' | 'lessEqual' | 'equal'

/** What each primitive carries besides its operands. */
export type Attrs = { [P in UnaryOp | BinaryOp | CompareOp]: None } & {
  /** A leaf: values that live in a storage. */
  input: { storage: Storage }
  /** One value in every element. */
  constant: { value: number; shape: Shape; dtype: DType }
  /** The int32 index along one axis. */
  iota: { shape: Shape; axis: number }
  /** Identity that a gradient is taken with respect to; never merged with another. */
  variable: None
  /** Identity through which no gradient flows. */
  stopGradient: None
  /** Identity that is never merged with what it stands for: makes the compiler compute its consumers again. */
  barrier: None
  /** Operand 0, with a derivative of its own with respect to the further operands. */
  custom: { rule: CustomRule }
  where: None
  cast: { dtype: DType }
  /** The same 32 bits read as another dtype. */
  bitcast: { dtype: DType }
  /** One word of the Threefry-2x32-20 block cipher of (key0, key1, counter0, counter1). */
  threefry: { word: 0 | 1 }
  /** Reductions keep the reduced axes with size 1. */
  sum: { axes: readonly number[] }
  prod: { axes: readonly number[] }
  max: { axes: readonly number[] }
  reshape: { shape: Shape }
  /** Repeats axes of size 1. */
  expand: { shape: Shape }
  permute: { axes: readonly number[] }
  /** Elements start, start + step, ... of each axis; steps are positive. */
  slice: { start: readonly number[]; shape: Shape; step: readonly number[] }
  /** Zeros around and, `interior` of them, between the elements of each axis. */
  pad: { before: readonly number[]; after: readonly number[]; interior: readonly number[] }
  flip: { axes: readonly number[] }
  /** [batch, m, k] x [batch, k, n] -> [batch, m, n]. */
  matmul: None
  /** [n, h, w, groups*c] * [kh, kw, c, o] -> [n, oh, ow, o], unpadded (padding and lhs dilation are `pad`). */
  conv: { strides: readonly [number, number]; dilation: readonly [number, number]; groups: number }
  /** Rows: x [rows, ...rest], int32 index [...shape] -> [...shape, ...rest]; NaN (or 0) where out of range. */
  gather: None
  /** The transpose of gather: index [n], updates [n, ...rest] -> [rows, ...rest]; out of range is dropped. */
  scatterAdd: { rows: number }
  /** For each row the position of its first occurrence in index [n], -1 where there is none. Only the compiler makes it. */
  firstIndex: { rows: number }
  /** Stable ascending order along the last axis, NaN last, as int32. */
  argsort: None
}
type None = Readonly<Record<string, never>>

export type Primitive = keyof Attrs

/** Where a leaf's values live. The runtime moves them from host to device and marks what may no longer be read. */
export interface Storage {
  host?: TypedArray
  buffer?: unknown
  /** Why the values are gone, as the end of a sentence. */
  gone?: string
}

/** Pulls the cotangent of a custom node back to its operands 1, 2, ...; floor 4 supplies it. */
export type CustomRule = (cotangent: Node, node: Node) => readonly (Node | null)[]

export type Node<P extends Primitive = Primitive> = P extends Primitive
  ? {
      /** Creation order, hence also a topological order. */
      readonly id: number
      readonly op: P
      readonly inputs: readonly Node[]
      readonly attrs: Attrs[P]
      readonly shape: Shape
      readonly dtype: DType
      /** The attributes as text, '' where there are none. */
      readonly detail: string
      /** The leaf that holds this node's values, once computed. */
      realized?: Node<'input'>
      /** Whether a tensor that stood for this node was assigned something else. */
      superseded?: boolean
    }
  : never

/** Primitives with an identity of their own: two of them are never the same node. */
const unique: ReadonlySet<Primitive> = new Set<Primitive>(['input', 'variable', 'barrier', 'custom'])

/** By primitive, attributes and any third operand, then by the first two operands. */
const interned = new Map<string, Map<number, Node>>()
const internLimit = 1 << 16
let internedCount = 0
let nextId = 0

/** The id that the next new node will have: nodes made later have ids at least as large. */
export const upcomingId = (): number => nextId

/** Drops the table of nodes that may be shared. Sharing is an economy, never a matter of meaning. */
export function forgetInterned(): void {
  interned.clear()
  internedCount = 0
}

/** The node for an operation whose operands have been checked: an existing one where there is one. */
export function makeNode<P extends Primitive>(
  op: P,
  inputs: readonly Node[],
  attrs: Attrs[P],
  shape: Shape,
  dtype: DType,
): Node {
  if (unique.has(op)) return newNode(op, inputs, attrs, shape, dtype, '')
  const detail = attrsText(attrs)
  // Shape and dtype follow from the operands and the attributes.
  let kind: string = op + detail
  for (let k = 2; k < inputs.length; k++) kind += ' ' + inputs[k].id
  const table = tableFor(kind)
  let key = 0
  for (let k = 0; k < Math.min(2, inputs.length); k++) key = key * idRange + (inputs[k].id % idRange)
  const found = table.get(key)
  if (found) return found
  const node = newNode(op, inputs, attrs, shape, dtype, detail)
  table.set(key, node)
  return node
}

/** Two ids of this range make one exact number; the table never holds nodes whose ids are that far apart. */
const idRange = 2 ** 26

function tableFor(kind: string): Map<number, Node> {
  const found = interned.get(kind)
  if (found) return found
  const made = new Map<number, Node>()
  interned.set(kind, made)
  return made
}

function newNode<P extends Primitive>(
  op: P,
  inputs: readonly Node[],
  attrs: Attrs[P],
  shape: Shape,
  dtype: DType,
  detail: string,
): Node {
  if (++internedCount > internLimit) forgetInterned()
  return { id: nextId++, op, inputs, attrs, shape, dtype, detail } as unknown as Node
}

function attrsText(attrs: object): string {
  let text = ''
  for (const name in attrs) {
    const value: unknown = attrs[name as keyof typeof attrs]
    text += ` ${name}=${Object.is(value, -0) ? '-0' : value}`
  }
  return text
}

/** Primitive, attributes, dtype and shape: what two nodes share that differ in their operands alone. */
export const labelOf = ({ op, detail, dtype, shape }: Node): string => `${op}${detail}:${dtype}${formatShape(shape)}`

/** Whether two nodes have one label. */
export const sameLabel = (a: Label, b: Label): boolean =>
  a.op === b.op && a.dtype === b.dtype && a.detail === b.detail && sameShape(a.shape, b.shape)
export type Label = Pick<Node, 'op' | 'detail' | 'dtype' | 'shape'>

/** A leaf for values that live in `storage`. */
export function inputNode(storage: Storage, shape: Shape, dtype: DType): Node<'input'> {
  return makeNode('input', [], { storage }, shape, dtype) as Node<'input'>
}

/** The node's operands with computed ones replaced by the leaves that hold their values. */
export const resolve = (node: Node): Node => node.realized ?? node

/** The operands that a node's value is computed from: a custom node's others serve its derivative alone. */
export const valueOperands = (node: Node): readonly Node[] => (node.op === 'custom' ? [node.inputs[0]] : node.inputs)

/** All nodes that the roots need, operands first; the walk goes to those operands that it is told. */
export function topological(roots: readonly Node[], operands: (node: Node) => readonly Node[] = valueOperands): Node[] {
  const order: Node[] = []
  const seen = new Set<Node>()
  const stack: { node: Node; inputs: readonly Node[]; next: number }[] = []
  const visit = (node: Node): void => {
    if (!seen.has(node)) {
      seen.add(node)
      stack.push({ node, inputs: operands(node), next: 0 })
    }
  }
  for (const root of roots) {
    visit(resolve(root))
    while (stack.length) {
      const top = stack[stack.length - 1]
      if (top.next < top.inputs.length) visit(resolve(top.inputs[top.next++]))
      else {
        order.push(top.node)
        stack.pop()
      }
    }
  }
  return order
}

/** A listing of the graph below the roots, one node a line. */
export function printGraph(roots: readonly Node[]): string {
  const order = topological(roots)
  const number = new Map(order.map((node, i) => [node, i]))
  return order
    .map(
      (node, i) =>
        `%${i} = ${labelOf(node)}(${valueOperands(node)
          .map(n => '%' + number.get(resolve(n)))
          .join(', ')})`,
    )
    .join('\n')
}
