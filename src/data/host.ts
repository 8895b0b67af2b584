/** Host arrays that come from outside: whether they are what their fields say. */

import { type DType, dtypes, type HostArray } from '../graph/dtype.js'
import { type Shape, sizeOf } from '../graph/shape.js'

/** The number of values of a shape that may come from a broken file: a zero must win over an overflow to Infinity. */
export const countOf = (shape: Shape): number => (shape.includes(0) ? 0 : sizeOf(shape))

export const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && size >= 0)

const isDType = (name: unknown): name is DType => typeof name === 'string' && Object.hasOwn(dtypes, name)

/**
 * @param what what errors call the array, such as "dataset: column 'x'"
 * @throws unless the array has a known dtype, a shape of sizes, and a typed array of that dtype that fills the shape
 */
export function checkHostArray(what: string, array: HostArray): void {
  const { dtype, shape, data }: Partial<HostArray> = array ?? {}
  if (dtype === undefined || shape === undefined || data === undefined)
    throw new Error(
      `${what} is no host array: it needs { dtype, shape, data }, as in { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) }`,
    )
  if (!isDType(dtype)) throw new Error(`${what} has dtype '${dtype}': known are ${Object.keys(dtypes).join(', ')}`)
  if (!isSizes(shape)) throw new Error(`${what} has shape [${shape}]: sizes must be integers >= 0`)
  const { array: expected } = dtypes[dtype]
  if (!(data instanceof expected)) {
    const found = Object.prototype.toString.call(data).slice(8, -1)
    throw new Error(
      `${what} is ${dtype}, so its data must be ${expected.name}, not ${found}: convert it, or name its own dtype`,
    )
  }
  const need = countOf(shape)
  if (need !== data.length) throw new Error(`${what} of shape [${shape}] needs ${need} values, but has ${data.length}`)
}
