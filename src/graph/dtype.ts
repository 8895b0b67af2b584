/** Data types: their sizes, typed arrays and promotion. The only place that knows how a dtype is stored on the host. */

import { roundToHalf } from './half.js'

/** float16 is for storage: it is computed in float32 and rounded where a value is stored or cast (docs/numerics.md). */
export type DType = 'float16' | 'float32' | 'float64' | 'int32' | 'uint32' | 'bool'
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array

/** Values on the host: row-major data with its shape. */
export interface HostArray {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: TypedArray
}

/** The engine's Float16Array, where it has one. */
export interface HalfArray extends ArrayLike<number> {
  readonly [Symbol.toStringTag]: 'Float16Array'
}

interface DTypeRow {
  /** On the host and on devices that compute there: a float16 takes as much as a float32, only GPUs store it in two bytes. */
  readonly bytes: number
  readonly float: boolean
  /** Position in the promotion order: bool < int32 < uint32 < float16 < float32 < float64. */
  readonly rank: number
  readonly array: new (source: number | ArrayLike<number>) => TypedArray
}

export const dtypes: Readonly<Record<DType, DTypeRow>> = {
  bool: { bytes: 1, float: false, rank: 0, array: Uint8Array },
  int32: { bytes: 4, float: false, rank: 1, array: Int32Array },
  uint32: { bytes: 4, float: false, rank: 2, array: Uint32Array },
  float16: { bytes: 4, float: true, rank: 3, array: Float32Array },
  float32: { bytes: 4, float: true, rank: 4, array: Float32Array },
  float64: { bytes: 8, float: true, rank: 5, array: Float64Array },
}

export const isFloat = (dtype: DType): boolean => dtypes[dtype].float

/** What values of a dtype are computed in. */
export const computeType = (dtype: DType): Exclude<DType, 'float16'> => (dtype === 'float16' ? 'float32' : dtype)

/** The dtype of a quotient: integers become float32. */
export const floatType = (dtype: DType): DType => (isFloat(dtype) ? dtype : 'float32')

/** The dtype that holds both operands of an arithmetic operation. */
export const promote = (a: DType, b: DType): DType => (dtypes[a].rank >= dtypes[b].rank ? a : b)

/** The dtype of a typed array, or undefined for one that no tensor can hold. */
export function dtypeOf(data: unknown): DType | undefined {
  if (data instanceof Float32Array) return 'float32'
  if (data instanceof Float64Array) return 'float64'
  if (data instanceof Int32Array) return 'int32'
  if (data instanceof Uint32Array) return 'uint32'
  if (data instanceof Uint8Array) return 'bool'
  if (ArrayBuffer.isView(data) && Object.prototype.toString.call(data) === '[object Float16Array]') return 'float16'
  return undefined
}

/** A number as the dtype stores it: rounded to float32 or float16, wrapped to 32 bits, or 0 and 1. */
export function toDType(value: number, dtype: DType): number {
  switch (dtype) {
    case 'float64':
      return value
    case 'float32':
      return Math.fround(value)
    case 'float16':
      return roundToHalf(value)
    case 'int32':
      return value | 0
    case 'uint32':
      return value >>> 0
    case 'bool':
      return value ? 1 : 0
  }
}
