/**
 * Addresses of buffers, and loads and stores of vectors by dtype: whole vectors, one element in all lanes, one element
 * in one lane.
 */

import { type DType, dtypes } from '../../../graph/dtype.js'
import type { Func, Local } from './assembler.js'
import type { Lanes } from './values.js'

export const bytesOf = (dtype: DType): number => dtypes[dtype].bytes

/** Pushes the address of a buffer, which stands in the table that `bind` was given. */
export const pushAddress = (f: Func, buffer: number): Func => f.globalGet(0).memory('i32.load', 4 * buffer)

/** Bytes 0 and 1 in the low lanes to masks. */
const bytesToMask = (f: Func): Func => f.op('i16x8.extend_low_i8x16_u', 'i32x4.extend_low_i16x8_u', 'i32x4.neg')

/** The address is on the stack: `count` neighbouring elements, 1 or all lanes. */
export function loadVector(f: Func, dtype: DType, count: 1 | Lanes, lanes: Lanes, offset: number): void {
  const size = bytesOf(dtype)
  if (dtype === 'bool') {
    f.memory('v128.load32_zero', offset)
    bytesToMask(f)
  } else if (count === 1) f.memory(size === 8 ? 'v128.load64_zero' : 'v128.load32_zero', offset)
  else f.memory(size * lanes === 16 ? 'v128.load' : 'v128.load64_zero', offset)
}

/** The address is on the stack: one element in all lanes. */
export function loadSplat(f: Func, dtype: DType): void {
  if (dtype === 'bool') f.memory('i32.load8_u').op('i32x4.splat', 'i32x4.neg')
  else f.memory(bytesOf(dtype) === 8 ? 'v128.load64_splat' : 'v128.load32_splat')
}

/** The address is on the stack: one element into a lane of a local; a bool arrives as 0 or 1. */
export function loadElement(f: Func, dtype: DType, local: Local, lane: number): void {
  f.get(local)
  if (dtype === 'bool') f.laneMemory('v128.load8_lane', 4 * lane)
  else f.laneMemory(bytesOf(dtype) === 8 ? 'v128.load64_lane' : 'v128.load32_lane', lane)
  f.set(local)
}

/** The address is on the stack: stores the first `count` elements of a local. */
export function storeVector(f: Func, dtype: DType, local: Local, count: 1 | Lanes, offset: number): void {
  f.get(local)
  const size = bytesOf(dtype)
  if (dtype === 'bool') {
    // Masks are -1 and 0: narrowed with saturation, then to 1 and 0.
    f.get(local)
      .op('i16x8.narrow_i32x4_s')
      .get(local)
      .op('i8x16.narrow_i16x8_s')
      .v128(new Uint8Array(16).fill(1))
      .op('v128.and')
    f.laneMemory(count === 1 ? 'v128.store8_lane' : count === 2 ? 'v128.store16_lane' : 'v128.store32_lane', 0, offset)
  } else if (size * count === 16) f.memory('v128.store', offset)
  else f.laneMemory(size * count === 8 ? 'v128.store64_lane' : 'v128.store32_lane', 0, offset)
}
