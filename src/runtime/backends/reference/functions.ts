/** Scalar functions that JavaScript lacks, in float64, for the reference device. */

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

/** IEEE 754's power: ±1 to the power ±∞ is 1, where Math.pow has NaN. */
export function pow(a: number, b: number): number {
  return Math.abs(a) === 1 && Math.abs(b) === Number.POSITIVE_INFINITY ? 1 : a ** b
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
  return Number.isNaN(x) ? 0 : Math.min(high, Math.max(low, Math.trunc(x)))
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
