/**
 * Exponentials and logarithms as basic operations. Polynomials are minimax fits by Remez's exchange in 45 digits, each
 * coefficient rounded to its type before the next are fitted. "within n and m ULP" are the errors of the float32 and
 * float64 results, measured with fused and unfused fma over a seventh or more of all float32 values and 5 million
 * float64 values, rounded up; test/runtime/math.test.ts holds them to it on a sample. "k on a GPU" is that of float32
 * with sums in any order and each division off by up to 2.5 ULP, over 400,000 values; see
 * test/compiler/fast-math.test.ts.
 */

import type { Expr } from '../expr.js'
import type { Builder, Each } from './builder.js'

/** ln 2 in two parts; an exponent times the first is exact. */
const ln2: Each<{ high: number; low: number }> = {
  float32: { high: 0.693115234375, low: 3.194618329871446e-5 },
  float64: { high: 0.6931471806019545, low: -4.2009150726810846e-11 },
}
/** (e^r - 1 - r) / r^2 for |r| <= ln2 / 2, within 2^-26.1 and 2^-59.7 of e^r - 1. */
const expCoefficients: Each<readonly number[]> = {
  float32: [0.4999999701976776, 0.1666654646396637, 0.04166743531823158, 0.00836627185344696, 0.001387068652547896],
  float64: [
    0.5, 0.16666666666666677, 0.041666666666666505, 0.008333333333321608, 0.0013888888888962912, 0.00019841269886207888,
    2.480158717181742e-5, 2.75572441041757e-6, 2.7557402960896976e-7, 2.5109081424871223e-8, 2.0875322781728217e-9,
  ],
}

/**
 * x = k ln2 + r: the integer k + shift in the low bits of `i`, k itself, and r before (`high`) and after the last
 * subtraction, the only one that rounds.
 */
function reduceExp(m: Builder, x: Expr, shift: number): { i: Expr; k: Expr; r: Expr; high: Expr } {
  const { high, low } = m.pick(ln2)
  const magic = m.magic + shift
  const { i, n: k } = m.integerOf(m.fma(x, Math.LOG2E, magic), magic)
  const rest = m.keep(m.fma(k, -high, x))
  return { i, k, r: m.fma(k, -low, rest), high: rest }
}

/**
 * e^x = 2^k e^r; 2^k in two factors, so that the result overflows late and is rounded once where it is subnormal.
 * Within 1.2 and 1.1 ULP; 1.8 on a GPU.
 */
export function exp(m: Builder, x: Expr): Expr {
  const [low, high] = m.pick({ float32: [-104, 89], float64: [-746, 710] })
  const { i, r } = reduceExp(m, m.atMost(m.atLeast(x, low), high), 2 * m.bias)
  return scaleTwice(m, expNear(m, r), i)
}

/**
 * The same for x <= 0, to the bit, and up to 43 or 350: no power of two there is too large for one factor, which stays
 * normal because the polynomial is that of 2^-spare e^r. The shift is even as in exp, so that what lies between two
 * integers k, where products are rounded by themselves, goes to the same one.
 */
export function expBelow0(m: Builder, x: Expr): Expr {
  const [low, spare] = m.pick({ float32: [-104, 65], float64: [-746, 513] })
  const { i, r } = reduceExp(m, m.atLeast(x, low), m.bias + spare)
  return m.mul(expNear(m, r, 2 ** -spare), m.ofBits(m.toExponent(i)))
}

/** unit e^r for |r| <= ln2 / 2, where unit is a power of two. */
const expNear = (m: Builder, r: Expr, unit = 1): Expr =>
  m.fma(m.fma(m.polynomial(r, expCoefficients, unit), r, unit), r, unit)

/** p * 2^k, where i is k + 2 bias in its low bits. */
function scaleTwice(m: Builder, p: Expr, i: Expr): Expr {
  const half = m.int('shiftRight', i, 1)
  const power = (k: Expr): Expr => m.ofBits(m.toExponent(k))
  return m.mul(m.keep(m.mul(p, power(half))), power(m.int('sub', i, half)))
}

/** unit (e^x - 1) = p s + (s - unit), where s = unit 2^k and p = e^r - 1; c is what r lacks. */
function expm1Times(m: Builder, unit: 1 | 0.5, x: Expr): Expr {
  const { i, k, r, high } = reduceExp(m, x, unit === 1 ? m.bias : m.bias - 1)
  const c = m.fma(k, -m.pick(ln2).low, m.sub(high, r))
  const p = m.add(r, m.fma(m.mul(r, r), m.polynomial(r, expCoefficients), c))
  const s = m.ofBits(m.toExponent(i))
  return m.fma(p, s, m.keep(m.sub(s, unit)))
}

/** Twice half of e^x - 1, which overflows late. Within 1.8 and 1.7 ULP; 1.8 on a GPU. */
export function expm1(m: Builder, x: Expr): Expr {
  const [low, high] = m.pick({ float32: [-20, 89], float64: [-40, 710] })
  const half = expm1Times(m, 0.5, m.atMost(m.atLeast(x, low), high))
  return m.select(m.less(m.abs(x), 2 ** -m.bits / 4), x, m.mul(half, 2))
}

/** (tanh a - a) / a^3 in a^2, for a up to 0.26, within 2^-27.9 and 2^-56.9. */
const tanhCoefficients: Each<readonly number[]> = {
  float32: [-0.3333321511745453, 0.1332268863916397, -0.051225267350673676],
  float64: [
    -0.3333333333333242, 0.1333333333298817, -0.053968253526259904, 0.021869461670332026, -0.008862360297817394,
    0.003576390148860718, -0.0013075792071933193,
  ],
}

/** tanh a = e / (e + 2) with e = e^(2a) - 1, and an odd polynomial near 0. Within 1.6 and 1.6 ULP; 3.7 on a GPU. */
export function tanh(m: Builder, x: Expr): Expr {
  const a = m.atMost(m.abs(x), m.pick({ float32: 10, float64: 20 }))
  const e = expm1Times(m, 1, m.add(a, a))
  const z = m.mul(a, a)
  const near = m.fma(m.mul(a, z), m.polynomial(z, tanhCoefficients), a)
  return m.withSign(m.select(m.less(a, 0.26), near, m.div(e, m.add(e, 2))), m.signOf(x))
}

/**
 * erf(x) / x - 1 in x^2, for |x| up to 0.875 or 1, within 2^-26.1 and 2^-56; the second by interpolation at Chebyshev's
 * nodes, rounded.
 */
const erfCoefficients: Each<readonly number[]> = {
  float32: [
    0.12837915122509003, -0.3761250376701355, 0.11281921714544296, -0.02677047997713089, 0.004998903721570969,
    -0.0006020245491527021,
  ],
  float64: [
    0.12837916709551256, -0.3761263890318354, 0.1128379167094491, -0.026866170643221454, 0.005223977606976882,
    -0.0008548325968458515, 0.00012055294691019695, -1.4924732685547572e-5, 1.6447371314258486e-6,
    -1.6208065704722215e-7, 1.3718218762051456e-8, -7.792387776980084e-10,
  ],
}
/** erfc(a) e^(a^2) in t = 1 / (1 + p a), p = 0.5 or 0.3, for a from 0.875 to 4 or 6; 2^-31.5 and 2^-55.6 of erf. */
const erfcCoefficients: Each<readonly number[]> = {
  float32: [
    0.0016227989690378308, 0.2614263892173767, 0.3908584415912628, -0.05426270514726639, 0.6279619336128235,
    -0.22783049941062927,
  ],
  float64: [
    0.00011095522379768641, 0.16746951227375012, 0.18194476845525506, 0.11030498619472077, 0.27209137371070136,
    -0.04570032183213549, 0.13650090345070304, 0.38639407195313985, -0.6034781942229559, 0.6550866932889418,
    -0.3153806002043042, 0.05465588503003642,
  ],
}

/**
 * erf a = 1 - e^(-a^2) Q(1 / (1 + p a)) (the form of Abramowitz and Stegun 7.1.26); an odd polynomial near 0.
 * Within 1.7 and 1.9 ULP; 2.8 on a GPU.
 */
export function erf(m: Builder, x: Expr): Expr {
  const [edge, most, p] = m.pick({ float32: [0.875, 4, 0.5], float64: [1, 6, 0.3] })
  const a = m.atMost(m.abs(x), most)
  const z = m.mul(a, a)
  const near = m.fma(a, m.polynomial(z, erfCoefficients), a)
  const { i, r } = reduceExp(m, m.neg(z), m.bias)
  const power = m.mul(expNear(m, r), m.ofBits(m.toExponent(i)))
  const q = m.polynomial(m.div(1, m.fma(a, p, 1)), erfcCoefficients)
  return m.withSign(m.select(m.less(a, edge), near, m.fma(m.neg(power), q, 1)), m.signOf(x))
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
  const finish = (tail: Expr): Expr => m.fma(k, high, m.keep(m.add(f, tail)))
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

/** x = 2^k (1 + f) for positive finite x; subnormal x are scaled up first. */
function decompose(m: Builder, x: Expr): { k: Expr; f: Expr } {
  const subnormal = m.less(x, m.tiny)
  const { scaled, shift } = m.scaledUp(x)
  const y = m.select(subnormal, scaled, x)
  const i = logExponent(m, y)
  const k = toFloat(m, i, m.select(subnormal, m.magic + shift, m.magic))
  return { k, f: m.sub(m.ofBits(m.int('sub', m.bitsOf(y), m.toExponent(i))), 1) }
}

/** log x = k ln2 + log(1 + f). Within 1 and 0.9 ULP; 1 on a GPU. */
export function log(m: Builder, x: Expr): Expr {
  const { k, f } = decompose(m, x)
  const finite = m.select(m.less(x, Infinity), logOf(m, k, f), x)
  return m.select(m.less(0, x), finite, m.select(m.equal(x, 0), -Infinity, NaN))
}

/**
 * log(1 + x) = k ln2 + log(1 + f) with f = x / 2^k + (1 / 2^k - 1), which is x itself near 0. Within 1.6 and 1.5 ULP;
 * 1.6 on a GPU.
 */
export function log1p(m: Builder, x: Expr): Expr {
  const i = logExponent(m, m.add(x, 1))
  const shift = m.toExponent(i)
  const inverse = m.ofBits(m.int('sub', m.i(m.oneBits), shift))
  const f = m.add(m.ofBits(m.int('sub', m.bitsOf(x), shift)), m.atLeast(m.sub(inverse, 1), -1))
  const usual = m.both(m.less(2 ** -m.bits / 4, m.abs(x)), m.less(x, Infinity))
  const inside = m.select(usual, logOf(m, toFloat(m, i, m.magic), f), x)
  return m.select(m.less(-1, x), inside, m.select(m.equal(x, -1), -Infinity, NaN))
}

/** 3 (atanh(s) / s - 1 - s^2 / 3) / s^4 in s^2, within 2^-36.7 and 2^-66.2 of atanh(s) / s. */
const powCoefficients: Each<readonly number[]> = {
  float32: [0.6000022888183594, 0.4282059967517853, 0.3513093590736389],
  float64: [
    0.6000000000000345, 0.4285714285511522, 0.3333333378632898, 0.272726759595467, 0.23080164358935468,
    0.19884542155622692, 0.19801050890601227,
  ],
}
/** 2 / (3 ln2), the first part with half of the bits. */
const twoThirdsLog2e: Each<{ high: number; low: number }> = {
  float32: { high: 0.9619140625, low: -0.00011736857413779944 },
  float64: { high: 0.9617967009544373, low: -7.028461650952758e-9 },
}

/**
 * log2 x to about 1.5 times the precision, as a head of half the bits and a tail, for positive finite x: with
 * s = f / (2 + f), log2 x = k + 2 / (3 ln2) s (3 + s^2 + R(s^2)); products of heads are exact (fdlibm e_pow.c).
 */
function log2Pair(m: Builder, x: Expr): { head: Expr; tail: Expr } {
  const { k, f } = decompose(m, x)
  const d = m.add(f, 2)
  const inverse = m.div(1, d)
  const s = m.mul(f, inverse)
  const sHead = m.head(s)
  const dHead = m.head(d)
  const dTail = m.sub(f, m.keep(m.sub(dHead, 2)))
  const sTail = m.mul(inverse, m.fma(m.neg(sHead), dTail, m.keep(m.fma(m.neg(sHead), dHead, f))))
  const z = m.mul(s, s)
  const square = m.mul(sHead, sHead)
  const rest = m.fma(sTail, m.add(sHead, s), m.mul(m.mul(z, z), m.polynomial(z, powCoefficients)))
  const sumHead = m.head(m.add(m.add(square, 3), rest))
  const sumTail = m.sub(rest, m.sub(m.keep(m.sub(sumHead, 3)), square))
  const u = m.mul(sHead, sumHead)
  const v = m.fma(sTail, sumHead, m.mul(sumTail, s))
  const pHead = m.head(m.add(u, v))
  const pTail = m.sub(v, m.keep(m.sub(pHead, u)))
  const { high, low } = m.pick(twoThirdsLog2e)
  const a = m.mul(pHead, high)
  const b = m.fma(pHead, low, m.mul(pTail, high + low))
  const head = m.head(m.add(m.add(a, b), k))
  return { head, tail: m.sub(b, m.keep(m.sub(m.keep(m.sub(head, k)), a))) }
}

/**
 * |x|^y = 2^(y log2 |x|), then the cases of zeros, infinities and negative x. Within 1.3 and 1.5 ULP; 2.1 on a GPU. As
 * in IEEE 754, but that 1^NaN is NaN; unlike JavaScript, (+-1)^(+-Infinity) is 1.
 */
export function pow(m: Builder, x: Expr, y: Expr): Expr {
  const a = m.abs(x)
  const { head, tail } = log2Pair(m, a)
  // So large that |x|^y overflows or vanishes unless |x| = 1.
  const most = m.pick({ float32: 2 ** 40, float64: 2 ** 70 })
  const w = m.atMost(m.atLeast(y, -most), most)
  const wHead = m.head(w)
  const high = m.mul(wHead, head)
  const low = m.fma(m.sub(w, wHead), head, m.mul(w, tail))
  const [least, limit] = m.pick({ float32: [-152, 130], float64: [-1077, 1026] })
  const magic = m.magic + 2 * m.bias
  const { i, n } = m.integerOf(m.add(m.atMost(m.atLeast(m.add(high, low), least), limit), magic), magic)
  const r = m.atMost(m.atLeast(m.add(m.keep(m.sub(high, m.keep(n))), low), -1), 1)
  const finite = scaleTwice(m, expNear(m, m.mul(r, Math.LN2)), i)
  // For 0 and infinity.
  const extreme = m.select(m.differ(m.less(a, 1), m.less(y, 0)), 0, Infinity)
  const size = m.select(m.both(m.less(0, a), m.less(a, Infinity)), finite, extreme)
  const whole = m.equal(m.floor(w), w)
  const half = m.mul(w, 0.5)
  const even = m.equal(m.floor(half), half)
  const odd = m.both(whole, m.not(even))
  const signed = m.select(odd, m.withSign(size, m.signOf(x)), size)
  const real = m.either(whole, m.not(m.both(m.less(x, 0), m.less(-Infinity, x))))
  const defined = m.both(real, m.both(m.isNumber(x), m.isNumber(y)))
  return m.select(m.equal(y, 0), 1, m.select(defined, signed, NaN))
}
