/**
 * Makes one step of those whose rows can go through them together (compiler/rows.ts says which). A thread takes a block
 * of rows through all of them while it is in the cache; what only they know needs memory for a block, not for all rows.
 */

import { type BufferSpec, bufferReads, bufferWrites, type Kernel } from '../../../compiler/kernel.js'
import {
  type Bundle,
  heirsOf,
  joinSteps,
  type Loops,
  type RowGroup,
  type RowStep,
  readsOwnRows,
  rowBytes,
} from '../../../compiler/rows.js'
import { Func } from './assembler.js'
import { type Ahead, alignment, guardBytes, reachBytes } from './elements.js'
import { bytesOf, pushAddress } from './memory-access.js'
import type { Step } from './run.js'

/** A step of a kernel: the one that does its arithmetic, or a part before or after it, as packing and epilogues are. */
export interface KernelStep extends Step {
  readonly kernel: Kernel
  readonly part?: { readonly name: string; readonly kernel: Kernel }
  /** The steps whose rows go through this one together. */
  readonly of?: readonly KernelStep[]
}

/** Loops as a function of a range, with the work of a position. */
export interface ChunkLoops extends Loops {
  readonly name: string
  readonly work: number
}

export interface BuiltStep extends KernelStep, RowStep {
  readonly loops?: ChunkLoops
}

/** The rows that go through a group together, and the memory of buffers that nobody but the group knows. */
export interface GroupMemory {
  readonly block: number
  /** Those with memory for the rows of a block. */
  readonly locals: readonly GroupLocal[]
  /** Those without memory of their own, each with the buffer that it shares memory with. */
  readonly heirs: ReadonlyMap<number, number>
}

export interface GroupLocal {
  readonly buffer: number
  readonly rowBytes: number
  readonly stride: number
}

/** How many positions make a chunk. */
type ChunkOf = (count: number, work: number, multiple: number) => number

/** Fewer rows would not be shared out evenly. */
const fewestRows = 16
/** The most bytes of a row, in all buffers of a group. Like those of a block no more than what loops may touch ahead. */
const largestRow = reachBytes
/** Bytes of the rows that go through a group together: a part of the second cache. */
const cacheBytes = reachBytes

/** Steps in bundles: those whose rows go together are in one. */
export const bundlesOf = (all: readonly BuiltStep[], buffers: readonly BufferSpec[]): Bundle<BuiltStep>[] =>
  joinSteps(all, buffers, ({ group }) => group.rows >= fewestRows && rowBytes(group, buffers) <= largestRow)

/** The step that a bundle is. */
export function stepOf({ steps, group }: Bundle<BuiltStep>, chunkOf: ChunkOf): BuiltStep {
  const last = steps[steps.length - 1]
  if (!group) return last
  const { rows, members } = group
  const work = members.reduce((n, m) => n + (m.count / rows) * m.work, 0)
  const name = members.map(m => m.name).join('+')
  return { ...last, name, count: rows, chunk: chunkOf(rows, work, 1), of: steps }
}

/** The rows of a block, and the memory of what only a bundle knows: `rows` in all, shared out in chunks. */
export function memoryOf(
  bundle: Bundle<BuiltStep>,
  { count: rows, chunk }: Pick<BuiltStep, 'count' | 'chunk'>,
  buffers: readonly BufferSpec[],
): GroupMemory {
  const { group, own } = bundle
  if (!group) return { block: 1, locals: [], heirs: new Map() }
  const block = Math.max(1, Math.min(chunk, Math.floor(cacheBytes / rowBytes(group, buffers))))
  const heirs = heirsOf(bundle, buffers)
  const locals = own
    .filter(buffer => !heirs.has(buffer))
    .map(buffer => {
      const { dtype, size } = buffers[buffer]
      const rowBytes = (size / rows) * bytesOf(dtype)
      const stride = Math.ceil((block * rowBytes + guardBytes) / alignment) * alignment
      return { buffer, rowBytes, stride }
    })
  return { block, locals, heirs }
}

/**
 * For the loops of a group by their names, how far the next block is in what they read. The first loops to read rows wait
 * for memory; the next that read the same rows find them in the cache, and touch those of the next block meanwhile.
 */
export function aheadOf(
  { group }: Bundle<BuiltStep>,
  block: number,
  buffers: readonly BufferSpec[],
): [string, Ahead][] {
  if (!group) return []
  const { rows, members } = group
  const written = new Set(members.flatMap(m => bufferWrites(m.kernel)))
  const readers = new Map<number, number>()
  return members.map(({ name, kernel }) => {
    const ahead = new Map<number, number>()
    for (const b of bufferReads(kernel)) {
      const before = readers.get(b) ?? 0
      readers.set(b, before + 1)
      const bytes = buffers[b].size * bytesOf(buffers[b].dtype)
      const isWorth = before === 1 && !written.has(b) && bytes > cacheBytes
      if (isWorth && readsOwnRows(kernel, rows, new Set([b]), buffers)) ahead.set(b, (bytes / rows) * block)
    }
    return [name, ahead]
  })
}

/** A function `name(begin, end)` that takes rows begin .. end - 1 through all loops of a group, block by block. */
export function emitGroup(
  name: string,
  { rows, members }: RowGroup<ChunkLoops>,
  { block, locals, heirs }: GroupMemory,
  functionOf: (name: string) => number,
): Func {
  const f = new Func(name, ['i32', 'i32'])
  const [row, end] = [f.local('i32'), f.local('i32')]
  const addresses = locals.map(({ buffer }) => {
    const address = f.local('i32')
    pushAddress(f, buffer).set(address)
    return address
  })
  f.get(0).set(row)
  f.for(row, { local: 1 }, block, () => {
    // For the loops, a local buffer begins so far ahead that row `row` is the first in its memory.
    locals.forEach(({ buffer, rowBytes }, i) => {
      f.globalGet(0).get(addresses[i]).get(row).i32(rowBytes).op('i32.mul', 'i32.sub')
      f.memory('i32.store', 4 * buffer)
    })
    // Then what lies in the memory of others, which may be local.
    for (const [buffer, heir] of heirs) {
      f.globalGet(0)
      pushAddress(f, heir).memory('i32.store', 4 * buffer)
    }
    f.get(row).i32(block).op('i32.add').set(end)
    f.extreme('i32.lt_s', end, { local: 1 }).set(end)
    for (const m of members) {
      const positions = m.count / rows
      f.get(row).i32(positions).op('i32.mul').get(end).i32(positions).op('i32.mul').call(functionOf(m.name))
    }
  })
  locals.forEach(({ buffer }, i) =>
    f
      .globalGet(0)
      .get(addresses[i])
      .memory('i32.store', 4 * buffer),
  )
  return f
}
