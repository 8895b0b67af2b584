/** The numbers that a float16 holds, IEEE 754 binary16: sign, 5 bits of exponent, 10 of fraction. */

const isNegative = (x: number): boolean => x < 0 || Object.is(x, -0)

/** The nearest number of float16, halves to even; infinite from 65520 on. */
export function roundToHalf(x: number): number {
  const size = Math.abs(x)
  if (Number.isNaN(x)) return x
  if (size >= 65520) return x < 0 ? -Infinity : Infinity
  // A sum with 2^52 units of the last place, which are 2^-24 below 2^-14, is rounded to whole units.
  const magic = 2 ** (Math.max(-14, Math.floor(Math.log2(size))) + 42)
  const rounded = size + magic - magic
  return isNegative(x) ? -rounded : rounded
}

const floats = new Float32Array(1)
const words = new Int32Array(floats.buffer)

/** The 16 bits of the nearest number of float16. */
export function bitsOfHalf(x: number): number {
  const half = roundToHalf(x)
  const size = Math.abs(half)
  const sign = isNegative(half) ? 0x8000 : 0
  if (Number.isNaN(half)) return 0x7e00
  if (size === Infinity) return sign | 0x7c00
  if (size < 2 ** -14) return sign | (size * 2 ** 24)
  floats[0] = size
  return sign | ((words[0] >> 13) - (112 << 10))
}

/** The number that has these 16 bits. */
export function halfOfBits(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023]
  const sign = bits >> 15 ? -1 : 1
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15))
}
