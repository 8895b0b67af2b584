/**
 * Makes one step of those whose rows can go through them together (compiler/rows.ts says which). A thread takes a chunk
 * of rows through all of them while it is in the cache; what only they know needs memory for a chunk, not for all rows.
 */

import type { BufferSpec, Kernel } from '../../../compiler/kernel.js'
import {
  type Bundle,
  heirsOf,
  joinSteps,
  type Loops,
  type RowGroup,
  type RowStep,
  rowBytes,
} from '../../../compiler/rows.js'
import { Func } from './assembler.js'
import { alignment, guardBytes } from './elements.js'
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

/** The memory of buffers that nobody but a group knows. */
export interface GroupMemory {
  /** Those with memory for the rows of a chunk. */
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
/** The most bytes of a row, in all buffers of a group. */
const largestRow = 2 ** 17
/** Bytes of the rows that go through a group together: a part of the second cache. */
const cacheBytes = 2 ** 17

/** Steps in bundles: those whose rows go together are in one. */
export const bundlesOf = (all: readonly BuiltStep[], buffers: readonly BufferSpec[]): Bundle<BuiltStep>[] =>
  joinSteps(all, buffers, ({ group }) => group.rows >= fewestRows && rowBytes(group, buffers) <= largestRow)

/** The step that a bundle is. */
export function stepOf(
  { steps, group }: Bundle<BuiltStep>,
  buffers: readonly BufferSpec[],
  chunkOf: ChunkOf,
): BuiltStep {
  const last = steps[steps.length - 1]
  if (!group) return last
  const { rows, members } = group
  const work = members.reduce((n, m) => n + (m.count / rows) * m.work, 0)
  const cached = Math.max(1, Math.floor(cacheBytes / rowBytes(group, buffers)))
  const name = members.map(m => m.name).join('+')
  return { ...last, name, count: rows, chunk: Math.min(chunkOf(rows, work, 1), cached), of: steps }
}

/** The memory of what only a bundle knows, for the rows of a chunk of its step. */
export function memoryOf(
  bundle: Bundle<BuiltStep>,
  { count: rows, chunk }: Pick<BuiltStep, 'count' | 'chunk'>,
  buffers: readonly BufferSpec[],
): GroupMemory {
  const heirs = heirsOf(bundle, buffers)
  const locals = bundle.own
    .filter(buffer => !heirs.has(buffer))
    .map(buffer => {
      const { dtype, size } = buffers[buffer]
      const rowBytes = (size / rows) * bytesOf(dtype)
      const stride = Math.ceil((chunk * rowBytes + guardBytes) / alignment) * alignment
      return { buffer, rowBytes, stride }
    })
  return { locals, heirs }
}

/** A function `name(begin, end)` that takes rows begin .. end - 1 through all loops of a group. */
export function emitGroup(
  name: string,
  { rows, members }: RowGroup<ChunkLoops>,
  { locals, heirs }: GroupMemory,
  functionOf: (name: string) => number,
): Func {
  const f = new Func(name, ['i32', 'i32'])
  // For the loops, a local buffer begins so far ahead that row `begin` is the first in its memory.
  const addresses = locals.map(({ buffer, rowBytes }) => {
    const address = f.local('i32')
    pushAddress(f, buffer).set(address)
    f.globalGet(0).get(address).get(0).i32(rowBytes).op('i32.mul', 'i32.sub')
    f.memory('i32.store', 4 * buffer)
    return address
  })
  for (const [buffer, heir] of heirs) {
    f.globalGet(0)
    pushAddress(f, heir).memory('i32.store', 4 * buffer)
  }
  for (const m of members) {
    const positions = m.count / rows
    f.get(0).i32(positions).op('i32.mul').get(1).i32(positions).op('i32.mul').call(functionOf(m.name))
  }
  locals.forEach(({ buffer }, i) =>
    f
      .globalGet(0)
      .get(addresses[i])
      .memory('i32.store', 4 * buffer),
  )
  return f
}
