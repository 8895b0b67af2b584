/**
 * The code of a contraction that does not depend on how it is multiplied: how threads load tiles of its factors, and the
 * expressions of its results.
 */

import { axisIndex, type Index, linearIndex, offsetIndex, substitute, unravel } from '../../../compiler/affine.js'
import { copyExprs } from '../../../compiler/copy.js'
import { type Expr, ExprTable } from '../../../compiler/expr.js'
import type { Contraction, LoopKernel, Reduction } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import type { Instruction } from './machine.js'
import { axisStatements, indexText, nameOf, statements, stored } from './print.js'
import { strideOf } from './reduction.js'
import type { StageList } from './stage.js'
import type { TemplateName } from './templates.js'
import { addQuads, type Quads } from './vectors.js'

export type ContractingKernel = LoopKernel & { readonly reduce: Reduction & { readonly contraction: Contraction } }

export const isContracting = (kernel: LoopKernel): kernel is ContractingKernel =>
  kernel.reduce?.contraction !== undefined

export const upTo = (n: number): number[] => [...Array(n).keys()]

/** What depends on how tiles are multiplied: the template, with the holes that are its own, and how tiles are filled. */
export interface Multiplying {
  readonly template: TemplateName
  readonly enables?: readonly string[]
  readonly holes: Readonly<Record<string, string | number>>
  /** The statement that puts a thread's vector of four rows (or columns) into the tile, at an inner position. */
  store(side: 'left' | 'right', position: string, value: string): string
}

/** How the threads load one factor's tile of `vectors` times `inner` positions: each keeps its vector. */
export function loadCode(
  side: 'left' | 'right',
  vectors: number,
  threads: number,
  inner: number,
  { body, values, isInnerFirst }: FactorCode,
  store: Multiplying['store'],
): Record<'vector' | 'lane', string> & Record<'next' | 'load' | 'store', string[]> {
  const depth = values.length
  const lanes = Math.min(threads / vectors, inner / depth)
  const loads = upTo(inner / depth / lanes)
  const lane = (load: number): string => (load === 0 ? `${side}_lane` : `(${side}_lane + ${load * lanes}u)`)
  const position = (load: number): string => (depth === 1 ? lane(load) : `${lane(load)} * ${depth}u`)
  const next = (load: number, i: number): string => `${side}_next_${load * depth + i}`
  const put = (load: number, i: number): string =>
    store(side, i === 0 ? `(${position(load)})` : `(${position(load)} + ${i}u)`, next(load, i))
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
    store: [busy, ...loads.flatMap(load => values.map((_, i) => `  ${put(load, i)}`)), '}'],
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
export class ContractionCode {
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
    return copyExprs(this.#exprs, { index, reduced: reduced && (() => reduced) })
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
    const isInnerFirst = strideOf([expr], near) <= strideOf([expr], far)
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
    const [{ type }] = reduce.totals
    const copy = this.#copier(positions, this.#exprs.reduced(type, [flatBatch, flatRow, flatColumn]))
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
