/**
 * Finds loops that can go through rows together. Where each row of a step needs only the same row of the steps before it,
 * a few rows go through all of them while they are in the cache, without a barrier in between: softmax, normalisation,
 * and what follows them.
 */

import { axesOf, type Index, range } from '../../../compiler/affine.js'
import { walkExprs } from '../../../compiler/expr.js'
import { type BufferSpec, bufferReads, kernelExprs, type LoopKernel } from '../../../compiler/kernel.js'
import { sizeOf } from '../../../graph/shape.js'
import { bytesOf } from './memory-access.js'

/** A loop kernel whose `count` leading positions are shared out. */
export interface Loops {
  readonly kernel: LoopKernel
  readonly count: number
  /** Ranges begin at multiples of this. */
  readonly multiple: number
}

/** Loops that go through `rows` rows together. */
export interface RowGroup<L extends Loops = Loops> {
  readonly rows: number
  readonly members: readonly L[]
}

/** Fewer rows than this are not worth a group: they would not be shared out evenly. */
const fewestRows = 16
/** The most bytes of a row, in all buffers of a group. */
const largestRow = 2 ** 17

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

/** The group with one more member, if every row of it depends on the same row of the others. */
export function joinRows<L extends Loops>(
  { rows, members }: RowGroup<L>,
  next: L,
  buffers: readonly BufferSpec[],
): RowGroup<L> | undefined {
  const n = gcd(rows, next.count)
  if (n < fewestRows) return undefined
  const joined = { rows: n, members: [...members, next] }
  const written = writtenBy(members)
  if (![...bufferReads(next.kernel)].some(b => written.has(b))) return undefined
  if (rowBytes(joined, buffers) > largestRow || joined.members.some(m => (m.count / n) % m.multiple !== 0))
    return undefined
  return joined.members.every((m, i) => readsOwnRows(m.kernel, n, writtenBy(joined.members.slice(0, i)), buffers))
    ? joined
    : undefined
}

const writtenBy = (members: readonly Loops[]): Set<number> =>
  new Set(members.flatMap(m => m.kernel.outputs.map(o => o.buffer)))

/** Bytes of one row in all buffers of a group; what the rows share counts as if it were theirs. */
export function rowBytes({ rows, members }: RowGroup, buffers: readonly BufferSpec[]): number {
  const touched = new Set(members.flatMap(m => [...bufferReads(m.kernel), ...m.kernel.outputs.map(o => o.buffer)]))
  return [...touched].reduce((n, b) => n + (buffers[b].size * bytesOf(buffers[b].dtype)) / rows, 0)
}

/** How n rows lie in loops: `whole` axes are rows, and of the axis after them `within` positions make one. */
interface Split {
  readonly whole: number
  readonly within: number | undefined
}

function splitOf(axes: readonly number[], n: number): Split | undefined {
  let rest = n
  for (let whole = 0; whole < axes.length; whole++) {
    if (rest === 1) return { whole, within: undefined }
    if (rest % axes[whole] === 0) rest /= axes[whole]
    else return axes[whole] % rest === 0 ? { whole, within: axes[whole] / rest } : undefined
  }
  return rest === 1 ? { whole: axes.length, within: undefined } : undefined
}

function readsOwnRows(
  kernel: LoopKernel,
  n: number,
  written: ReadonlySet<number>,
  buffers: readonly BufferSpec[],
): boolean {
  const split = splitOf(kernel.axes, n)
  if (!split || kernel.outputs.some(o => buffers[o.buffer].size % n !== 0)) return false
  let own = true
  walkExprs(kernelExprs(kernel), e => {
    if (e.op !== 'load' || !written.has(e.buffer)) return
    const { size } = buffers[e.buffer]
    own &&= size % n === 0 && staysInRow(e.index, kernel.axes, split, size / n)
  })
  return own
}

/** Whether an index into rows of `length` is in the row of the loops' position, whatever the other loops do. */
function staysInRow(index: Index, axes: readonly number[], { whole, within }: Split, length: number): boolean {
  const rowsHere = within === undefined ? 1 : axes[whole] / within
  const wanted = axes.map((_, a) => length * sizeOf(axes.slice(a + 1, whole)) * rowsHere)
  const found = new Array<number>(axes.length).fill(0)
  const rest: Index['terms'][number][] = []
  for (const term of index.terms) {
    const { atom, factor } = term
    if (atom.kind === 'axis' && atom.axis < whole) found[atom.axis] += factor
    else if (atom.kind === 'axis' && atom.axis === whole && within !== undefined) found[whole] += factor
    else if ([...axesOf({ constant: 0, key: '', terms: [term] })].some(a => a < whole || (a === whole && within)))
      return false
    else rest.push(term)
  }
  for (let a = 0; a < whole; a++) if (axes[a] > 1 && found[a] !== wanted[a]) return false
  const along = within === undefined ? 0 : found[whole]
  if (within !== undefined && along * within !== length) return false
  const { low, high } = range({ constant: index.constant, key: '', terms: rest })
  return low >= 0 && high + along * ((within ?? 1) - 1) < length
}
