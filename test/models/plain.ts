/** What networks compute, in float64 on plain arrays and in the layouts of torch. Shares no code with the library. */

export type Vector = readonly number[]
export type Matrix = readonly Vector[]
/** [channels][height][width] */
export type Image = readonly Matrix[]

/** Stored arrays by name: [outputs, inputs] and [outputs, inputs, height, width]. */
export interface Stored {
  readonly shape: readonly number[]
  readonly data: ArrayLike<number>
}
export type Weights = Readonly<Record<string, Stored>>

export const linear = (x: Vector, w: Weights, name: string): number[] => {
  const [weight, bias] = [w[`${name}.weight`], w[`${name}.bias`]]
  return Array.from({ length: weight.shape[0] }, (_, o) =>
    x.reduce((s, v, i) => s + v * weight.data[o * x.length + i], bias.data[o]),
  )
}

export function layerNorm(x: Vector, w: Weights, name: string, epsilon: number): number[] {
  const mean = x.reduce((s, v) => s + v, 0) / x.length
  const variance = x.reduce((s, v) => s + (v - mean) ** 2, 0) / x.length
  const [weight, bias] = [w[`${name}.weight`].data, w[`${name}.bias`].data]
  return x.map((v, i) => ((v - mean) / Math.sqrt(variance + epsilon)) * weight[i] + bias[i])
}

/** The error function by its power series; for |x| below 4 to 10 digits. */
export function erf(x: number): number {
  let [term, sum] = [x, x]
  for (let n = 1; n < 100; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

export const plus = (a: Vector, b: Vector): number[] => a.map((v, i) => v + b[i])

/** 3x3 convolution with a border of one zero. */
export function convolve(x: Image, w: Weights, name: string, stride = 1): number[][][] {
  const { shape, data } = w[`${name}.weight`]
  const bias = w[`${name}.bias`]?.data
  const [outputs, inputs] = shape
  const at = (c: number, y: number, z: number): number => x[c][y]?.[z] ?? 0
  const places = (n: number): number[] => Array.from({ length: Math.ceil(n / stride) }, (_, i) => i * stride)
  return Array.from({ length: outputs }, (_, o) =>
    places(x[0].length).map(y =>
      places(x[0][0].length).map(z => {
        let sum = bias?.[o] ?? 0
        for (let c = 0; c < inputs; c++)
          for (let a = 0; a < 3; a++)
            for (let b = 0; b < 3; b++) sum += at(c, y + a - 1, z + b - 1) * data[((o * inputs + c) * 3 + a) * 3 + b]
        return sum
      }),
    ),
  )
}

export const mapImage = (x: Image, f: (v: number, channel: number) => number): number[][][] =>
  x.map((rows, c) => rows.map(row => row.map(v => f(v, c))))

export const relu = (x: Image): number[][][] => mapImage(x, v => Math.max(0, v))

/** The largest of each 2x2 window. */
export const pool = (x: Image): number[][][] =>
  x.map(rows =>
    Array.from({ length: Math.floor(rows.length / 2) }, (_, y) =>
      Array.from({ length: Math.floor(rows[0].length / 2) }, (_, z) =>
        Math.max(rows[2 * y][2 * z], rows[2 * y][2 * z + 1], rows[2 * y + 1][2 * z], rows[2 * y + 1][2 * z + 1]),
      ),
    ),
  )

/** Numbers on ±1 that look random, the same in every run. */
export function numbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  }
}

/** A float64 array of such numbers, as a file would hold it. */
export function drawn(next: () => number, shape: readonly number[], scale = 1, shift = 0) {
  const data = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => next() * scale + shift)
  return { dtype: 'float64' as const, shape, data }
}
