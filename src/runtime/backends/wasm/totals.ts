/**
 * What a total of a reduction is made up of: vectors that take values in, each by one instruction, and how they become the
 * total.
 */

import type { ScalarType } from '../../../compiler/expr.js'
import { identityOf, type Total } from '../../../compiler/kernel.js'
import { isUnsigned } from '../../../compiler/signs.js'
import { isFloat } from '../../../graph/dtype.js'
import type { Func, Local, PlainOp } from './assembler.js'
import { classOf, isWide, splatBytes } from './values.js'

/** A vector that takes values in: by which instruction, and what it holds at first. */
export interface Part {
  readonly op: PlainOp
  readonly start: Uint8Array
}

/** The vectors of a total's parts. The first one holds the total, up to what the others say of it. */
export type Held = readonly Local[]

const zeros = new Uint8Array(16)
const shapeOf = (type: ScalarType): 'f32x4' | 'f64x2' => (isWide(type) ? 'f64x2' : 'f32x4')
const names = { sum: 'add', prod: 'mul', max: 'max' } as const

/**
 * The parts of a total. The larger of two floats that propagates NaN and orders zeros is nine instructions of x64 one after
 * another; `pmax` is one and does neither. In haste it serves with a sum beside it: see pushDoubts. Otherwise beside it are
 * the larger of the bits as integers with and without a sign: see finish. There is no such instruction for float64. What
 * has no sign, as after a relu, needs the last of these alone.
 */
export function totalParts(total: Total, inHaste: boolean): readonly Part[] {
  const { op, type, body } = total
  const start = splatBytes(identityOf(total), type)
  if (!isFloat(type)) {
    const largest = classOf(type) === 'u32' ? 'i32x4.max_u' : 'i32x4.max_s'
    return [{ op: op === 'max' ? largest : `i32x4.${names[op]}`, start }]
  }
  const shape = shapeOf(type)
  if (op !== 'max' || (isWide(type) && !inHaste)) return [{ op: `${shape}.${names[op]}`, start }]
  const largestBits: Part = { op: 'i32x4.max_u', start: zeros }
  if (!isWide(type) && isUnsigned(body)) return [largestBits]
  const largest: Part = { op: `${shape}.pmax`, start }
  if (inHaste) return [largest, { op: `${shape}.add`, start: zeros }]
  return [largest, { op: 'i32x4.max_s', start: splatBytes(-(2 ** 31), 'int32') }, largestBits]
}

/**
 * Pushes whether any of the largest floats that were found in haste may be wrong, if there are such: where the sum is NaN, one
 * may have been passed over (or both infinities were met), and where the largest is 0, its sign may be another one's.
 */
export function pushDoubts(f: Func, totals: readonly Total[], hasty: readonly (readonly Held[])[]): boolean {
  let doubts = 0
  totals.forEach(({ type }, t) => {
    for (const [largest, sum] of hasty[t]) {
      if (sum === undefined) continue
      const shape = shapeOf(type)
      f.get(sum).get(sum).op(`${shape}.ne`).get(largest).v128(zeros).op(`${shape}.eq`, 'v128.or')
      if (doubts++ > 0) f.op('v128.or')
    }
  })
  if (doubts > 0) f.op('v128.any_true')
  return doubts > 0
}

/**
 * The total. The largest float gets the sign of the signed bits, which tell 0 from -0, and is NaN where bits beyond those of
 * infinity were.
 */
export function finish(f: Func, [total, signed, unsigned]: Held): Local {
  if (signed === undefined) return total
  f.get(signed).get(total).v128(splatBytes(-0, 'float32')).op('v128.bitselect')
  f.get(signed).v128(splatBytes(Infinity, 'float32')).op('i32x4.gt_s', 'v128.or')
  f.get(unsigned).v128(splatBytes(-Infinity, 'float32')).op('i32x4.gt_u', 'v128.or').set(total)
  return total
}
