/**
 * Real numbers as m / 2^p with big integers, and elementary functions of them to `digits` significant bits or more: the
 * reference for errors in units in the last place (ULP). Sums and products are exact.
 */

import type { Float } from '../../src/compiler/math/builder.js'

export interface Real {
  readonly m: bigint
  readonly p: number
}

/** Significant bits of results: 53, 61 that cancel next to multiples of pi / 2, and a margin. */
const digits = 180
/** Arguments of exp beyond this give neither a number of float64 nor, in a sum, a part of one. */
const farExp = 2200
/** Bits after the point of pi and ln 2: enough for the quadrant of 2^1024. */
const constantBits = 1500

const shift = (m: bigint, n: number): bigint => (n >= 0 ? m << BigInt(n) : m >> BigInt(-n))
const magnitude = (m: bigint): bigint => (m < 0n ? -m : m)
function bitLength(m: bigint): number {
  const hex = magnitude(m).toString(16)
  return 4 * hex.length - Math.clz32(Number.parseInt(hex[0], 16)) + 28
}
/** The power of 2 not above |x|, one too large at most. */
const exponentOf = ({ m, p }: Real): number => bitLength(m) - p

const words = new DataView(new ArrayBuffer(8))
/** The value of a float64. */
export function real(x: number): Real {
  words.setFloat64(0, x)
  const word = words.getBigUint64(0)
  const e = Number((word >> 52n) & 0x7ffn)
  const m = (word & 0xfffffffffffffn) | (e ? 1n << 52n : 0n)
  return { m: x < 0 ? -m : m, p: 1075 - Math.max(e, 1) }
}
/** x * 2^p. */
const fixed = ({ m, p }: Real, bits: number): bigint => shift(m, bits - p)
/** A float64 near x, within a unit in the last place or two. */
export function approximate({ m, p }: Real): number {
  const extra = bitLength(m) - 60
  const e = extra - p
  return Number(shift(m, -extra)) * 2 ** Math.trunc(e / 2) * 2 ** (e - Math.trunc(e / 2))
}

export const add = (a: Real, b: Real): Real => {
  const p = Math.max(a.p, b.p)
  return { m: fixed(a, p) + fixed(b, p), p }
}
export const neg = ({ m, p }: Real): Real => ({ m: -m, p })
export const sub = (a: Real, b: Real): Real => add(a, neg(b))
export const mul = (a: Real, b: Real): Real => ({ m: a.m * b.m, p: a.p + b.p })
export const half = ({ m, p }: Real): Real => ({ m, p: p + 1 })
export function div(a: Real, b: Real): Real {
  const extra = Math.max(0, digits + bitLength(b.m) - bitLength(a.m))
  return { m: (a.m << BigInt(extra)) / b.m, p: a.p - b.p + extra }
}
export function sqrt({ m, p }: Real): Real {
  let extra = Math.max(0, 2 * digits - bitLength(m))
  extra += (p + extra) & 1
  return { m: squareRoot(m << BigInt(extra)), p: (p + extra) / 2 }
}
export const one: Real = real(1)
export const less = (a: Real, b: Real): boolean => sub(a, b).m < 0n
export const abs = ({ m, p }: Real): Real => ({ m: magnitude(m), p })
/** Whether an integer is odd. */
export const isOdd = (x: Real): boolean => (fixed(x, 0) & 1n) === 1n

/** The sum of terms, each made from the one before, until they vanish. */
function series(first: bigint, next: (term: bigint, n: number) => bigint): bigint {
  let sum = 0n
  for (let term = first, n = 1; term !== 0n && term !== -1n; term = next(term, n++)) sum += term
  return sum
}
/** atan(1/k) or, with sign 1, atanh(1/k). */
function inverseSeries(k: bigint, sign: bigint): bigint {
  let power = (1n << BigInt(constantBits)) / k
  let sum = 0n
  for (let n = 1n; power !== 0n; n += 2n, power = (sign * power) / (k * k)) sum += power / n
  return sum
}
function squareRoot(v: bigint): bigint {
  if (v === 0n) return v
  let r = 1n << BigInt((bitLength(v) + 1) >> 1)
  for (let next = (r + v / r) >> 1n; next < r; next = (r + v / r) >> 1n) r = next
  return r
}
export const pi: Real = { m: 16n * inverseSeries(5n, -1n) - 4n * inverseSeries(239n, -1n), p: constantBits }
export const ln2: Real = { m: 2n * inverseSeries(3n, 1n), p: constantBits }

/** The nearest integer to a / b. */
const nearest = (a: bigint, b: bigint): bigint => (2n * a + b) / (2n * b) - (2n * a + b < 0n ? 1n : 0n)
/** Bits after the point that leave `digits` of a number of x's size. */
const precisionFor = (x: Real): number => digits + Math.max(0, -exponentOf(x))

function expTo(v: Real, p: number): Real {
  const x = fixed(abs(v).m > fixed(real(farExp), v.p) ? real(v.m < 0n ? -farExp : farExp) : v, p)
  const k = nearest(x, fixed(ln2, p))
  const r = x - ((ln2.m * k) >> BigInt(constantBits - p))
  return { m: series(1n << BigInt(p), (t, n) => ((t * r) >> BigInt(p)) / BigInt(n)), p: p - Number(k) }
}
export const exp = (x: Real): Real => expTo(x, digits + 20)
export const expm1 = (x: Real): Real => sub(expTo(x, precisionFor(x)), one)

/** log v from an approximation y: y + log(v e^-y). */
function logFrom(v: Real, y: number, p: number): Real {
  const d = fixed(sub(mul(v, expTo(real(-y), p)), one), p)
  const s = (d << BigInt(p)) / (d + (2n << BigInt(p)))
  return add(real(y), { m: 2n * s + (2n * s * s * s) / (3n << BigInt(2 * p)), p })
}
/** From 1/2 to 2, where log v takes the bits of v - 1. */
const near1 = (v: Real): boolean => exponentOf(v) === 0 || exponentOf(v) === 1
export function log(v: Real): Real {
  const e = exponentOf(v)
  return near1(v)
    ? log1p(sub(v, one))
    : add(
        logFrom({ m: v.m, p: v.p + e }, Math.log(approximate({ m: v.m, p: v.p + e })), digits + 20),
        mul(ln2, real(e)),
      )
}
export function log1p(x: Real): Real {
  if (exponentOf(x) < -digits - 60) return x
  const v = add(one, x)
  return near1(v) ? logFrom(v, Math.log1p(approximate(x)), precisionFor(x)) : log(v)
}
/** Sine and cosine. */
export function sinCos(v: Real): { sin: Real; cos: Real } {
  const p = precisionFor(v)
  const x = fixed(v, p)
  const n = nearest(fixed(v, constantBits + 1), pi.m)
  const r = x - ((pi.m * n) >> BigInt(constantBits + 1 - p))
  const z = (r * r) >> BigInt(p)
  const s = series(r, (t, i) => -((t * z) >> BigInt(p)) / BigInt(2 * i * (2 * i + 1)))
  const c = series(1n << BigInt(p), (t, i) => -((t * z) >> BigInt(p)) / BigInt(2 * i * (2 * i - 1)))
  const quadrants = [
    [s, c],
    [c, -s],
    [-s, -c],
    [-c, s],
  ]
  const [sin, cos] = quadrants[Number(n & 3n)].map(m => ({ m, p }))
  return { sin, cos }
}
/** y + atan((v cos y - sin y) / (cos y + v sin y)), from an approximation y. */
export function atan(v: Real): Real {
  const y = real(Math.atan(approximate(v)))
  const p = precisionFor(y)
  const { sin, cos } = sinCos(y)
  const t = fixed(div(sub(mul(v, cos), sin), add(cos, mul(v, sin))), p)
  return add(y, { m: t - (t * t * t) / (3n << BigInt(2 * p)), p })
}
/** 2 / sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (1 3 5 ... (2n+1)), with `more` bits after the point. */
export function erf(x: Real, more = 0): Real {
  const p = precisionFor(x) + more
  const v = fixed(x, p)
  const z = (v * v) >> BigInt(p)
  const m = series(v, (t, n) => ((2n * t * z) >> BigInt(p)) / BigInt(2 * n + 1))
  return div(mul({ m: 2n * m, p }, expTo({ m: -z, p }, p)), sqrt(pi))
}

const formats = { float32: { bits: 24, least: -149, most: 128 }, float64: { bits: 53, least: -1074, most: 1024 } }

/**
 * The distance of a result from the exact value, in units of the exact value's (or a larger number's) last place; an
 * overflow that is due is none.
 */
export function ulps(got: number, exact: Real, type: Float, unit = exact): number {
  const { bits, least, most } = formats[type]
  if (Number.isNaN(got)) return Infinity
  const e = exponentOf(exact)
  if (!Number.isFinite(got) && e > most) return got > 0 === exact.m > 0n ? 0 : Infinity
  const value = Number.isFinite(got) ? real(got) : { m: got > 0 ? 1n : -1n, p: -most }
  const { m, p } = abs(sub(value, exact))
  return Number(shift(m, 20 - p - Math.max(Math.max(e, exponentOf(unit)) - bits, least))) / 2 ** 20
}
/** The same for a float32, where a float64 is exact enough. */
export function ulps32(got: number, exact: number): number {
  if (Object.is(got, Math.fround(exact)) && !(Math.abs(exact) < 2 ** 128)) return 0
  const value = Number.isFinite(got) ? got : Math.sign(got) * 2 ** 128
  return Math.abs(value - exact) / 2 ** Math.max(Math.floor(Math.log2(Math.abs(exact))) - 23, -149)
}
