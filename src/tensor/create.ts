/** Tensors from host values, filled, counting. Random ones are in random.ts. */

import {
  computeType,
  type DType,
  dtypeOf,
  dtypes,
  type HalfArray,
  type HostArray,
  promote,
  type TypedArray,
  toDType,
} from '../graph/dtype.js'
import { inputNode } from '../graph/node.js'
import { knownOptions, type Names } from '../graph/options.js'
import { formatShape, normalizeAxis, type Shape, sizeOf } from '../graph/shape.js'
import { add, astype, equal, mul, where } from './elementwise.js'
import { broadcastTo, reshape } from './movement.js'
import { build, checkDType, checkShape, demandTensors, describe, full, type NestedArray, Tensor } from './tensor.js'

export interface TensorOptions {
  /** float32 for numbers, bool for booleans and the array's own for typed arrays, unless given. */
  dtype?: DType
  /** For flat data; nested arrays have their own. */
  shape?: Shape
}
const tensorNames: Names<TensorOptions> = { dtype: true, shape: true }

/**
 * A tensor of the given values: a number, nested arrays, or a typed array (copied) with its shape.
 *
 * @throws if nested arrays are ragged, a value is not a number, or the shape does not hold the data.
 * @example tensor([[1, 2], [3, 4]], { dtype: 'float64' })
 */
export function tensor(values: NestedArray | TypedArray | HalfArray | HostArray, options: TensorOptions = {}): Tensor {
  if (values instanceof Tensor)
    throw new Error(`tensor: the values are ${describe(values)} already; use astype to convert`)
  knownOptions('tensor', options, tensorNames)
  if (typeof values === 'object' && values !== null && 'data' in values)
    return tensor(values.data, { dtype: values.dtype, shape: values.shape, ...options })
  const flat: number[] = []
  let shape: number[]
  let source: ArrayLike<number> = flat
  let dtype: DType | undefined = dtypeOf(values)
  if (dtype) {
    source = values as TypedArray | HalfArray
    shape = [source.length]
  } else if (ArrayBuffer.isView(values)) {
    throw new Error(
      `tensor: a ${values.constructor.name} has no dtype here; use Float16Array, Float32Array, Float64Array, Int32Array, Uint32Array or Uint8Array (bool)`,
    )
  } else {
    shape = nestedShape(values as NestedArray)
    dtype = flatten(values as NestedArray, shape, 0, flat) ? 'bool' : 'float32'
  }
  if (options.shape) {
    checkShape('tensor', options.shape)
    if (sizeOf(options.shape) !== source.length) {
      throw new Error(
        `tensor: shape ${formatShape(options.shape)} needs ${sizeOf(options.shape)} values, got ${source.length}`,
      )
    }
    shape = [...options.shape]
  }
  const to = options.dtype ?? dtype
  checkDType('tensor', to)
  const host = new dtypes[to].array(source.length)
  if (to === dtype && to !== 'bool' && to !== 'float16') host.set(source)
  else for (let i = 0; i < host.length; i++) host[i] = toDType(source[i], to)
  return new Tensor(inputNode({ host }, shape, to))
}

function nestedShape(values: NestedArray): number[] {
  const shape: number[] = []
  for (let v: NestedArray = values; Array.isArray(v); v = v[0] as NestedArray) {
    shape.push(v.length)
    if (v.length === 0) break
  }
  return shape
}

/** Appends the values in row-major order; returns whether all are booleans. */
function flatten(values: NestedArray, shape: Shape, d: number, out: number[]): boolean {
  if (d === shape.length) {
    if (typeof values !== 'number' && typeof values !== 'boolean')
      throw new Error(
        `tensor: expected a number, got ${describe(values)}${(values as unknown) instanceof Tensor ? '; join tensors with stack' : ''}`,
      )
    out.push(Number(values))
    return typeof values === 'boolean'
  }
  if (!Array.isArray(values) || values.length !== shape[d]) {
    throw new Error(`tensor: ragged nesting: expected ${shape[d]} values on axis ${d}, got ${describe(values)}`)
  }
  let booleans = values.length > 0
  for (const v of values as readonly NestedArray[]) booleans = flatten(v, shape, d + 1, out) && booleans
  return booleans
}

/** A tensor of zeros. */
export const zeros = (shape: Shape, dtype: DType = 'float32'): Tensor => full(shape, 0, dtype)
/** A tensor of ones. */
export const ones = (shape: Shape, dtype: DType = 'float32'): Tensor => full(shape, 1, dtype)
/** Zeros of the shape and dtype of x. */
export const zerosLike = (x: Tensor): Tensor => filledLike('zerosLike', x, 0)
/** Ones of the shape and dtype of x. */
export const onesLike = (x: Tensor): Tensor => filledLike('onesLike', x, 1)
function filledLike(op: string, x: Tensor, value: number): Tensor {
  demandTensors(op, x)
  return full(x.shape, value, x.dtype)
}

/** The index along one axis of a shape, as int32. */
export function iota(shape: Shape, axis = 0): Tensor {
  checkShape('iota', shape)
  return build('iota', [], { shape: [...shape], axis: normalizeAxis('iota', axis, shape.length) })
}

/** start, start + step, ... up to but not including stop; `arange(n)` counts from 0. int32 unless a value is fractional. */
export function arange(start: number, stop?: number, step = 1, dtype?: DType): Tensor {
  const [from, to] = stop === undefined ? [0, start] : [start, stop]
  if (![from, to, step].every(Number.isFinite) || step === 0)
    throw new Error(`arange: start ${from}, stop ${to} and step ${step} must be finite and the step not 0`)
  const n = Math.max(0, Math.ceil((to - from) / step))
  const type = dtype ?? ([from, step].every(Number.isInteger) ? 'int32' : 'float32')
  return astype(add(mul(astype(iota([n]), computeType(type)), step), from), type)
}

/** `num` evenly spaced values from start to stop, both included. */
export function linspace(start: number, stop: number, num: number, dtype: DType = 'float32'): Tensor {
  if (!Number.isInteger(num) || num < 0) throw new Error(`linspace: num must be an integer >= 0, not ${num}`)
  if (!Number.isFinite(stop - start)) throw new Error(`linspace: start ${start} and stop ${stop} must be finite`)
  const position = iota([num])
  const values = add(mul(astype(position, computeType(dtype)), num > 1 ? (stop - start) / (num - 1) : 0), start)
  return astype(num > 1 ? where(equal(position, num - 1), stop, values) : values, dtype)
}

/** The identity matrix [n, m]. */
export function eye(n: number, m = n, dtype: DType = 'float32'): Tensor {
  checkShape('eye', [n, m])
  return astype(equal(iota([n, m], 0), iota([n, m], 1)), dtype)
}

/** Integer classes [...] as rows [..., depth] of zeros with a one; out-of-range classes give zeros. */
export function oneHot(classes: Tensor, depth: number, dtype: DType = 'float32'): Tensor {
  demandTensors('oneHot', classes)
  const shape = [...classes.shape, depth]
  checkShape('oneHot', shape)
  const column = broadcastTo(reshape(classes, [...classes.shape, 1]), shape)
  return astype(equal(astype(column, promote(column.dtype, 'int32')), iota(shape, shape.length - 1)), dtype)
}
