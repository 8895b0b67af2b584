/** The derivative of every primitive against central differences in float64, at orders 1, 2 and 3, over random shapes. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'
import { primitives } from '../../src/graph/primitives.js'
import { holds, Rng } from '../oracle/property.js'
import { primitiveCases } from './primitive-cases.js'

type Tensor = sp.Tensor

test('the table has a row for each primitive', () => {
  expect(Object.keys(primitiveCases).sort()).toEqual([...primitives].sort())
})

describe('derivatives to order 3 agree with central differences', () => {
  for (const primitive of primitives) {
    const row = primitiveCases[primitive]
    if (typeof row === 'string') continue
    test(primitive, async () => {
      for (const make of row) {
        await holds(
          fc.asyncProperty(fc.nat(1e6), async seed => {
            const { f, args } = make(new Rng(seed))
            await checkGrads(f, [...args], { order: 3, tolerance: 2e-6, seed })
          }),
          4,
        )
      }
    })
  }
})

test('a cast passes the cotangent', async () => {
  const through = (x: Tensor): Tensor => sp.sum(sp.mul(sp.astype(x, 'float32'), 3))
  const x = sp.tensor([1, 2], { dtype: 'float64' })
  expect(await sp.grad(through)(x).array()).toEqual([3, 3])
})

describe('nothing to differentiate', () => {
  const x = sp.tensor([0.3, -1.7], { dtype: 'float64' })
  const { sign, floor, ceil, round, trunc } = sp
  for (const [name, op] of Object.entries({ sign, floor, ceil, round, trunc })) {
    test(`${name} has gradient 0`, async () => {
      expect(
        await sp
          .grad((y: Tensor) => sp.sum(sp.mul(op(y), 3)))(x)
          .array(),
      ).toEqual([0, 0])
    })
  }
})
