/**
 * The CPU device: programs of fused kernels in WebAssembly SIMD over one linear memory, run by several threads where
 * memory can be shared. Code is generated in program.ts, and runs in executable.ts; this file owns memory and threads.
 */

import type { Schedule } from '../../../compiler/kernel.js'
import { type DType, dtypes, type TypedArray } from '../../../graph/dtype.js'
import type { Buffer, Device, DeviceOptions, Executable } from '../../device.js'
import { isNode, node } from '../../environment.js'
import type { Ceilings, KernelTime } from '../../profile.js'
import { measureCeilings } from './ceilings.js'
import { canSleep, enableFeatures, type Features, hasSimd, mayCompile } from './engine.js'
import { type Host, hasFailed, type WasmBuffer, WasmExecutable } from './executable.js'
import { Heap } from './heap.js'
import { layout } from './run.js'
import { Threads } from './threads.js'
import { candidatesFor, type TimedTile } from './tiles.js'
import { Timer } from './timer.js'

const bytesOf = (dtype: DType, size: number): number => dtypes[dtype].bytes * size

/** What code is made for. */
interface Engine extends Features {
  /** Node's flags for workers. */
  readonly flags: readonly string[]
  readonly tiles: readonly TimedTile[]
  /** Whether the tiles were measured here. */
  readonly tuned: boolean
}

class WasmDevice implements Device, Host {
  readonly name = 'wasm'
  readonly threads: number
  readonly heap: Heap
  readonly workers: Threads
  timer: Timer | undefined
  readonly #engine: Engine
  #arena = { address: 0, bytes: 0 }
  #programs = 0
  closed = false
  #ceilings: Promise<Ceilings> | undefined

  constructor({ threads, heap, workers }: Crew, engine: Engine) {
    this.threads = threads
    this.heap = heap
    this.workers = workers
    this.#engine = engine
  }

  get description(): string {
    const { threads } = this
    const { relaxed, paired, tuned } = this.#engine
    return [
      `WebAssembly SIMD${relaxed ? ' with fused multiply-add' : ''}`,
      ...(paired ? ['revectorized'] : []),
      `${threads} thread${threads === 1 ? '' : 's'}`,
      ...(tuned ? ['tuned'] : []),
    ].join(', ')
  }
  get bytesInUse(): number {
    return this.heap.bytesInUse
  }

  compile(schedule: Schedule): Executable {
    const { threads, heap } = this
    const { relaxed, paired, tiles } = this.#engine
    const memory = { initial: 1, maximum: heap.maximum, shared: threads > 1 }
    const waiting = { sleeps: canSleep(), crowded: threads > processors() }
    return new WasmExecutable(schedule, { threads, relaxed, paired, tiles, memory, ...waiting }, this)
  }

  demandOpen(): void {
    if (this.closed) throw new Error('wasm: the device was closed; call setDevice again')
    if (hasFailed(this.heap)) throw new Error('wasm: a thread of this device has failed; call setDevice again')
  }

  nextProgram(): number {
    return this.#programs++
  }

  arena(bytes: number): number {
    if (bytes > this.#arena.bytes) {
      if (this.#arena.bytes > 0) this.heap.free(this.#arena.address, this.#arena.bytes)
      this.#arena = { address: 0, bytes: 0 }
      this.#arena = { address: this.heap.allocate(bytes), bytes }
    }
    return this.#arena.address
  }

  #view(dtype: DType, address: number, size: number): TypedArray {
    const { buffer } = this.heap.memory
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
    if (this.timer) throw new Error('profile: another profile is under way on this device; await it first')
    const timer = new Timer(this.heap)
    this.timer = timer
    return async () => {
      this.timer = undefined
      return timer.finish()
    }
  }

  ceilings(): Promise<Ceilings> {
    const { relaxed, paired, flags } = this.#engine
    this.#ceilings ??= measureCeilings({ threads: this.threads, relaxed, paired, flags })
    return this.#ceilings
  }

  allocate(dtype: DType, size: number): WasmBuffer {
    return { device: this, dtype, size, address: this.heap.allocate(bytesOf(dtype, size)) }
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
    this.heap.free((buffer as WasmBuffer).address, bytesOf(buffer.dtype, buffer.size))
  }

  async close(): Promise<void> {
    this.closed = true
    await this.workers.stop()
  }
}

/** Whether a page, or a worker of one, can share memory with workers. */
const canShare = (): boolean => typeof Worker === 'function' && globalThis.crossOriginIsolated === true

/** Threads to use when nobody says: as many as there are processors, where memory can be shared with workers. */
const defaultThreads = (): number => (node || canShare() ? Math.min(processors(), 16) : 1)

const processors = (): number =>
  node ? node.getBuiltinModule('os').availableParallelism() : navigator.hardwareConcurrency

/** The tiles that were measured here, by an earlier process or, where that is wanted, now; a browser keeps none. */
async function tunedTiles(features: Features, wanted: boolean): Promise<readonly TimedTile[] | undefined> {
  if (!node && !wanted) return undefined
  const { cachedTiles, tune } = await import('./tune.js')
  return cachedTiles(features) ?? (wanted ? tune(features.paired).tiles : undefined)
}

/** A memory, and the threads that compute in it. */
interface Crew {
  readonly threads: number
  readonly heap: Heap
  readonly workers: Threads
}

async function crewOf(threads: number, flags: readonly string[]): Promise<Crew> {
  const heap = new Heap(layout.reserved, threads > 1)
  return { threads, heap, workers: await Threads.start(threads - 1, heap.memory, flags) }
}

/** As many threads as are asked for; where nobody asks, as many as there may be, or one if they do not start. */
async function startCrew(threads: number | undefined, flags: readonly string[]): Promise<Crew> {
  try {
    return await crewOf(threads ?? defaultThreads(), flags)
  } catch (cause) {
    const why = `setDevice: ${cause instanceof Error ? cause.message : cause}`
    if (threads === 1) throw cause
    if (threads) throw new Error(`${why}; use { threads: 1 }`, { cause })
    console.warn(`${why}; going on with one thread`)
    return crewOf(1, flags)
  }
}

export async function wasmDevice({ threads, tune = false, revectorize = false }: DeviceOptions): Promise<Device> {
  if (!hasSimd())
    throw new Error("setDevice: this engine has no WebAssembly SIMD; use a newer one, or setDevice('reference')")
  if (!mayCompile())
    throw new Error(
      "setDevice: WebAssembly may not be compiled here; let script-src of the page's Content-Security-Policy allow 'wasm-unsafe-eval'",
    )
  if (threads !== undefined && threads > 1 && !isNode && !canShare())
    throw new Error(
      'setDevice: threads need a page that is cross-origin isolated, by the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp; or use { threads: 1 }',
    )
  const { flags, ...features } = enableFeatures(revectorize)
  const tuned = await tunedTiles(features, tune)
  const tiles = tuned ?? candidatesFor(features)
  const crew = await startCrew(threads, flags)
  return new WasmDevice(crew, { ...features, flags, tiles, tuned: tuned !== undefined })
}
