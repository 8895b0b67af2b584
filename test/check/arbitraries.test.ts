/** Generators of cases: each keeps its promises, and shrinks to the simplest case that fails. */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { arbitraries } from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'
import { holds } from '../oracle/property.js'

const { shapes, broadcastableShapes, tensors, axis, axes, indices } = arbitraries(fc)

describe('promises', () => {
  const rows: readonly [string, fc.Arbitrary<unknown>, (value: never) => void | Promise<void>][] = [
    [
      'shapes: rank and sizes within their bounds',
      shapes({ minRank: 1, maxRank: 2, minSize: 0, maxSize: 3 }),
      (shape: number[]) => {
        expect([1, 2]).toContain(shape.length)
        expect(shape.every(n => n >= 0 && n <= 3)).toBe(true)
      },
    ],
    [
      'broadcastableShapes: they do',
      broadcastableShapes({ count: 3, minSize: 0 }),
      (list: number[][]) => {
        expect(list).toHaveLength(3)
        const [a, b, c] = list.map(shape => sp.zeros(shape))
        expect(sp.add(sp.add(a, b), c).ndim).toBe(Math.max(...list.map(s => s.length)))
      },
    ],
    [
      'tensors: shape, dtype, range',
      tensors({ shape: [2, 3], dtype: 'float32', range: [-1, 0.5] }),
      async (t: sp.Tensor) => {
        expect([t.shape, t.dtype]).toEqual([[2, 3], 'float32'])
        expect([...(await t.data())].every(x => x >= -1 && x <= 0.5)).toBe(true)
      },
    ],
    [
      'tensors: no ties, no zeros, far enough apart for differences',
      tensors({ shape: shapes({ maxSize: 3 }), ties: false, zeros: false }),
      async (t: sp.Tensor) => {
        const sorted = [...(await t.data()), 0].sort((a, b) => a - b)
        expect(sorted.every((x, i) => i === 0 || x - sorted[i - 1] > 0.0009)).toBe(true)
      },
    ],
    [
      'tensors: no infinities nor NaN unless asked for',
      tensors(),
      async (t: sp.Tensor) => expect([...(await t.data())].every(Number.isFinite)).toBe(true),
    ],
    [
      'tensors: of integers that the dtype holds',
      tensors({ dtype: 'uint32' }),
      async (t: sp.Tensor) => expect([...(await t.data())].every(x => x >= 0 && x <= 10)).toBe(true),
    ],
    [
      'tensors: of bools',
      tensors({ dtype: 'bool', shape: [2] }),
      async (t: sp.Tensor) => expect([...(await t.data())].every(x => x === 0 || x === 1)).toBe(true),
    ],
    ['axis: of the rank', axis(3), (d: number) => expect(sp.max(sp.zeros([1, 1, 1]), { axis: d }).ndim).toBe(2)],
    [
      'axes: of the rank, none twice',
      axes(4),
      (list: number[]) => expect(sp.sum(sp.zeros([1, 1, 1, 1]), { axis: list }).ndim).toBe(4 - list.length),
    ],
    [
      'indices: within the axis',
      indices(3),
      async (t: sp.Tensor) => {
        expect(t.dtype).toBe('int32')
        expect([...(await t.data())].every(i => i >= 0 && i < 3)).toBe(true)
      },
    ],
    [
      'indices: without duplicates, a permutation',
      indices(4, { shape: [2, 2], duplicates: false }),
      async (t: sp.Tensor) => expect([...(await t.data())].sort()).toEqual([0, 1, 2, 3]),
    ],
  ]
  for (const [name, arbitrary, check] of rows)
    test(name, () =>
      holds(
        fc.asyncProperty(arbitrary, async value => {
          await check(value as never)
        }),
        50,
      ),
    )
})

describe('everything that may come does come', () => {
  /** The values of 200 tensors. */
  const values = async (arbitrary: fc.Arbitrary<sp.Tensor>): Promise<number[]> =>
    (await Promise.all(fc.sample(arbitrary, { numRuns: 200, seed: 3 }).map(async t => [...(await t.data())]))).flat()
  test('infinities, NaN, zeros, whole numbers and fractions', async () => {
    const seen = await values(tensors({ infinities: true, nan: true }))
    for (const value of [Infinity, -Infinity, 0]) expect(seen).toContain(value)
    expect(seen.some(Number.isNaN)).toBe(true)
    expect(seen.some(x => Number.isInteger(x) && x !== 0)).toBe(true)
    expect(seen.some(x => Number.isFinite(x) && !Number.isInteger(x))).toBe(true)
  })
  test('indices out of range on both sides', async () => {
    const seen = await values(indices(3, { outOfRange: true }))
    expect(Math.min(...seen)).toBeLessThan(0)
    expect(Math.max(...seen)).toBeGreaterThan(2)
  })
  test('negative axes, empty shapes, sizes of 0', () => {
    const all = <T>(arbitrary: fc.Arbitrary<T>): T[] => fc.sample(arbitrary, { numRuns: 200, seed: 3 })
    expect(new Set(all(axis(2)))).toEqual(new Set([0, 1, -1, -2]))
    expect(all(axes(2)).flat()).toContain(-2)
    expect(all(shapes({ minSize: 0 })).flat()).toContain(0)
    expect(all(shapes())).toContainEqual([])
    expect(all(broadcastableShapes()).some(([a, b]) => a.length !== b.length)).toBe(true)
  })
})

describe('shrinks', () => {
  /** The counterexample that a predicate of the values shrinks to, as it is reported. */
  const smallest = async (
    arbitrary: fc.Arbitrary<sp.Tensor>,
    holds: (values: number[]) => boolean,
  ): Promise<string> => {
    const property = fc.asyncProperty(arbitrary, async t => holds([...(await t.data())]))
    const { counterexample } = await fc.check(property, { seed: 1, numRuns: 1000 })
    return fc.stringify(counterexample?.[0])
  }
  test('values towards 0 and few digits, shapes towards few elements', async () => {
    expect(await smallest(tensors(), v => v.every(x => x < 2.5))).toBe("tensor(2.5, { dtype: 'float64' })")
    expect(await smallest(tensors(), v => v.length < 2)).toBe("tensor([0, 0], { dtype: 'float64' })")
    expect(await smallest(tensors({ shape: [] }), v => v.every(x => x < 0.25 || x >= 1))).toBe(
      "tensor(0.25, { dtype: 'float64' })",
    )
  })
  test('what is printed is what it was', async () => {
    expect(await smallest(tensors({ shape: [1, 2], infinities: true }), v => v.every(Number.isFinite))).toMatch(
      /^tensor\(\[\[(-?Infinity, 0|0, -?Infinity)\]\], \{ dtype: 'float64' \}\)$/,
    )
    expect(await smallest(tensors({ shape: [0, 2], dtype: 'int32' }), () => false)).toBe(
      "tensor([], { shape: [0, 2], dtype: 'int32' })",
    )
  })
})

test('a range without values', () => {
  expect(() => tensors({ range: [1, -1] })).toThrow(
    'tensors: no float64 of at most three digits is in the range [1,-1]',
  )
  expect(() => tensors({ range: [0, 0], zeros: false })).toThrow(
    'tensors: no float64 of at most three digits but 0 is in the range [0,0]',
  )
})

describe('values that differ', () => {
  const distinct = async (arbitrary: fc.Arbitrary<sp.Tensor>): Promise<number> => {
    const sizes = await Promise.all(
      fc.sample(arbitrary, { numRuns: 50, seed: 4 }).map(async t => {
        expect(new Set(await t.data()).size).toBe(t.size)
        return t.size
      }),
    )
    return Math.max(...sizes)
  }
  test('shapes for which there are too few do not come', async () => {
    expect(await distinct(indices(3, { duplicates: false }))).toBe(3)
    expect(await distinct(tensors({ dtype: 'bool', ties: false }))).toBe(2)
    expect(await distinct(tensors({ shape: shapes({ maxRank: 1 }), range: [0, 0.001], ties: false }))).toBe(2)
  })
  test('all that there are can be had', async () => {
    const range = [-1, 1] as const
    expect(await distinct(tensors({ shape: [3], dtype: 'int32', range, ties: false }))).toBe(3)
    expect(await distinct(tensors({ shape: [2], dtype: 'int32', range, ties: false, zeros: false }))).toBe(2)
    const special = { range: [0, 0.001], infinities: true, nan: true, ties: false } as const
    expect(await distinct(tensors({ shape: [5], ...special }))).toBe(5)
    expect(await distinct(indices(1, { shape: [5], outOfRange: true, duplicates: false }))).toBe(5)
  })
  test('a shape for which there are too few is an error', () => {
    expect(() => indices(2, { shape: [3], duplicates: false })).toThrow(
      'indices: shape [3] needs 3 distinct values, there are 2; let them repeat, or widen the range',
    )
    expect(() => tensors({ shape: [3], dtype: 'bool', ties: false })).toThrow('needs 3 distinct values, there are 2')
    const few = { dtype: 'int32', range: [0, 9], ties: false } as const
    expect(() => tensors({ shape: [20], ...few })).toThrow('needs 20 distinct values, there are 10')
    expect(() => tensors({ shape: [10], ...few, zeros: false })).toThrow('needs 10 distinct values, there are 9')
    expect(() => fc.sample(tensors({ shape: fc.constant([4, 3]), ...few }))).toThrow('shape [4,3] needs 12')
  })
})
