/** Where functions of floats are tried: every exponent, the usual range, and points that are hard for some of them. */

import type { Float } from '../../src/compiler/math/builder.js'

const words = new DataView(new ArrayBuffer(8))

/** A stream of numbers from 0 to 1, the same for the same seed (mulberry32). */
export function uniforms(seed: string): () => number {
  let state = [...seed].reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 0x01000193), 0x811c9dc5)
  const bits = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  return () => (bits() * 2 ** 21 + (bits() >>> 11)) / 2 ** 53
}

export const rounded = (type: Float, x: number): number => (type === 'float32' ? Math.fround(x) : x)

/** Sample i of a stream: random bits, near 1, up to 1, up to 8, up to 750, next to a multiple of pi / 2, of small exponents. */
export function sample(type: Float, i: number, uniform: () => number): number {
  const sign = uniform() < 0.5 ? -1 : 1
  switch (i % 7) {
    case 0: {
      words.setUint32(0, uniform() * 2 ** 32)
      words.setUint32(4, uniform() * 2 ** 32)
      const x = type === 'float32' ? words.getFloat32(0) : words.getFloat64(0)
      return Number.isFinite(x) ? x : 0
    }
    case 1:
      return sign * rounded(type, 1 + (uniform() - 0.5) * 2 ** (-uniform() * (type === 'float32' ? 23 : 52)))
    case 2:
      return sign * rounded(type, uniform())
    case 3:
      return sign * rounded(type, uniform() * 8)
    case 4:
      return sign * rounded(type, uniform() * 750)
    case 5:
      return sign * rounded(type, Math.round(2 ** (uniform() * 50)) * (Math.PI / 2))
    default:
      return sign * rounded(type, 2 ** (uniform() * 40 - 28))
  }
}

/** Hard points of one function or another, for both precisions. */
const points = [
  // Ends of the range, and of the expansions' parts.
  ...[2 ** -149, 2 ** -126, 2 ** 128, 2 ** -1074, 2 ** -1022, Number.MAX_VALUE, 2 ** -12, 2 ** -24, 2 ** -27, 2 ** -53],
  ...[0.25, 0.26, 0.5, 0.875, 1, 2, 4, 6, 10, 20, 2 ** 20, 2 ** 24, 2 ** 50, 2 ** 53, 2 ** 64, 2 ** 512, 2 ** 1023],
  ...[Math.SQRT1_2, Math.SQRT2, Math.LN2, Math.LN2 / 2, Math.E, 2 ** 63, 2 ** -64, 2 ** -512],
  // Where exponentials, their halves and erf overflow, vanish or saturate.
  ...[87.33654, 88.722839, 89.41599, 103.97208, 708.39641853226, 709.782712893384, 710.475860073944, 745.1332191019411],
  ...[5.9215871957945065, 3.832506, 13.2, 14.2, 26.5, 37.5, 38.5, 9.01, 18.37, 19.06],
  // Near multiples of pi / 2, by continued fractions, and far ones.
  ...[Math.PI / 4, Math.PI / 2, (3 * Math.PI) / 4, Math.PI, 2 * Math.PI, 45.553093477052, 14461176.67027838],
  ...[28922353.34055676, 563416747700.2246, 205097628711448.4, 6381956970095103 * 2 ** 797, 1e22, 16367173 * 2 ** 72],
]
/** The points with both signs, and their neighbours. */
export function hardPoints(type: Float): number[] {
  const last = type === 'float32' ? 2 ** -23 : 2 ** -52
  const steps = [-1, 0, 1]
  const near = points.flatMap(x => steps.map(n => rounded(type, x * (1 + n * last))))
  return [...new Set(near.flatMap(x => [x, -x]))].filter(x => x !== 0 && Number.isFinite(x))
}
