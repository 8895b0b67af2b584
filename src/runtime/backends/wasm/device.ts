/**
 * The CPU device: programs of fused kernels in WebAssembly SIMD over one linear memory, run by several threads where
 * memory can be shared. Code is generated in program.ts; this file owns memory, threads and instances.
 */

import type { Schedule } from '../../../compiler/kernel.js'
import { planMemory } from '../../../compiler/plan-memory.js'
import { type DType, dtypes, type TypedArray } from '../../../graph/dtype.js'
import type { Buffer, Device, DeviceOptions, Executable } from '../../device.js'
import { isNode, node } from '../../environment.js'
import type { Ceilings, KernelTime } from '../../profile.js'
import { argsort } from '../reference/functions.js'
import { measureCeilings } from './ceilings.js'
import { alignment, guardBytes } from './elements.js'
import { enableFeatures, type Features, hasSimd } from './engine.js'
import { farFunctions } from './far.js'
import { Heap } from './heap.js'
import { buildProgram, sortTypes } from './program.js'
import { abandon, buildTimedRun, failure, layout, tableWords } from './run.js'
import { Threads } from './threads.js'
import { candidatesFor, type TimedTile } from './tiles.js'
import { Timer } from './timer.js'

interface WasmBuffer extends Buffer {
  readonly address: number
}

type Run = (thread: number, table: number) => void

const bytesOf = (dtype: DType, size: number): number => dtypes[dtype].bytes * size

/** What is left of a program: its table, and its modules in the workers. No closure: that would hold the program. */
interface Leftovers {
  readonly heap: Heap
  readonly workers: Threads
  readonly table: number
  readonly bytes: number
  readonly ids: readonly number[]
}

/** Frees programs whose plan is garbage. */
const programFinalizer = new FinalizationRegistry<Leftovers>(({ heap, workers, table, bytes, ids }) => {
  heap.free(table, bytes)
  for (const id of ids) workers.post(id)
})

/** What code is made for. */
interface Engine extends Features {
  readonly threads: number
  /** Node's flags for workers. */
  readonly flags: readonly string[]
  readonly tiles: readonly TimedTile[]
  /** Whether the tiles were measured here. */
  readonly tuned: boolean
}

class WasmDevice implements Device {
  readonly name = 'wasm'
  readonly threads: number
  readonly relaxed: boolean
  readonly paired: boolean
  readonly #tiles: readonly TimedTile[]
  readonly #tuned: boolean
  readonly #heap: Heap
  readonly #workers: Threads
  #arena = { address: 0, bytes: 0 }
  #programs = 0
  #closed = false
  readonly #flags: readonly string[]
  #timer: Timer | undefined
  #ceilings: Promise<Ceilings> | undefined

  constructor(heap: Heap, workers: Threads, { threads, relaxed, paired, flags, tiles, tuned }: Engine) {
    this.#heap = heap
    this.#workers = workers
    this.threads = threads
    this.relaxed = relaxed
    this.paired = paired
    this.#flags = flags
    this.#tiles = tiles
    this.#tuned = tuned
  }

  get description(): string {
    const simd = `WebAssembly SIMD${this.relaxed ? ' with fused multiply-add' : ''}`
    const { threads } = this
    return [
      simd,
      ...(this.paired ? ['revectorized'] : []),
      `${threads} thread${threads === 1 ? '' : 's'}`,
      ...(this.#tuned ? ['tuned'] : []),
    ].join(', ')
  }
  get bytesInUse(): number {
    return this.#heap.bytesInUse
  }

  compile(schedule: Schedule): Executable {
    const { memory, maximum } = this.#heap
    const shared = this.threads > 1
    const options = {
      threads: this.threads,
      relaxed: this.relaxed,
      paired: this.paired,
      tiles: this.#tiles,
      memory: { initial: 1, maximum, shared },
      control: layout.control,
    }
    // What a run needs of the program: the rest of it is garbage once the module is made.
    const { module: code, buffers, stored, steps, local, threads, scratch, moments } = buildProgram(schedule, options)
    const words = tableWords(buffers.length, steps.length, threads)
    const plan = planMemory({ buffers: stored, kernels: schedule.kernels }, scratch, alignment, guardBytes, moments)
    const module = new WebAssembly.Module(code)
    const instance = new WebAssembly.Instance(module, { env: { memory, argsort: this.#sort, ...farFunctions() } })
    const id = this.#programs++
    if (threads > 1) this.#workers.post(id, module)
    const plain = { id, run: instance.exports.run as Run }
    const made = [plain]
    const ids = [id]
    /** The program that takes readings, made when first asked for. */
    const timed = (): typeof plain => {
      if (made.length === 1) {
        const timedModule = new WebAssembly.Module(buildTimedRun(steps, buffers.length, { ...options, threads }))
        const env = { memory, now: () => performance.now(), ...instance.exports }
        const timedRun = new WebAssembly.Instance(timedModule, { env }).exports.run as Run
        const timedId = this.#programs++
        made.push({ id: timedId, run: timedRun })
        ids.push(timedId)
        if (threads > 1) this.#workers.post(timedId, timedModule, id)
      }
      return made[1]
    }
    const table = this.#heap.allocate(4 * words.length)
    const executable: Executable = {
      run: (leaves, results) => {
        if (this.#closed) throw new Error('wasm: the device was closed; call setDevice again')
        if (this.#hasFailed()) throw new Error('wasm: a thread of this device has failed; call setDevice again')
        this.#reserveArena(plan.arenaBytes)
        const timer = this.#timer
        const readings = timer?.prepare(steps.length * threads) ?? 0
        const entries = new Uint32Array(memory.buffer, table, words.length)
        entries.fill(0, words.counters)
        entries[words.readings] = readings
        plan.offsets.forEach((offset, b) => {
          if (offset !== undefined) entries[b] = this.#arena.address + offset
        })
        schedule.leaves.forEach((b, i) => (entries[b] = (leaves[i] as WasmBuffer).address))
        schedule.results.forEach((b, i) => (entries[b] = (results[i] as WasmBuffer).address))
        for (let t = 1; t < threads; t++) {
          const own = words.others + (t - 1) * buffers.length
          entries.copyWithin(own, 0, buffers.length)
          for (const { buffer, stride } of local) entries[own + buffer] += t * stride
        }
        const { id, run } = timer ? timed() : plain
        if (threads > 1) this.#workers.announce(id, table)
        try {
          run(0, table)
        } catch (cause) {
          abandon(memory, failure)
          throw new Error(`wasm: a kernel failed (${cause}); call setDevice again`, { cause })
        }
        if (this.#hasFailed()) throw new Error('wasm: a thread failed while it computed; call setDevice again')
        timer?.collect({ steps, buffers, threads })
      },
      // Made again for the reader: text is not worth keeping.
      print: () =>
        buildProgram(schedule, options)
          .functions.map(f => f.print())
          .join('\n\n'),
    }
    const [heap, workers] = [this.#heap, this.#workers]
    programFinalizer.register(executable, { heap, workers, table, bytes: 4 * words.length, ids })
    return executable
  }

  #hasFailed(): boolean {
    return new Int32Array(this.#heap.memory.buffer)[failure.failed / 4] !== 0
  }

  /** One arena serves all programs: they run one after another. */
  #reserveArena(bytes: number): void {
    if (bytes <= this.#arena.bytes) return
    if (this.#arena.bytes > 0) this.#heap.free(this.#arena.address, this.#arena.bytes)
    this.#arena = { address: 0, bytes: 0 }
    this.#arena = { address: this.#heap.allocate(bytes), bytes }
  }

  readonly #sort = (input: number, output: number, rows: number, length: number, type: number): void => {
    const dtype = sortTypes[type]
    const { buffer } = this.#heap.memory
    const keys = this.#view(dtype, input >>> 0, rows * length)
    const order = new Int32Array(buffer, output >>> 0, rows * length)
    for (let r = 0; r < rows; r++) order.set(argsort(keys, r * length, length), r * length)
  }

  #view(dtype: DType, address: number, size: number): TypedArray {
    const { buffer } = this.#heap.memory
    switch (dtype) {
      case 'float16':
      case 'float32':
        return new Float32Array(buffer, address, size)
      case 'float64':
        return new Float64Array(buffer, address, size)
      case 'int32':
        return new Int32Array(buffer, address, size)
      case 'uint32':
        return new Uint32Array(buffer, address, size)
      case 'bool':
        return new Uint8Array(buffer, address, size)
    }
  }

  startTiming(): () => Promise<readonly KernelTime[]> {
    if (this.#timer) throw new Error('profile: another profile is under way on this device; await it first')
    const timer = new Timer(this.#heap)
    this.#timer = timer
    return async () => {
      this.#timer = undefined
      return timer.finish()
    }
  }

  ceilings(): Promise<Ceilings> {
    this.#ceilings ??= measureCeilings({
      threads: this.threads,
      relaxed: this.relaxed,
      paired: this.paired,
      flags: this.#flags,
    })
    return this.#ceilings
  }

  allocate(dtype: DType, size: number): WasmBuffer {
    return { device: this, dtype, size, address: this.#heap.allocate(bytesOf(dtype, size)) }
  }

  upload(data: TypedArray, dtype: DType): Buffer {
    const buffer = this.allocate(dtype, data.length)
    this.#view(dtype, buffer.address, data.length).set(data)
    return buffer
  }

  async read(buffer: Buffer): Promise<TypedArray> {
    const copy = new dtypes[buffer.dtype].array(buffer.size)
    copy.set(this.#view(buffer.dtype, (buffer as WasmBuffer).address, buffer.size))
    return copy
  }

  free(buffer: Buffer): void {
    this.#heap.free((buffer as WasmBuffer).address, bytesOf(buffer.dtype, buffer.size))
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#workers.stop()
  }
}

/** Threads to use when nobody says: as many as there are processors, where memory can be shared with workers. */
const defaultThreads = (): number => (node ? Math.min(node.getBuiltinModule('os').availableParallelism(), 16) : 1)

/** The tiles that were measured here, by an earlier process or, where that is wanted, now; a browser keeps none. */
async function tunedTiles(features: Features, wanted: boolean): Promise<readonly TimedTile[] | undefined> {
  if (!node && !wanted) return undefined
  const { cachedTiles, tune } = await import('./tune.js')
  return cachedTiles(features) ?? (wanted ? tune(features.paired).tiles : undefined)
}

export async function wasmDevice({ threads, tune = false, revectorize = false }: DeviceOptions): Promise<Device> {
  if (!hasSimd())
    throw new Error("setDevice: this engine has no WebAssembly SIMD; use a newer one, or setDevice('reference')")
  if (threads !== undefined && threads > 1 && !isNode)
    throw new Error('setDevice: threads need Node for now; use { threads: 1 }')
  const { flags, ...features } = enableFeatures(revectorize)
  const tuned = await tunedTiles(features, tune)
  const tiles = tuned ?? candidatesFor(features)
  const count = threads ?? defaultThreads()
  const heap = new Heap(layout.reserved, count > 1)
  const workers = await Threads.start(count - 1, heap.memory, flags)
  return new WasmDevice(heap, workers, { ...features, threads: count, flags, tiles, tuned: tuned !== undefined })
}
