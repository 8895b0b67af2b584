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
  printKernel,
  type Schedule,
} from '../../../compiler/kernel.js'
import { expandKernel } from '../../../compiler/math/kernel.js'
import type { Span } from '../../../compiler/plan-memory.js'
import { momentsOf } from '../../../compiler/rows.js'
import { isReducing, partsOf, type ReducingKernel, splitReduction } from '../../../compiler/split.js'
import { computeType } from '../../../graph/dtype.js'
import { sizeOf } from '../../../graph/shape.js'
import { encodeModule, type Func, type Import } from './assembler.js'
import type { Ahead } from './elements.js'
import type { Features } from './engine.js'
import { farImports, isFarOp } from './far.js'
import { asGemm, epilogueKernel, type Gemm, packedSize, packKernel, type Side, sides, tilesOf } from './gemm.js'
import { aheadOf, type BuiltStep, bundlesOf, emitGroup, type KernelStep, memoryOf, stepOf } from './groups.js'
import { emitLoops, layoutOf } from './loops.js'
import { bytesOf } from './memory-access.js'
import { emitGemm } from './micro.js'
import { emitBind, emitRun, type RunOptions } from './run.js'
import { emitFirstIndex, emitScatter } from './scatter.js'
import { emitArgsort, sortBytes } from './sort.js'
import { candidatesFor, type TimedTile } from './tiles.js'
import type { Target } from './values.js'

export interface Program {
  readonly module: Uint8Array<ArrayBuffer>
  readonly functions: readonly Func[]
  /** Buffers of the schedule, and those that were added to it. */
  readonly buffers: readonly BufferSpec[]
  /** Those buffers with the sizes that they take in memory. */
  readonly stored: readonly BufferSpec[]
  /** Buffers of which each thread has a part of its own, so many bytes apart. */
  readonly local: readonly { readonly buffer: number; readonly stride: number }[]
  readonly steps: readonly KernelStep[]
  /** Threads that run them: one where no step is worth sharing. */
  readonly threads: number
  /** When each kernel runs; some run together. */
  readonly moments: readonly Span[]
  /** The buffers that were added, each with a kernel that uses it; it lives from the first such one to the last. */
  readonly scratch: readonly { readonly buffer: number; readonly kernel: number }[]
}

export interface ProgramOptions extends RunOptions, Features {
  /** The tiles that matrix products may take. */
  readonly tiles?: readonly TimedTile[]
}

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

/** Terms that one sum goes through at most, about: along memory, and across it. */
const rowPart = 16384
const columnPart = 128
/** The same where each term is in a page of its own: as many streams as a processor reads ahead. */
const pagePart = 8
const pageBytes = 4096

/** The terms that one sum of a reduction goes through at most. */
function longestPart(kernel: ReducingKernel): number {
  const { axes, reduce } = kernel
  if (layoutOf(kernel).mode === 'rows') return rowPart
  return (axes.at(-1) ?? 1) * bytesOf(reduce.totals[0].type) >= pageBytes ? pagePart : columnPart
}

/** A function that is emitted when the groups are known: loops then touch what they will need next. */
interface Planned {
  readonly name: string
  readonly emit: (ahead?: Ahead) => Func
}
const made = (func: Func): Planned => ({ name: func.name, emit: () => func })

/** A packed factor is kept for a product that is at most so many kernels away. */
const kernelsApart = 16

/** The number of no buffer, where kernels are compared. */
const anyBuffer = -1

/** What two loop kernels have in common if they compute the same: their text, which has few types, and all types. */
function keyOf(kernel: LoopKernel): string {
  const types: string[] = []
  walkExprs(kernelExprs(kernel), e => types.push(e.type))
  return `${printKernel(kernel)}\n${types.join()}`
}

/** A single loop is cut at multiples of this only: whole vectors, four at a time. */
const vectorBlock = 64

class ProgramBuilder {
  readonly #options: ProgramOptions
  readonly #imports: readonly Import[]
  readonly #target: Target
  readonly #buffers: BufferSpec[]
  readonly #functions: Planned[] = []
  readonly #steps: BuiltStep[] = []
  readonly #kernels: readonly Kernel[]
  /** The kernel whose steps are being added. */
  #current = 0
  readonly #scratch: { buffer: number; kernel: number }[] = []
  /** Packed factors by what packs them, each with the last kernel that has it. */
  readonly #packed = new Map<string, { buffer: number; kernel: number }>()

  constructor(schedule: Schedule, options: ProgramOptions, far: readonly FarOp[]) {
    this.#options = options
    this.#imports = far.map(op => farImports[op])
    const { relaxed, paired } = options
    this.#target = { relaxed, paired, far: new Map(far.map((op, i) => [op, i])) }
    this.#buffers = [...schedule.buffers]
    this.#kernels = schedule.kernels
  }

  add(kernel: Kernel, index: number): void {
    this.#current = index
    switch (kernel.kind) {
      case 'loop': {
        const gemm = asGemm(kernel, this.#options.tiles ?? candidatesFor(this.#options))
        if (gemm) this.#addGemm(gemm)
        else if (isReducing(kernel)) this.#addReduction(kernel)
        else this.#addLoops(kernel)
        return
      }
      case 'scatterAdd': {
        // Every chunk goes through all indices, so there are no more of them than threads.
        const chunk = Math.max(1, Math.ceil(kernel.rows / this.#options.threads))
        this.#push(made(emitScatter(this.#name(kernel.name), kernel)), kernel.rows, chunk)
        return
      }
      case 'firstIndex': {
        const chunk = Math.max(1, Math.ceil(kernel.rows / this.#options.threads))
        this.#push(made(emitFirstIndex(this.#name(kernel.name), kernel)), kernel.rows, chunk)
        return
      }
      case 'argsort': {
        const chunk = Math.max(1, Math.ceil(kernel.rows / this.#options.threads))
        const scratch = this.#addScratch('float64', (Math.ceil(kernel.rows / chunk) * sortBytes(kernel)) / 8)
        this.#push(made(emitArgsort(this.#name(kernel.name), kernel, scratch, chunk)), kernel.rows, chunk)
      }
    }
  }

  #name(kind: string): string {
    return `${kind}_${this.#functions.length}`
  }

  #push(func: Planned, count: number, chunk: number, more: Pick<BuiltStep, 'part' | 'loops'> = {}): void {
    this.#functions.push(func)
    const index = this.#current
    const kernel = this.#kernels[index]
    const whole = more.loops?.kernel ?? kernel
    const [reads, writes] = [bufferReads(whole), new Set(bufferWrites(whole))]
    // What is no loops may touch all that was added for its kernel so far.
    if (!more.loops)
      for (const { buffer } of this.#scratch.filter(s => s.kernel === index)) {
        reads.add(buffer)
        writes.add(buffer)
      }
    this.#steps.push({ name: func.name, count, chunk, kernel, index, reads, writes, ...more })
  }

  /** Loops that are a whole kernel, or the part of one that a name is given for. */
  #addLoops(kernel: LoopKernel, part?: string): void {
    const layout = layoutOf(kernel)
    const name = this.#name(kernel.name)
    const emit = (ahead?: Ahead): Func =>
      emitLoops(name, kernel, layout, { buffers: this.#buffers, target: this.#target, ahead })
    let work = 0
    walkExprs(kernelExprs(kernel), () => work++)
    const flat = layout.mode !== 'rows' && kernel.axes.length === 1
    const [count, perPosition] = [layout.leadCount, layout.inner * work]
    this.#push({ name, emit }, count, this.#chunk(count, perPosition, flat ? vectorBlock : 1), {
      part: part ? { name: part, kernel } : undefined,
      loops: { kernel, count, multiple: flat ? vectorBlock : 1, work: perPosition, name },
    })
  }

  /** A long reduction goes in parts: threads share it, sums stay exact longer, and columns stay in the cache. */
  #addReduction(kernel: ReducingKernel): void {
    const { axes, reduce } = kernel
    const length = sizeOf(reduce.axes)
    const longest = longestPart(kernel)
    if (length < 2 * longest || length * sizeOf(axes) < rowPart) {
      this.#addLoops(kernel)
      return
    }
    const parts = partsOf(reduce.axes, Math.ceil(length / longest))
    const [partial, final] = splitReduction(kernel, parts, (...buffer) => this.#addScratch(...buffer))
    this.#addLoops(partial)
    this.#addLoops(final, 'result')
  }

  /**
   * Into how many chunks to divide: as many for each thread, four or `rounds`, of which each has the least work that is
   * worth handing out. With one chunk more a thread would work while the others wait.
   */
  #chunks(work: number, least: number, rounds = 4): number {
    const { threads } = this.#options
    const worthwhile = Math.min(threads * rounds, Math.floor(work / least))
    return worthwhile < threads ? Math.max(1, worthwhile) : worthwhile - (worthwhile % threads)
  }

  /** Positions in a chunk. */
  #chunk(count: number, work: number, multiple: number): number {
    if (this.#options.threads === 1) return Math.max(1, count)
    return Math.max(1, Math.ceil(count / this.#chunks(count * work, 40_000) / multiple)) * multiple
  }

  #addScratch(dtype: BufferSpec['dtype'], size: number): number {
    const buffer = this.#buffers.push({ dtype, size, role: 'temporary' }) - 1
    this.#scratch.push({ buffer, kernel: this.#current })
    return buffer
  }

  #addGemm(gemm: Gemm): void {
    const [left, right] = sides.map(side => gemm[side]?.buffer ?? this.#pack(gemm, side))
    const { outputs } = gemm.kernel
    const inPlace =
      outputs.find(o => o.value.op === 'reduced') ??
      outputs.find(o => computeType(this.#buffers[o.buffer].dtype) === gemm.type)
    const raw = inPlace?.buffer ?? this.#addScratch(gemm.type, gemm.batch * gemm.rows * gemm.columns)
    const name = this.#name(gemm.kernel.name)
    const indexOf = (f: Func): number => this.#imports.length + this.#functions.push(made(f)) - 1
    const func = emitGemm(name, gemm, { right, left, raw }, this.#target, indexOf)
    const count = gemm.batch * tilesOf(gemm)
    this.#push(made(func), count, this.#gemmChunk(gemm, count))
    const epilogue = epilogueKernel(gemm, raw)
    if (epilogue) this.#addLoops(epilogue, 'epilogue')
  }

  /**
   * The buffer that a factor is packed into. A left one may serve several products, as that of queries, keys and values, and
   * of their weights' gradients; right ones are mostly weights, which would be kept for long.
   */
  #pack(gemm: Gemm, side: Side): number {
    const key = keyOf(packKernel(gemm, side, anyBuffer))
    const packed = side === 'left' ? this.#packed.get(key) : undefined
    if (packed && this.#current - packed.kernel <= kernelsApart) {
      packed.kernel = this.#current
      this.#scratch.push({ ...packed })
      return packed.buffer
    }
    const buffer = this.#addScratch(gemm.type, packedSize(gemm, side))
    this.#packed.set(key, { buffer, kernel: this.#current })
    this.#addLoops(packKernel(gemm, side, buffer), `pack_${side}`)
    return buffer
  }

  /** Tiles in a chunk of a product: few enough for their rows to stay in the second cache. */
  #gemmChunk({ tile, inner, columns }: Gemm, count: number): number {
    const { threads } = this.#options
    if (threads === 1) return Math.ceil(256 / tile.rows)
    const rounds = Math.max(4, Math.ceil((count * tile.rows) / 128 / threads))
    return Math.ceil(count / this.#chunks(count * tile.rows * inner * columns, 400_000, rounds))
  }

  finish(): Program {
    const { memory } = this.#options
    const buffers = this.#buffers
    const bundles = bundlesOf(this.#steps, buffers)
    const moments = momentsOf(bundles)
    const steps = bundles.map(bundle => stepOf(bundle, (...work) => this.#chunk(...work)))
    const threads = steps.every(s => s.count <= s.chunk) ? 1 : this.#options.threads
    const memories = bundles.map((bundle, i) => memoryOf(bundle, steps[i], buffers))
    const local = memories.flatMap(m => m.locals)
    const stored = [...buffers]
    for (const buffer of memories.flatMap(m => [...m.heirs.keys()])) stored[buffer] = { ...stored[buffer], size: 0 }
    for (const { buffer, stride } of local) {
      const { dtype } = stored[buffer]
      stored[buffer] = { ...stored[buffer], size: (threads * stride) / bytesOf(dtype) }
    }
    const ahead = new Map(bundles.flatMap((bundle, i) => aheadOf(bundle, memories[i].block, buffers)))
    const functions = this.#functions.map(({ name, emit }) => emit(ahead.get(name)))
    const position = new Map(functions.map(({ name }, i) => [name, this.#imports.length + i]))
    const add = (f: Func): void => void position.set(f.name, this.#imports.length + functions.push(f) - 1)
    const bind = emitBind()
    add(bind)
    bundles.forEach(({ group }, i) => {
      if (group) add(emitGroup(steps[i].name, group, memories[i], member => position.get(member) as number))
    })
    const run = emitRun(steps, buffers.length, { ...this.#options, threads }, name => position.get(name) as number)
    functions.push(run)
    const exports = [run, bind, ...steps].map(f => f.name)
    const module = encodeModule({ imports: this.#imports, functions, exports, memory, globals: 1 })
    return { module, functions, buffers, threads, stored, local, steps, moments, scratch: this.#scratch }
  }
}
