/**
 * The webgpu device against the float64 reference on sizes that reach its tiles, trees and splits, and to the bit where
 * it must be.
 */

import * as sp from 'saddlepoint'
import { afterAll, expect, test } from 'vitest'
import { exact, floating, type Make, uniform } from '../runtime/device-programs.js'

const reference = await sp.setDevice('reference')
const webgpu = await sp.setDevice('webgpu', { software: true })
afterAll(() => Promise.all([reference.close(), webgpu.close()]))

async function both(program: (u: Make) => sp.Tensor, dtype: sp.DType): Promise<{ want: number[]; got: number[] }> {
  await sp.setDevice(reference)
  const want = [...(await program(uniform(dtype)).data())]
  await sp.setDevice(webgpu)
  return { want, got: [...(await program(uniform(dtype)).data())] }
}

test.each(Object.entries(floating))('float32: %s', async (_, program) => {
  const { want, got } = await both(program, 'float32')
  expect(got.length).toBe(want.length)
  const scale = Math.max(1e-30, ...want.map(Math.abs))
  const worst = Math.max(0, ...want.map((w, i) => Math.abs(got[i] - w) / scale || 0))
  expect(got.every(Number.isFinite)).toBe(true)
  expect(worst).toBeLessThan(1e-5)
})

test.each(Object.entries(exact))('to the bit: %s', async (_, program) => {
  const { want, got } = await both(program, 'float32')
  expect(got).toEqual(want)
})

test.each(Object.keys(floating))('the same bits from run to run: %s', async name => {
  await sp.setDevice(webgpu)
  const program = floating[name]
  const [a, b] = [await program(uniform('float32')).data(), await program(uniform('float32')).data()]
  expect([...a]).toEqual([...b])
})
