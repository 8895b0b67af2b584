/**
 * Turns a schedule into one WebAssembly module: a function for each kernel, and `run(thread, table)`, which every thread
 * calls and which goes through the kernels in order. Work within a kernel is shared out in chunks by an atomic counter;
 * a barrier stands between kernels. Results do not depend on who computes which chunk.
 */

import { type FarOp, walkExprs } from '../../../compiler/expr.js'
import { type BufferSpec, type Kernel, kernelExprs, type LoopKernel, type Schedule } from '../../../compiler/kernel.js'
import { expandKernel } from '../../../compiler/math/kernel.js'
import { computeType } from '../../../graph/dtype.js'
import { encodeModule, Func, type Import } from './assembler.js'
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
import { emitScatter } from './scatter.js'
import type { Target } from './values.js'

/** Offsets in the block through which the threads of a device wait for each other. */
export const control = { barrierCount: 0, barrierPhase: 64, bytes: 128 } as const

/** One function applied to a range, in chunks. */
interface Step {
  readonly func: Func
  /** Positions in all, and in each chunk. */
  readonly count: number
  readonly chunk: number
}

export interface Program {
  readonly module: Uint8Array<ArrayBuffer>
  readonly functions: readonly Func[]
  /** Buffers of the schedule, and those that were added to it. */
  readonly buffers: readonly BufferSpec[]
  /** Length of the table that `run` reads: the buffers' addresses, then a counter for each step, 0 at the start. */
  readonly tableLength: number
  /** The buffers that were added, each with the kernel during which it lives. */
  readonly scratch: readonly { readonly buffer: number; readonly kernel: number }[]
}

export interface ProgramOptions extends Pick<Target, 'relaxed'> {
  readonly threads: number
  readonly memory: { readonly initial: number; readonly maximum: number; readonly shared: boolean }
  /** Address of the control block. */
  readonly control: number
}

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

class ProgramBuilder {
  readonly #options: ProgramOptions
  readonly #imports: readonly Import[]
  readonly #target: Target
  readonly #buffers: BufferSpec[]
  readonly #functions: Func[] = []
  readonly #steps: Step[] = []
  readonly #scratch: { buffer: number; kernel: number }[] = []

  constructor(schedule: Schedule, options: ProgramOptions, far: readonly FarOp[]) {
    this.#options = options
    this.#imports = [sorting, ...far.map(op => farImports[op])]
    this.#target = { relaxed: options.relaxed, far: new Map(far.map((op, i) => [op, i + 1])) }
    this.#buffers = [...schedule.buffers]
  }

  add(kernel: Kernel, index: number): void {
    switch (kernel.kind) {
      case 'loop': {
        const gemm = asGemm(kernel)
        if (gemm) this.#addGemm(gemm, index)
        else this.#addLoops(kernel)
        return
      }
      case 'scatterAdd': {
        // Every chunk goes through all indices, so there are no more of them than threads.
        const chunk = Math.max(1, Math.ceil(kernel.rows / this.#options.threads))
        this.#push(emitScatter(this.#name(kernel.name), kernel), kernel.rows, chunk)
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

  #push(func: Func, count: number, chunk: number): void {
    this.#functions.push(func)
    this.#steps.push({ func, count, chunk })
  }

  #addLoops(kernel: LoopKernel): void {
    const layout = layoutOf(kernel)
    const func = emitLoops(this.#name(kernel.name), kernel, layout, this.#buffers, this.#target)
    let work = 0
    walkExprs(kernelExprs(kernel), () => work++)
    const flat = layout.mode !== 'rows' && kernel.axes.length === 1
    this.#push(func, layout.leadCount, this.#chunk(layout.leadCount, layout.inner * work, flat ? 64 : 1))
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
    this.#addLoops(packRight(gemm, right))
    let left: number | undefined
    if (!gemm.left) {
      left = this.#addScratch(gemm.type, packedLeftSize(gemm), index)
      this.#addLoops(packLeft(gemm, left))
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
    if (epilogue) this.#addLoops(epilogue)
  }

  finish(): Program {
    const run = this.#run()
    const functions = [...this.#functions, run]
    const { memory } = this.#options
    const module = encodeModule({ imports: this.#imports, functions, exports: ['run'], memory, globals: 1 })
    return {
      module,
      functions,
      buffers: this.#buffers,
      tableLength: this.#buffers.length + this.#steps.length,
      scratch: this.#scratch,
    }
  }

  /** run(thread, table): all steps in order. */
  #run(): Func {
    const f = new Func('run', ['i32', 'i32'])
    const position = new Map(this.#functions.map((func, i) => [func, this.#imports.length + i]))
    const at = (step: Step): number => position.get(step.func) as number
    f.get(1).globalSet(0)
    const { threads } = this.#options
    const chunk = f.local('i32')
    const end = f.local('i32')
    this.#steps.forEach((step, s) => {
      const chunks = Math.ceil(step.count / step.chunk)
      const call = (): void => {
        f.get(chunk)
          .i32(step.chunk)
          .op('i32.mul')
          .get(chunk)
          .i32(1)
          .op('i32.add')
          .i32(step.chunk)
          .op('i32.mul')
          .tee(end)
          .i32(step.count)
        f.get(end).i32(step.count).op('i32.lt_s', 'select').call(at(step))
      }
      if (threads === 1) {
        f.i32(0).set(chunk)
        f.for(chunk, chunks, 1, call)
        return
      }
      if (chunks === 1)
        f.get(0)
          .op('i32.eqz')
          .if(() => f.i32(0).i32(step.count).call(at(step)))
      else {
        f.loop(() => {
          f.globalGet(0)
            .i32(1)
            .memory('i32.atomic.rmw.add', 4 * (this.#buffers.length + s))
            .tee(chunk)
          f.i32(chunks)
            .op('i32.lt_s')
            .if(() => {
              call()
              f.br(1)
            })
        })
      }
      // Small steps in a row are all done by thread 0 and need no barrier between them.
      const next = this.#steps[s + 1]
      if (!(chunks === 1 && next && next.count <= next.chunk)) this.#barrier(f)
    })
    return f
  }

  /** All threads wait here for each other: spinning first, then asleep. */
  #barrier(f: Func): void {
    const { threads, control: block } = this.#options
    const count = block + control.barrierCount
    const phase = block + control.barrierPhase
    const seen = f.local('i32')
    const spins = f.local('i32')
    f.i32(phase).memory('i32.atomic.load').set(seen)
    f.i32(count)
      .i32(1)
      .memory('i32.atomic.rmw.add')
      .i32(threads - 1)
      .op('i32.eq')
      .if(
        () => {
          f.i32(count).i32(0).memory('i32.atomic.store')
          f.i32(phase).get(seen).i32(1).op('i32.add').memory('i32.atomic.store')
          f.i32(phase).i32(threads).memory('memory.atomic.notify').op('drop')
        },
        () => {
          f.i32(0).set(spins)
          f.loop(() => {
            f.i32(phase)
              .memory('i32.atomic.load')
              .get(seen)
              .op('i32.eq')
              .if(() => {
                f.get(spins)
                  .i32(1)
                  .op('i32.add')
                  .tee(spins)
                  .i32(spinLimit)
                  .op('i32.gt_s')
                  .if(() => {
                    f.i32(phase).get(seen).i64(-1n).memory('memory.atomic.wait32').op('drop')
                  })
                f.br(1)
              })
          })
        },
      )
  }
}

/** Reads of the barrier before a thread goes to sleep: some tens of microseconds. */
const spinLimit = 20_000
