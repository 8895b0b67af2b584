/** A schedule as code: its modules' instances, here and in the workers, and the table of addresses that a run reads. */

import type { Schedule } from '../../../compiler/kernel.js'
import { type MemoryPlan, planMemory } from '../../../compiler/plan-memory.js'
import type { Buffer, Executable } from '../../device.js'
import { alignment, guardBytes } from './elements.js'
import { farFunctions } from './far.js'
import type { Heap } from './heap.js'
import { buildProgram, type Program, type ProgramOptions } from './program.js'
import { abandon, buildTimedRun, failure, tableWords } from './run.js'
import type { Threads } from './threads.js'
import type { Timer } from './timer.js'

export interface WasmBuffer extends Buffer {
  readonly address: number
}

/** What the programs of a device share. */
export interface Host {
  readonly heap: Heap
  readonly workers: Threads
  /** Takes the readings of runs, while somebody profiles. */
  readonly timer: Timer | undefined
  /** The number of a new program, by which workers know it. */
  nextProgram(): number
  /** The address of so many bytes for temporaries: programs run one after another, so one arena serves all. */
  arena(bytes: number): number
  /** Throws where the device computes no more. */
  demandOpen(): void
}

type Run = (thread: number, table: number) => void

/** `run` of an instance, and the number by which workers know theirs. */
interface Runner {
  readonly id: number
  readonly run: Run
}

/** What is left of a program: its table, and its modules in the workers. No closure: that would hold the program. */
interface Leftovers {
  readonly heap: Heap
  readonly workers: Threads
  readonly table: number
  readonly bytes: number
  readonly ids: readonly number[]
}

/** Frees programs whose plan is garbage. */
const finalizer = new FinalizationRegistry<Leftovers>(({ heap, workers, table, bytes, ids }) => {
  heap.free(table, bytes)
  for (const id of ids) workers.post(id)
})

export class WasmExecutable implements Executable {
  readonly #host: Host
  readonly #schedule: Schedule
  readonly #options: ProgramOptions
  /** What a run needs of the program: the rest of it is garbage once the module is made. */
  readonly #program: Pick<Program, 'buffers' | 'steps' | 'local' | 'threads'>
  readonly #plan: MemoryPlan
  readonly #words: ReturnType<typeof tableWords>
  readonly #table: number
  readonly #instance: WebAssembly.Instance
  readonly #plain: Runner
  #timed: Runner | undefined
  readonly #ids: number[] = []

  constructor(schedule: Schedule, options: ProgramOptions, host: Host) {
    this.#host = host
    this.#schedule = schedule
    this.#options = options
    const { module, buffers, stored, steps, local, threads, scratch, moments } = buildProgram(schedule, options)
    this.#program = { buffers, steps, local, threads }
    this.#plan = planMemory({ buffers: stored, kernels: schedule.kernels }, scratch, alignment, guardBytes, moments)
    this.#words = tableWords(buffers.length, steps.length, threads)
    const { heap, workers } = host
    const { instance, runner } = this.#load(module, farFunctions())
    this.#instance = instance
    this.#plain = runner
    const bytes = 4 * this.#words.length
    this.#table = heap.allocate(bytes)
    finalizer.register(this, { heap, workers, table: this.#table, bytes, ids: this.#ids })
  }

  run(leaves: readonly Buffer[], results: readonly Buffer[]): void {
    const host = this.#host
    host.demandOpen()
    const { timer, heap } = host
    const { steps, buffers, threads } = this.#program
    this.#fillTable(leaves, results, timer?.prepare(steps.length * threads) ?? 0)
    const { id, run } = timer ? this.#timedRunner() : this.#plain
    if (threads > 1) host.workers.announce(id, this.#table)
    try {
      run(0, this.#table)
    } catch (cause) {
      abandon(heap.memory, failure)
      throw new Error(`wasm: a kernel failed (${cause}); call setDevice again`, { cause })
    }
    if (hasFailed(heap)) throw new Error('wasm: a thread failed while it computed; call setDevice again')
    timer?.collect({ steps, buffers, threads })
  }

  /** Made again for the reader: text is not worth keeping. */
  print(): string {
    return buildProgram(this.#schedule, this.#options)
      .functions.map(f => f.print())
      .join('\n\n')
  }

  /** Where everything lies in this run, and counters that begin at 0. */
  #fillTable(leaves: readonly Buffer[], results: readonly Buffer[], readings: number): void {
    const { buffers, local, threads } = this.#program
    const words = this.#words
    const arena = this.#host.arena(this.#plan.arenaBytes)
    const entries = new Uint32Array(this.#host.heap.memory.buffer, this.#table, words.length)
    entries.fill(0, words.counters)
    entries[words.readings] = readings
    this.#plan.offsets.forEach((offset, b) => {
      if (offset !== undefined) entries[b] = arena + offset
    })
    this.#schedule.leaves.forEach((b, i) => (entries[b] = (leaves[i] as WasmBuffer).address))
    this.#schedule.results.forEach((b, i) => (entries[b] = (results[i] as WasmBuffer).address))
    for (let t = 1; t < threads; t++) {
      const own = words.others + (t - 1) * buffers.length
      entries.copyWithin(own, 0, buffers.length)
      for (const { buffer, stride } of local) entries[own + buffer] += t * stride
    }
  }

  /** The program that takes readings, made when first asked for. */
  #timedRunner(): Runner {
    if (!this.#timed) {
      const { steps, buffers, threads } = this.#program
      const module = buildTimedRun(steps, buffers.length, { ...this.#options, threads })
      const imports = { now: () => performance.now(), ...this.#instance.exports }
      this.#timed = this.#load(module, imports, this.#plain.id).runner
    }
    return this.#timed
  }

  /** Instances of a module here and in the workers, which may import what the program `base` exports. */
  #load(
    code: Uint8Array<ArrayBuffer>,
    imports: WebAssembly.ModuleImports,
    base?: number,
  ): { instance: WebAssembly.Instance; runner: Runner } {
    const { heap, workers } = this.#host
    const module = new WebAssembly.Module(code)
    const instance = new WebAssembly.Instance(module, { env: { memory: heap.memory, ...imports } })
    const id = this.#host.nextProgram()
    this.#ids.push(id)
    if (this.#program.threads > 1) workers.post(id, module, base)
    return { instance, runner: { id, run: instance.exports.run as Run } }
  }
}

/** Whether a thread of the device has failed. */
export const hasFailed = (heap: Heap): boolean => new Int32Array(heap.memory.buffer)[failure.failed / 4] !== 0
