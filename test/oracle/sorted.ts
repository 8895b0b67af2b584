/** Rows that are hard to sort, and their order by JavaScript's own sort. */

import type { DType } from '../../src/graph/dtype.js'
import type { Rng } from './property.js'

export type Words = Float32Array | Float64Array | Int32Array | Uint32Array
/** Buffers as devices lay them out; float16 without a type of its own. */
export const layouts: Readonly<Record<DType, new (size: number) => Words>> = {
  bool: Uint32Array,
  int32: Int32Array,
  uint32: Uint32Array,
  float16: Float32Array,
  float32: Float32Array,
  float64: Float64Array,
}

/** The stable order of each row; JavaScript's sort is stable. */
export function orderOfRows(rows: number, values: Words): number[] {
  const length = values.length / rows
  return Array.from({ length: rows }, (_, r) => {
    const row = values.subarray(r * length, (r + 1) * length)
    const compare = (i: number, j: number): number => {
      const [a, b] = [row[i], row[j]]
      return Number(Number.isNaN(a)) - Number(Number.isNaN(b)) || (a < b ? -1 : Number(a > b))
    }
    return Array.from(row.keys()).sort(compare)
  }).flat()
}

const awkward: Readonly<Record<DType, readonly number[]>> = {
  bool: [0, 1],
  int32: [-(2 ** 31), 2 ** 31 - 1, -1, 0, 1, -2, -65536, 65536],
  uint32: [0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1],
  float16: [NaN, Infinity, -Infinity, 0, -0, 2 ** -24, -(2 ** -24), 65504, -65504, 1, -1],
  float32: [NaN, Infinity, -Infinity, 0, -0, 1e-45, -1e-45, 1e-39, -1e-39, 1, -1, 3e38, -3e38, 1 + 2 ** -23],
  float64: [
    NaN,
    Infinity,
    -Infinity,
    0,
    -0,
    5e-324,
    -5e-324,
    1e-310,
    1,
    -1,
    1 + 2 ** -52,
    -1 - 2 ** -52,
    1e300,
    -1e300,
    2 ** 53 + 2,
  ],
}
export const sortable = Object.keys(awkward) as DType[]

/** Many ties, awkward values, and numbers of every magnitude. */
export function valuesFor(type: DType, size: number, rng: Rng): Words {
  const values = new layouts[type](size)
  for (let i = 0; i < size; i++) {
    const kind = type === 'bool' ? 0 : rng.int(0, 2)
    const large = type.startsWith('float') ? rng.normal() * 2 ** rng.int(-8, 8) : rng.uniform(-(2 ** 31), 2 ** 32)
    values[i] = kind === 0 ? rng.pick(awkward[type]) : kind === 1 ? rng.int(-9, 9) : large
  }
  return values
}
