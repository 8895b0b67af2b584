/** Tensors against what the interpreter makes of their graphs. */

import * as sp from 'saddlepoint'
import { expect } from 'vitest'
import { interpret } from './interpret.js'

/** Numbers that repeat nowhere, as float64. */
export const numbers = (seed: number, ...shape: number[]): sp.Tensor =>
  sp.tensor(
    Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, i) => Math.sin(seed + i * i)),
    { shape, dtype: 'float64' },
  )

/** Realises float64 tensors on the device in use and expects the interpreter's values, but for rounding. */
export async function expectInterpreted(roots: readonly sp.Tensor[]): Promise<void> {
  const expected = interpret(roots.map(r => r.node))
  await sp.realize(roots)
  for (const [i, root] of roots.entries()) {
    const got = await root.data()
    const scale = Math.max(1, ...expected[i].data.map(Math.abs))
    got.forEach((g, k) => {
      expect(Math.abs(Number(g) - expected[i].data[k]) / scale, `root ${i}, element ${k}`).toBeLessThan(1e-12)
    })
  }
}
