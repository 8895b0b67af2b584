/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The Tensor: a handle on an expression. Nothing is computed until values are asked for with `data`, `array`, `item` or
 * `realize`. Operations are functions in the files beside this one; methods.ts offers them as methods too.
 */

import { type DType, dtypes, isFloat, type TypedArray, toDType } from '../graph/dtype.js'
import { type Attrs, inputNode, labelOf, type Node, type Primitive, resolve } from '../graph/node.js'
import { apply } from '../graph/primitives.js'
import { formatShape, type Shape, sameShape, sizeOf } from '../graph/shape.js'
import { freeStorage, readStorage, realize as realizeNodes } from '../runtime/realize.js'

/** What operations accept: a tensor, or a number or boolean that takes on the other operand's dtype. */
export type TensorLike = Tensor | number | boolean
export type NestedArray = number | boolean | readonly NestedArray[]

/** Gives the values of a computed tensor up, in memory too unless another may stand for them; why, as the end of a sentence. */
export let relinquish: (tensor: Tensor, reason: string) => void

export class Tensor {
  #node: Node

  static {
    relinquish = (tensor, reason) => {
      const { node } = tensor
      if (node.op !== 'input') return
      if (node.shared) tensor.#node = inputNode({ gone: reason }, node.shape, node.dtype)
      else freeStorage(node.attrs.storage, reason)
    }
  }

  constructor(node: Node) {
    this.#node = node
  }

  /** The expression that this tensor stands for: a leaf once its values have been computed. */
  get node(): Node {
    this.#node = resolve(this.#node)
    return this.#node
  }
  get shape(): Shape {
    return this.#node.shape
  }
  get dtype(): DType {
    return this.#node.dtype
  }
  get ndim(): number {
    return this.#node.shape.length
  }
  get size(): number {
    return sizeOf(this.#node.shape)
  }

  /** Makes this handle stand for another tensor of the same shape and dtype: how optimisers update a model's leaves. */
  assign(value: Tensor): this {
    demandTensors('assign', value)
    if (!sameShape(value.shape, this.shape) || value.dtype !== this.dtype) {
      throw new Error(
        `assign: ${value.dtype}${formatShape(value.shape)} cannot replace ${this.dtype}${formatShape(this.shape)}`,
      )
    }
    const before = [this.#node, this.node]
    this.#node = value.node
    for (const node of before) if (node !== this.#node) node.superseded = true
    return this
  }

  /** Computes the values and keeps them on the device. */
  async realize(): Promise<this> {
    await realizeNodes([this.node])
    return this
  }

  /** The values in row-major order. */
  async data(): Promise<TypedArray> {
    await realizeNodes([this.node])
    const leaf = this.node
    if (leaf.op !== 'input') throw new Error(`data: ${labelOf(leaf)} was not realized`)
    return readStorage(leaf)
  }

  /** The values as nested arrays; a bare number (or boolean) for rank 0. */
  async array(): Promise<NestedArray> {
    const data = await this.data()
    const { shape, dtype } = this
    const nest = (d: number, offset: number): NestedArray => {
      if (d === shape.length) return dtype === 'bool' ? data[offset] === 1 : data[offset]
      const step = sizeOf(shape.slice(d + 1))
      return Array.from({ length: shape[d] }, (_, i) => nest(d + 1, offset + i * step))
    }
    return nest(0, 0)
  }

  /** The value of a tensor with one element. */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new Error(`item: needs exactly one element, not shape ${formatShape(this.shape)}; reduce or slice first`)
    return (await this.data())[0]
  }

  /**
   * Frees the values now instead of when the garbage collector finds out; reading them afterwards is an error. Values that
   * another tensor may stand for too, as equal expressions do, are given up by this one only; but what an operation
   * leaves as it is, as `x.add(0)` does, are the values of x itself.
   */
  dispose(): void {
    relinquish(this, 'was disposed of')
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  toString(): string {
    return `Tensor(${this.dtype}${formatShape(this.shape)} ${this.node.op})`
  }
}

/** The tensors of one number that operations read, while somebody wants to know: what is built may keep no trace of them. */
let constantsRead: Set<Tensor> | undefined

/** What `f` makes, and the tensors of one number that its operations read; `f` does not call this in its turn. */
export function readingConstants<T>(f: () => T): { made: T; constants: ReadonlySet<Tensor> } {
  const constants = new Set<Tensor>()
  constantsRead = constants
  try {
    return { made: f(), constants }
  } finally {
    constantsRead = undefined
  }
}

/** The expression `op(inputs)` as a tensor: how operations are made of primitives. */
export function build<P extends Primitive>(op: P, inputs: readonly Tensor[], attrs: Attrs[P]): Tensor {
  demandTensors(op, ...inputs)
  if (constantsRead) for (const t of inputs) if (t.node.op === 'constant') constantsRead.add(t)
  return new Tensor(
    apply(
      op,
      inputs.map(t => t.node),
      attrs,
    ),
  )
}

/** A value in the words of an error. */
export function describe(x: unknown): string {
  if (x instanceof Tensor) return `a tensor ${x.dtype}${formatShape(x.shape)}`
  if (Array.isArray(x)) return `an array of ${x.length}`
  if (x instanceof Promise) return 'a promise'
  return x === null || x === undefined ? String(x) : typeof x === 'object' ? 'an object' : `${typeof x} ${String(x)}`
}

/** Demands that operands are tensors: for what reads their shapes. */
export function demandTensors(op: string, ...operands: readonly unknown[]): void {
  for (const x of operands)
    if (!(x instanceof Tensor))
      throw new Error(`${op}: expected a tensor, got ${describe(x)}; make one with tensor(...)`)
}

/** Demands a function where one is to be transformed. */
export function demandFunction(op: string, f: unknown): void {
  if (typeof f !== 'function') throw new Error(`${op}: expected a function of tensors, got ${describe(f)}`)
}

/** A tensor with one value everywhere. */
export function full(shape: Shape, value: number | boolean, dtype: DType = 'float32'): Tensor {
  checkShape('full', shape)
  checkDType('full', dtype)
  if (typeof value !== 'number' && typeof value !== 'boolean')
    throw new Error(`full: expected a number, got ${describe(value)}`)
  return build('constant', [], { value: toDType(Number(value), dtype), shape: [...shape], dtype })
}

export function checkShape(op: string, shape: Shape): void {
  const ok = Array.isArray(shape) && shape.every(n => Number.isInteger(n) && n >= 0)
  if (!ok) {
    const given = Array.isArray(shape) ? formatShape(shape) : describe(shape)
    throw new Error(`${op}: a shape is a list of integers >= 0, not ${given}`)
  }
}

/** Demands a dtype that exists; with `float`, one of floats. */
export function checkDType(op: string, dtype: DType, float = false): void {
  const fits = (name: DType): boolean => Object.hasOwn(dtypes, name) && (!float || isFloat(name))
  if (fits(dtype)) return
  const names = (Object.keys(dtypes) as DType[]).filter(fits)
  throw new Error(`${op}: dtype must be one of ${names.join(', ')}, not ${String(dtype)}`)
}

/** The operand itself, or a number as a rank-0 tensor of the dtype given. */
export function asTensor(op: string, x: TensorLike, dtype: DType = 'float32'): Tensor {
  if (x instanceof Tensor) return x
  if (typeof x === 'number' || typeof x === 'boolean') return full([], x, dtype)
  throw new Error(`${op}: expected a tensor or a number, got ${describe(x)}; make one with tensor(...)`)
}
