/** Values as the host has them, and as a GPU's memory has them: a bool is a word there, a float16 may have two bytes. */

import { type DType, dtypes, type TypedArray } from '../../../graph/dtype.js'
import { bitsOfHalf, halfOfBits } from '../../../graph/half.js'
import { type Storage, storageBytes } from './print.js'

/** The bytes to write, a multiple of 4 of them. */
export function encode(data: TypedArray, dtype: DType, storage: Storage): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil((data.length * storageBytes(dtype, storage)) / 4) * 4)
  if (dtype === 'bool') new Uint32Array(bytes.buffer).set(data)
  else if (dtype === 'float16' && storage.half) new Uint16Array(bytes.buffer).set(Array.from(data, bitsOfHalf))
  else bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  return bytes
}

export function decode(memory: ArrayBuffer, dtype: DType, size: number, storage: Storage): TypedArray {
  if (dtype === 'bool') return Uint8Array.from(new Uint32Array(memory, 0, size))
  if (dtype === 'float16' && storage.half) return Float32Array.from(new Uint16Array(memory, 0, size), halfOfBits)
  const copy = new dtypes[dtype].array(size)
  new Uint8Array(copy.buffer).set(new Uint8Array(memory, 0, copy.byteLength))
  return copy
}
