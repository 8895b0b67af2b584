/** Where temporaries live: offsets into one arena, reused as soon as their last reader has run. */

import { dtypes } from '../graph/dtype.js'
import { bufferReads, bufferWrites, type Schedule } from './kernel.js'

export interface MemoryPlan {
  /** Byte offset in the arena of each temporary buffer; undefined for leaves and results. */
  readonly offsets: readonly (number | undefined)[]
  readonly arenaBytes: number
  /** The most bytes of temporaries alive at once: no plan can do with less. */
  readonly lowerBound: number
}

/**
 * @param scratch buffers that live during one kernel only, beside those that kernels read and write
 * @param alignment of every offset, in bytes
 * @param slack bytes that every buffer needs beyond its elements
 */
export function planMemory(
  { buffers, kernels }: Pick<Schedule, 'buffers' | 'kernels'>,
  scratch: readonly { readonly buffer: number; readonly kernel: number }[],
  alignment: number,
  slack: number,
): MemoryPlan {
  const first = new Map<number, number>()
  const last = new Map<number, number>()
  kernels.forEach((kernel, step) => {
    for (const b of bufferWrites(kernel)) if (!first.has(b)) first.set(b, step)
    for (const b of [...bufferWrites(kernel), ...bufferReads(kernel)]) last.set(b, step)
  })
  for (const { buffer, kernel } of scratch) {
    first.set(buffer, kernel)
    last.set(buffer, kernel)
  }
  const bytes = (b: number): number =>
    Math.ceil((buffers[b].size * dtypes[buffers[b].dtype].bytes + slack) / alignment) * alignment
  const temporaries = [...first.keys()].filter(b => buffers[b].role === 'temporary')
  // Large ones first, each at the lowest place that no other one alive at the same time takes.
  temporaries.sort((a, b) => bytes(b) - bytes(a) || a - b)
  const offsets = new Array<number | undefined>(buffers.length).fill(undefined)
  const placed: { from: number; to: number; start: number; end: number }[] = []
  let arenaBytes = 0
  for (const b of temporaries) {
    const start = first.get(b) as number
    const end = last.get(b) as number
    const rivals = placed.filter(p => p.start <= end && start <= p.end).sort((p, q) => p.from - q.from)
    let from = 0
    for (const rival of rivals) {
      if (from + bytes(b) <= rival.from) break
      from = Math.max(from, rival.to)
    }
    offsets[b] = from
    placed.push({ from, to: from + bytes(b), start, end })
    arenaBytes = Math.max(arenaBytes, from + bytes(b))
  }
  let lowerBound = 0
  kernels.forEach((_, step) => {
    const alive = placed.filter(p => p.start <= step && step <= p.end).reduce((n, p) => n + p.to - p.from, 0)
    lowerBound = Math.max(lowerBound, alive)
  })
  return { offsets, arenaBytes, lowerBound }
}
