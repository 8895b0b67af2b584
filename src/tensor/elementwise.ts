/** Element-wise operations: broadcasting and promotion, then primitives. Names and semantics follow the array API. */

import { type DType, floatType, isFloat, promote } from '../graph/dtype.js'
import type { BinaryOp, BitOp, CompareOp, UnaryOp } from '../graph/node.js'
import { align, commonDType, commonShape, fill, inFloat32, safeSqrt, scaleFor } from './shared.js'
import { asTensor, build, checkDType, demandTensors, full, Tensor, type TensorLike } from './tensor.js'

/** The same values in another dtype: float to integer truncates, anything to bool compares with 0. */
export function astype(x: TensorLike, dtype: DType): Tensor {
  const t = asTensor('astype', x)
  checkDType('astype', dtype)
  return t.dtype === dtype ? t : build('cast', [t], { dtype })
}

/** The same 32 bits read as float32, int32 or uint32. */
export const bitcast = (x: Tensor, dtype: DType): Tensor => build('bitcast', [x], { dtype })

/** The value of x, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor => build('stopGradient', [x], {})

const unary =
  (op: UnaryOp) =>
  (x: TensorLike): Tensor =>
    build(op, [asTensor(op, x)], {})
const binary =
  (op: BinaryOp | CompareOp) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(op, [a, b]), {})

/** a + b. */
export const add = binary('add')
/** a - b. */
export const sub = binary('sub')
/** a · b. */
export const mul = binary('mul')
/** The larger of a and b, NaN if one is NaN; ties share the gradient equally. */
export const maximum = binary('maximum')
/** The smaller of a and b, NaN if one is NaN; ties share the gradient equally. */
export const minimum = binary('minimum')
/** The remainder with the sign of the divisor. */
export const remainder = binary('remainder')
/** Whether a < b. */
export const less = binary('less')
/** Whether a <= b. */
export const lessEqual = binary('lessEqual')
/** Whether a = b; NaN equals nothing. */
export const equal = binary('equal')
const swapped =
  (op: 'less' | 'lessEqual', name: string) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(name, [a, b]).reverse(), {})
/** Whether a > b. */
export const greater = swapped('less', 'greater')
/** Whether a >= b. */
export const greaterEqual = swapped('lessEqual', 'greaterEqual')
/** Whether a and b differ; NaN differs from everything. */
export const notEqual = (a: TensorLike, b: TensorLike): Tensor => logicalNot(equal(a, b))

const floating = (operands: readonly TensorLike[]): DType => floatType(commonDType(operands))

/** True division: integers become float32. */
export const div = (a: TensorLike, b: TensorLike): Tensor => build('div', align('div', [a, b], floating([a, b])), {})

/** (a - remainder(a, b)) / b, the largest integer not above a / b; 0 where an integer is divided by 0. */
export function floorDivide(a: TensorLike, b: TensorLike): Tensor {
  const [x, y] = align('floorDivide', [a, b])
  const quotient = build('div', [x, y], {})
  if (!isFloat(x.dtype)) return quotient
  // The rounded quotient may be an integer that the exact one stays below: 1 / 0.1.
  const whole = round(div(sub(x, remainder(x, y)), y))
  return where(isfinite(whole), whole, floor(quotient))
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

/** -x. */
export const neg = unary('neg')
/** |x|; the derivative at 0 is 0. */
export const abs = unary('abs')
/** -1, 0 or 1. */
export const sign = unary('sign')
/** √x, NaN below 0. */
export const sqrt = unary('sqrt')
/** eˣ. */
export const exp = unary('exp')
/** exp(x) - 1, exact for small x. */
export const expm1 = unary('expm1')
/** The natural logarithm, NaN below 0. */
export const log = unary('log')
/** log(1 + x), exact for small x. */
export const log1p = unary('log1p')
/** The sine of an angle in radians. */
export const sin = unary('sin')
/** The cosine of an angle in radians. */
export const cos = unary('cos')
/** The hyperbolic tangent. */
export const tanh = unary('tanh')
/** The angle in [-π/2, π/2] whose tangent is x. */
export const atan = unary('atan')
/** The error function, 2/√π ∫₀ˣ exp(-t²) dt. */
export const erf = unary('erf')
const rounding =
  (op: 'floor' | 'ceil' | 'round' | 'trunc') =>
  (x: Tensor): Tensor =>
    x instanceof Tensor && !isFloat(x.dtype) ? x : build(op, [x], {})
/** The largest integer not above x. */
export const floor = rounding('floor')
/** The smallest integer not below x. */
export const ceil = rounding('ceil')
/** To the nearest integer, halves to even. */
export const round = rounding('round')
/** x without its fraction. */
export const trunc = rounding('trunc')

/** x². */
export const square = (x: Tensor): Tensor => mul(x, x)
/** 1 / x; integers become float32. */
export const reciprocal = (x: Tensor): Tensor => div(1, x)
/** 1 / √x. */
export const rsqrt = (x: Tensor): Tensor => reciprocal(sqrt(x))
/** The logarithm to base 2, exact for powers of 2. */
export const log2 = (x: Tensor): Tensor => snapped(mul(log(x), Math.LOG2E))
/** The logarithm to base 10, exact for powers of 10. */
export const log10 = (x: Tensor): Tensor => snapped(mul(log(x), Math.LOG10E))

/** y, or the integer that one rounding parts it from: so log2(8) is 3. */
function snapped(y: Tensor): Tensor {
  const gap = sub(round(y), y)
  const near = lessEqual(abs(gap), mul(abs(y), y.dtype === 'float64' ? 2 ** -52 : 2 ** -23))
  return add(y, stopGradient(where(near, gap, 0)))
}

/** The tangent of an angle in radians. */
export const tan = (x: Tensor): Tensor => div(sin(x), cos(x))

/** (eˣ ± e⁻ˣ) / 2, for large |x| as (e^(x-c) ± e^(-x-c)) · eᶜ / 2, which overflows no earlier; there x - c is exact. */
function halfOf(x: Tensor, combine: typeof add): Tensor {
  const large = less(80, abs(x))
  const c = where(large, full([], 0.703125, x.dtype), 0)
  const factor = where(large, full([], Math.exp(0.703125) / 2, x.dtype), 0.5)
  return mul(combine(exp(sub(x, c)), exp(sub(neg(x), c))), factor)
}
/** The hyperbolic cosine, (eˣ + e⁻ˣ) / 2. */
export const cosh = (x: Tensor): Tensor => halfOf(x, add)
/** The hyperbolic sine, (eˣ - e⁻ˣ) / 2. */
export function sinh(x: Tensor): Tensor {
  const small = less(abs(x), 1)
  const near0 = where(small, x, 0)
  return where(small, mul(sub(expm1(near0), expm1(neg(near0))), 0.5), halfOf(x, sub))
}

// Two roots instead of √(1 - x²): precise near ±1, and the slope there is infinite instead of NaN.
/** The angle in [-π/2, π/2]; NaN outside -1 .. 1. */
export const asin = (x: Tensor): Tensor => mul(atan(div(x, add(mul(sqrt(sub(1, x)), sqrt(add(x, 1))), 1))), 2)
/** The angle in [0, π]; NaN outside -1 .. 1. */
export function acos(x: Tensor): Tensor {
  const right = lessEqual(0, x)
  const a = where(right, x, neg(x))
  const angle = mul(atan(div(sqrt(sub(1, a)), sqrt(add(a, 1)))), 2)
  return where(right, angle, sub(Math.PI, angle))
}

/** Where log(2x) stands for asinh and acosh: the rest, 1 / 4x², is below the rounding, and x² may overflow. */
const far = 1e8
/** The value whose sinh is x. */
export function asinh(x: Tensor): Tensor {
  // Odd by a choice, not through |x|, whose derivative at 0 is 0.
  const up = lessEqual(0, x)
  const a = where(up, x, neg(x))
  // log(a + √(1 + a²)) = log1p(a - (0 - a²) / (1 + √(1 + a²))), where the difference keeps a zero's sign
  const square = mul(a, a)
  const near = log1p(sub(a, div(sub(0, square), add(sqrt(add(square, 1)), 1))))
  const y = where(less(a, far), near, add(log(a), Math.LN2))
  return where(up, y, neg(y))
}
/** The value >= 0 whose cosh is x; NaN below 1. */
export function acosh(x: Tensor): Tensor {
  // 2 asinh √u = 2 log1p(√u + u / (1 + √(1 + u))), u = (x - 1) / 2
  const u = mul(sub(x, 1), 0.5)
  const near = mul(log1p(add(sqrt(u), div(u, add(sqrt(add(u, 1)), 1)))), 2)
  return where(less(x, far), near, add(log(x), Math.LN2))
}
/** The value whose tanh is x; infinite at ±1, NaN beyond. */
export const atanh = (x: Tensor): Tensor => mul(sub(log1p(x), log1p(neg(x))), 0.5)

/** -0 counts as negative. */
const isNegative = (x: Tensor): Tensor => logicalOr(less(x, 0), less(reciprocal(x), 0))

/**
 * The angle of the point (x, y) in [-π, π], signed zeros and infinities as IEEE 754 has them. The gradient at the origin
 * is 0.
 */
export function atan2(y: TensorLike, x: TensorLike): Tensor {
  const [b, a] = align('atan2', [y, x], floating([y, x]))
  // Both zero or both infinite: only the quadrant says something.
  const corner = logicalAnd(equal(abs(a), abs(b)), equal(add(a, a), a))
  const left = isNegative(a)
  const below = isNegative(b)
  const height = where(corner, stopGradient(clip(b, -1, 1)), b)
  const width = where(corner, where(left, -1, 1), a)
  const pi = full([], Math.PI, a.dtype)
  const half = where(below, neg(pi), pi)
  const steep = sub(mul(half, 0.5), atan(div(width, height)))
  const slant = atan(div(height, width))
  const flat = where(left, add(slant, half), slant)
  return where(less(abs(width), abs(height)), steep, flat)
}

/** √(a² + b²) without overflow; the gradient at the origin is 0. */
export function hypot(a: TensorLike, b: TensorLike): Tensor {
  return inFloat32(align('hypot', [a, b], floating([a, b])), (x, y) => {
    const scale = scaleFor(maximum(abs(x), abs(y)))
    const length = div(safeSqrt(add(square(mul(x, scale)), square(mul(y, scale)))), scale)
    return where(logicalOr(isinf(x), isinf(y)), Infinity, length)
  })
}

/** log(exp(a) + exp(b)) without overflow. */
export function logaddexp(a: TensorLike, b: TensorLike): Tensor {
  const [x, y] = align('logaddexp', [a, b], floating([a, b]))
  const first = lessEqual(y, x)
  const gap = where(first, sub(y, x), sub(x, y))
  const sameInfinity = logicalAnd(equal(x, y), isinf(x))
  return where(sameInfinity, mul(add(x, y), 0.5), add(where(first, x, y), log1p(exp(gap))))
}

/** Elements of a where the condition holds, of b elsewhere; a branch not taken contributes no gradient. */
export function where(condition: Tensor, a: TensorLike, b: TensorLike): Tensor {
  demandTensors('where', condition)
  const dtype = commonDType([a, b])
  const shape = commonShape('where', [condition, a, b])
  const [taken, other] = [a, b].map(x => fill('where', x, shape, dtype))
  return build('where', [fill('where', condition, shape, 'bool'), taken, other], {})
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

/** Whether x is NaN. */
export const isnan = (x: Tensor): Tensor => notEqual(x, x)
/** Whether x is neither infinite nor NaN. */
export const isfinite = (x: Tensor): Tensor => less(magnitude(x), Infinity)
/** Whether x is an infinity. */
export const isinf = (x: Tensor): Tensor => equal(magnitude(x), Infinity)
/** |x| as a float: integers are finite. */
const magnitude = (x: Tensor): Tensor => abs(astype(x, promote(asTensor('isfinite', x).dtype, 'float32')))

const bitwise =
  (op: BitOp, name: string) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(name, [a, b]), {})
/** The bits that are set in both operands, integers or bool. */
export const bitwiseAnd = bitwise('and', 'bitwiseAnd')
/** The bits that are set in either operand, integers or bool. */
export const bitwiseOr = bitwise('or', 'bitwiseOr')
/** The bits that are set in one operand only, integers or bool. */
export const bitwiseXor = bitwise('xor', 'bitwiseXor')
/** a · 2ᵇ in integers; bits that leave are lost. */
export const bitwiseLeftShift = bitwise('shiftLeft', 'bitwiseLeftShift')
/** Keeps the sign of int32; fills uint32 with zeros. */
export const bitwiseRightShift = bitwise('shiftRight', 'bitwiseRightShift')
/** All bits of an integer or bool turned over. */
export const bitwiseInvert = unary('not')

const logical =
  (op: 'and' | 'or' | 'xor', name: string) =>
  (a: TensorLike, b: TensorLike): Tensor =>
    build(op, align(name, [a, b], 'bool'), {})
/** Whether both are true; numbers are true unless 0. */
export const logicalAnd = logical('and', 'logicalAnd')
/** Whether one or both are true; numbers are true unless 0. */
export const logicalOr = logical('or', 'logicalOr')
/** Whether just one is true; numbers are true unless 0. */
export const logicalXor = logical('xor', 'logicalXor')
/** Whether x is false; numbers are false if 0. */
export const logicalNot = (x: Tensor): Tensor => build('not', [astype(x, 'bool')], {})

/** max(x, 0), NaN for NaN; the derivative at 0 is 0. */
export const relu = (x: Tensor): Tensor => where(lessEqual(x, 0), 0, x)
/** x above 0, slope · x below; the derivative at 0 is the slope. */
export const leakyRelu = (x: Tensor, slope = 0.01): Tensor => where(less(0, x), x, mul(x, slope))
/** x above 0, alpha · (eˣ - 1) below; the derivative at 0 is alpha (Clevert et al. 2016). */
export const elu = (x: Tensor, alpha = 1): Tensor => where(less(0, x), x, mul(expm1(where(less(0, x), 0, x)), alpha))

/** -|x| as a choice, so that its derivative at 0 is one-sided instead of 0 and the functions below stay exact there. */
const below0 = (x: Tensor): Tensor => where(lessEqual(0, x), neg(x), x)

/** 1 / (1 + exp(-x)), precise in both tails. */
export function sigmoid(x: Tensor): Tensor {
  const e = exp(below0(x))
  return div(where(lessEqual(0, x), 1, e), add(e, 1))
}

/** log(1 + exp(x)) without overflow. */
export const softplus = (x: Tensor): Tensor => add(where(lessEqual(0, x), x, 0), log1p(exp(below0(x))))
/** log(1 / (1 + exp(-x))) without overflow. */
export const logSigmoid = (x: Tensor): Tensor => neg(softplus(neg(x)))
/** x · sigmoid(x), also called swish (Elfwing et al. 2018). */
export function silu(x: Tensor): Tensor {
  // Through e^(x/2), which is not subnormal where x · eˣ is not.
  const h = exp(below0(mul(x, 0.5)))
  const gate = where(lessEqual(0, x), 1, h)
  return mul(mul(x, gate), div(gate, add(mul(h, h), 1)))
}

/** x·Φ(x), exactly, or with the tanh approximation (Hendrycks and Gimpel 2016). */
export function gelu(x: Tensor, approximate: 'none' | 'tanh' = 'none'): Tensor {
  // Beyond ±40 the gate is 0 or 1, and powers of x may overflow.
  const near = clip(x, -40, 40)
  if (approximate !== 'tanh') return mul(mul(x, 0.5), add(erf(mul(near, Math.SQRT1_2)), 1))
  // (1 + tanh u) / 2 = sigmoid(2u)
  return mul(x, sigmoid(mul(add(near, mul(pow(near, 3), 0.044715)), Math.sqrt(8 / Math.PI))))
}
