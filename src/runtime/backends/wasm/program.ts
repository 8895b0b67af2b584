/**
 * Turns a schedule into one WebAssembly module: a function for each step of a kernel, and `run`, which goes through the
 * steps in order (run.ts). Results do not depend on which thread computes which chunk of a step.
 */

import { type FarOp, walkExprs } from '../../../compiler/expr.js'
import {
  type BufferSpec,
  bufferReads,
  bufferWrites,
  type Kernel,
  kernelExprs,
  type LoopKernel,
  type Reduction,
  type Schedule,
} from '../../../compiler/kernel.js'
import { expandKernel } from '../../../compiler/math/kernel.js'
import { partsOf, splitReduction } from '../../../compiler/split.js'
import { computeType } from '../../../graph/dtype.js'
import { sizeOf } from '../../../graph/shape.js'
import { encodeModule, Func, type Import } from './assembler.js'
import { alignment, guardBytes } from './elements.js'
import { farImports, isFarOp } from './far.js'
import {
  asGemm,
  emitGemm,
  epilogueKernel,
  type Gemm,
  packedLeftSize,
  packedRightSize,
  packLeft,
  packRight,
  rowBlock,
} from './gemm.js'
import { emitLoops, layoutOf } from './loops.js'
import { bytesOf } from './memory-access.js'
import { joinRows, type Loops, type RowGroup, rowBytes } from './rows.js'
import { emitBind, emitRun, type RunOptions, type Step } from './run.js'
import { emitFirstIndex, emitScatter } from './scatter.js'
import type { Target } from './values.js'

/** A step of a kernel: the one that does its arithmetic, or a part before or after it, as packing and epilogues are. */
export interface KernelStep extends Step {
  readonly kernel: Kernel
  readonly part?: { readonly name: string; readonly kernel: Kernel }
  /** The steps whose rows go through this one together. */
  readonly of?: readonly KernelStep[]
}

export interface Program {
  readonly module: Uint8Array<ArrayBuffer>
  readonly functions: readonly Func[]
  /** Buffers of the schedule, and those that were added to it. */
  readonly buffers: readonly BufferSpec[]
  /** Threads that run it: one where no step is worth sharing. */
  readonly threads: number
  /** Those buffers with the sizes that they take in memory. */
  readonly stored: readonly BufferSpec[]
  /** Buffers of which each thread has a part of its own, so many bytes apart. */
  readonly local: readonly { readonly buffer: number; readonly stride: number }[]
  readonly steps: readonly KernelStep[]
  /** When each kernel runs: kernels that run together have one moment. */
  readonly moments: readonly number[]
  /** The buffers that were added, each with the kernel during which it lives. */
  readonly scratch: readonly { readonly buffer: number; readonly kernel: number }[]
}

export interface ProgramOptions extends RunOptions, Pick<Target, 'relaxed'> {}

/** Sorting is done by the host, on one thread. */
const sorting: Import = { name: 'argsort', params: ['i32', 'i32', 'i32', 'i32', 'i32'], results: [] }

/** Code numbers of dtypes for the host's sort. */
export const sortTypes = ['float16', 'float32', 'float64', 'int32', 'uint32', 'bool'] as const

export function buildProgram(schedule: Schedule, options: ProgramOptions): Program {
  const kernels = schedule.kernels.map(k => (k.kind === 'loop' ? expandKernel(k) : k))
  const builder = new ProgramBuilder(schedule, options, farOps(kernels))
  kernels.forEach((kernel, i) => builder.add(kernel, i))
  return builder.finish()
}

/** The functions that the host computes for these kernels. */
function farOps(kernels: readonly Kernel[]): readonly FarOp[] {
  const found = new Set<FarOp>()
  for (const k of kernels) if (k.kind === 'loop') walkExprs(kernelExprs(k), e => isFarOp(e.op) && found.add(e.op))
  return [...found]
}

/** Terms that one sum goes through at most, about: along memory, and across it, where each is in a page of its own. */
const rowPart = 16384
const columnPart = 128

const isReducing = (kernel: LoopKernel): kernel is LoopKernel & { readonly reduce: Reduction } =>
  kernel.reduce !== undefined

/** A single loop is cut at multiples of this only: whole vectors, four at a time. */
const vectorBlock = 64

/** Bytes of the rows that go through a group together: a part of the second cache. */
const cacheBytes = 2 ** 17

/** Loops as a function of a range, with the work of a position. */
interface ChunkLoops extends Loops {
  readonly name: string
  readonly work: number
}

interface BuiltStep extends KernelStep {
  /** The number of its kernel. */
  readonly index: number
  readonly loops?: ChunkLoops
  readonly group?: RowGroup<ChunkLoops>
}

/** A buffer that nobody but a group knows: memory for the rows of a chunk is enough. */
interface GroupLocal {
  readonly buffer: number
  readonly rowBytes: number
  readonly stride: number
}

/** A function `name(begin, end)` that takes rows begin .. end - 1 through all loops of a group. */
function emitGroup(
  name: string,
  { rows, members }: RowGroup<ChunkLoops>,
  locals: readonly GroupLocal[],
  functionOf: (name: string) => number,
): Func {
  const f = new Func(name, ['i32', 'i32'])
  // For the loops, a local buffer begins so far ahead that row `begin` is the first in its memory.
  const addresses = locals.map(({ buffer, rowBytes }) => {
    const address = f.local('i32')
    f.globalGet(0)
      .memory('i32.load', 4 * buffer)
      .set(address)
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

class ProgramBuilder {
  readonly #options: ProgramOptions
  readonly #imports: readonly Import[]
  readonly #target: Target
  readonly #buffers: BufferSpec[]
  readonly #functions: Func[] = []
  readonly #steps: BuiltStep[] = []
  readonly #kernels: readonly Kernel[]
  /** The kernel whose steps are being added. */
  #current = 0
  readonly #scratch: { buffer: number; kernel: number }[] = []

  constructor(schedule: Schedule, options: ProgramOptions, far: readonly FarOp[]) {
    this.#options = options
    this.#imports = [sorting, ...far.map(op => farImports[op])]
    this.#target = { relaxed: options.relaxed, far: new Map(far.map((op, i) => [op, i + 1])) }
    this.#buffers = [...schedule.buffers]
    this.#kernels = schedule.kernels
  }

  add(kernel: Kernel, index: number): void {
    this.#current = index
    switch (kernel.kind) {
      case 'loop': {
        const gemm = asGemm(kernel)
        if (gemm) this.#addGemm(gemm, index)
        else if (isReducing(kernel)) this.#addReduction(kernel, index)
        else this.#addLoops(kernel)
        return
      }
      case 'scatterAdd': {
        // Every chunk goes through all indices, so there are no more of them than threads.
        const chunk = Math.max(1, Math.ceil(kernel.rows / this.#options.threads))
        this.#push(emitScatter(this.#name(kernel.name), kernel), kernel.rows, chunk)
        return
      }
      case 'firstIndex': {
        const chunk = Math.max(1, Math.ceil(kernel.rows / this.#options.threads))
        this.#push(emitFirstIndex(this.#name(kernel.name), kernel), kernel.rows, chunk)
        return
      }
      case 'argsort': {
        const f = new Func(this.#name('argsort'), ['i32', 'i32'])
        const base = (buffer: number): Func => f.globalGet(0).memory('i32.load', 4 * buffer)
        base(kernel.input)
        base(kernel.output)
        f.i32(kernel.rows).i32(kernel.length).i32(sortTypes.indexOf(kernel.type)).call(0)
        this.#push(f, 1, 1)
      }
    }
  }

  #name(kind: string): string {
    return `${kind}_${this.#functions.length}`
  }

  #push(func: Func, count: number, chunk: number, more: Pick<BuiltStep, 'part' | 'loops'> = {}): void {
    this.#functions.push(func)
    const index = this.#current
    this.#steps.push({ name: func.name, count, chunk, kernel: this.#kernels[index], index, ...more })
  }

  /** Loops that are a whole kernel, or the part of one that a name is given for. */
  #addLoops(kernel: LoopKernel, part?: string): void {
    const layout = layoutOf(kernel)
    const func = emitLoops(this.#name(kernel.name), kernel, layout, this.#buffers, this.#target)
    let work = 0
    walkExprs(kernelExprs(kernel), () => work++)
    const flat = layout.mode !== 'rows' && kernel.axes.length === 1
    const [count, perPosition] = [layout.leadCount, layout.inner * work]
    this.#push(func, count, this.#chunk(count, perPosition, flat ? vectorBlock : 1), {
      part: part ? { name: part, kernel } : undefined,
      loops: { kernel, count, multiple: flat ? vectorBlock : 1, work: perPosition, name: func.name },
    })
  }

  /** A long reduction goes in parts: threads share it, sums stay exact longer, and columns stay in the cache. */
  #addReduction(kernel: LoopKernel & { readonly reduce: Reduction }, index: number): void {
    const { axes, reduce } = kernel
    const length = sizeOf(reduce.axes)
    const longest = layoutOf(kernel).mode === 'rows' ? rowPart : columnPart
    if (length < 2 * longest || length * sizeOf(axes) < rowPart) {
      this.#addLoops(kernel)
      return
    }
    const parts = partsOf(reduce.axes, Math.ceil(length / longest))
    const buffer = this.#addScratch(reduce.type, sizeOf(parts) * sizeOf(axes), index)
    const [partial, final] = splitReduction(kernel, parts, buffer)
    this.#addLoops(partial)
    this.#addLoops(final, 'result')
  }

  /** Positions in a chunk: enough work to be worth handing out, few enough to share evenly. */
  #chunk(count: number, work: number, multiple: number): number {
    const { threads } = this.#options
    if (threads === 1) return Math.max(1, count)
    const worthwhile = Math.ceil(40_000 / Math.max(1, work))
    const even = Math.ceil(count / (threads * 4))
    return Math.ceil(Math.max(1, worthwhile, even) / multiple) * multiple
  }

  #addScratch(dtype: BufferSpec['dtype'], size: number, kernel: number): number {
    const buffer = this.#buffers.push({ dtype, size, role: 'temporary' }) - 1
    this.#scratch.push({ buffer, kernel })
    return buffer
  }

  #addGemm(gemm: Gemm, index: number): void {
    const right = this.#addScratch(gemm.type, packedRightSize(gemm), index)
    this.#addLoops(packRight(gemm, right), 'pack_right')
    let left: number | undefined
    if (!gemm.left) {
      left = this.#addScratch(gemm.type, packedLeftSize(gemm), index)
      this.#addLoops(packLeft(gemm, left), 'pack_left')
    }
    const { outputs } = gemm.kernel
    const inPlace =
      outputs.find(o => o.value.op === 'reduced') ??
      outputs.find(o => computeType(this.#buffers[o.buffer].dtype) === gemm.type)
    const raw = inPlace?.buffer ?? this.#addScratch(gemm.type, gemm.batch * gemm.rows * gemm.columns, index)
    const name = this.#name(gemm.kernel.name)
    const indexOf = (f: Func): number => this.#imports.length + this.#functions.push(f) - 1
    const func = emitGemm(name, gemm, { right, left, raw }, this.#target, indexOf)
    const count = gemm.batch * gemm.rows
    const even = Math.ceil(count / (this.#options.threads * 4) / gemm.tile) * gemm.tile
    const chunk = Math.min(
      count,
      this.#options.threads === 1
        ? Math.ceil(256 / gemm.tile) * gemm.tile
        : Math.max(gemm.tile, Math.min(even, Math.ceil(rowBlock / gemm.tile) * gemm.tile)),
    )
    this.#push(func, count, chunk)
    const epilogue = epilogueKernel(gemm, raw)
    if (epilogue) this.#addLoops(epilogue, 'epilogue')
  }

  /** The steps, where those whose rows go together are one. */
  #grouped(): { steps: BuiltStep[]; moments: number[] } {
    const steps: BuiltStep[] = []
    // All that a group touches lives as long as the group.
    const moments = [...this.#kernels.keys()]
    let group: RowGroup<ChunkLoops> | undefined
    for (const step of this.#steps) {
      const joined: RowGroup<ChunkLoops> | undefined = group && step.loops && joinRows(group, step.loops, this.#buffers)
      const before = steps.at(-1)
      if (joined && before) {
        steps[steps.length - 1] = this.#groupStep(joined, before, step)
        moments.fill(moments[before.index], before.index, step.index + 1)
      } else steps.push(step)
      group = joined ?? (step.loops && { rows: step.count, members: [step.loops] })
    }
    return { steps, moments }
  }

  /** The step of a group, which so far was that of its first members. */
  #groupStep(group: RowGroup<ChunkLoops>, before: BuiltStep, last: BuiltStep): BuiltStep {
    const { rows, members } = group
    const work = members.reduce((n, m) => n + (m.count / rows) * m.work, 0)
    const cached = Math.max(1, Math.floor(cacheBytes / rowBytes(group, this.#buffers)))
    return {
      ...last,
      name: members.map(m => m.name).join('+'),
      count: rows,
      chunk: Math.min(this.#chunk(rows, work, 1), cached),
      group,
      of: [...(before.of ?? [before]), last],
    }
  }

  /** What a step may read or write: of one that is no loops, all that its kernel touches. */
  #touchedBy({ loops, kernel, index }: BuiltStep): Set<number> {
    const scratch = loops ? [] : this.#scratch.filter(s => s.kernel === index).map(s => s.buffer)
    const whole = loops?.kernel ?? kernel
    return new Set([...bufferReads(whole), ...bufferWrites(whole), ...scratch])
  }

  /** The temporaries that only a group's own loops write and read. */
  #localsOf({ group, chunk, of = [] }: BuiltStep): GroupLocal[] {
    if (!group) return []
    const { rows, members } = group
    const outside = this.#steps.filter(step => !of.includes(step)).map(step => this.#touchedBy(step))
    return members
      .flatMap(m => m.kernel.outputs.map(o => o.buffer))
      .filter(b => this.#buffers[b].role === 'temporary' && !outside.some(touched => touched.has(b)))
      .map(buffer => {
        const { dtype, size } = this.#buffers[buffer]
        const rowBytes = (size / rows) * bytesOf(dtype)
        const stride = Math.ceil((chunk * rowBytes + guardBytes) / alignment) * alignment
        return { buffer, rowBytes, stride }
      })
  }

  finish(): Program {
    const { memory } = this.#options
    const buffers = this.#buffers
    const { steps, moments } = this.#grouped()
    const threads = steps.every(s => s.count <= s.chunk) ? 1 : this.#options.threads
    const locals = steps.map(step => this.#localsOf(step))
    const local = locals.flat()
    const stored = [...buffers]
    for (const { buffer, stride } of local) {
      const { dtype } = stored[buffer]
      stored[buffer] = { ...stored[buffer], size: (threads * stride) / bytesOf(dtype) }
    }
    const position = new Map(this.#functions.map(({ name }, i) => [name, this.#imports.length + i]))
    const bind = emitBind()
    const add = (f: Func): void => void position.set(f.name, this.#imports.length + this.#functions.push(f) - 1)
    add(bind)
    steps.forEach(({ name, group }, s) => {
      if (group) add(emitGroup(name, group, locals[s], member => position.get(member) as number))
    })
    const run = emitRun(steps, buffers.length, { ...this.#options, threads }, name => position.get(name) as number)
    const functions = [...this.#functions, run]
    const exports = [run, bind, ...steps].map(f => f.name)
    const module = encodeModule({ imports: this.#imports, functions, exports, memory, globals: 1 })
    return { module, functions, buffers, threads, stored, local, steps, moments, scratch: this.#scratch }
  }
}
