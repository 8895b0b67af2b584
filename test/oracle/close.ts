/** Comparing tensors with numbers and with each other. */

import { type NestedArray, realize, type Tensor } from 'saddlepoint'
import { expect } from 'vitest'
import { interpret } from './interpret.js'

const flat = (x: NestedArray): number[] => (Array.isArray(x) ? x.flatMap(flat) : [Number(x)])
const shapeOf = (x: NestedArray): number[] => (Array.isArray(x) ? [x.length, ...(x.length ? shapeOf(x[0]) : [])] : [])

/** Demands the expected shape and values, up to a relative error (an absolute one below 1); NaN equals NaN. */
export async function expectClose(got: Tensor, expected: Tensor | NestedArray, tolerance = 1e-9): Promise<void> {
  const values = Array.isArray(expected) || typeof expected !== 'object' ? (expected as NestedArray) : undefined
  const want = values === undefined ? [...(await (expected as Tensor).data())] : flat(values)
  const shape = values === undefined ? (expected as Tensor).shape : shapeOf(values)
  expect(got.shape).toEqual(shape)
  const data = [...(await got.data())]
  want.forEach((w, i) => {
    const g = data[i]
    const same = g === w || (Number.isNaN(g) && Number.isNaN(w))
    const error = same ? 0 : Math.abs(g - w) / Math.max(1, Math.abs(w))
    if (!(error <= tolerance)) expect(data, `element ${i}: ${g}, expected ${w}, error ${error}`).toEqual(want)
  })
}

/** Demands the values that the interpreter finds for expressions, computed together, up to a share of the largest of each. */
export async function expectInterpreted(of: Tensor | readonly Tensor[], tolerance = 2e-6): Promise<void> {
  const tensors = [of].flat() as Tensor[]
  const expected = interpret(tensors.map(t => t.node))
  await realize(tensors)
  for (const [i, t] of tensors.entries()) {
    const got = await t.data()
    const { data } = expected[i]
    const scale = data.reduce((most, e) => Math.max(most, Math.abs(e)), 0)
    const worst = data.reduce((most, e, i) => Math.max(most, Math.abs(Number(got[i]) - e) / scale), 0)
    expect(got.every(Number.isFinite)).toBe(true)
    expect(worst).toBeLessThan(tolerance)
  }
}
