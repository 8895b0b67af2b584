/**
 * The order of kernels. At first they stand as a walk from the results meets them: all weights' gradients come at the
 * end, and a value may be there long before anybody reads it. What gives back more memory than it takes is computed as
 * soon as its operands are there; what takes more, as late as its first reader allows. So a backward pass lets go of
 * each layer when it is through with it, and what `checkpoint` computes again waits until it is needed.
 */

import { dtypes } from '../graph/dtype.js'
import { type BufferSpec, bufferReads, bufferWrites, type Kernel } from './kernel.js'

/** A kernel with the buffers that it touches, and the bytes that it takes less those that it gives back. */
interface Entry {
  readonly kernel: Kernel
  readonly reads: ReadonlySet<number>
  readonly writes: readonly number[]
  readonly growth: number
}

export function orderKernels(kernels: readonly Kernel[], buffers: readonly BufferSpec[]): Kernel[] {
  const bytes = (b: number): number =>
    buffers[b].role === 'temporary' ? buffers[b].size * dtypes[buffers[b].dtype].bytes : 0
  const readsOf = kernels.map(bufferReads)
  const lastReader = new Map<number, Kernel>()
  kernels.forEach((kernel, i) => {
    for (const b of readsOf[i]) lastReader.set(b, kernel)
  })
  const entries = kernels.map((kernel, i): Entry => {
    const [reads, writes] = [readsOf[i], bufferWrites(kernel)]
    let growth = 0
    for (const b of writes) growth += bytes(b)
    for (const b of reads) if (lastReader.get(b) === kernel) growth -= bytes(b)
    return { kernel, reads, writes, growth }
  })
  return late(early(entries)).map(e => e.kernel)
}

/** Kernels that give memory back stand right behind the last one that they read of. */
function early(entries: readonly Entry[]): Entry[] {
  const ordered: Entry[] = []
  for (const entry of entries) {
    const { reads, growth } = entry
    const maker = growth < 0 ? ordered.findLastIndex(e => e.writes.some(b => reads.has(b))) : ordered.length - 1
    ordered.splice(maker + 1, 0, entry)
  }
  return ordered
}

/** Kernels that take memory stand right before the first one that reads of them. */
function late(entries: readonly Entry[]): Entry[] {
  const backwards: Entry[] = []
  for (const entry of [...entries].reverse()) {
    const { writes, growth } = entry
    const reader = growth > 0 ? backwards.findLastIndex(e => writes.some(b => e.reads.has(b))) : -1
    backwards.splice(reader < 0 ? backwards.length : reader + 1, 0, entry)
  }
  return backwards.reverse()
}
