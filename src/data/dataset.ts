/**
 * A data set in memory: named columns that share their first dimension, read by row, by range or in shuffled batches.
 * Files are others' concern, and so are tensors: what comes out are host arrays.
 */

import { dtypes, type HostArray, type TypedArray } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
import { sizeOf } from '../graph/shape.js'
import { checkHostArray } from './host.js'

export type Columns = Readonly<Record<string, HostArray>>

export interface Dataset {
  /** The number of rows. */
  readonly size: number
  readonly columns: Columns
  /** Rows `from` (included) to `to` (excluded); shares memory with this data set. */
  slice(from: number, to?: number): Dataset
  /** The rows at `indices`, in that order, copied: each column [indices.length, ...]. */
  rows(indices: ArrayLike<number>): Record<string, HostArray>
}

/** What models learn from, and what they are judged by. */
export interface Splits<T> {
  readonly train: T
  readonly test: T
}

export interface BatchOptions {
  readonly batchSize: number
  /** Seed of the order; the same seed gives the same order. Without it, rows come in the data set's order. */
  readonly shuffle?: number
  /** Leave out a last batch that is smaller than `batchSize`. */
  readonly dropLast?: boolean
}
const batchNames: Names<BatchOptions> = { batchSize: true, shuffle: true, dropLast: true }

const rowSize = (column: HostArray): number => sizeOf(column.shape.slice(1))

/**
 * A data set over `columns`, without copying them.
 * @throws Error when a column is no host array, a scalar, or differs in its first dimension
 */
export function dataset(columns: Columns): Dataset {
  const named = Object.entries(columns)
  if (named.length === 0) throw new Error('dataset: no columns: pass at least one, as in dataset({ x, y })')
  for (const [name, column] of named) {
    checkHostArray(`dataset: column '${name}'`, column)
    if (column.shape.length === 0)
      throw new Error(`dataset: column '${name}' is a scalar: it needs a first dimension, the rows`)
  }
  const size = named[0][1].shape[0]
  if (named.some(([, column]) => column.shape[0] !== size)) {
    const found = named.map(([name, { shape }]) => `'${name}' [${shape}]`).join(', ')
    throw new Error(`dataset: columns differ in their first dimension: ${found}: each needs one entry a row`)
  }

  const map = (change: (column: HostArray, width: number) => HostArray): Record<string, HostArray> =>
    Object.fromEntries(named.map(([name, column]) => [name, change(column, rowSize(column))]))

  return {
    size,
    columns,
    slice(from, to = size) {
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to < from || to > size) {
        throw new Error(
          `dataset.slice: ${from} to ${to} of ${size} rows: needs integers with 0 <= from <= to <= ${size}`,
        )
      }
      return dataset(
        map(({ dtype, shape, data }, width) => ({
          dtype,
          shape: [to - from, ...shape.slice(1)],
          data: data.subarray(from * width, to * width),
        })),
      )
    },
    rows(indices) {
      for (let i = 0; i < indices.length; i++) {
        if (!(Number.isInteger(indices[i]) && indices[i] >= 0 && indices[i] < size)) {
          throw new Error(`dataset.rows: index ${indices[i]} at ${i}: needs an integer from 0 to ${size - 1}`)
        }
      }
      return map(({ dtype, shape, data }, width) => ({
        dtype,
        shape: [indices.length, ...shape.slice(1)],
        data: gathered(data, new dtypes[dtype].array(indices.length * width), indices, width),
      }))
    },
  }
}

function gathered(from: TypedArray, to: TypedArray, indices: ArrayLike<number>, width: number): TypedArray {
  for (let i = 0; i < indices.length; i++)
    to.set(from.subarray(indices[i] * width, (indices[i] + 1) * width), i * width)
  return to
}

/** Writes row i of `values` to row `at[i]` of a column; what is undefined there is left out. */
export function putRows(column: HostArray, values: TypedArray, at: readonly (number | undefined)[]): void {
  const width = rowSize(column)
  at.forEach((row, i) => {
    if (row !== undefined) column.data.set(values.subarray(i * width, (i + 1) * width) as never, row * width)
  })
}

/** One pass over `data` in batches; the last one is smaller where `batchSize` does not divide the size. */
export function batches(data: Dataset, options: BatchOptions): Generator<Record<string, HostArray>, void, undefined> {
  const { batchSize, shuffle, dropLast = false } = knownOptions('batches', options, batchNames)
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new Error(`batches: batchSize ${batchSize}: needs a positive integer`)
  }
  if (dropLast && batchSize > data.size) {
    throw new Error(
      `batches: batchSize ${batchSize} of ${data.size} rows with dropLast leaves no batch: make it smaller`,
    )
  }
  if (shuffle !== undefined && !Number.isInteger(shuffle)) {
    throw new Error(`batches: shuffle ${shuffle}: needs an integer, the seed of the order`)
  }
  // The arguments are checked at the call; a generator alone would check them at its first step.
  return inOrder(
    data,
    shuffle === undefined ? identity(data.size) : permutation(data.size, shuffle),
    batchSize,
    dropLast,
  )
}

function* inOrder(data: Dataset, order: Uint32Array, batchSize: number, dropLast: boolean) {
  const end = dropLast ? data.size - (data.size % batchSize) : data.size
  for (let at = 0; at < end; at += batchSize) yield data.rows(order.subarray(at, Math.min(at + batchSize, end)))
}

const identity = (n: number): Uint32Array => Uint32Array.from({ length: n }, (_, i) => i)

/** Fisher-Yates: every order is equally likely, up to 32-bit randomness. */
function permutation(n: number, seed: number): Uint32Array {
  const order = identity(n)
  const key = splitmix32(seed)
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor((splitmix32(key + i) / 2 ** 32) * (i + 1))
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  return order
}

/** The splitmix32 generator as a function of its counter: 32 random bits, uint32. */
function splitmix32(counter: number): number {
  let z = Math.imul(counter | 0, 0x9e3779b9)
  z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
  return (z ^ (z >>> 15)) >>> 0
}
