/** Matrix products and convolutions: kernels/contraction.wgsl in tiles that fit the shape, split where results are few. */

import { axisIndex, linearIndex, substitute } from '../../../compiler/affine.js'
import { copyExprs } from '../../../compiler/copy.js'
import { type Expr, ExprTable, isOperation, walkExprs } from '../../../compiler/expr.js'
import { bufferReads, isTiled, type LoopKernel } from '../../../compiler/kernel.js'
import { partsOf, splitReduction } from '../../../compiler/split.js'
import { sizeOf } from '../../../graph/shape.js'
import { elementwiseStage } from './elementwise.js'
import { type ContractingKernel, ContractionCode, isContracting, loadCode, type Multiplying, upTo } from './factors.js'
import { matrixCode, matrixTile } from './matrices.js'
import { reductionStages } from './reduction.js'
import type { StageList } from './stage.js'

/** Results of a workgroup and of a thread, and inner positions between two barriers. */
export interface Tile {
  readonly rows: number
  readonly columns: number
  readonly inner: number
  readonly threadRows: number
  readonly threadColumns: number
}

/** Two of each factor's tiles take at most 16 KiB of workgroup memory, which every GPU has. */
export const tiles: Readonly<Record<'large' | 'medium' | 'small' | 'tall' | 'wide' | 'thin', Tile>> = {
  large: { rows: 128, columns: 128, inner: 8, threadRows: 8, threadColumns: 8 },
  medium: { rows: 64, columns: 64, inner: 16, threadRows: 4, threadColumns: 4 },
  small: { rows: 32, columns: 32, inner: 16, threadRows: 4, threadColumns: 4 },
  tall: { rows: 128, columns: 32, inner: 8, threadRows: 8, threadColumns: 4 },
  wide: { rows: 32, columns: 128, inner: 8, threadRows: 4, threadColumns: 8 },
  thin: { rows: 128, columns: 8, inner: 8, threadRows: 4, threadColumns: 4 },
}

/** A matrix product by its flattened sizes. */
export interface Product {
  readonly batch: number
  readonly rows: number
  readonly columns: number
  readonly inner: number
  /** Whether rows share elements, as those of a convolution do: then tiles pay even for a single column. */
  readonly overlaps?: boolean
}

function productOf({ axes, reduce }: ContractingKernel): Product {
  const size = (of: readonly number[]): number => sizeOf(of.map(a => axes[a]))
  const { batch, rows, columns } = reduce.contraction
  return {
    batch: size(batch),
    rows: size(rows),
    columns: size(columns),
    inner: sizeOf(reduce.axes),
    overlaps: reduce.axes.length > 1,
  }
}

/**
 * What a plan costs, in multiplications that a processor of the GPU does meanwhile: a model to choose by, no prediction.
 * `workgroups` run at a time; a step between barriers waits `latency`; each value read from workgroup memory costs `read`;
 * a split costs `dispatch` and `partial` for every partial result.
 */
const costs = { workgroups: 128, latency: 2 ** 15, read: 2, dispatch: 2 ** 20, partial: 0.6 } as const
/** A split makes up to so many workgroups and leaves so many inner positions to each. */
const split = { workgroups: 256, inner: 128 } as const
/** Tiles that compute so many times what is asked for are worth less than plain loops. */
const maxWaste = 12

export interface Plan {
  readonly tile: Tile
  /** Into how many parts the inner loops are split. */
  readonly parts: number
}

const workgroups = ({ batch, rows, columns }: Product, tile: Tile): number =>
  batch * Math.ceil(rows / tile.rows) * Math.ceil(columns / tile.columns)

function costOf(product: Product, { tile, parts }: Plan): number {
  const waves = Math.ceil((workgroups(product, tile) * parts) / costs.workgroups)
  const steps = Math.ceil(product.inner / parts / tile.inner)
  const reads = costs.read * (1 / tile.threadRows + 1 / tile.threadColumns)
  const step = costs.latency + tile.rows * tile.columns * tile.inner * (1 + reads)
  const results = product.batch * product.rows * product.columns
  return waves * steps * step + (parts > 1 ? costs.dispatch + costs.partial * parts * results : 0)
}

/** The cheapest of some tiles and a split, or undefined where tiles are not worth it. */
export function planOf(product: Product, candidates: readonly Tile[] = Object.values(tiles)): Plan | undefined {
  const { batch, rows, columns, inner, overlaps } = product
  if (!isTiled(rows, overlaps ? Math.max(columns, 4) : columns, inner)) return undefined
  const plans = candidates.flatMap(tile => {
    const groups = workgroups(product, tile)
    const parts = Math.floor(Math.min(split.workgroups / groups, inner / split.inner))
    const waste = (groups * tile.rows * tile.columns) / (batch * rows * columns)
    return waste > maxWaste ? [] : [{ tile, parts: 1 }, ...(parts > 1 ? [{ tile, parts }] : [])]
  })
  let best: Plan | undefined
  for (const plan of plans) if (!best || costOf(product, plan) < costOf(product, best)) best = plan
  return best
}

/**
 * Operations up to which a factor is computed wherever a tile of it is loaded. In all: counted for all tiles that load it,
 * about as many as take the time of storing the factor and reading it again. In one: of one such place, which has four
 * copies or more; drivers take long to compile many.
 */
const prologue = { inAll: 128, inOne: 16 } as const

/** Adds the stages of a contraction; false if plain loops compute it as well. */
export function contractionStages(kernel: LoopKernel, stages: StageList): boolean {
  if (!isContracting(kernel) || kernel.reduce.totals[0].type !== 'float32') return false
  const product = productOf(kernel)
  const onMatrices = hasHalfFactors(kernel, stages) ? planOf(product, [matrixTile]) : undefined
  if (onMatrices) {
    planStages(kernel, onMatrices, stages)
    return true
  }
  const plan = planOf(product)
  if (!plan) return false
  let factored = kernel
  for (const side of ['left', 'right'] as const) {
    const { rows, columns } = plan.tile
    const uses = side === 'left' ? Math.ceil(product.columns / columns) : Math.ceil(product.rows / rows)
    const operations = operationsOf(kernel.reduce.contraction[side])
    if (operations * uses > prologue.inAll || operations > prologue.inOne)
      factored = storeFactor(factored, side, stages)
  }
  planStages(factored, plan, stages)
  return true
}

/** Whether the matrix units of the GPU may multiply the factors: there are some, and the factors are float16 values. */
function hasHalfFactors({ reduce }: ContractingKernel, { matrices, dtypeOf }: StageList): boolean {
  const isHalf = (e: Expr): boolean =>
    e.op === 'roundToHalf' ? operationsOf(e) <= prologue.inOne : e.op === 'load' && dtypeOf(e.buffer) === 'float16'
  return matrices !== undefined && isHalf(reduce.contraction.left) && isHalf(reduce.contraction.right)
}

function operationsOf(e: Expr): number {
  let count = 0
  walkExprs([e], x => isOperation(x) && count++)
  return count
}

/** Computes a factor by itself; the contraction that reads it instead. */
function storeFactor(kernel: ContractingKernel, side: 'left' | 'right', stages: StageList): ContractingKernel {
  const { name, axes, reduce, outputs } = kernel
  const {
    contraction,
    totals: [total],
  } = reduce
  const all = [...axes, ...reduce.axes]
  const inner = reduce.axes.map((_, i) => axes.length + i)
  const order = side === 'left' ? [...contraction.rows, ...inner] : [...inner, ...contraction.columns]
  const own = [...contraction.batch, ...order].filter(a => contraction[side].axes.has(a))
  const sizes = own.map(a => all[a])
  const buffer = stages.scratch(total.type, sizeOf(sizes))
  const moved = new Map(own.map((a, i) => [a, axisIndex(i, all[a])]))
  const value = copyExprs(new ExprTable(), {
    index: index => substitute(index, atom => (atom.kind === 'axis' ? moved.get(atom.axis) : undefined)),
  })(contraction[side])
  elementwiseStage({ kind: 'loop', name: `${name}_${side}`, axes: sizes, outputs: [{ buffer, value }] }, stages)

  const exprs = new ExprTable()
  const copy = copyExprs(exprs)
  const position = linearIndex(
    own.map(a => axisIndex(a, all[a])),
    sizes,
  )
  const load = exprs.load(buffer, total.type, position, [])
  const [left, right] = side === 'left' ? [load, copy(contraction.right)] : [copy(contraction.left), load]
  const body = exprs.operation('mul', total.type, left, right)
  return {
    ...kernel,
    reduce: { ...reduce, totals: [{ ...total, body }], contraction: { ...contraction, left, right } },
    outputs: outputs.map(o => ({ ...o, value: copy(o.value) })),
  }
}

/** The stages of a contraction by a given plan. */
export function planStages(kernel: LoopKernel, { tile, parts }: Plan, stages: StageList): void {
  if (!isContracting(kernel)) throw new Error(`webgpu: ${kernel.name} is no contraction`)
  if (parts === 1) {
    addStage(kernel, tile, stages)
    return
  }
  const each = partsOf(kernel.reduce.axes, parts)
  const [partial, final] = splitReduction(kernel, each, (...buffer) => stages.scratch(...buffer))
  planStages(partial, { tile, parts: 1 }, stages)
  reductionStages(final, stages)
}

function addStage(kernel: ContractingKernel, tile: Tile, stages: StageList): void {
  const product = productOf(kernel)
  const { rows, columns, threadRows, threadColumns } = tile
  const threads = (rows / threadRows) * (columns / threadColumns)
  const code = new ContractionCode(kernel, b => stages.dtypeOf(b), stages.storage)
  const isRagged = product.inner % tile.inner !== 0
  const multiplied =
    tile === matrixTile && stages.matrices
      ? matrixCode(stages.matrices)
      : registerCode(rows / 4, columns / 4, threadRows, threadColumns)
  const left = loadCode('left', rows / 4, threads, tile.inner, code.factor('left', isRagged), multiplied.store)
  const right = loadCode('right', columns / 4, threads, tile.inner, code.factor('right', isRagged), multiplied.store)
  const results = code.results()
  const text = (...lines: (readonly string[])[]): string => lines.flat().join('\n')
  stages.add({
    name: kernel.name,
    template: multiplied.template,
    enables: multiplied.enables,
    holes: {
      rows: product.rows,
      columns: product.columns,
      inner: product.inner,
      batches: product.batch,
      tile_rows: rows,
      tile_columns: columns,
      tile_inner: tile.inner,
      threads,
      left_vector: left.vector,
      left_lane: left.lane,
      right_vector: right.vector,
      right_lane: right.lane,
      before: text(code.before()),
      next: text(left.next, right.next),
      load: text(left.load, right.load),
      store: text(left.store, right.store),
      column_body: text(results.ofColumn),
      row_body: text(results.ofRow),
      ...multiplied.holes,
    },
    instructions: code.instructions,
    reads: bufferReads(kernel),
    writes: kernel.outputs.map(o => o.buffer),
    vectors: code.quads.buffers,
    groups: workgroups(product, tile),
  })
}

/** The sums of a thread, how a position of the inner loop changes them, and how they come into the array `results`. */
function registerCode(
  rowVectors: number,
  columnVectors: number,
  threadRows: number,
  threadColumns: number,
): Multiplying {
  const vectors = upTo(threadColumns / 4)
  const sums: string[] = []
  const results: string[] = []
  const multiply = vectors.map(
    j => `let right_${j} = right_tiles[right_tile + k * column_vectors + ${j}u * grid_columns];`,
  )
  for (const i of upTo(threadRows)) {
    const [vector, component] = [`left_${Math.floor(i / 4)}`, 'xyzw'[i % 4]]
    if (component === 'x')
      multiply.push(`let ${vector} = left_tiles[left_tile + k * row_vectors + ${Math.floor(i / 4)}u * grid_rows];`)
    for (const j of vectors) {
      const sum = `sum_${i}_${j}`
      sums.push(`var ${sum} = vec4f();`)
      multiply.push(`${sum} = fma(vec4f(${vector}.${component}), right_${j}, ${sum});`)
      for (const c of upTo(4)) results.push(`results[${(4 * j + c) * threadRows + i}] = ${sum}.${'xyzw'[c]};`)
    }
  }
  const strides = { left: rowVectors, right: columnVectors }
  return {
    template: 'contraction',
    store: (side, position, value) => `${side}_tiles[${side}_tile + ${position} * ${strides[side]}u] = ${value};`,
    holes: {
      thread_rows: threadRows,
      thread_columns: threadColumns,
      sums: sums.join('\n'),
      multiply: multiply.join('\n'),
      results: results.join('\n'),
    },
  }
}
