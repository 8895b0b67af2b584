import { describe, expect, test } from 'vitest'
import { batches, dataset } from '../../src/data/dataset.js'
import { tensorsOf } from '../../src/data/tensors.js'
import { type DType, dtypes, type HostArray } from '../../src/graph/dtype.js'

const host = (dtype: DType, shape: number[], values: number[]): HostArray => ({
  dtype,
  shape,
  data: new dtypes[dtype].array(values),
})
/** n rows: x [n, 2] holds 10 i and 10 i + 1, y [n] holds i. */
const rows = (n: number) =>
  dataset({
    x: host(
      'float32',
      [n, 2],
      Array.from({ length: 2 * n }, (_, k) => 10 * (k >> 1) + (k & 1)),
    ),
    y: host(
      'int32',
      [n],
      Array.from({ length: n }, (_, i) => i),
    ),
  })
const order = (n: number, batchSize: number, shuffle?: number) =>
  [...batches(rows(n), { batchSize, shuffle })].flatMap(batch => [...batch.y.data])

test('tensorsOf gives every column as a tensor', async () => {
  const { x, y } = tensorsOf(rows(3).rows([2, 0]))
  expect([x.dtype, x.shape, y.dtype, y.shape]).toEqual(['float32', [2, 2], 'int32', [2]])
  expect([Array.from(await x.data()), Array.from(await y.data())]).toEqual([
    [20, 21, 0, 1],
    [2, 0],
  ])
})

describe('dataset', () => {
  test('rows gathers every column, in order and with repeats, as a copy', () => {
    const data = rows(4)
    const got = data.rows([2, 0, 2])
    expect(got).toEqual({ x: host('float32', [3, 2], [20, 21, 0, 1, 20, 21]), y: host('int32', [3], [2, 0, 2]) })
    got.y.data[0] = 99
    expect(data.columns.y.data[2]).toBe(2)
    expect(data.rows([]).x.shape).toEqual([0, 2])
  })

  test('slice is a data set of its own over the same memory', () => {
    const data = rows(5)
    const part = data.slice(1, 4)
    expect(part.size).toBe(3)
    expect(part.columns.x).toEqual(host('float32', [3, 2], [10, 11, 20, 21, 30, 31]))
    expect(part.rows([2]).y.data).toEqual(Int32Array.of(3))
    expect(part.columns.x.data.buffer).toBe(data.columns.x.data.buffer)
    expect(data.slice(3).size).toBe(2)
    expect(data.slice(5).size).toBe(0)
  })

  test('columns that do not fit are refused', () => {
    const x = host('float32', [2], [1, 2])
    expect(() => dataset({})).toThrow('dataset: no columns')
    expect(() => dataset({ x, y: host('int32', [3], [1, 2, 3]) })).toThrow("first dimension: 'x' [2], 'y' [3]")
    expect(() => dataset({ x: host('float32', [], [1]) })).toThrow("'x' is a scalar")
    expect(() => dataset({ x: host('float32', [2, 2], [1, 2, 3]) })).toThrow(
      "'x' of shape [2,2] needs 4 values, but has 3",
    )
    // @ts-expect-error a list of numbers
    expect(() => dataset({ x, a: [1, 2] })).toThrow(
      "dataset: column 'a' is no host array: it needs { dtype, shape, data }",
    )
    // @ts-expect-error nothing
    expect(() => dataset({ a: undefined })).toThrow("dataset: column 'a' is no host array")
    expect(() => dataset({ a: { ...x, dtype: 'int32' } })).toThrow(
      "dataset: column 'a' is int32, so its data must be Int32Array, not Float32Array",
    )
  })

  test('rows and ranges outside are refused', () => {
    for (const index of [-1, 3, 0.5, NaN]) expect(() => rows(3).rows([0, index])).toThrow(`index ${index} at 1`)
    for (const [from, to] of [
      [-1, 2],
      [2, 1],
      [0, 4],
      [0.5, 1],
    ]) {
      expect(() => rows(3).slice(from, to)).toThrow(`dataset.slice: ${from} to ${to} of 3 rows`)
    }
  })
})

describe('batches', () => {
  test('cover the rows in order; the last one is smaller or left out', () => {
    const sizes = (dropLast: boolean) => [...batches(rows(7), { batchSize: 3, dropLast })].map(batch => batch.x.shape)
    expect(order(7, 3)).toEqual([0, 1, 2, 3, 4, 5, 6])
    expect(sizes(false)).toEqual([
      [3, 2],
      [3, 2],
      [1, 2],
    ])
    expect(sizes(true)).toEqual([
      [3, 2],
      [3, 2],
    ])
  })

  test('shuffling keeps every row once and its columns together', () => {
    const shuffled = order(100, 7, 1)
    expect(shuffled).not.toEqual(order(100, 7))
    expect(shuffled.toSorted((a, b) => a - b)).toEqual(order(100, 7))
    for (const { x, y } of batches(rows(20), { batchSize: 1, shuffle: 5 })) expect(x.data[0]).toBe(10 * y.data[0])
  })

  test('the same seed gives the same order, whatever the batch size; another seed another, 0 included', () => {
    expect(order(50, 8, 3)).toEqual(order(50, 16, 3))
    const orders = [undefined, 0, 1, 2, -1, 2 ** 31].map(seed => order(50, 8, seed).join())
    expect(new Set(orders).size).toBe(orders.length)
    // Pinned: a changed generator would silently change everybody's runs.
    expect(order(8, 8, 42)).toEqual([4, 0, 6, 1, 5, 3, 2, 7])
  })

  test('every order of 4 rows is about equally likely', () => {
    const counts = new Map<string, number>()
    for (let seed = 0; seed < 12000; seed++) {
      const key = order(4, 4, seed).join()
      counts.set(key, (counts.get(key) ?? 0) + 1)
    }
    expect(counts.size).toBe(24)
    // Chi-squared with 23 degrees of freedom: 49.7 is its 99.9% point.
    const chi = [...counts.values()].reduce((sum, n) => sum + (n - 500) ** 2 / 500, 0)
    expect(chi).toBeLessThan(49.7)
  })

  test('bad options are refused at the call, before the first batch is asked for', () => {
    for (const batchSize of [0, -1, 1.5, NaN])
      expect(() => batches(rows(3), { batchSize })).toThrow(`batchSize ${batchSize}`)
    expect(() => batches(rows(3), { batchSize: 4, dropLast: true })).toThrow('leaves no batch')
    expect(() => batches(rows(3), { batchSize: 1, shuffle: 0.5 })).toThrow('shuffle 0.5')
  })
})
