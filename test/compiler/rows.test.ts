/** Which steps of a program go through rows together, in which order bundles run, and when kernels do. */

import { describe, expect, test } from 'vitest'
import { addIndex, axisIndex, type Condition, type Index, offsetIndex, scaleIndex } from '../../src/compiler/affine.js'
import { type Expr, ExprTable } from '../../src/compiler/expr.js'
import { type BufferSpec, bufferReads, bufferWrites, type LoopKernel } from '../../src/compiler/kernel.js'
import { heirsOf, joinSteps, momentsOf, type RowStep } from '../../src/compiler/rows.js'

const [rows, length] = [8, 5]
const buffers: BufferSpec[] = Array.from({ length: 10 }, (_, b) => ({
  dtype: 'float32',
  size: rows * length,
  role: b === 0 ? 'leaf' : b === 9 ? 'result' : 'temporary',
}))

/** A step of loops over rows that puts values into buffers. */
function stepOf(index: number, outputs: LoopKernel['outputs'], reduce?: LoopKernel['reduce']): RowStep {
  const kernel: LoopKernel = { kind: 'loop', name: 'test', axes: [rows, length], reduce, outputs }
  const loops = { kernel, count: rows, multiple: 1 }
  return { index, loops, reads: bufferReads(kernel), writes: new Set(bufferWrites(kernel)) }
}
type Place = (row: Index, column: Index) => Index
const load = (exprs: ExprTable, from: number, place: Place, ...conditions: Condition[]): Expr =>
  exprs.load(from, 'float32', place(axisIndex(0, rows), axisIndex(1, length)), conditions)
/** A step that copies one buffer into others: by itself, or read at another place. */
const copying = (index: number, from: number, to: number | number[], place: Place = inRow): RowStep => {
  const value = load(new ExprTable(), from, place)
  return stepOf(
    index,
    [to].flat().map(buffer => ({ buffer, value })),
  )
}
const inRow = (row: Index, column: Index): Index => addIndex(scaleIndex(row, length), column)
/** The first of each row: one row needs all of itself. */
const first = (row: Index): Index => scaleIndex(row, length)
/** A step that is no loops. */
const other = (index: number, from: number, to: number): RowStep => ({
  index,
  reads: new Set([from]),
  writes: new Set([to]),
})
const bundles = (steps: RowStep[], isWorth = (n: number) => n >= rows): number[][] =>
  joinSteps(steps, buffers, ({ group }) => isWorth(group.rows)).map(b => b.steps.map(s => s.index))

describe('joinSteps', () => {
  test('steps join the one that they read of, if each row needs only itself', () => {
    expect(bundles([copying(0, 0, 1), copying(1, 1, 2), copying(2, 2, 3, first)])).toEqual([[0, 1, 2]])
    expect(bundles([copying(0, 0, 1), copying(1, 1, 2, row => offsetIndex(scaleIndex(row, -length), 35))])).toEqual([
      [0],
      [1],
    ])
    expect(bundles([copying(0, 0, 1), copying(1, 0, 2)])).toEqual([[0], [1]])
    expect(bundles([copying(0, 0, 1), other(1, 1, 2), copying(2, 2, 3)])).toEqual([[0], [1], [2]])
  })
  test('where rows do not do, all may be one row, if that is worth it', () => {
    const steps = [
      copying(0, 0, 1),
      copying(1, 1, 2, (row, column) => offsetIndex(scaleIndex(inRow(row, column), -1), 39)),
    ]
    expect(bundles(steps)).toEqual([[0], [1]])
    expect(bundles(steps, n => n === 1)).toEqual([[0, 1]])
  })
  test('a step goes back over what it does not need, and so do those that read of it', () => {
    const steps = [copying(0, 0, 1), other(1, 0, 2), copying(2, 1, 3), copying(3, 3, 4), other(4, 4, 5)]
    expect(bundles(steps)).toEqual([[0, 2, 3], [1], [4]])
  })
  test('a step stays behind all that it reads', () => {
    const two = { ...copying(2, 1, 3), reads: new Set([1, 2]) }
    expect(bundles([copying(0, 0, 1), other(1, 0, 2), two])).toEqual([[0], [1], [2]])
  })
  test('long chains are several groups', () => {
    const chain = Array.from({ length: 40 }, (_, i) => copying(i, i % 2, 1 - (i % 2)))
    const sizes = bundles(chain).map(b => b.length)
    expect(sizes.reduce((n, size) => n + size)).toBe(40)
    expect(Math.max(...sizes)).toBe(32)
  })
  test('what only a bundle knows: temporaries that no other step touches', () => {
    const own = (...steps: RowStep[]) => joinSteps(steps, buffers, ({ group }) => group.rows >= rows).map(b => b.own)
    expect(own(copying(0, 0, 1), copying(1, 1, 2), copying(2, 2, 9))).toEqual([[1, 2]])
    expect(own(copying(0, 0, 1), copying(1, 1, 2), other(2, 1, 9))).toEqual([[2], []])
    expect(own(copying(0, 0, 1), other(1, 1, 9))).toEqual([[], []])
  })
})

describe('heirsOf', () => {
  /** The heirs of the one bundle that the steps make. */
  const heirs = (steps: RowStep[], specs = buffers): [number, number][] => {
    const all = joinSteps(steps, specs, ({ group }) => group.rows >= rows)
    expect(all.length).toBe(1)
    return [...heirsOf(all[0], specs)].sort(([a], [b]) => a - b)
  }
  /** A step that adds two buffers, the second at another place. */
  const adding = (index: number, a: number, b: number, to: number | number[], place: Place = inRow): RowStep => {
    const exprs = new ExprTable()
    const value = exprs.operation('add', 'float32', load(exprs, a, inRow), load(exprs, b, place))
    return stepOf(
      index,
      [to].flat().map(buffer => ({ buffer, value })),
    )
  }

  test('a temporary lies where the last that reads it writes', () => {
    expect(heirs([copying(0, 0, 1), copying(1, 1, 9)])).toEqual([[1, 9]])
    expect(heirs([copying(0, 0, 1), copying(1, 1, 2, first), adding(2, 1, 2, 9, first)])).toEqual([[1, 9]])
  })
  test('an heir has one in its turn', () => {
    expect(heirs([copying(0, 0, 1), copying(1, 1, 2), copying(2, 2, 9)])).toEqual([
      [1, 9],
      [2, 9],
    ])
    expect(heirs([copying(0, 0, 1), copying(1, 1, 2), adding(2, 2, 2, 9, first)])).toEqual([[1, 2]])
  })
  test('not where it is read at another place too', () => {
    expect(heirs([copying(0, 0, 1), copying(1, 1, 9, first)])).toEqual([])
    expect(heirs([copying(0, 0, 1), adding(1, 1, 1, 9, first)])).toEqual([])
    expect(heirs([copying(0, 0, 1), copying(1, 1, 8), copying(2, 1, 9, first)])).toEqual([])
    const value = load(new ExprTable(), 1, inRow, { index: axisIndex(1, length), low: 1, high: length })
    expect(heirs([copying(0, 0, 1), stepOf(1, [{ buffer: 9, value }])])).toEqual([])
  })
  test('not where the heir is in use before', () => {
    expect(heirs([copying(0, 0, [1, 9]), copying(1, 1, 9)])).toEqual([])
    expect(heirs([copying(0, 0, 1), adding(1, 1, 9, 9)])).toEqual([])
  })
  test('of two only one', () => {
    expect(heirs([copying(0, 0, [1, 2]), adding(1, 1, 2, 9)]).length).toBe(1)
    expect(heirs([copying(0, 0, [1, 2]), adding(1, 1, 2, [8, 9])])).toEqual([
      [1, 8],
      [2, 9],
    ])
  })
  test('not of another size or dtype, and not what a sum reads', () => {
    const steps = [copying(0, 0, 1), copying(1, 1, 9)]
    const changed = (change: Partial<BufferSpec>): BufferSpec[] =>
      buffers.map((spec, b) => (b === 9 ? { ...spec, ...change } : spec))
    expect(heirs(steps, changed({ dtype: 'int32' }))).toEqual([])
    expect(heirs(steps, changed({ size: 2 * rows * length }))).toEqual([])
    const exprs = new ExprTable()
    const reduce = { axes: [1], totals: [{ op: 'sum', type: 'float32', body: load(exprs, 1, inRow) }] } as const
    const sum = stepOf(1, [{ buffer: 9, value: exprs.reduced('float32', [0, 1]) }], reduce)
    expect(heirs([copying(0, 0, 1), sum])).toEqual([])
  })
})

test('a kernel runs from the first bundle with a step of it to the last', () => {
  const step = (index: number): RowStep => other(index, 0, 1)
  const bundle = (...indices: number[]) => ({ steps: indices.map(step), own: [] })
  expect(momentsOf([bundle(0, 1), bundle(1), bundle(3), bundle(2)])).toEqual([
    { start: 0, end: 0 },
    { start: 0, end: 1 },
    { start: 3, end: 3 },
    { start: 2, end: 2 },
  ])
})
