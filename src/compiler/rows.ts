/**
 * Finds loops that can go through rows together. Where each row of a step needs only the same row of the steps before it,
 * a few rows go through all of them while they are in the cache, and nobody waits for other rows: softmax, normalisation,
 * and what follows them. How many bytes of a row are worth that is for the device to say.
 */

import { dtypes } from '../graph/dtype.js'
import { sizeOf } from '../graph/shape.js'
import { axesOf, axisIndex, type Index, linearIndex, range, sumIndex } from './affine.js'
import { loadsOnlyAt, walkExprs } from './expr.js'
import { type BufferSpec, bufferReads, bufferWrites, kernelExprs, type LoopKernel } from './kernel.js'
import type { Span } from './plan-memory.js'

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

/** The most steps of a group: each new one is compared with all of them. */
const mostSteps = 32

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

/** A part of a program: loops whose rows may go with others, or anything else. */
export interface RowStep {
  /** The number of its kernel. */
  readonly index: number
  readonly loops?: Loops
  readonly reads: ReadonlySet<number>
  readonly writes: ReadonlySet<number>
}

/** Steps that are one: a step by itself, or those whose rows go together. */
export interface Bundle<S extends RowStep> {
  readonly steps: readonly S[]
  readonly group?: RowGroup<NonNullable<S['loops']>>
  /** The temporaries that the group's loops write and no other step touches. */
  readonly own: readonly number[]
}

/**
 * The steps of a program in bundles, in an order that it may run in. A step joins the last one that it reads of, where
 * rows can go through both together; what stands between the two, it does not need.
 *
 * @param isWorth whether the device gains by such a group
 */
export function joinSteps<S extends RowStep>(
  all: readonly S[],
  buffers: readonly BufferSpec[],
  isWorth: (bundle: Required<Bundle<S>>) => boolean,
): Bundle<S>[] {
  const touching = new Map<number, Set<S>>()
  for (const step of all)
    for (const b of [...step.reads, ...step.writes]) touching.set(b, (touching.get(b) ?? new Set()).add(step))
  const bundles: Bundle<S>[] = []
  const writer = new Map<number, number>()
  for (const step of all) {
    const last = Math.max(-1, ...[...step.reads].map(b => writer.get(b) ?? -1))
    const joined = last < 0 ? undefined : join(bundles[last], step)
    if (joined) bundles[last] = joined
    else bundles.push({ steps: [step], own: [] })
    for (const b of step.writes) writer.set(b, joined ? last : bundles.length - 1)
  }
  return bundles

  function join({ steps: [first, ...others], group }: Bundle<S>, step: S): Bundle<S> | undefined {
    type Member = NonNullable<S['loops']>
    if (!first.loops || !step.loops || others.length + 2 > mostSteps) return undefined
    const steps = [first, ...others, step]
    const members = [...(group?.members ?? [first.loops as Member]), step.loops as Member]
    const isOwn = (b: number): boolean =>
      buffers[b].role === 'temporary' && [...(touching.get(b) ?? [])].every(s => steps.includes(s))
    const own = steps.flatMap(s => [...s.writes]).filter(isOwn)
    // Rows of all; else all may be one row.
    for (const rows of new Set([gcd(group?.rows ?? first.loops.count, step.loops.count), 1])) {
      const bundle = { steps, group: { rows, members }, own }
      if (isWorth(bundle) && staysTogether(bundle.group, buffers)) return bundle
    }
    return undefined
  }
}

/**
 * The temporaries of a group that need no memory of their own, each with the buffer whose memory serves: the last step
 * that reads one reads it element by element where it writes that buffer, which nothing touches before.
 */
export function heirsOf({ own, group }: Bundle<RowStep>, buffers: readonly BufferSpec[]): Map<number, number> {
  const heirs = new Map<number, number>()
  const taken = new Set<number>()
  const kernels = group?.members.map(m => m.kernel) ?? []
  const touched = kernels.map(k => new Set([...bufferReads(k), ...bufferWrites(k)]))
  const lastOf = (b: number): number => touched.findLastIndex(all => all.has(b))
  // Later ones first: an heir may have one in its turn.
  for (const b of [...own].sort((a, b) => lastOf(b) - lastOf(a))) {
    const last = lastOf(b)
    if (!readsInPlace(kernels[last], b)) continue
    const heir = kernels[last].outputs.find(
      ({ buffer: o }) =>
        buffers[o].dtype === buffers[b].dtype &&
        buffers[o].size === buffers[b].size &&
        touched.findIndex(all => all.has(o)) === last &&
        !bufferReads(kernels[last]).has(o) &&
        !taken.has(o),
    )?.buffer
    if (heir === undefined) continue
    taken.add(heir)
    heirs.set(b, heirs.get(heir) ?? heir)
  }
  return heirs
}

/** Whether a kernel without a reduction reads a buffer at its own position only. */
function readsInPlace(kernel: LoopKernel, buffer: number): boolean {
  if (kernel.reduce || !bufferReads(kernel).has(buffer)) return false
  const { axes } = kernel
  const position = linearIndex(
    axes.map((size, axis) => axisIndex(axis, size)),
    axes,
  )
  return loadsOnlyAt(kernelExprs(kernel), buffer, position)
}

/** When each kernel runs: during the bundles that have steps of it. */
export function momentsOf(bundles: readonly Bundle<RowStep>[]): Span[] {
  const moments: Span[] = []
  bundles.forEach(({ steps }, at) => {
    for (const { index } of steps) moments[index] = { start: moments[index]?.start ?? at, end: at }
  })
  return moments
}

function staysTogether({ rows, members }: RowGroup, buffers: readonly BufferSpec[]): boolean {
  return members.every(
    ({ kernel, count, multiple }, i) =>
      (count / rows) % multiple === 0 && readsOwnRows(kernel, rows, writtenBy(members.slice(0, i)), buffers),
  )
}

const writtenBy = (members: readonly Loops[]): Set<number> =>
  new Set(members.flatMap(m => m.kernel.outputs.map(o => o.buffer)))

/** Bytes of one row in all buffers of a group; what the rows share counts as if it were theirs. */
export function rowBytes({ rows, members }: RowGroup, buffers: readonly BufferSpec[]): number {
  const touched = new Set(members.flatMap(m => [...bufferReads(m.kernel), ...m.kernel.outputs.map(o => o.buffer)]))
  return [...touched].reduce((n, b) => n + (buffers[b].size * dtypes[buffers[b].dtype].bytes) / rows, 0)
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

/** Whether a kernel in n rows reads, of some buffers in as many rows, each row's own only. */
export function readsOwnRows(
  kernel: LoopKernel,
  n: number,
  some: ReadonlySet<number>,
  buffers: readonly BufferSpec[],
): boolean {
  const split = splitOf(kernel.axes, n)
  if (!split || kernel.outputs.some(o => buffers[o.buffer].size % n !== 0)) return false
  let own = true
  walkExprs(kernelExprs(kernel), e => {
    if (e.op !== 'load' || !some.has(e.buffer)) return
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
    else if ([...axesOf(sumIndex(0, [term]))].some(a => a < whole || (a === whole && within))) return false
    else rest.push(term)
  }
  for (let a = 0; a < whole; a++) if (axes[a] > 1 && found[a] !== wanted[a]) return false
  const along = within === undefined ? 0 : found[whole]
  if (within !== undefined && along * within !== length) return false
  const { low, high } = range(sumIndex(index.constant, rest))
  return low >= 0 && high + along * ((within ?? 1) - 1) < length
}
