/** Element-wise operations: broadcasting and promotion, then primitives. Names and semantics follow the array API. */

import { type DType, isFloat, promote } from '../graph/dtype.js'
import type { BinaryOp, BitOp, CompareOp, UnaryOp } from '../graph/node.js'
import { broadcastShapes } from '../graph/shape.js'
import { broadcastTo } from './movement.js'
import { asTensor, build, checkDType, demandTensors, full, Tensor, type TensorLike } from './tensor.js'

/** The same values in another dtype: float to integer truncates, anything to bool compares with 0. */
export function astype(x: TensorLike, dtype: DType): Tensor {
  const t = asTensor('astype', x)
  checkDType('astype', dtype)
  return t.dtype === dtype ? t : build('cast', [t], { dtype })
}

/** The same 32 bits read as float32, int32 or uint32. */
export const bitcast = (x: Tensor, dtype: DType): Tensor => build('bitcast', [x], { dtype })

/** The dtype for a mixed list: numbers follow the tensors, unless a fractional number meets integers. */
function commonDType(operands: readonly TensorLike[]): DType {
  let dtype: DType | undefined
  for (const x of operands) if (x instanceof Tensor) dtype = dtype ? promote(dtype, x.dtype) : x.dtype
  if (!dtype) return operands.every(x => typeof x === 'boolean') ? 'bool' : 'float32'
  for (const x of operands) {
    if (typeof x === 'number' && !isFloat(dtype)) dtype = promote(dtype, Number.isInteger(x) ? 'int32' : 'float32')
  }
  return dtype
}

/** The operands as tensors of one shape and dtype. */
export function align(op: string, operands: readonly TensorLike[], dtype = commonDType(operands)): Tensor[] {
  const tensors = operands.map(x => astype(asTensor(op, x, dtype), dtype))
  const shape = broadcastShapes(op, ...tensors.map(t => t.shape))
  return tensors.map(t => broadcastTo(t, shape))
}

const unary =
  (op: UnaryOp) =>
  (x: TensorLike): Tensor =>
    build(op, [asTensor(op, x)], {})
const binary =
  (op: BinaryOp | CompareOp) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(op, [a, b]), {})

export const add = binary('add')
export const sub = binary('sub')
export const mul = binary('mul')
export const maximum = binary('maximum')
export const minimum = binary('minimum')
/** The remainder with the sign of the divisor. */
export const remainder = binary('remainder')
export const less = binary('less')
export const lessEqual = binary('lessEqual')
export const equal = binary('equal')
const swapped =
  (op: 'less' | 'lessEqual', name: string) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(name, [a, b]).reverse(), {})
export const greater = swapped('less', 'greater')
export const greaterEqual = swapped('lessEqual', 'greaterEqual')
export const notEqual = (a: TensorLike, b: TensorLike): Tensor => logicalNot(equal(a, b))

const floating = (operands: readonly TensorLike[]): DType => promote(commonDType(operands), 'float32')

/** True division: integers become float32. */
export const div = (a: TensorLike, b: TensorLike): Tensor => build('div', align('div', [a, b], floating([a, b])), {})

/** The largest integer not above a / b; 0 where an integer is divided by 0. */
export function floorDivide(a: TensorLike, b: TensorLike): Tensor {
  const quotient = build('div', align('floorDivide', [a, b]), {})
  return isFloat(quotient.dtype) ? floor(quotient) : quotient
}

/** a to the power b; small integer exponents given as numbers become products. */
export function pow(a: TensorLike, b: TensorLike): Tensor {
  if (typeof b === 'number' && a instanceof Tensor && isFloat(a.dtype)) {
    if (b === 0) return full(a.shape, 1, a.dtype)
    if (b === 1) return a
    if (b === 2) return mul(a, a)
    if (b === 3) return mul(mul(a, a), a)
    if (b === 0.5) return sqrt(a)
    if (b === -1) return reciprocal(a)
  }
  return build('pow', align('pow', [a, b], floating([a, b])), {})
}

export const neg = unary('neg')
/** The values in the opposite order: -x, and for integers -x - 1, which has no overflow. */
export const opposite = (x: Tensor): Tensor => (isFloat(x.dtype) ? neg(x) : bitwiseInvert(x))
export const abs = unary('abs')
/** -1, 0 or 1. */
export const sign = unary('sign')
export const sqrt = unary('sqrt')
export const exp = unary('exp')
/** exp(x) - 1, exact for small x. */
export const expm1 = unary('expm1')
export const log = unary('log')
/** log(1 + x), exact for small x. */
export const log1p = unary('log1p')
export const sin = unary('sin')
export const cos = unary('cos')
export const tanh = unary('tanh')
export const atan = unary('atan')
export const erf = unary('erf')
const rounding =
  (op: 'floor' | 'ceil' | 'round' | 'trunc') =>
  (x: Tensor): Tensor =>
    x instanceof Tensor && !isFloat(x.dtype) ? x : build(op, [x], {})
export const floor = rounding('floor')
export const ceil = rounding('ceil')
/** To the nearest integer, halves to even. */
export const round = rounding('round')
export const trunc = rounding('trunc')

export const square = (x: Tensor): Tensor => mul(x, x)
export const reciprocal = (x: Tensor): Tensor => div(1, x)
export const rsqrt = (x: Tensor): Tensor => reciprocal(sqrt(x))
export const log2 = (x: Tensor): Tensor => mul(log(x), Math.LOG2E)
export const log10 = (x: Tensor): Tensor => mul(log(x), Math.LOG10E)
export const tan = (x: Tensor): Tensor => div(sin(x), cos(x))
export const sinh = (x: Tensor): Tensor => mul(sub(expm1(x), expm1(neg(x))), 0.5)
export const cosh = (x: Tensor): Tensor => mul(add(exp(x), exp(neg(x))), 0.5)

/** Elements of a where the condition holds, of b elsewhere; a branch not taken contributes no gradient. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  demandTensors('where', condition)
  const dtype = commonDType([a, b])
  const values = [a, b].map(x => astype(asTensor('where', x, dtype), dtype))
  const shape = broadcastShapes('where', condition.shape, ...values.map(t => t.shape))
  return build('where', [broadcastTo(astype(condition, 'bool'), shape), ...values.map(t => broadcastTo(t, shape))], {})
}

/** Values below `min` and above `max` are set to the bound; either may be null. The gradient is 0 outside. */
export function clip(x: Tensor, min: TensorLike | null = null, max: TensorLike | null = null): Tensor {
  if (typeof min === 'number' && typeof max === 'number' && min > max)
    throw new Error(`clip: min ${min} is above max ${max}`)
  let y = asTensor('clip', x)
  if (min !== null) y = where(less(y, min), min, y)
  if (max !== null) y = where(less(max, y), max, y)
  return y
}

export const isnan = (x: Tensor): Tensor => notEqual(x, x)
export const isfinite = (x: Tensor): Tensor => less(magnitude(x), Infinity)
export const isinf = (x: Tensor): Tensor => equal(magnitude(x), Infinity)
/** |x| as a float: integers are finite. */
const magnitude = (x: Tensor): Tensor => abs(astype(x, promote(asTensor('isfinite', x).dtype, 'float32')))

const bitwise =
  (op: BitOp, name: string) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(name, [a, b]), {})
export const bitwiseAnd = bitwise('and', 'bitwiseAnd')
export const bitwiseOr = bitwise('or', 'bitwiseOr')
export const bitwiseXor = bitwise('xor', 'bitwiseXor')
export const bitwiseLeftShift = bitwise('shiftLeft', 'bitwiseLeftShift')
/** Keeps the sign of int32; fills uint32 with zeros. */
export const bitwiseRightShift = bitwise('shiftRight', 'bitwiseRightShift')
export const bitwiseInvert = unary('not')

const logical =
  (op: 'and' | 'or' | 'xor', name: string) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(name, [a, b], 'bool'), {})
export const logicalAnd = logical('and', 'logicalAnd')
export const logicalOr = logical('or', 'logicalOr')
export const logicalXor = logical('xor', 'logicalXor')
export const logicalNot = (x: Tensor): Tensor => build('not', [astype(x, 'bool')], {})

/** max(x, 0); the derivative at 0 is 0. */
export const relu = (x: Tensor): Tensor => where(less(0, x), x, 0)
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => where(less(0, x), x, mul(x, slope))
export const elu = (x: Tensor, alpha = 1): Tensor => where(less(0, x), x, mul(expm1(where(less(0, x), 0, x)), alpha))

/** -|x| as a choice, so that its derivative at 0 is one-sided instead of 0 and the functions below stay exact there. */
const below0 = (x: Tensor): Tensor => where(lessEqual(0, x), neg(x), x)

/** 1 / (1 + exp(-x)), precise in both tails. */
export function sigmoid(x: Tensor): Tensor {
  const e = exp(below0(x))
  const upper = reciprocal(add(e, 1))
  return where(lessEqual(0, x), upper, mul(e, upper))
}

/** log(1 + exp(x)) without overflow. */
export const softplus = (x: Tensor): Tensor => add(where(lessEqual(0, x), x, 0), log1p(exp(below0(x))))
export const logSigmoid = (x: Tensor): Tensor => neg(softplus(neg(x)))
export const silu = (x: Tensor): Tensor => mul(x, sigmoid(x))

/** x·Φ(x), exactly, or with the tanh approximation (Hendrycks and Gimpel 2016). */
export function gelu(x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor {
  const gate =
    approximate === 'tanh'
      ? tanh(mul(add(x, mul(pow(x, 3), 0.044715)), Math.sqrt(2 / Math.PI)))
      : erf(mul(x, Math.SQRT1_2))
  return mul(mul(x, 0.5), add(gate, 1))
}
