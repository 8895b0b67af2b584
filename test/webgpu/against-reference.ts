/** Programs on the webgpu device (on the software driver) against the float64 reference. */

import * as sp from 'saddlepoint'
import { afterAll, expect } from 'vitest'

/** A tensor of uniform random numbers from -1 to 1. */
export type Make = (seed: number, ...shape: number[]) => sp.Tensor
export type Programs = { readonly [name: string]: (u: Make) => sp.Tensor }

const maker =
  (dtype: 'float32' | 'float64'): Make =>
  (seed, ...shape) => {
    // Weyl sequences of different seeds, mixed a little: leaves, so that no kernel under test computes random numbers.
    const size = shape.reduce((n, s) => n * s, 1)
    const data = Float64Array.from({ length: size }, (_, i) => {
      const x = Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(seed, 0x85ebca6b)
      return Math.fround(Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) / 2 ** 31)
    })
    return sp.tensor(dtype === 'float32' ? Float32Array.from(data) : data, { shape })
  }

let gpu: sp.Device | undefined
afterAll(() => gpu?.close())

export async function onGpu(): Promise<sp.Device> {
  gpu ??= await sp.setDevice('webgpu', { software: true })
  return sp.setDevice(gpu)
}

async function both(program: (u: Make) => sp.Tensor, dtype: 'float32' | 'float64'): Promise<ArrayLike<number>[]> {
  await (await sp.setDevice('reference')).close()
  const want = await program(maker(dtype)).data()
  await onGpu()
  return [want, await program(maker(dtype)).data()]
}

/** Expects results within `bound` of the largest magnitude among them. */
export async function expectClose(
  program: (u: Make) => sp.Tensor,
  bound: number,
  dtype: 'float32' | 'float64',
): Promise<void> {
  const [want, got] = await both(program, dtype)
  expect(got.length).toBe(want.length)
  let [scale, worst] = [1e-30, 0]
  for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i]))
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i] - want[i]) / scale
    worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error)
  }
  expect(worst).toBeLessThan(bound)
}

/** Expects the same numbers; NaN equals NaN. */
export async function expectEqual(
  program: (u: Make) => sp.Tensor,
  dtype: 'float32' | 'float64' = 'float32',
): Promise<void> {
  const [want, got] = await both(program, dtype)
  expect(Array.from(got)).toEqual(Array.from(want))
}
