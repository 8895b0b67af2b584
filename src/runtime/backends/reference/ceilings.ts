/** Measures what plain JavaScript loops over float64 can do at most: multiply-adds and bytes copied in a second. */

import type { Ceilings } from '../../profile.js'

const elements = 2 ** 20
const loops = 200_000
const rounds = 10

/** The least seconds that f takes: the first rounds compile it. */
function secondsOf(f: () => void): number {
  const times = Array.from({ length: rounds }, () => {
    const start = performance.now()
    f()
    return performance.now() - start
  })
  return Math.min(...times) / 1000
}

export function measureCeilings(): Ceilings {
  const source = new Float64Array(elements).fill(1)
  const target = new Float64Array(elements)
  const copy = secondsOf(() => {
    for (let i = 0; i < elements; i++) target[i] = source[i]
  })
  const peak = secondsOf(() => {
    let [a, b, c, d] = target
    const x = source[0]
    for (let i = 0; i < loops; i++) {
      a += x * i
      b += x * i
      c += x * i
      d += x * i
    }
    target.set([a, b, c, d])
  })
  return { bytesPerSecond: (2 * 8 * elements) / copy, flopsPerSecond: (4 * 2 * loops) / peak }
}
