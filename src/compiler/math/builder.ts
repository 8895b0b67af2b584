/**
 * Short names for the scalar operations of one floating type, with its integer twin of the same width. Expansions are
 * written once over it, for float32 with int32 and for float64 with int64. It knows no function; those are in the other
 * files of this folder.
 */

import { toDType } from '../../graph/dtype.js'
import type { Expr, ExprTable, FarOp } from '../expr.js'

export type Float = 'float32' | 'float64'
/** A constant of each precision. */
export type Each<T> = Readonly<Record<Float, T>>

const formats = {
  float32: { int: 'int32', bits: 23, bias: 127 },
  float64: { int: 'int64', bits: 52, bias: 1023 },
} as const

export class Builder {
  readonly exprs: ExprTable
  readonly type: Float
  /** Bits of the fraction, and the bias of the exponent. */
  readonly bits: number
  readonly bias: number
  /** 1.5 * 2^bits: of `x + magic`, the low bits are x rounded to an integer. */
  readonly magic: number
  /** The bits of 1 and of magic. */
  readonly oneBits: number
  readonly magicBits: number
  /** The smallest normal number. */
  readonly tiny: number
  readonly #int: 'int32' | 'int64'

  constructor(exprs: ExprTable, type: Float) {
    const { int, bits, bias } = formats[type]
    this.exprs = exprs
    this.type = type
    this.bits = bits
    this.bias = bias
    this.magic = 1.5 * 2 ** bits
    this.oneBits = bias * 2 ** bits
    this.magicBits = (bias + bits + 0.5) * 2 ** bits
    this.tiny = 2 ** (1 - bias)
    this.#int = int
  }

  c(value: number): Expr {
    return this.exprs.constant(toDType(value, this.type), this.type)
  }
  pick<T>(each: Each<T>): T {
    return each[this.type]
  }
  /** An operand: a number stands for a constant of the floating type. */
  #float(x: Expr | number): Expr {
    return typeof x === 'number' ? this.c(x) : x
  }
  #floats(
    op: 'add' | 'sub' | 'mul' | 'div' | 'fma' | 'abs' | 'neg' | 'floor' | 'round' | 'keep' | FarOp,
    ...args: (Expr | number)[]
  ): Expr {
    return this.exprs.operation(op, this.type, ...args.map(a => this.#float(a)))
  }
  add(a: Expr | number, b: Expr | number): Expr {
    return this.#floats('add', a, b)
  }
  sub(a: Expr | number, b: Expr | number): Expr {
    return this.#floats('sub', a, b)
  }
  mul(a: Expr | number, b: Expr | number): Expr {
    return this.#floats('mul', a, b)
  }
  div(a: Expr | number, b: Expr | number): Expr {
    return this.#floats('div', a, b)
  }
  /** a * b + c, rounded once or twice. */
  fma(a: Expr | number, b: Expr | number, c: Expr | number): Expr {
    return this.#floats('fma', a, b, c)
  }
  abs(a: Expr): Expr {
    return this.#floats('abs', a)
  }
  neg(a: Expr): Expr {
    return this.#floats('neg', a)
  }
  /** The nearest integer, halves to even. */
  round(a: Expr): Expr {
    return this.#floats('round', a)
  }
  floor(a: Expr): Expr {
    return this.#floats('floor', a)
  }

  /** x as it was rounded: no compiler looks into it. */
  keep(x: Expr): Expr {
    return this.#floats('keep', x)
  }
  /** Of x + magic: its bits, of which the low ones are an integer, and that integer as a number. */
  integerOf(sum: Expr, magic: number): { i: Expr; n: Expr } {
    const shifted = this.keep(sum)
    return { i: this.bitsOf(shifted), n: this.sub(shifted, magic) }
  }

  /** A value where `near` holds, elsewhere (NaN included) what the far function makes of the operands. */
  reach(near: Expr, value: Expr, op: FarOp, x: Expr, ...others: Expr[]): Expr {
    return this.select(near, value, this.#floats(op, this.select(near, 0, x), ...others))
  }

  less(a: Expr | number, b: Expr | number): Expr {
    return this.exprs.operation('less', 'bool', this.#float(a), this.#float(b))
  }
  equal(a: Expr | number, b: Expr | number): Expr {
    return this.exprs.operation('equal', 'bool', this.#float(a), this.#float(b))
  }
  /** Whether x is no NaN. */
  isNumber(x: Expr): Expr {
    return this.exprs.operation('lessEqual', 'bool', this.abs(x), this.c(Infinity))
  }
  not(a: Expr): Expr {
    return this.exprs.operation('not', 'bool', a)
  }
  both(a: Expr, b: Expr): Expr {
    return this.exprs.operation('and', 'bool', a, b)
  }
  either(a: Expr, b: Expr): Expr {
    return this.exprs.operation('or', 'bool', a, b)
  }
  /** Whether one of two conditions holds, and not the other. */
  differ(a: Expr, b: Expr): Expr {
    return this.exprs.operation('xor', 'bool', a, b)
  }
  select(condition: Expr, a: Expr | number, b: Expr | number): Expr {
    return this.exprs.operation('select', this.type, condition, this.#float(a), this.#float(b))
  }
  /** x, but no less than `low`, as pmax computes it: NaN stays. */
  atLeast(x: Expr, low: number): Expr {
    return this.select(this.less(x, low), low, x)
  }
  /** x, but no more than `high`, as pmin computes it: NaN stays. */
  atMost(x: Expr, high: number): Expr {
    return this.select(this.less(high, x), high, x)
  }
  /** unit (c[0] + c[1] x + c[2] x^2 + ...) by Horner's rule; the unit is a power of two, which changes no rounding. */
  polynomial(x: Expr, c: Each<readonly number[]>, unit = 1): Expr {
    const [last, ...others] = [...this.pick(c)].reverse()
    return others.reduce((sum, a) => this.fma(sum, x, a * unit), this.c(last * unit))
  }

  /** The bits that a head lacks. */
  get headBits(): number {
    return this.pick({ float32: 12, float64: 27 })
  }
  /**
   * A positive subnormal x times 2^shift. A float32 by its bits as an integer, for GPUs may take subnormal numbers for 0;
   * float64 has no such devices, and some have no integer of that width to convert.
   */
  scaledUp(x: Expr): { scaled: Expr; shift: number } {
    if (this.type === 'float64') return { scaled: this.mul(x, 2 ** (this.bits + 2)), shift: this.bits + 2 }
    return { scaled: this.exprs.operation('cast', 'float32', this.bitsOf(x)), shift: this.bits + this.bias - 1 }
  }

  /** x with the lower half of its bits cleared: the product of two such is exact. */
  head(x: Expr): Expr {
    return this.ofBits(this.int('and', this.bitsOf(x), -(2 ** this.headBits)))
  }
  /** x rounded so that its last n bits are 0. */
  rounded(x: Expr, n: number): Expr {
    return this.ofBits(this.int('and', this.int('add', this.bitsOf(x), 2 ** (n - 1)), -(2 ** n)))
  }

  /** An integer constant. */
  i(value: number): Expr {
    return this.exprs.constant(value, this.#int)
  }
  /** The bits of a number of the floating type. */
  bitsOf(x: Expr): Expr {
    return this.exprs.operation('bitcast', this.#int, x)
  }
  /** The number of the floating type that has these bits. */
  ofBits(x: Expr): Expr {
    return this.exprs.operation('bitcast', this.type, x)
  }
  /** An operation on integers. */
  int(op: 'add' | 'sub' | 'and' | 'or' | 'xor' | 'shiftLeft' | 'shiftRight', a: Expr, b: Expr | number): Expr {
    return this.exprs.operation(op, this.#int, a, typeof b === 'number' ? this.i(b) : b)
  }
  /** An integer moved to where the exponent lies, and back. */
  toExponent(i: Expr): Expr {
    return this.int('shiftLeft', i, this.bits)
  }
  ofExponent(i: Expr): Expr {
    return this.int('shiftRight', i, this.bits)
  }
  /** -0 and the sign bit. */
  get signBit(): number {
    return this.type === 'float32' ? -(2 ** 31) : -(2 ** 63)
  }
  signOf(x: Expr): Expr {
    return this.int('and', this.bitsOf(x), this.signBit)
  }
  /** x of the bits of a non-negative number with the given sign bit. */
  withSign(x: Expr, sign: Expr): Expr {
    return this.ofBits(this.int('or', this.bitsOf(x), sign))
  }
}
