/**
 * Emits `run(thread, table)`, which every thread calls: a program's steps in order, the work within a step shared out in
 * chunks by an atomic counter, a barrier between steps. With a clock, every thread notes when its part of a step began
 * and ended.
 */

import { encodeModule, Func, type Import } from './assembler.js'

/** Offsets in the block through which the threads of a device wait for each other. */
export const control = { barrierCount: 0, failed: 4, barrierPhase: 64, bytes: 128 } as const

/** The start of memory: zeros that guarded loads read, then the control block, then the workers' job block. */
export const layout = { control: 256, job: 256 + control.bytes, reserved: 1024 } as const

/** Addresses of what tells threads that one has failed. */
export const failure = {
  failed: layout.control + control.failed,
  phase: layout.control + control.barrierPhase,
} as const

/**
 * Lets all threads out of their barriers, for good: this one failed and will come to no more of them. Workers have it as
 * text: it may use nothing from outside its body.
 */
export function abandon(memory: WebAssembly.Memory, { failed, phase }: typeof failure): void {
  const words = new Int32Array(memory.buffer)
  Atomics.store(words, failed / 4, 1)
  Atomics.add(words, phase / 4, 1)
  Atomics.notify(words, phase / 4)
}

/** One exported function applied to a range, in chunks. */
export interface Step {
  readonly name: string
  /** Positions in all, and in each chunk. */
  readonly count: number
  readonly chunk: number
}

export interface RunOptions {
  readonly threads: number
  readonly memory: { readonly initial: number; readonly maximum: number; readonly shared: boolean }
  /** Whether the calling thread may go to sleep, as a page's own may not; it may where nothing is said. */
  readonly sleeps?: boolean
  /** Whether there are more threads than processors: who waits awake then keeps another from computing. */
  readonly crowded?: boolean
}

/**
 * Words of the table behind the first thread's addresses of the buffers: a counter for each step, 0 at the start; where a
 * clock's readings go; the addresses of the other threads.
 */
export const tableWords = (
  buffers: number,
  steps: number,
  threads: number,
): { counters: number; readings: number; others: number; length: number } => ({
  counters: buffers,
  readings: buffers + steps,
  others: buffers + steps + 1,
  length: threads * buffers + steps + 1,
})

/**
 * A reading is two float64: the milliseconds at which a thread's part of a step began and ended, step by step, thread
 * by thread.
 */
export const readingBytes = 16

/** Stores the buffers' table where kernels look for it: what `run` begins with. */
export function emitBind(): Func {
  const f = new Func('bind', ['i32'])
  f.get(0).globalSet(0)
  return f
}

/** @param functionOf the index of a function by its name; with `now`, the clock, readings are taken. */
export function emitRun(
  steps: readonly Step[],
  buffers: number,
  options: RunOptions,
  functionOf: (name: string) => number,
  now?: number,
): Func {
  const f = new Func('run', ['i32', 'i32'])
  const [thread, table] = [0, 1]
  const { threads } = options
  const words = tableWords(buffers, steps.length, threads)
  const chunk = f.local('i32')
  const end = f.local('i32')
  // The addresses of this thread: those of the first stand at the start of the table.
  f.get(table)
  if (threads > 1) {
    f.get(table)
      .i32(4 * (words.others - buffers))
      .op('i32.add')
    f.get(thread)
      .i32(4 * buffers)
      .op('i32.mul', 'i32.add')
    f.get(thread).op('i32.eqz', 'select')
  }
  f.call(functionOf('bind'))

  /** What this thread does of a step, between two looks at the clock. */
  const timed = (s: number, work: () => void): void => {
    if (now === undefined) {
      work()
      return
    }
    const reading = f.local('i32')
    f.get(table)
      .memory('i32.load', 4 * words.readings)
      .get(thread)
      .i32(readingBytes)
      .op('i32.mul', 'i32.add')
      .tee(reading)
    f.call(now).memory('f64.store', s * threads * readingBytes)
    work()
    f.get(reading)
      .call(now)
      .memory('f64.store', s * threads * readingBytes + 8)
  }

  steps.forEach((step, s) => {
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
      f.get(end).i32(step.count).op('i32.lt_s', 'select').call(functionOf(step.name))
    }
    if (threads === 1) {
      timed(s, () => {
        f.i32(0).set(chunk)
        f.for(chunk, chunks, 1, call)
      })
      return
    }
    if (chunks === 1)
      f.get(thread)
        .op('i32.eqz')
        .if(() => timed(s, () => f.i32(0).i32(step.count).call(functionOf(step.name))))
    else
      timed(s, () => {
        f.loop(() => {
          f.get(table)
            .i32(1)
            .memory('i32.atomic.rmw.add', 4 * (words.counters + s))
            .tee(chunk)
          f.i32(chunks)
            .op('i32.lt_s')
            .if(() => {
              call()
              f.br(1)
            })
        })
      })
    // Small steps in a row are all done by thread 0 and need no barrier between them.
    const next = steps[s + 1]
    if (!(chunks === 1 && next && next.count <= next.chunk)) emitBarrier(f, options)
  })
  return f
}

const clock: Import = { name: 'now', params: [], results: ['f64'] }
const bind: Import = { name: 'bind', params: ['i32'], results: [] }

/**
 * A module whose `run` does what that of a program does and takes readings. It imports the steps from the program's instance:
 * code that the engine has optimised by now is what is timed, and a program that nobody times has no trace of a clock.
 */
export function buildTimedRun(steps: readonly Step[], buffers: number, options: RunOptions): Uint8Array<ArrayBuffer> {
  const names = [...new Set(steps.map(s => s.name))]
  const imports = [clock, bind, ...names.map((name): Import => ({ name, params: ['i32', 'i32'], results: [] }))]
  const position = new Map(imports.map(({ name }, i) => [name, i]))
  const run = emitRun(steps, buffers, options, name => position.get(name) as number, 0)
  return encodeModule({ imports, functions: [run], exports: ['run'], memory: options.memory, globals: 0 })
}

/**
 * All threads wait here for each other: spinning first, then asleep if they may. Where one has failed, `run` ends here.
 */
export function emitBarrier(f: Func, { threads, sleeps = true, crowded = false }: RunOptions): void {
  const { control: block } = layout
  const thread = 0
  const count = block + control.barrierCount
  const phase = block + control.barrierPhase
  const seen = f.local('i32')
  const spins = f.local('i32')
  f.i32(phase).memory('i32.atomic.load').set(seen)
  f.i32(block + control.failed)
    .memory('i32.atomic.load')
    .if(() => f.op('return'))
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
                .i32(crowded ? spinLimit.crowded : spinLimit.alone)
                .op('i32.gt_s')
              if (!sleeps) f.get(thread).i32(0).op('i32.ne', 'i32.and')
              f.if(() => {
                f.i32(phase).get(seen).i64(-1n).memory('memory.atomic.wait32').op('drop')
              })
              f.br(1)
            })
        })
      },
    )
}

/**
 * Reads of the barrier before a thread goes to sleep: some tens of microseconds, or what it takes a worker to wake up, so
 * that one who comes late finds the others awake.
 */
const spinLimit = { crowded: 20_000, alone: 100_000 }
