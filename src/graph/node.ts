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
      /** A number that nodes of one primitive with equal attributes share. */
      readonly hash: number
      /** The leaf that holds this node's values, once computed. */
      realized?: Node<'input'>
      /** Whether a tensor that stood for this node was assigned something else. */
      superseded?: boolean
      /** Whether the node was given out more than once: several tensors may stand for it. */
      shared?: boolean
    }
  : never

/** Primitives with an identity of their own: two of them are never the same node. */
const unique: ReadonlySet<Primitive> = new Set<Primitive>(['input', 'variable', 'barrier', 'custom'])

/** By a hash of primitive, attributes and operands; a node whose place is taken has the next free one. */
let interned = new Map<number, Node>()
const internLimit = 1 << 16
let nextId = 0

/** The id that the next new node will have: nodes made later have ids at least as large. */
export const upcomingId = (): number => nextId

/** Drops the table of nodes that may be shared. Sharing is an economy, never a matter of meaning. */
export function forgetInterned(): void {
  // A map that is cleared would link the old table to the new one: once old, it keeps every later one for the collector.
  interned = new Map()
}

/** The node for an operation whose operands have been checked: an existing one where there is one. */
export function makeNode<P extends Primitive>(
  op: P,
  inputs: readonly Node[],
  attrs: Attrs[P],
  shape: Shape,
  dtype: DType,
): Node {
  const hash = hashOf(op, attrs)
  if (unique.has(op)) return newNode(op, inputs, attrs, shape, dtype, hash)
  let key = placeOf(hash, inputs)
  for (; ; key++) {
    const found = interned.get(key)
    if (!found) break
    if (isSame(found, op, inputs, attrs)) {
      found.shared = true
      return found
    }
  }
  const node = newNode(op, inputs, attrs, shape, dtype, hash)
  if (interned.size >= internLimit) forgetInterned()
  interned.set(key, node)
  return node
}

/**
 * Where the search for a node begins: places of operands with neighbouring ids are far apart. Small integers are the
 * fastest keys.
 */
export function placeOf(hash: number, inputs: readonly Pick<Node, 'id'>[]): number {
  let place = hash
  for (const { id } of inputs) place = mix(place, id)
  return Math.imul(place, golden) >>> 2
}

const newNode = <P extends Primitive>(
  op: P,
  inputs: readonly Node[],
  attrs: Attrs[P],
  shape: Shape,
  dtype: DType,
  hash: number,
): Node =>
  ({
    id: nextId++,
    op,
    inputs,
    attrs,
    shape,
    dtype,
    hash,
    realized: undefined,
    superseded: false,
    shared: false,
  }) as unknown as Node

/** Whether the node is this operation; shape and dtype follow from the operands and the attributes. */
function isSame(node: Node, op: Primitive, inputs: readonly Node[], attrs: object): boolean {
  if (node.op !== op || node.inputs.length !== inputs.length) return false
  for (let i = 0; i < inputs.length; i++) if (node.inputs[i] !== inputs[i]) return false
  return sameAttrs(node.attrs, attrs)
}

/** Attributes are numbers, strings and lists of numbers. */
function sameAttrs(a: object, b: object): boolean {
  if (a === b) return true
  for (const name in a) {
    const [x, y]: [unknown, unknown] = [a[name as keyof typeof a], b[name as keyof typeof b]]
    if (!(Array.isArray(x) && Array.isArray(y) ? sameShape(x, y) : Object.is(x, y))) return false
  }
  return true
}

/** 2^32 divided by the golden ratio, odd: what it multiplies is spread (Knuth, The Art of Computer Programming 3, 6.4). */
const golden = 0x9e3779b1

/** The next state of a hash. */
export const mix = (hash: number, n: number): number => (Math.imul(hash, golden) ^ n) >>> 0

/** The two words of a float64. */
const float = new Float64Array(1)
const words = new Int32Array(float.buffer)
/** The same for any number. */
export function mixFloat(hash: number, value: number): number {
  float[0] = value
  return mix(mix(hash, words[0]), words[1])
}

function hashOf(op: Primitive, attrs: object): number {
  let hash = hashText(op.length, op)
  if (unique.has(op)) return hash
  for (const name in attrs) {
    const value: unknown = attrs[name as keyof typeof attrs]
    if (typeof value === 'number') hash = mixFloat(hash, value)
    else if (typeof value === 'string') hash = hashText(hash, value)
    else if (Array.isArray(value)) for (const n of value) hash = mix(hash, n)
  }
  return hash
}

function hashText(hash: number, text: string): number {
  for (let i = 0; i < text.length; i++) hash = mix(hash, text.charCodeAt(i))
  return hash
}

function attrsText({ op, attrs }: Node): string {
  if (unique.has(op)) return ''
  return Object.entries(attrs)
    .map(([name, value]) => ` ${name}=${Object.is(value, -0) ? '-0' : value}`)
    .join('')
}

/** Primitive, attributes, dtype and shape: what two nodes share that differ in their operands alone. */
export const labelOf = (node: Node): string => `${node.op}${attrsText(node)}:${node.dtype}${formatShape(node.shape)}`

export type Label = Pick<Node, 'op' | 'attrs' | 'hash' | 'dtype' | 'shape'>

/** A node's label by itself: it holds no values and no functions. */
export const labelAlone = ({ op, attrs, hash, dtype, shape }: Node): Label => ({
  op,
  attrs: unique.has(op) ? {} : attrs,
  hash,
  dtype,
  shape,
})

/** Whether two nodes have one label. */
export const sameLabel = (a: Label, b: Label): boolean =>
  a.hash === b.hash &&
  a.op === b.op &&
  a.dtype === b.dtype &&
  sameShape(a.shape, b.shape) &&
  (unique.has(a.op) || sameAttrs(a.attrs, b.attrs))

/** A leaf for values that live in `storage`. */
export function inputNode(storage: Storage, shape: Shape, dtype: DType): Node<'input'> {
  return makeNode('input', [], { storage }, shape, dtype) as Node<'input'>
}

export const isLeaf = (node: Node): node is Node<'input'> => node.op === 'input'

/** The leaves of a graph in the order of its topological walk. */
export const leavesOf = (order: readonly Node[]): Node<'input'>[] => order.filter(isLeaf)

/** The node's operands with computed ones replaced by the leaves that hold their values. */
export const resolve = (node: Node): Node => node.realized ?? node

/** The operands that a node's value is computed from: a custom node's others serve its derivative alone. */
export const valueOperands = (node: Node): readonly Node[] => (node.op === 'custom' ? [node.inputs[0]] : node.inputs)

/** All nodes that the roots need, operands first; the walk goes to those operands that it is told. */
export function topological(roots: readonly Node[], operands: (node: Node) => readonly Node[] = valueOperands): Node[] {
  const order: Node[] = []
  const seen = new Set<number>()
  // The path to where the walk is, and how many of each node's operands it has been to.
  const path: Node[] = []
  const done: number[] = []
  const visit = (node: Node): void => {
    if (seen.has(node.id)) return
    seen.add(node.id)
    path.push(node)
    done.push(0)
  }
  for (const root of roots) {
    visit(resolve(root))
    while (path.length) {
      const last = path.length - 1
      const inputs = operands(path[last])
      if (done[last] < inputs.length) visit(resolve(inputs[done[last]++]))
      else {
        order.push(path[last])
        path.pop()
        done.pop()
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
