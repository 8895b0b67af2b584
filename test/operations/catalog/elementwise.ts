/** Element-wise operations. */

import * as sp from 'saddlepoint'
import {
  between,
  binary,
  booleans,
  broken,
  type Catalog,
  type Fill,
  filled,
  flat,
  integers,
  integral,
  jumps,
  type Make,
  normal,
  sizeOf,
  smooth,
  unary,
} from '../cases.js'

type Tensor = sp.Tensor

/** Two operands, their results tied together by a sine where they are linear. */
const linear = (f: (a: Tensor, b: Tensor) => Tensor): Make => binary((a, b) => sp.sin(f(a, b)))
/** Floats with the special values among them. */
const special: Fill = (r, shape) => filled(shape, () => r.pick([0, -0, 1, -1.5, Infinity, -Infinity, Number.NaN]))
/** Operands for comparisons, with ties. */
const ties: Fill = (r, shape) => filled(shape, () => r.int(-2, 2))
const comparison = (f: (a: Tensor, b: Tensor) => Tensor) =>
  flat(integral, binary(f, ties), binary(f, integers(-2, 2)), binary(f, special))
const logic = (f: (a: Tensor, b: Tensor) => Tensor) => flat(integral, binary(f, booleans), binary(f, ties))
const bits = (f: (a: Tensor, b: Tensor) => Tensor) =>
  flat(integral, binary(f, integers(-(2 ** 31), 2 ** 31 - 1)), binary(f, booleans))
const shift = (f: (a: Tensor, b: Tensor) => Tensor) =>
  flat(
    integral,
    binary(f, integers(-(2 ** 31), 2 ** 31 - 1), integers(0, 31)),
    binary(
      (a, b) => f(sp.bitcast(a, 'uint32'), sp.bitcast(b, 'uint32')),
      integers(-(2 ** 31), 2 ** 31 - 1),
      integers(0, 31),
    ),
  )
const rounding = (f: (x: Tensor) => Tensor) =>
  flat(
    jumps,
    unary(f, broken),
    unary(f, special),
    unary(f, (r, shape) => filled(shape, () => r.int(-6, 6) / 2)),
  )
/** Points at least 0.3 from both axes and 0.1 from the diagonals, in all eight octants. */
const octants: Make = r => {
  const shape = r.shape(r.int(0, 3))
  const [a, b] = [new Float64Array(sizeOf(shape)), new Float64Array(sizeOf(shape))]
  a.forEach((_, i) => {
    const angle = (r.int(0, 7) + r.uniform(0.2, 0.8)) * (Math.PI / 4)
    const radius = r.uniform(0.8, 2)
    a[i] = radius * Math.sin(angle)
    b[i] = radius * Math.cos(angle)
  })
  return { f: sp.atan2, args: [sp.tensor(a, { shape }), sp.tensor(b, { shape })] }
}

export const elementwise: Catalog = {
  add: smooth(linear(sp.add)),
  sub: smooth(linear(sp.sub)),
  mul: smooth(
    binary(sp.mul),
    unary(x => sp.mul(sp.mul(x, x), x)),
  ),
  div: smooth(
    binary(sp.div, normal, between(0.5, 2)),
    unary(x => sp.div(2, x), between(-2, -0.5)),
  ),
  maximum: smooth(linear((a, b) => sp.maximum(a, sp.add(b, 0.0123)))),
  minimum: smooth(linear((a, b) => sp.minimum(a, sp.add(b, 0.0123)))),
  remainder: smooth(
    unary(x => sp.sin(sp.remainder(x, 1)), broken),
    binary((a, b) => sp.sin(sp.remainder(a, b)), between(2.4, 2.6), between(0.95, 1.04)),
  ),
  floorDivide: flat(jumps, binary(sp.floorDivide, broken, between(0.9, 1)), binary(sp.floorDivide, integers(-9, 9))),
  pow: smooth(
    binary(sp.pow, between(0.5, 2)),
    ...[-1, 0, 0.5, 1, 2, 3, 2.5].map(n => unary(x => sp.sin(sp.pow(x, n)), between(0.5, 2))),
    unary(x => sp.pow(x, 4), broken),
    unary(x => sp.pow(1.7, x)),
  ),
  atan2: smooth(octants),
  hypot: smooth(binary(sp.hypot, broken)),
  logaddexp: smooth(binary(sp.logaddexp)),

  less: comparison(sp.less),
  lessEqual: comparison(sp.lessEqual),
  greater: comparison(sp.greater),
  greaterEqual: comparison(sp.greaterEqual),
  equal: comparison(sp.equal),
  notEqual: comparison(sp.notEqual),
  logicalAnd: logic(sp.logicalAnd),
  logicalOr: logic(sp.logicalOr),
  logicalXor: logic(sp.logicalXor),
  logicalNot: flat(integral, unary(sp.logicalNot, booleans), unary(sp.logicalNot, ties)),
  bitwiseAnd: bits(sp.bitwiseAnd),
  bitwiseOr: bits(sp.bitwiseOr),
  bitwiseXor: bits(sp.bitwiseXor),
  bitwiseInvert: flat(integral, unary(sp.bitwiseInvert, integers(-9, 9)), unary(sp.bitwiseInvert, booleans)),
  bitwiseLeftShift: shift(sp.bitwiseLeftShift),
  bitwiseRightShift: shift(sp.bitwiseRightShift),
  isnan: flat(integral, unary(sp.isnan, special)),
  isfinite: flat(integral, unary(sp.isfinite, special), unary(sp.isfinite, integers(-2, 2))),
  isinf: flat(integral, unary(sp.isinf, special)),

  astype: smooth(
    unary(x => sp.sin(sp.astype(x, 'float64'))),
    unary(x => sp.mul(sp.astype(sp.astype(x, 'int32'), x.dtype), x), broken),
  ),
  bitcast: flat(
    'bits have no slope',
    unary(x => sp.bitcast(x, 'uint32'), integers(-9, 9)),
    unary(x => sp.bitcast(sp.astype(x, 'float32'), 'int32')),
  ),
  stopGradient: flat('lets no gradient through', unary(sp.stopGradient)),
  where: smooth(
    binary((a, b) => sp.where(sp.less(sp.stopGradient(a), 0), sp.exp(a), sp.mul(b, b)), broken),
    // The branch not taken is infinite, and so are its derivatives.
    unary(x => sp.where(sp.less(0, x), sp.log(x), sp.mul(x, x)), broken),
  ),
  clip: smooth(
    unary(x => sp.sin(sp.clip(x, -1, 1)), broken),
    unary(x => sp.sin(sp.clip(x, 0)), broken),
    unary(x => sp.sin(sp.clip(x, null, 1)), broken),
    binary(
      (x, bound) => sp.sin(sp.clip(x, null, bound)),
      broken,
      (r, shape) => integers(-2, 2)(r, shape).astype('float64'),
    ),
  ),

  neg: smooth(unary(x => sp.sin(sp.neg(x)))),
  abs: smooth(unary(x => sp.sin(sp.abs(x)), broken)),
  sign: flat(jumps, unary(sp.sign, broken), unary(sp.sign, special)),
  sqrt: smooth(unary(sp.sqrt, between(0.5, 3))),
  rsqrt: smooth(unary(sp.rsqrt, between(0.5, 3))),
  square: smooth(unary(x => sp.sin(sp.square(x)))),
  reciprocal: smooth(unary(sp.reciprocal, between(0.5, 3))),
  exp: smooth(unary(sp.exp)),
  expm1: smooth(unary(sp.expm1)),
  log: smooth(unary(sp.log, between(0.5, 3))),
  log1p: smooth(unary(sp.log1p, between(-0.5, 3))),
  log2: smooth(unary(sp.log2, between(0.5, 3))),
  log10: smooth(unary(sp.log10, between(0.5, 3))),
  sin: smooth(unary(sp.sin)),
  cos: smooth(unary(sp.cos)),
  tan: smooth(unary(sp.tan, between(-1, 1))),
  asin: smooth(unary(sp.asin, between(-0.7, 0.7))),
  acos: smooth(unary(sp.acos, between(-0.7, 0.7))),
  atan: smooth(unary(sp.atan)),
  sinh: smooth(unary(sp.sinh)),
  cosh: smooth(unary(sp.cosh)),
  tanh: smooth(unary(sp.tanh)),
  asinh: smooth(unary(sp.asinh)),
  acosh: smooth(unary(sp.acosh, between(1.5, 4))),
  atanh: smooth(unary(sp.atanh, between(-0.7, 0.7))),
  erf: smooth(unary(sp.erf)),
  floor: rounding(sp.floor),
  ceil: rounding(sp.ceil),
  round: rounding(sp.round),
  trunc: rounding(sp.trunc),

  relu: smooth(unary(x => sp.sin(sp.relu(x)), broken)),
  leakyRelu: smooth(
    unary(x => sp.sin(sp.leakyRelu(x)), broken),
    unary(x => sp.sin(sp.leakyRelu(x, 0.3)), broken),
  ),
  elu: smooth(
    unary(x => sp.elu(x), broken),
    unary(x => sp.elu(x, 0.7), broken),
  ),
  sigmoid: smooth(unary(sp.sigmoid)),
  logSigmoid: smooth(unary(sp.logSigmoid)),
  softplus: smooth(unary(sp.softplus)),
  silu: smooth(unary(sp.silu)),
  gelu: smooth(
    unary(x => sp.gelu(x)),
    unary(x => sp.gelu(x, 'tanh')),
  ),
}
