/** Loads of four neighbours in memory at once: which loads of an expression's copies are such, and what they read. */

import type { Index } from '../../../compiler/affine.js'
import { type Expr, type Load, walkExprs } from '../../../compiler/expr.js'
import type { DType } from '../../../graph/dtype.js'

/** A load that takes its value from the vector that `first` loads. */
interface Place {
  readonly first: Load
  readonly component: 'x' | 'y' | 'z' | 'w'
}

/** What a kernel loads by fours. Buffers that it does so from are arrays of vectors to the whole kernel. */
export interface Quads {
  readonly buffers: Set<number>
  readonly places: Map<Expr, Place>
}

/** A buffer's element at an index. */
export const elementText = (buffer: number, index: string, quads?: Quads): string =>
  quads?.buffers.has(buffer) ? `b${buffer}[${index} / 4][${index} % 4]` : `b${buffer}[${index}]`

/** Whether an index is a multiple of 4, given an axis that is one. */
const isAligned = ({ constant, terms }: Index, axis: number): boolean =>
  constant % 4 === 0 &&
  terms.every(({ atom, factor }) => factor % 4 === 0 || (atom.kind === 'axis' && atom.axis === axis))

/**
 * Adds the loads that are neighbours in four copies of an expression, made for neighbouring positions of a loop: those
 * whose indices are a multiple of 4 and the three that follow it, under the same conditions.
 *
 * @param axis the loop's variable, a multiple of 4 in the first copy
 */
export function addQuads(
  quads: Quads,
  expr: Expr,
  copies: readonly ((e: Expr) => Expr)[],
  axis: number,
  dtypeOf: (buffer: number) => DType,
): void {
  walkExprs([expr], e => {
    // A float64 is a vector itself.
    if (e.op !== 'load' || dtypeOf(e.buffer) === 'float64') return
    const loads = copies.map(copy => copy(e) as Load)
    const [first] = loads
    const fits = (load: Load, i: number): boolean =>
      load.index.constant === first.index.constant + i &&
      sameTerms(load.index, first.index) &&
      load.conditions.every((c, j) => c.index.key === first.conditions[j].index.key)
    if (!isAligned(first.index, axis) || !loads.every(fits)) return
    quads.buffers.add(e.buffer)
    for (const [i, component] of (['x', 'y', 'z', 'w'] as const).entries())
      quads.places.set(loads[i], { first, component })
  })
}

const sameTerms = (a: Index, b: Index): boolean =>
  a.terms.length === b.terms.length &&
  a.terms.every((t, i) => t.factor === b.terms[i].factor && t.atom.key === b.terms[i].atom.key)
