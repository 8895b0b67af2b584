/** Values on the host: how large they are, where they stand, how far apart. */

import type { DType } from '../graph/dtype.js'
import type { Shape } from '../graph/shape.js'

/** The largest finite magnitude, 0 where there is none. */
export const largest = (values: ArrayLike<number>): number => {
  let most = 0
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) most = Math.max(most, Math.abs(values[i]))
  return most
}

/** The position in a shape of element k in row-major order. */
export function positionOf(k: number, shape: Shape): number[] {
  const position: number[] = []
  for (const size of [...shape].reverse()) {
    position.unshift(k % size)
    k = Math.floor(k / size)
  }
  return position
}

/** Digits of the fraction and exponent of the smallest normal number. */
const formats: Readonly<Partial<Record<DType, readonly [digits: number, smallest: number]>>> = {
  float64: [52, -1022],
  float32: [23, -126],
  float16: [10, -14],
}

/** The distance from |x| to the next larger number of a float dtype. */
export function ulp(x: number, dtype: DType): number {
  const format = formats[dtype]
  if (!format) throw new Error(`ulp: ${dtype} is no float dtype`)
  const [digits, smallest] = format
  const exponent = x === 0 ? smallest : Math.max(smallest, Math.floor(Math.log2(Math.abs(x))))
  return 2 ** (exponent - digits)
}

/** Values as the code of nested arrays. */
export function literal(values: ArrayLike<number>, shape: Shape): string {
  const nest = (d: number, from: number, size: number): string => {
    if (d === shape.length) return Object.is(values[from], -0) ? '-0' : String(values[from])
    const step = size / shape[d]
    return `[${Array.from({ length: shape[d] }, (_, i) => nest(d + 1, from + i * step, step)).join(', ')}]`
  }
  return nest(0, 0, values.length)
}
