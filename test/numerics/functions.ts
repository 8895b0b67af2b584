/** The library's functions of floats: what they are exactly, where they are tried, and their special values. */

import type { Float } from '../../src/compiler/math/builder.js'
import type { Real } from './real.js'
import * as r from './real.js'
import { hardPoints, rounded, sample, uniforms } from './samples.js'

export interface Row {
  readonly name: string
  /** One instruction or one expansion; others are composed of such. */
  readonly primitive: boolean
  readonly operands: 1 | 2
  readonly exact: (x: number, y: number) => Real
  /** Where the exact value is defined, finite and no special case. */
  readonly inside: (x: number, y: number) => boolean
  /** What the error is a unit in the last place of, if not the result. */
  readonly unit?: (x: number) => Real
  /** A second operand that makes the first one interesting. */
  readonly partner: (x: number, uniform: () => number) => number
  /** Operands and the result; a zero stands for its sign too. */
  readonly special: readonly (readonly number[])[]
}

const { add, sub, mul, div, neg, half, real, one, sqrt, exp, expm1, log, log1p, atan, sinCos } = r
const { max, abs, PI } = Math
const ln10 = log(real(10))
const everywhere = (): boolean => true
const inf = Infinity
const quarter = PI / 4
const odd = [
  [0, 0],
  [-0, -0],
]
const ends = [
  [inf, inf],
  [-inf, -inf],
]

const row = (
  name: string,
  primitive: boolean,
  of: (x: Real) => Real,
  special: Row['special'],
  inside?: Row['inside'],
): Row => ({
  name,
  primitive,
  operands: 1,
  exact: x => of(real(x)),
  inside: inside ?? everywhere,
  partner: () => 0,
  special: [[NaN, NaN], ...special],
})
const primitive = (name: string, of: (x: Real) => Real, special: Row['special'], inside?: Row['inside']): Row =>
  row(name, true, of, special, inside)
const composed = (name: string, of: (x: Real) => Real, special: Row['special'], inside?: Row['inside']): Row =>
  row(name, false, of, special, inside)

const clamp = (x: Real, limit: number): Real => {
  const most = real(limit)
  return r.less(most, x) ? most : r.less(x, neg(most)) ? neg(most) : x
}
const square = (x: Real): Real => mul(x, x)
const tanh = (x: Real): Real => {
  const e = expm1(mul(real(2), clamp(x, 99)))
  return div(e, add(e, real(2)))
}
/** atan(x / sqrt(1 - x^2)). */
const asin = (x: Real): Real =>
  r.abs(x).m === 0n || !r.less(r.abs(x), one) ? mul(x, half(r.pi)) : atan(div(x, sqrt(sub(one, square(x)))))
/** 2 atan sqrt((1 - x) / (1 + x)). */
const acos = (x: Real): Real => mul(real(2), atan(sqrt(div(sub(one, x), add(one, x)))))
const asinh = (x: Real): Real => {
  const [a, z] = [r.abs(x), square(x)]
  const size = log1p(add(a, div(z, add(one, sqrt(add(one, z))))))
  return x.m < 0n ? neg(size) : size
}
const acosh = (x: Real): Real => {
  const t = sub(x, one)
  return log1p(add(t, sqrt(mul(t, add(t, real(2))))))
}
const atanh = (x: Real): Real => half(log1p(div(mul(real(2), x), sub(one, x))))
const sigmoid = (x: Real): Real => div(one, add(one, exp(neg(x))))
const softplus = (x: Real): Real => {
  const tail = log1p(exp(neg(r.abs(x))))
  return x.m > 0n ? add(x, tail) : tail
}
/** x (1 + erf(x / sqrt 2)) / 2; the sum needs as many bits more as e^(-x^2 / 2) is below 1. */
function gelu(v: Real): Real {
  const below0 = v.m < 0n
  const x = clamp(v, below0 ? 40 : 12)
  const more = below0 ? Math.ceil(0.73 * r.approximate(square(x))) : 0
  return half(mul(below0 ? x : v, add(one, r.erf(div(x, sqrt(real(2))), more))))
}
const logaddexp = (x: Real, y: Real): Real => {
  const [low, high] = r.less(x, y) ? [x, y] : [y, x]
  return add(high, log1p(exp(sub(low, high))))
}
function atan2(y: Real, x: Real): Real {
  if (r.less(r.abs(x), r.abs(y))) {
    const rest = atan(div(x, y))
    return sub(y.m < 0n ? neg(half(r.pi)) : half(r.pi), rest)
  }
  const angle = atan(div(y, x))
  return x.m > 0n ? angle : add(angle, y.m < 0n ? neg(r.pi) : r.pi)
}
function pow(x: Real, y: Real): Real {
  const size = exp(mul(log(r.abs(x)), y))
  return x.m < 0n && r.isOdd(y) ? neg(size) : size
}

const binary = (
  name: string,
  of: (x: Real, y: Real) => Real,
  partner: Row['partner'],
  special: Row['special'],
  inside: Row['inside'] = everywhere,
): Row => ({
  name,
  primitive: name === 'pow' || name === 'div',
  operands: 2,
  exact: (x, y) => of(real(x), real(y)),
  inside,
  partner,
  special: [...special, [NaN, NaN, NaN]],
})
/** A number of like size. */
const alike: Row['partner'] = (x, uniform) => x * 2 ** (uniform() * 40 - 20)

const positive = (x: number): boolean => x > 0
const upTo1 = (x: number): boolean => abs(x) <= 1
const below1 = (x: number): boolean => abs(x) < 1

export const functions: readonly Row[] = [
  primitive('sqrt', sqrt, [...odd, [inf, inf], [-1, NaN], [-inf, NaN]], positive),
  primitive('exp', exp, [
    [0, 1],
    [-0, 1],
    [inf, inf],
    [-inf, 0],
  ]),
  primitive('expm1', expm1, [...odd, [inf, inf], [-inf, -1]]),
  primitive(
    'log',
    log,
    [
      [0, -inf],
      [-0, -inf],
      [1, 0],
      [inf, inf],
      [-1, NaN],
      [-inf, NaN],
    ],
    positive,
  ),
  primitive('log1p', log1p, [...odd, [-1, -inf], [inf, inf], [-2, NaN], [-inf, NaN]], x => x > -1),
  primitive('sin', x => sinCos(x).sin, [...odd, [inf, NaN], [-inf, NaN]]),
  primitive('cos', x => sinCos(x).cos, [
    [0, 1],
    [-0, 1],
    [inf, NaN],
    [-inf, NaN],
  ]),
  primitive('tanh', tanh, [...odd, [inf, 1], [-inf, -1]]),
  primitive('atan', atan, [...odd, [inf, PI / 2], [-inf, -PI / 2]]),
  primitive('erf', x => r.erf(clamp(x, 7)), [...odd, [inf, 1], [-inf, -1]]),
  binary(
    'div',
    div,
    alike,
    [
      [1, 0, inf],
      [1, -0, -inf],
      [0, 0, NaN],
      [1, inf, 0],
      [-1, inf, -0],
      [inf, inf, NaN],
    ],
    (_, y) => y !== 0,
  ),
  binary(
    'pow',
    pow,
    (x, uniform) => {
      const y = ((uniform() * 2 - 1) * 1100) / Math.log2(abs(x))
      return x < 0 ? Math.round(y) : y
    },
    [
      ...[
        [2, 0, 1],
        [NaN, 0, 1],
        [-1, inf, 1],
        [-1, -inf, 1],
        [2, inf, inf],
        [2, -inf, 0],
        [0.5, inf, 0],
        [0.5, -inf, inf],
      ],
      ...[
        [0, 3, 0],
        [-0, 3, -0],
        [-0, 2, 0],
        [0, -1, inf],
        [-0, -1, -inf],
        [-0, -2, inf],
        [inf, 2, inf],
        [inf, -2, 0],
      ],
      ...[
        [-inf, 3, -inf],
        [-inf, 2, inf],
        [-inf, -3, -0],
        [-inf, -2, 0],
        [-8, 1 / 3, NaN],
      ],
    ],
    (x, y) => x !== 0 && x !== 1 && (x > 0 || Number.isInteger(y)),
  ),
  composed(
    'reciprocal',
    x => div(one, x),
    [
      [0, inf],
      [-0, -inf],
      [inf, 0],
      [-inf, -0],
    ],
    x => x !== 0,
  ),
  composed(
    'rsqrt',
    x => div(one, sqrt(x)),
    [
      [0, inf],
      [inf, 0],
      [-1, NaN],
    ],
    positive,
  ),
  composed(
    'log2',
    x => div(log(x), r.ln2),
    [
      [0, -inf],
      [-0, -inf],
      [1, 0],
      [inf, inf],
      [-1, NaN],
    ],
    positive,
  ),
  composed(
    'log10',
    x => div(log(x), ln10),
    [
      [0, -inf],
      [-0, -inf],
      [1, 0],
      [inf, inf],
      [-1, NaN],
    ],
    positive,
  ),
  composed(
    'tan',
    x => {
      const { sin, cos } = sinCos(x)
      return div(sin, cos)
    },
    [...odd, [inf, NaN], [-inf, NaN]],
  ),
  composed('asin', asin, [...odd, [1.5, NaN], [-1.5, NaN], [inf, NaN]], upTo1),
  composed(
    'acos',
    acos,
    [
      [1, 0],
      [-1, PI],
      [0, PI / 2],
      [1.5, NaN],
      [-1.5, NaN],
    ],
    x => abs(x) < 1,
  ),
  composed('sinh', x => half(sub(expm1(x), expm1(neg(x)))), [...odd, ...ends]),
  composed('cosh', x => half(add(exp(x), exp(neg(x)))), [
    [0, 1],
    [-0, 1],
    [inf, inf],
    [-inf, inf],
  ]),
  composed('asinh', asinh, [...odd, ...ends]),
  composed(
    'acosh',
    acosh,
    [
      [1, 0],
      [0.5, NaN],
      [-1, NaN],
      [inf, inf],
    ],
    x => x > 1,
  ),
  composed('atanh', atanh, [...odd, [1, inf], [-1, -inf], [1.5, NaN], [-1.5, NaN]], below1),
  composed('sigmoid', sigmoid, [
    [0, 0.5],
    [inf, 1],
    [-inf, 0],
  ]),
  composed('logSigmoid', x => neg(softplus(neg(x))), [
    [0, -Math.LN2],
    [-inf, -inf],
  ]),
  composed('softplus', softplus, [
    [0, Math.LN2],
    [inf, inf],
    [-inf, 0],
  ]),
  composed('silu', x => mul(x, sigmoid(x)), [...odd, [inf, inf]]),
  { ...composed('gelu', gelu, [...odd, [inf, inf]]), unit: real },
  binary('hypot', (x, y) => sqrt(add(square(x), square(y))), alike, [
    [0, -0, 0],
    [inf, NaN, inf],
    [NaN, -inf, inf],
    [-inf, 1, inf],
    [3, 4, 5],
  ]),
  binary(
    'atan2',
    atan2,
    alike,
    [
      ...[
        [0, 1, 0],
        [-0, 1, -0],
        [0, 0, 0],
        [-0, 0, -0],
        [0, -0, PI],
        [-0, -0, -PI],
        [0, -1, PI],
        [-0, -1, -PI],
      ],
      ...[
        [1, 0, PI / 2],
        [1, -0, PI / 2],
        [-1, 0, -PI / 2],
        [-1, -0, -PI / 2],
        [1, inf, 0],
        [-1, inf, -0],
      ],
      ...[
        [1, -inf, PI],
        [-1, -inf, -PI],
        [inf, 1, PI / 2],
        [-inf, 1, -PI / 2],
        [inf, inf, quarter],
      ],
      ...[
        [-inf, inf, -quarter],
        [inf, -inf, 3 * quarter],
        [-inf, -inf, -3 * quarter],
        [1, NaN, NaN],
        [NaN, 1, NaN],
      ],
    ],
    (y, x) => y !== 0 && x !== 0,
  ),
  // Away from its zeros: there the operands cancel, and the error is that of their difference.
  binary(
    'logaddexp',
    logaddexp,
    (x, uniform) => x + (uniform() * 80 - 40),
    [
      [-inf, -inf, -inf],
      [inf, inf, inf],
      [inf, -inf, inf],
      [-inf, 1, 1],
      [inf, NaN, NaN],
    ],
    (x, y) => max(x, y) > 1 || max(x, y) < -2,
  ),
]

/**
 * The bounds in ULP that compiler/math states, fused or not, from searches of a seventh or more of all float32 values and of
 * 5 million float64 values.
 */
export const stated = {
  exp: { float32: 1.2, float64: 1.1 },
  expm1: { float32: 1.8, float64: 1.7 },
  log: { float32: 1, float64: 0.9 },
  log1p: { float32: 1.6, float64: 1.5 },
  tanh: { float32: 1.6, float64: 1.6 },
  erf: { float32: 1.7, float64: 1.9 },
  sin: { float32: 1, float64: 1.5 },
  cos: { float32: 1, float64: 1.5 },
  atan: { float32: 1.5, float64: 1.5 },
  pow: { float32: 1.3, float64: 1.5 },
}

/** What it states for float32 on a GPU: sums in any order, and division within 2.5 ULP. */
export const statedOnGpu = {
  exp: 1.8,
  expm1: 1.8,
  log: 1,
  log1p: 1.6,
  tanh: 3.7,
  erf: 2.8,
  sin: 2,
  cos: 2,
  atan: 3.6,
  pow: 2.1,
}

/** Operands for a function without end: the hard points first. */
export function operandsOf(
  { name, operands, inside, partner }: Row,
  type: Float,
): Generator<readonly [number, number]> {
  const uniform = uniforms(`${name} ${type}`)
  const second = (x: number, i: number): number =>
    operands === 1
      ? 0
      : i % 7 < 4
        ? rounded(type, partner(x, uniform))
        : sample(type, Math.floor(uniform() * 7), uniform)
  function* all(): Generator<readonly [number, number]> {
    for (const [i, x] of hardPoints(type).entries()) yield [x, second(x, i)]
    for (let i = 0; ; i++) {
      const x = sample(type, i, uniform)
      yield [x, second(x, i)]
    }
  }
  function* kept(): Generator<readonly [number, number]> {
    for (const [x, y] of all()) if (Number.isFinite(y) && inside(x, y)) yield [x, y]
  }
  return kept()
}
