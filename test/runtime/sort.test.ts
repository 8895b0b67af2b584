/** Sorting in WebAssembly, on any number of threads. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { afterAll, expect, test } from 'vitest'
import type { DType } from '../../src/graph/dtype.js'
import { holds, Rng } from '../oracle/property.js'
import { orderOfRows, sortable, valuesFor } from '../oracle/sorted.js'

afterAll(() => sp.setDevice('wasm'))

async function expectOrder(type: DType, rows: number, length: number, rng: Rng): Promise<void> {
  const x = sp.astype(sp.tensor(valuesFor(type, rows * length, rng), { shape: [rows, length] }), type)
  const values = Float64Array.from(await x.data(), Number)
  expect(Array.from(await sp.argsort(x).data()), `${rows} rows of ${length}`).toEqual(orderOfRows(rows, values))
}

// Runs of every length, filled up and not, and several merges of them.
const lengths = [1, 2, 5, 8, 9, 10, 15, 16, 17, 33, 64, 65, 100, 784, 1000, 4097]
test.each([1, 2, 3])('on %d threads: the stable order of rows of any type, NaN last', async threads => {
  await sp.setDevice('wasm', { threads })
  const rng = new Rng(threads)
  for (const type of sortable)
    for (const length of lengths) for (const rows of [1, 2, 5]) await expectOrder(type, rows, length, rng)
})

test('any rows, lengths and types', async () => {
  await sp.setDevice('wasm', { threads: 2 })
  const shape = fc.oneof(
    fc.record({ rows: fc.integer({ min: 1, max: 700 }), length: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ rows: fc.integer({ min: 1, max: 4 }), length: fc.integer({ min: 1, max: 9000 }) }),
  )
  const property = fc.asyncProperty(shape, fc.constantFrom(...sortable), fc.nat(), ({ rows, length }, type, seed) =>
    expectOrder(type, rows, length, new Rng(seed)),
  )
  await holds(property, 100)
})
