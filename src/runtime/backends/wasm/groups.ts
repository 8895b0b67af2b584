/**
 * Makes one step of neighbours whose rows can go through them together (rows.ts says which). A thread takes a chunk of
 * rows through all of them while it is in the cache; what only they know needs memory for a chunk, not for all rows.
 */

import { type BufferSpec, bufferReads, bufferWrites, type Kernel } from '../../../compiler/kernel.js'
import { Func } from './assembler.js'
import { alignment, guardBytes } from './elements.js'
import { bytesOf, pushAddress } from './memory-access.js'
import { joinRows, type Loops, type RowGroup, rowBytes } from './rows.js'
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

export interface BuiltStep extends KernelStep {
  /** The number of its kernel. */
  readonly index: number
  readonly loops?: ChunkLoops
  readonly group?: RowGroup<ChunkLoops>
}

/** A buffer that nobody but a group knows: memory for the rows of a chunk is enough. */
export interface GroupLocal {
  readonly buffer: number
  readonly rowBytes: number
  readonly stride: number
}

/** How many positions make a chunk. */
type ChunkOf = (count: number, work: number, multiple: number) => number

/** Bytes of the rows that go through a group together: a part of the second cache. */
const cacheBytes = 2 ** 17

/**
 * The steps, where those whose rows go together are one, and when each kernel runs: all that a group touches lives as
 * long as it does.
 */
export function groupSteps(
  all: readonly BuiltStep[],
  kernels: number,
  buffers: readonly BufferSpec[],
  chunkOf: ChunkOf,
): { steps: BuiltStep[]; moments: number[] } {
  const steps: BuiltStep[] = []
  const moments = Array.from({ length: kernels }, (_, i) => i)
  let group: RowGroup<ChunkLoops> | undefined
  for (const step of all) {
    const joined: RowGroup<ChunkLoops> | undefined = group && step.loops && joinRows(group, step.loops, buffers)
    const before = steps.at(-1)
    if (joined && before) {
      steps[steps.length - 1] = groupStep(joined, before, step, buffers, chunkOf)
      moments.fill(moments[before.index], before.index, step.index + 1)
    } else steps.push(step)
    group = joined ?? (step.loops && { rows: step.count, members: [step.loops] })
  }
  return { steps, moments }
}

/** The step of a group, which so far was that of its first members. */
function groupStep(
  group: RowGroup<ChunkLoops>,
  before: BuiltStep,
  last: BuiltStep,
  buffers: readonly BufferSpec[],
  chunkOf: ChunkOf,
): BuiltStep {
  const { rows, members } = group
  const work = members.reduce((n, m) => n + (m.count / rows) * m.work, 0)
  const cached = Math.max(1, Math.floor(cacheBytes / rowBytes(group, buffers)))
  return {
    ...last,
    name: members.map(m => m.name).join('+'),
    count: rows,
    chunk: Math.min(chunkOf(rows, work, 1), cached),
    group,
    of: [...(before.of ?? [before]), last],
  }
}

type Scratch = readonly { readonly buffer: number; readonly kernel: number }[]

/** What a step may read or write: of one that is no loops, all that its kernel touches. */
function touchedBy({ loops, kernel, index }: BuiltStep, scratch: Scratch): Set<number> {
  const added = loops ? [] : scratch.filter(s => s.kernel === index).map(s => s.buffer)
  const whole = loops?.kernel ?? kernel
  return new Set([...bufferReads(whole), ...bufferWrites(whole), ...added])
}

/** The temporaries that only a group's own loops write and read, among all steps before they were grouped. */
export function localsOf(
  { group, chunk, of = [] }: BuiltStep,
  all: readonly BuiltStep[],
  buffers: readonly BufferSpec[],
  scratch: Scratch,
): GroupLocal[] {
  if (!group) return []
  const { rows, members } = group
  const outside = all.filter(step => !of.includes(step)).map(step => touchedBy(step, scratch))
  return members
    .flatMap(m => m.kernel.outputs.map(o => o.buffer))
    .filter(b => buffers[b].role === 'temporary' && !outside.some(touched => touched.has(b)))
    .map(buffer => {
      const { dtype, size } = buffers[buffer]
      const rowBytes = (size / rows) * bytesOf(dtype)
      const stride = Math.ceil((chunk * rowBytes + guardBytes) / alignment) * alignment
      return { buffer, rowBytes, stride }
    })
}

/** A function `name(begin, end)` that takes rows begin .. end - 1 through all loops of a group. */
export function emitGroup(
  name: string,
  { rows, members }: RowGroup<ChunkLoops>,
  locals: readonly GroupLocal[],
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
