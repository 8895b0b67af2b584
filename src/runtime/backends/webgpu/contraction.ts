/** Matrix products and convolutions: kernels/contraction.wgsl in tiles that fit the shape, split where results are few. */

import { axisIndex, type Index, linearIndex, offsetIndex, substitute, unravel } from '../../../compiler/affine.js'
import { copyExprs } from '../../../compiler/copy.js'
import { type Expr, ExprTable, isOperation, walkExprs } from '../../../compiler/expr.js'
import { bufferReads, type Contraction, isTiled, type LoopKernel, type Reduction } from '../../../compiler/kernel.js'
import { partsOf, splitReduction } from '../../../compiler/split.js'
import { sizeOf } from '../../../graph/shape.js'
import { elementwiseStage } from './elementwise.js'
import type { Instruction } from './machine.js'
import { axisStatements, indexText, nameOf, statements, stored } from './print.js'
import { reductionStages, strideOf } from './reduction.js'
import type { StageList } from './stage.js'
import { addQuads, type Quads } from './vectors.js'

type ContractingKernel = LoopKernel & { readonly reduce: Reduction & { readonly contraction: Contraction } }

const isContracting = (kernel: LoopKernel): kernel is ContractingKernel => kernel.reduce?.contraction !== undefined

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

/** The cheapest tiles and split, or undefined where tiles are not worth it. */
export function planOf(product: Product): Plan | undefined {
  const { batch, rows, columns, inner, overlaps } = product
  if (!isTiled(rows, overlaps ? Math.max(columns, 4) : columns, inner)) return undefined
  const plans = Object.values(tiles).flatMap(tile => {
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
  if (!isContracting(kernel) || kernel.reduce.type !== 'float32') return false
  const product = productOf(kernel)
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

function operationsOf(e: Expr): number {
  let count = 0
  walkExprs([e], x => isOperation(x) && count++)
  return count
}

/** Computes a factor by itself; the contraction that reads it instead. */
function storeFactor(kernel: ContractingKernel, side: 'left' | 'right', stages: StageList): ContractingKernel {
  const { name, axes, reduce, outputs } = kernel
  const { contraction } = reduce
  const all = [...axes, ...reduce.axes]
  const inner = reduce.axes.map((_, i) => axes.length + i)
  const order = side === 'left' ? [...contraction.rows, ...inner] : [...inner, ...contraction.columns]
  const own = [...contraction.batch, ...order].filter(a => contraction[side].axes.has(a))
  const sizes = own.map(a => all[a])
  const buffer = stages.scratch(reduce.type, sizeOf(sizes))
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
  const load = exprs.load(buffer, reduce.type, position, [])
  const [left, right] = side === 'left' ? [load, copy(contraction.right)] : [copy(contraction.left), load]
  const body = exprs.operation('mul', reduce.type, left, right)
  return {
    ...kernel,
    reduce: { ...reduce, body, contraction: { ...contraction, left, right } },
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
  const buffer = stages.scratch(kernel.reduce.type, sizeOf(each) * sizeOf(kernel.axes))
  const [partial, final] = splitReduction(kernel, each, buffer)
  planStages(partial, { tile, parts: 1 }, stages)
  reductionStages(final, stages)
}

function addStage(kernel: ContractingKernel, tile: Tile, stages: StageList): void {
  const product = productOf(kernel)
  const { rows, columns, threadRows, threadColumns } = tile
  const threads = (rows / threadRows) * (columns / threadColumns)
  const code = new ContractionCode(kernel, b => stages.dtypeOf(b), stages.storage)
  const isRagged = product.inner % tile.inner !== 0
  const left = loadCode('left', rows / 4, threads, tile.inner, code.factor('left', isRagged))
  const right = loadCode('right', columns / 4, threads, tile.inner, code.factor('right', isRagged))
  const results = code.results()
  const text = (...lines: (readonly string[])[]): string => lines.flat().join('\n')
  stages.add({
    name: kernel.name,
    template: 'contraction',
    holes: {
      rows: product.rows,
      columns: product.columns,
      inner: product.inner,
      batches: product.batch,
      tile_rows: rows,
      tile_columns: columns,
      tile_inner: tile.inner,
      thread_rows: threadRows,
      thread_columns: threadColumns,
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
      ...registerCode(threadRows, threadColumns),
    },
    instructions: code.instructions,
    reads: bufferReads(kernel),
    writes: kernel.outputs.map(o => o.buffer),
    vectors: code.quads.buffers,
    groups: workgroups(product, tile),
  })
}

const upTo = (n: number): number[] => [...Array(n).keys()]

/** The sums of a thread, how a position of the inner loop changes them, and how they come into the array `results`. */
function registerCode(threadRows: number, threadColumns: number): Record<'sums' | 'multiply' | 'results', string> {
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
  return { sums: sums.join('\n'), multiply: multiply.join('\n'), results: results.join('\n') }
}

/** How the threads load one factor's tile of `vectors` times `inner` positions: each keeps its vector. */
function loadCode(
  side: 'left' | 'right',
  vectors: number,
  threads: number,
  inner: number,
  { body, values, isInnerFirst }: FactorCode,
): Record<'vector' | 'lane', string> & Record<'next' | 'load' | 'store', string[]> {
  const depth = values.length
  const lanes = Math.min(threads / vectors, inner / depth)
  const loads = upTo(inner / depth / lanes)
  const lane = (load: number): string => (load === 0 ? `${side}_lane` : `(${side}_lane + ${load * lanes}u)`)
  const position = (load: number): string => (depth === 1 ? lane(load) : `${lane(load)} * ${depth}u`)
  const next = (load: number, i: number): string => `${side}_next_${load * depth + i}`
  const place = (load: number, i: number): string =>
    `${side}_tiles[${side}_tile + (${position(load)} + ${i}u) * ${vectors}u]`
  const busy = vectors * lanes < threads ? `if (thread < ${vectors * lanes}u) {` : '{'
  return {
    // What is nearer in memory changes first from thread to thread.
    vector: isInnerFirst ? `thread / ${lanes}u` : `thread % ${vectors}u`,
    lane: isInnerFirst ? `thread % ${lanes}u` : `thread / ${vectors}u`,
    next: loads.flatMap(load => values.map((_, i) => `var ${next(load, i)}: vec4f;`)),
    load: loads.flatMap(load => [
      busy,
      `  let position = first_position + ${position(load)};`,
      ...body.map(line => `  ${line}`),
      ...values.map((value, i) => `  ${next(load, i)} = ${value};`),
      '}',
    ]),
    store: [busy, ...loads.flatMap(load => values.map((_, i) => `  ${place(load, i)} = ${next(load, i)};`)), '}'],
  }
}

/** The flattened batch, row and column of a result. */
const [flatBatch, flatRow, flatColumn] = [0, 1, 2]

type DTypeOf = Parameters<typeof statements>[1]

/** One of the two factors: how four neighbours of its rows (or columns) are computed at one or four inner positions. */
interface FactorCode {
  readonly body: readonly string[]
  /** The four neighbours as a vector, for each of the positions. */
  readonly values: readonly string[]
  /** Whether neighbours of the innermost reduced loop are closer together in memory than those of rows (or columns). */
  readonly isInnerFirst: boolean
}

/** A factor's expression, copied for four rows (or columns) and for one or four inner positions. */
interface FactorCopies extends Pick<FactorCode, 'isInnerFirst'> {
  /** By inner position, then by row. */
  readonly values: readonly (readonly Expr[])[]
  /** The first variable of each row's own loops: four rows, or one and its neighbours in memory. */
  readonly own: readonly number[]
}

/**
 * The expressions of a contraction as WGSL. Each factor is copied for four rows (or columns): what does not depend on the
 * row is one value then, and what depends on nothing else is computed before the loop. Where elements that are neighbours
 * in memory come into one vector, along rows, or into four, along inner positions, they are loaded at once.
 */
class ContractionCode {
  readonly #kernel: ContractingKernel
  readonly #dtypeOf: DTypeOf
  readonly #storage: StageList['storage']
  readonly #exprs = new ExprTable()
  readonly #before: string[] = []
  /** What is in scope before the loop. */
  readonly #done = new Set<Expr>()
  readonly quads: Quads = { buffers: new Set(), places: new Map() }
  readonly instructions: Instruction[] = []
  #axes = 3
  readonly #firstBatch: number
  readonly #firstInner: number
  readonly #copies: Record<'left' | 'right', FactorCopies>

  constructor(kernel: ContractingKernel, dtypeOf: DTypeOf, storage: StageList['storage']) {
    this.#kernel = kernel
    this.#dtypeOf = dtypeOf
    this.#storage = storage
    const { batch } = kernel.reduce.contraction
    this.#firstBatch = this.#take(batch.length)
    this.#firstInner = this.#take(kernel.reduce.axes.length)
    this.#before.push(...axisStatements('i32(batch)', this.#sizes(batch), this.#firstBatch))
    // Both before anything is printed, which must know all that is loaded by fours.
    this.#copies = { left: this.#copyFactor('left'), right: this.#copyFactor('right') }
  }

  /** The first of so many new axes. */
  #take(count: number): number {
    this.#axes += count
    return this.#axes - count
  }

  #sizes(axes: readonly number[]): number[] {
    return axes.map(a => this.#kernel.axes[a])
  }

  /** A copy with other indices in place of the kernel's axes. */
  #copier(positions: ReadonlyMap<number, Index>, reduced?: Expr): (e: Expr) => Expr {
    const index = (i: Index): Index =>
      substitute(i, atom => (atom.kind === 'axis' ? positions.get(atom.axis) : undefined))
    return copyExprs(this.#exprs, { index, reduced })
  }

  #ownAxes(side: 'left' | 'right'): readonly number[] {
    const { rows, columns } = this.#kernel.reduce.contraction
    return side === 'left' ? rows : columns
  }

  /** Copies by fours along what is nearer in memory if that gives loads of four, which are noted; else by single rows. */
  #copyFactor(side: 'left' | 'right'): FactorCopies {
    const { axes, reduce } = this.#kernel
    const expr = reduce.contraction[side]
    const own = this.#ownAxes(side)
    const lastInner = reduce.axes.length - 1
    const [near, far] = [axes.length + lastInner, own[own.length - 1]]
    const isInnerFirst = strideOf(expr, near) <= strideOf(expr, far)
    const [along, size] = isInnerFirst ? [near, reduce.axes[lastInner]] : [far, axes[far]]
    const variableOf = (axis: number, firstOwn: number): number =>
      axis === near ? this.#firstInner + lastInner : firstOwn + own.indexOf(axis)
    if (size % 4 === 0) {
      const rows = upTo(isInnerFirst ? 4 : 1).map(() => this.#take(own.length))
      const loadsBefore = this.quads.places.size
      const copies = rows.map(firstOwn => {
        const variable = variableOf(along, firstOwn)
        const four = upTo(4).map(i => {
          const moved = [along, offsetIndex(axisIndex(variable, size - 3), i)] as const
          return this.#copier(new Map([...this.#positions(own, firstOwn), moved]))
        })
        addQuads(this.quads, expr, four, variable, this.#dtypeOf)
        return four.map(copy => copy(expr))
      })
      if (this.quads.places.size > loadsBefore)
        return { own: rows, isInnerFirst, values: isInnerFirst ? upTo(4).map(i => copies.map(c => c[i])) : copies }
    }
    const rows = upTo(4).map(() => this.#take(own.length))
    const values = rows.map(firstOwn => this.#copier(this.#positions(own, firstOwn))(expr))
    return { own: rows, isInnerFirst, values: [values] }
  }

  /** The variable of each loop that a factor depends on, its own from `firstOwn` on. */
  #positions(own: readonly number[], firstOwn: number): Map<number, Index> {
    const { axes, reduce } = this.#kernel
    const positions = new Map<number, Index>()
    own.forEach((a, i) => positions.set(a, axisIndex(firstOwn + i, axes[a])))
    reduce.contraction.batch.forEach((a, i) => positions.set(a, axisIndex(this.#firstBatch + i, axes[a])))
    reduce.axes.forEach((size, i) => positions.set(axes.length + i, axisIndex(this.#firstInner + i, size)))
    return positions
  }

  /** @param isRagged whether the last tile goes beyond the last inner position. */
  factor(side: 'left' | 'right', isRagged: boolean): FactorCode {
    const { reduce } = this.#kernel
    const { own, values, isInnerFirst } = this.#copies[side]
    const kind = side === 'left' ? 'row' : 'column'
    own.forEach((firstOwn, i) => {
      const name = `${kind}_${i}`
      this.#before.push(
        `let ${name} = i32(min(first_${kind} + ${side}_vector * 4u + ${i}u, ${kind}s - 1u));`,
        ...axisStatements(name, this.#sizes(this.#ownAxes(side)), firstOwn),
      )
    })
    const { quads } = this
    const innerAxes = new Set(reduce.axes.map((_, i) => this.#firstInner + i))
    const isFixed = (e: Expr): boolean => [...e.axes].every(a => !innerAxes.has(a))
    const all = values.flat()
    this.#before.push(...statements(all, this.#dtypeOf, { done: this.#done, isWanted: isFixed, quads }))
    const position = isRagged ? 'i32(min(position, inner - 1u))' : 'i32(position)'
    return {
      body: [
        ...axisStatements(position, reduce.axes, this.#firstInner),
        ...statements(all, this.#dtypeOf, { done: new Set(this.#done), quads, instructions: this.instructions }),
      ],
      values: values.map(four => {
        const vector = `vec4f(${four.map(nameOf).join(', ')})`
        // Beyond the last position both factors are 0, whatever their expressions make of it.
        return isRagged ? `select(vec4f(), ${vector}, position < inner)` : vector
      }),
      isInnerFirst,
    }
  }

  before(): readonly string[] {
    return this.#before
  }

  /** The statements that compute and store results: those of a column, and those of a row in it. */
  results(): { readonly ofColumn: readonly string[]; readonly ofRow: readonly string[] } {
    const { axes, reduce, outputs } = this.#kernel
    const { batch, rows, columns } = reduce.contraction
    const positions = new Map<number, Index>()
    for (const [of, flat] of [
      [batch, flatBatch],
      [rows, flatRow],
      [columns, flatColumn],
    ] as const) {
      const sizes = this.#sizes(of)
      unravel(axisIndex(flat, sizeOf(sizes)), sizes).forEach((index, i) => positions.set(of[i], index))
    }
    const copy = this.#copier(positions, this.#exprs.reduced(reduce.type, [flatBatch, flatRow, flatColumn]))
    const values = outputs.map(o => copy(o.value))
    const own = axes.map((_, a) => positions.get(a) ?? axisIndex(a, 1))
    const position = indexText(linearIndex(own, axes))
    const done = new Set<Expr>()
    return {
      ofColumn: [
        `let i${flatBatch} = i32(batch);`,
        `let i${flatColumn} = i32(column);`,
        ...statements(values, this.#dtypeOf, { done, isWanted: e => !e.axes.has(flatRow), quads: this.quads }),
      ],
      ofRow: [
        `let i${flatRow} = i32(row);`,
        ...statements(values, this.#dtypeOf, { done, quads: this.quads, instructions: this.instructions }),
        ...outputs.map(({ buffer }, i) => {
          const value = stored(this.#dtypeOf(buffer), nameOf(values[i]), this.#storage)
          return `b${buffer}[${position}] = ${value};`
        }),
      ],
    }
  }
}
