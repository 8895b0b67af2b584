/**
 * Exponentials and logarithms as basic operations. Polynomials are minimax fits by Remez's exchange in 45 digits, each
 * coefficient rounded to its type before the next are fitted; the errors stated are measured in test/runtime/math.test.ts.
 */

import type { Expr } from '../../../compiler/expr.js'
import type { Builder, Each } from './math-builder.js'

const log2e = Math.LOG2E
/** ln 2 in two parts; an exponent times the first is exact. */
const ln2: Each<{ high: number; low: number }> = {
  float32: { high: 0.693115234375, low: 3.194618329871446e-5 },
  float64: { high: 0.6931471806019545, low: -4.2009150726810846e-11 },
}
/** (e^r - 1 - r) / r^2 for |r| <= ln2 / 2, relative to e^r - 1 within 2^-26.1 and 2^-55.6. */
const expCoefficients: Each<readonly number[]> = {
  float32: [0.4999999701976776, 0.1666654646396637, 0.04166743531823158, 0.00836627185344696, 0.001387068652547896],
  float64: [
    0.5, 0.16666666666666677, 0.041666666666666505, 0.008333333333321608, 0.0013888888888962912, 0.00019841269886207888,
    2.480158717181742e-5, 2.75572441041757e-6, 2.7557402960896976e-7, 2.5109081424871223e-8, 2.0875322781728217e-9,
  ],
}

/**
 * x = k ln2 + r: the integer k + shift in the low bits of `i`, and r with its rounding error `c`.
 * `shift` is even and at most 2^(bits - 2).
 */
function reduceExp(m: Builder, x: Expr, shift: number): { i: Expr; k: Expr; r: Expr; high: Expr } {
  const { high, low } = m.pick(ln2)
  const shifted = m.fma(x, log2e, m.magic + shift)
  const k = m.sub(shifted, m.magic + shift)
  const rest = m.fma(k, -high, x)
  return { i: m.bitsOf(shifted), k, r: m.fma(k, -low, rest), high: rest }
}

/** e^x = 2^k e^r; 2^k in two factors, so that the result overflows late and is rounded once where it is subnormal. */
export function exp(m: Builder, x: Expr): Expr {
  const [low, high] = m.pick({ float32: [-104, 89], float64: [-746, 710] })
  const { i, r } = reduceExp(m, m.atMost(m.atLeast(x, low), high), 2 * m.bias)
  const p = m.add(m.fma(m.mul(r, r), m.polynomial(r, expCoefficients), r), 1)
  const half = m.int('shiftRight', i, 1)
  const scale = (k: Expr): Expr => m.ofBits(m.toExponent(k))
  return m.mul(m.mul(p, scale(half)), scale(m.int('sub', i, half)))
}

/** e^x - 1 as p s + (s - 1) with s = 2^k, p = e^r - 1, for |x| where 2^k / 2 is normal; s is halved by `shift` = bias - 1. */
function expm1Parts(m: Builder, x: Expr, shift: number): { p: Expr; s: Expr } {
  const { i, k, r, high } = reduceExp(m, x, shift)
  const c = m.fma(k, -m.pick(ln2).low, m.sub(high, r))
  const p = m.add(r, m.fma(m.mul(r, r), m.polynomial(r, expCoefficients), c))
  return { p, s: m.ofBits(m.toExponent(i)) }
}

/** e^x - 1 = 2 (p s + (s - 1/2)), s = 2^(k - 1), p = e^r - 1. */
export function expm1(m: Builder, x: Expr): Expr {
  const [low, high] = m.pick({ float32: [-20, 89], float64: [-40, 710] })
  const { p, s } = expm1Parts(m, m.atMost(m.atLeast(x, low), high), m.bias - 1)
  const half = m.fma(p, s, m.sub(s, 0.5))
  return m.select(m.less(m.abs(x), 2 ** -m.bits / 4), x, m.add(half, half))
}

/** tanh |x| = e / (e + 2) with e = e^(2|x|) - 1. */
export function tanh(m: Builder, x: Expr): Expr {
  const a = m.atMost(m.abs(x), m.pick({ float32: 10, float64: 20 }))
  const { p, s } = expm1Parts(m, m.add(a, a), m.bias)
  const e = m.fma(p, s, m.sub(s, 1))
  return m.withSign(m.div(e, m.add(e, 2)), m.signOf(x))
}

/** For float32 (log(1+f) - f + f^2/2) / f^3, 2^-27.3; for float64 (2 atanh(s) / s - 2) / s^2 of s^2, 2^-58.9. */
const logCoefficients: Each<readonly number[]> = {
  float32: [
    0.3333333134651184, -0.2500082850456238, 0.20001250505447388, -0.16623099148273468, 0.14201313257217407,
    -0.13162632286548615, 0.12764599919319153, -0.07630050182342529,
  ],
  float64: [
    0.6666666666666736, 0.3999999999940388, 0.28571428745021926, 0.22222198280777794, 0.18183580599309868,
    0.1531360814747401, 0.14800624621207595,
  ],
}
/** The bits of about sqrt(1/2), low bits 0. */
const sqrtHalfBits: Each<number> = { float32: 0x3f3504f3, float64: 0x3fe6a09e * 2 ** 32 }

/** k log 2 + log(1 + f), for f between sqrt(1/2) - 1 and sqrt(2) - 1. */
function logOf(m: Builder, k: Expr, f: Expr): Expr {
  const { high, low } = m.pick(ln2)
  const finish = (tail: Expr): Expr => m.fma(k, high, m.add(f, tail))
  if (m.type === 'float32') {
    const q = m.fma(m.polynomial(f, logCoefficients), f, -0.5)
    return finish(m.fma(m.mul(f, f), q, m.mul(k, low)))
  }
  // log(1+f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f): fdlibm e_log.c.
  const s = m.div(f, m.add(f, 2))
  const z = m.mul(s, s)
  const h = m.mul(m.mul(f, f), 0.5)
  return finish(m.sub(m.fma(s, m.fma(z, m.polynomial(z, logCoefficients), h), m.mul(k, low)), h))
}

/** The integer k, as bits, for which y / 2^k is between sqrt(1/2) and sqrt(2). */
const logExponent = (m: Builder, y: Expr): Expr => m.ofExponent(m.int('sub', m.bitsOf(y), m.pick(sqrtHalfBits)))
/** A small integer as a floating number, less `less`. */
const toFloat = (m: Builder, i: Expr, magic: Expr | number): Expr =>
  m.sub(m.ofBits(m.int('add', i, m.magicBits)), magic)

/** log x = k ln2 + log(1 + f); subnormal x are scaled up first. */
export function log(m: Builder, x: Expr): Expr {
  const subnormal = m.less(x, m.tiny)
  const y = m.select(subnormal, m.mul(x, 2 ** (m.bits + 2)), x)
  const i = logExponent(m, y)
  const k = toFloat(m, i, m.select(subnormal, m.magic + m.bits + 2, m.magic))
  const f = m.sub(m.ofBits(m.int('sub', m.bitsOf(y), m.toExponent(i))), 1)
  const finite = m.select(m.less(x, Infinity), logOf(m, k, f), x)
  return m.select(m.less(0, x), finite, m.select(m.equal(x, 0), -Infinity, NaN))
}

/** log(1 + x) = k ln2 + log(1 + f) with f = x / 2^k + (1 / 2^k - 1), which is x itself near 0. */
export function log1p(m: Builder, x: Expr): Expr {
  const i = logExponent(m, m.add(x, 1))
  const shift = m.toExponent(i)
  const inverse = m.ofBits(m.int('sub', m.i(m.oneBits), shift))
  const f = m.add(m.ofBits(m.int('sub', m.bitsOf(x), shift)), m.atLeast(m.sub(inverse, 1), -1))
  const usual = m.both(m.less(2 ** -m.bits / 4, m.abs(x)), m.less(x, Infinity))
  const inside = m.select(usual, logOf(m, toFloat(m, i, m.magic), f), x)
  return m.select(m.less(-1, x), inside, m.select(m.equal(x, -1), -Infinity, NaN))
}
