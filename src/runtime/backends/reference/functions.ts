/** Scalar functions that JavaScript lacks, in float64, for the reference device. */

export { roundToHalf } from '../../../graph/half.js'

/** 2/√π - 1 and the others of 2/√π (-1)ⁿ / (n! (2n+1)), the last first. */
const erfCoefficients = [0.1283791670955126]
for (let n = 1, c = 2 / Math.sqrt(Math.PI); n < 24; n++) erfCoefficients.unshift((c /= -n) / (2 * n + 1))

/** erf x = 2/√π Σ (-1)ⁿ x^(2n+1) / (n! (2n+1)) near 0, and by the continued fraction of erfc beyond. Within 1.2 ULP. */
export function erf(x: number): number {
  const a = Math.abs(x)
  if (a < 1) return x + x * erfCoefficients.reduce((sum, c) => sum * x * x + c)
  if (!(a < 6)) return Math.sign(x)
  // erfc a = e^(-a²)/√π · 1/(a + (1/2)/(a + 1/(a + (3/2)/(a + ...))))
  let fraction = a
  for (let n = Math.ceil(250 / a ** 2); n >= 1; n--) fraction = a + n / 2 / fraction
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * fraction))
}

/** To the nearest integer, halves to even. */
export function roundEven(x: number): number {
  const r = Math.round(x)
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r
}

/** The remainder with the sign of the divisor. */
export function floorMod(a: number, b: number): number {
  const r = a % b
  return r !== 0 && r < 0 !== b < 0 ? r + b : r
}

/** A number in two parts: a float64 and what is missing. */
type Pair = readonly [number, number]

/** a + b for |a| >= |b| or a = 0, exactly. */
const sum = (a: number, b: number): Pair => [a + b, a - (a + b) + b]

/** a · b: of float32 heads and of a head with a tail the products are exact (Dekker 1971). */
function product([a, aRest]: Pair, [b, bRest]: Pair): Pair {
  const [p, f, g] = [a * b, Math.fround(a), Math.fround(b)]
  return [p, f * g - p + f * (b - g) + (a - f) * g + (a - f) * (b - g) + (a * bRest + aRest * b)]
}

/** x · 2ᵏ, rounded once. */
const scale = (x: number, k: number): number => x * 2 ** (k >> 1) * 2 ** (k - (k >> 1))

/** ln 2, the head with 32 bits. */
const ln2: Pair = [0.6931471806019545, -4.2009150726810846e-11]

/** ln a for positive a: 2 atanh s = 2s + 2s (z / 3 + z² / 5 + ...), s = (m - 1) / (m + 1), z = s², m = a / 2ᵏ. */
function logPair(a: number): Pair {
  const k = Math.round(Math.log2(a))
  const m = scale(a, -k)
  const d: Pair = sum(Math.max(m, 1), Math.min(m, 1))
  const quotient = (m - 1) / d[0]
  const [p, rest] = product([quotient, 0], d)
  const s: Pair = [quotient, (m - 1 - p - rest) / d[0]]
  const z = product(s, s)
  let tail = 0
  for (let n = 27; n >= 5; n -= 2) tail = tail * z[0] + 1 / n
  const [slope, slopeRest] = sum(1 / 3, tail * z[0])
  const cubic = product(s, product(z, [slope, slopeRest + 2 ** -54 / 3]))
  const [near, nearRest] = sum(s[0], cubic[0])
  const [log, logRest] = sum(k * ln2[0], 2 * near)
  return [log, logRest + (2 * (nearRest + s[1] + cubic[1]) + k * ln2[1])]
}

/** IEEE 754's power, for which ±1 to the power ±∞ is 1: e^(b ln |a|). Within 1 ULP, as Math.pow is near 1 only. */
export function pow(a: number, b: number): number {
  const size = Math.abs(a)
  if (size === 1 && Math.abs(b) === Number.POSITIVE_INFINITY) return 1
  // Zeros, infinities and NaN, and what is 1, overflows or vanishes.
  const exponent = Math.abs(b * Math.log2(size))
  if (!(exponent > 0 && exponent < 1100)) return a ** b
  const [y, rest] = product([b, 0], logPair(size))
  // 2ᵏ times 3/4 to 3/2: there expm1 is small beside the 1, and so is its error.
  const k = Math.floor(y / Math.LN2 + 0.415)
  const power = scale(1 + Math.expm1(y - k * ln2[0] + (rest - k * ln2[1])), k)
  return a < 0 ? (-1) ** b * power : power
}

const floats = new Float32Array(1)
const views = { float32: floats, int32: new Int32Array(floats.buffer), uint32: new Uint32Array(floats.buffer) }

/** The 32 bits of a value of one type read as another. */
export function bitcast(x: number, from: keyof typeof views, to: keyof typeof views): number {
  views[from][0] = x
  return views[to][0]
}

/** Float to integer: truncated, kept within the type, NaN to 0. */
export function toInteger(x: number, low: number, high: number): number {
  // Integers have no -0, which added to 0 is 0.
  return Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x))) + 0
}

/** Stable ascending order of one row, NaN last. */
export function argsort(keys: ArrayLike<number>, offset: number, length: number): number[] {
  const order = Array.from({ length }, (_, i) => i)
  return order.sort((i, j) => {
    const a = keys[offset + i]
    const b = keys[offset + j]
    if (Number.isNaN(a)) return Number.isNaN(b) ? i - j : 1
    if (Number.isNaN(b)) return -1
    return a - b || i - j
  })
}
