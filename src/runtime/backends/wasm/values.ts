/**
 * Scalar operations as SIMD instructions. Every value is a vector of `lanes` elements: four of 32 bits, or, in a kernel
 * that touches 64-bit types, two (32-bit types then use the low half). A bool is a 32-bit mask a lane.
 */

import {
  type Expr,
  type FarOp,
  isOperation,
  type Operation,
  operandsOf,
  type ScalarType,
} from '../../../compiler/expr.js'
import type { Func, Local, PlainOp } from './assembler.js'
import type { Features } from './engine.js'

/** What code may use. */
export interface Target extends Features {
  /** The indices of the imported functions of far.ts. */
  readonly far: ReadonlyMap<FarOp, number>
}

export type Lanes = 2 | 4

type Class = 'f32' | 'f64' | 'i32' | 'u32' | 'i64' | 'mask'
const classes: Record<ScalarType, Class> = {
  float16: 'f32',
  float32: 'f32',
  float64: 'f64',
  int32: 'i32',
  uint32: 'u32',
  int64: 'i64',
  bool: 'mask',
}
export const classOf = (type: ScalarType): Class => classes[type]
export const isWide = (type: ScalarType): boolean => type === 'float64' || type === 'int64'

/** The 16 bytes of a vector that holds one value in every lane. */
export function splatBytes(value: number, type: ScalarType): Uint8Array {
  switch (classOf(type)) {
    case 'f32':
      return new Uint8Array(new Float32Array(4).fill(value).buffer)
    case 'f64':
      return new Uint8Array(new Float64Array(2).fill(value).buffer)
    case 'i64':
      return new Uint8Array(new BigInt64Array(2).fill(BigInt(value)).buffer)
    case 'mask':
      return new Uint8Array(16).fill(value ? 255 : 0)
    default:
      return new Uint8Array(new Int32Array(4).fill(value | 0).buffer)
  }
}

const zeros = new Uint8Array(16)

/** Instructions that take all their operands as vectors, by class. */
const direct: { readonly [op: string]: Partial<Record<Class, readonly PlainOp[]>> } = {
  add: { f32: ['f32x4.add'], f64: ['f64x2.add'], i32: ['i32x4.add'], u32: ['i32x4.add'], i64: ['i64x2.add'] },
  sub: { f32: ['f32x4.sub'], f64: ['f64x2.sub'], i32: ['i32x4.sub'], u32: ['i32x4.sub'], i64: ['i64x2.sub'] },
  mul: { f32: ['f32x4.mul'], f64: ['f64x2.mul'], i32: ['i32x4.mul'], u32: ['i32x4.mul'] },
  div: { f32: ['f32x4.div'], f64: ['f64x2.div'] },
  maximum: { f32: ['f32x4.max'], f64: ['f64x2.max'], i32: ['i32x4.max_s'], u32: ['i32x4.max_u'] },
  minimum: { f32: ['f32x4.min'], f64: ['f64x2.min'], i32: ['i32x4.min_s'], u32: ['i32x4.min_u'] },
  neg: { f32: ['f32x4.neg'], f64: ['f64x2.neg'], i32: ['i32x4.neg'], u32: ['i32x4.neg'] },
  abs: { f32: ['f32x4.abs'], f64: ['f64x2.abs'], i32: ['i32x4.abs'], u32: [] },
  sqrt: { f32: ['f32x4.sqrt'], f64: ['f64x2.sqrt'] },
  floor: { f32: ['f32x4.floor'], f64: ['f64x2.floor'] },
  ceil: { f32: ['f32x4.ceil'], f64: ['f64x2.ceil'] },
  trunc: { f32: ['f32x4.trunc'], f64: ['f64x2.trunc'] },
  round: { f32: ['f32x4.nearest'], f64: ['f64x2.nearest'] },
  and: { i32: ['v128.and'], u32: ['v128.and'], i64: ['v128.and'], mask: ['v128.and'] },
  or: { i32: ['v128.or'], u32: ['v128.or'], i64: ['v128.or'], mask: ['v128.or'] },
  xor: { i32: ['v128.xor'], u32: ['v128.xor'], i64: ['v128.xor'], mask: ['v128.xor'] },
  not: { i32: ['v128.not'], u32: ['v128.not'], i64: ['v128.not'], mask: ['v128.not'] },
}

/** Comparisons by the class of the operands. */
const comparisons: { readonly [op: string]: Partial<Record<Class, PlainOp>> } = {
  less: { f32: 'f32x4.lt', f64: 'f64x2.lt', i32: 'i32x4.lt_s', u32: 'i32x4.lt_u', i64: 'i64x2.lt_s' },
  lessEqual: { f32: 'f32x4.le', f64: 'f64x2.le', i32: 'i32x4.le_s', u32: 'i32x4.le_u', i64: 'i64x2.le_s' },
  equal: { f32: 'f32x4.eq', f64: 'f64x2.eq', i32: 'i32x4.eq', u32: 'i32x4.eq', i64: 'i64x2.eq', mask: 'i32x4.eq' },
}

const shifts = {
  shiftLeft: { i32: 'i32x4.shl', u32: 'i32x4.shl', i64: 'i64x2.shl' },
  shiftRight: { i32: 'i32x4.shr_s', u32: 'i32x4.shr_u', i64: 'i64x2.shr_s' },
} as const
const scalarShifts = {
  shiftLeft: { i32: 'i32.shl', u32: 'i32.shl' },
  shiftRight: { i32: 'i32.shr_s', u32: 'i32.shr_u' },
} as const

/**
 * A choice between the two sides of a comparison as one instruction:
 * pmin(x, y) = y < x ? y : x, pmax(x, y) = x < y ? y : x.
 */
function extremeOf(e: Expr): { op: 'pmin' | 'pmax'; args: readonly Expr[] } | undefined {
  if (!isOperation(e) || e.op !== 'select' || !['f32', 'f64'].includes(classOf(e.type))) return undefined
  const [condition, a, b] = e.args
  if (!isOperation(condition) || condition.op !== 'less') return undefined
  const [x, y] = condition.args
  if (x === a && y === b) return { op: 'pmin', args: [b, a] }
  return x === b && y === a ? { op: 'pmax', args: [b, a] } : undefined
}

const hasNoBits = (e: Expr): boolean => e.op === 'constant' && Object.is(e.value, 0)

/** The values that the instructions of an expression take. */
export const operandsInWasm = (e: Expr): readonly Expr[] => extremeOf(e)?.args ?? operandsOf(e)

/** Two 64-bit masks to two 32-bit masks in the low half, and back. */
const narrowMask = (f: Func): Func => f.shuffle(0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11)
const widenMask = (f: Func): Func => f.op('i64x2.extend_low_i32x4_s')

/** Pushes the result of an operation whose operands (`operandsInWasm`) are in locals. */
export function emitOperation(f: Func, e: Operation, args: readonly Local[], lanes: Lanes, target: Target): void {
  const { op, type } = e
  const cls = classOf(type)
  const from = classOf(e.args[0].type)
  const push = (): void => {
    for (const a of args) f.get(a)
  }
  const instructions = direct[op]?.[cls]
  if (instructions) {
    push()
    f.op(...instructions)
    return
  }
  switch (op) {
    case 'less':
    case 'lessEqual':
    case 'equal': {
      const compare = comparisons[op][from]
      if (!compare) {
        // bool: a < b is b and not a; a <= b is b or not a.
        f.get(args[1])
        f.get(args[0])
        if (op === 'less') f.op('v128.andnot')
        else f.op('v128.not', 'v128.or')
        return
      }
      push()
      f.op(compare)
      if (from === 'f64' || from === 'i64') {
        f.v128(zeros)
        narrowMask(f)
      }
      return
    }
    case 'select': {
      const extreme = extremeOf(e)
      if (extreme) {
        push()
        f.op(`${cls === 'f64' ? 'f64x2' : 'f32x4'}.${extreme.op}`)
        return
      }
      // A side without a bit, as in relu, leaves of the other one what the mask has or has not.
      const [empty] = [1, 2].filter(i => hasNoBits(e.args[i]))
      const sides = [1, 2].filter(i => i !== empty)
      for (const i of sides) f.get(args[i])
      f.get(args[0])
      if (isWide(type)) widenMask(f)
      f.op(empty === undefined ? 'v128.bitselect' : empty === 1 ? 'v128.andnot' : 'v128.and')
      return
    }
    case 'fma':
      if (target.relaxed) {
        push()
        f.op(cls === 'f64' ? 'f64x2.relaxed_madd' : 'f32x4.relaxed_madd')
      } else {
        f.get(args[0])
          .get(args[1])
          .op(cls === 'f64' ? 'f64x2.mul' : 'f32x4.mul')
        f.get(args[2]).op(cls === 'f64' ? 'f64x2.add' : 'f32x4.add')
      }
      return
    case 'shiftLeft':
    case 'shiftRight':
      emitShift(f, e, args, lanes)
      return
    case 'div':
    case 'remainder':
      emitIntegerDivision(f, op, cls === 'u32', args, lanes)
      return
    case 'roundToHalf':
      emitRoundToHalf(f, args[0])
      return
    case 'sinFar':
    case 'cosFar':
    case 'remainderFar':
      emitFar(f, cls === 'f64' ? 'f64x2' : 'f32x4', args, lanes, target.far.get(op) as number)
      return
    case 'sign':
      // Masks are -1: (x < 0) - (0 < x); an unsigned one is 0 - (x ≠ 0).
      if (cls === 'i32')
        f.get(args[0]).v128(zeros).op('i32x4.lt_s').v128(zeros).get(args[0]).op('i32x4.lt_s', 'i32x4.sub')
      else f.v128(zeros).get(args[0]).v128(zeros).op('i32x4.ne', 'i32x4.sub')
      return
    case 'cast':
      f.get(args[0])
      emitCast(f, from, cls)
      return
    default:
      throw new Error(`wasm: no instruction for ${op} on ${type}`)
  }
}

/**
 * Pushes float32s rounded to float16, halves to even. Of e, the exponent but no less than -14, the last place of float16 is
 * 2^(e-10): no smaller bit is left in a sum with 2^(e+13), from which 2^(e+13) is then taken. From 65536 on it is infinite.
 */
export function emitRoundToHalf(f: Func, x: Local): void {
  const [size, magic] = [f.local('v128'), f.local('v128')]
  const [limit, infinity] = [65536, Infinity].map(value => splatBytes(value, 'float32'))
  const word = (value: number): Uint8Array => splatBytes(value, 'int32')
  f.get(x).op('f32x4.abs').v128(limit).op('f32x4.min').tee(size)
  f.v128(word(0x7f800000))
    .op('v128.and')
    .v128(splatBytes(2 ** -14, 'float32'))
    .op('i32x4.max_s')
  f.v128(word(13 << 23))
    .op('i32x4.add')
    .set(magic)
  f.v128(infinity)
  f.get(size).get(magic).op('f32x4.add').get(magic).op('f32x4.sub').tee(size)
  f.get(size).v128(limit).op('f32x4.eq', 'v128.bitselect')
  f.get(x)
    .v128(word(-(2 ** 31)))
    .op('v128.and', 'v128.or')
}

function emitShift(f: Func, e: Operation, [value, amount]: readonly Local[], lanes: Lanes): void {
  const op = e.op as 'shiftLeft' | 'shiftRight'
  const cls = classOf(e.type) as 'i32' | 'u32' | 'i64'
  const by = e.args[1]
  if (by.op === 'constant') {
    f.get(value).i32(by.value).op(shifts[op][cls])
    return
  }
  if (cls === 'i64') throw new Error('wasm: 64-bit shifts are by constants')
  eachLane(f, lanes, i => {
    f.get(value).lane('i32x4.extract_lane', i)
    f.get(amount).lane('i32x4.extract_lane', i)
    f.op(scalarShifts[op][cls])
  })
}

/** Pushes a vector of 0, or, if any lane of the first operand is not 0, what a function of the host makes of all lanes. */
function emitFar(f: Func, shape: 'f32x4' | 'f64x2', args: readonly Local[], lanes: Lanes, index: number): void {
  const result = f.local('v128')
  f.get(args[0])
    .tee(result)
    .op('v128.any_true')
    .if(() => {
      for (let i = 0; i < lanes; i++) {
        f.get(result)
        for (const a of args) {
          f.get(a).lane(`${shape}.extract_lane`, i)
          if (shape === 'f32x4') f.op('f64.promote_f32')
        }
        f.call(index)
        if (shape === 'f32x4') f.op('f32.demote_f64')
        f.lane(`${shape}.replace_lane`, i).set(result)
      }
    })
  f.get(result)
}

/** Pushes a vector of 32-bit lanes, each computed by scalar instructions. */
function eachLane(f: Func, lanes: Lanes, element: (i: number) => void): void {
  f.v128(new Uint8Array(16))
  for (let i = 0; i < lanes; i++) {
    element(i)
    f.lane('i32x4.replace_lane', i)
  }
}

/** Division rounded down and its remainder; both are 0 where the divisor is 0. */
function emitIntegerDivision(
  f: Func,
  op: 'div' | 'remainder',
  unsigned: boolean,
  [a, b]: readonly Local[],
  lanes: Lanes,
): void {
  const [x, y, result] = [f.local('i32'), f.local('i32'), f.local('i32')]
  eachLane(f, lanes, i => {
    f.get(a).lane('i32x4.extract_lane', i).set(x)
    f.get(b).lane('i32x4.extract_lane', i).set(y)
    f.i32(0).set(result)
    f.get(y).if(() => {
      if (unsigned)
        f.get(x)
          .get(y)
          .op(op === 'div' ? 'i32.div_u' : 'i32.rem_u')
          .set(result)
      else if (op === 'div') floorQuotient()
      else floorRemainder()
    })
    f.get(result)
  })
  /** x rem y is not 0 and has the other sign than y. */
  function crossesZero(): void {
    f.get(x).get(y).op('i32.rem_s').i32(0).op('i32.ne').get(x).get(y).op('i32.xor').i32(0).op('i32.lt_s', 'i32.and')
  }
  function floorQuotient(): void {
    // -2^31 / -1 would trap; as a negation it wraps.
    f.get(y)
      .i32(-1)
      .op('i32.eq')
      .if(
        () => f.i32(0).get(x).op('i32.sub').set(result),
        () => {
          f.get(x).get(y).op('i32.div_s')
          crossesZero()
          f.op('i32.sub').set(result)
        },
      )
  }
  function floorRemainder(): void {
    f.get(x).get(y).op('i32.rem_s').get(y).i32(0)
    crossesZero()
    f.op('select', 'i32.add').set(result)
  }
}

function emitCast(f: Func, from: Class, to: Class): void {
  const integer = (c: Class): boolean => c === 'i32' || c === 'u32'
  if (from === to || (integer(from) && integer(to))) return
  if (to === 'mask') {
    f.v128(new Uint8Array(16))
    if (from === 'f64') narrowMask(f.op('f64x2.ne').v128(new Uint8Array(16)))
    else f.op(from === 'f32' ? 'f32x4.ne' : 'i32x4.ne')
    return
  }
  if (from === 'mask') {
    if (to === 'f64') widenMask(f)
    f.v128(splatBytes(1, to === 'f32' ? 'float32' : to === 'f64' ? 'float64' : 'int32')).op('v128.and')
    return
  }
  const table: { readonly [key: string]: PlainOp } = {
    'f32 i32': 'i32x4.trunc_sat_f32x4_s',
    'f32 u32': 'i32x4.trunc_sat_f32x4_u',
    'f32 f64': 'f64x2.promote_low_f32x4',
    'f64 f32': 'f32x4.demote_f64x2_zero',
    'f64 i32': 'i32x4.trunc_sat_f64x2_s_zero',
    'f64 u32': 'i32x4.trunc_sat_f64x2_u_zero',
    'i32 f32': 'f32x4.convert_i32x4_s',
    'u32 f32': 'f32x4.convert_i32x4_u',
    'i32 f64': 'f64x2.convert_low_i32x4_s',
    'u32 f64': 'f64x2.convert_low_i32x4_u',
  }
  const op = table[`${from} ${to}`]
  if (!op) throw new Error(`wasm: no cast from ${from} to ${to}`)
  f.op(op)
}
