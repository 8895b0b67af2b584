/**
 * Measures what the processor can do at most in WebAssembly: multiply-adds and bytes copied in a second by all threads at
 * once. Memory and threads are its own, so that nothing of them stays.
 */

import type { Ceilings } from '../../profile.js'
import { encodeModule, Func } from './assembler.js'
import { canSleep, type Features } from './engine.js'
import { Heap } from './heap.js'
import { emitBarrier, layout, type RunOptions } from './run.js'
import { Threads } from './threads.js'

export interface CeilingOptions extends Pick<RunOptions, 'threads'>, Features {
  /** Node's flags for workers. */
  readonly flags: readonly string[]
}

/** Bytes that are copied: far more than caches hold. */
const copied = 2 ** 26
const vectorBytes = 16
const unrolled = 8

/** As many sums side by side as registers hold: they hide the latency of an operation. */
const sumsFor = ({ paired }: Features): number => (paired ? 24 : 12)
const loops = 1_000_000
const lanes = 4
/** Bytes between the sums of two threads, in lines of the cache of their own. */
const apart = 512

/** Rounds until the engine has optimised the code, and some more: the best counts. */
const rounds = 16

/** target[i] = source[i] for this thread's share. */
function emitCopy(f: Func, threads: number, source: number, target: number): void {
  const step = vectorBytes * unrolled
  const share = Math.floor(copied / threads / step) * step
  const [at, end] = [f.local('i32'), f.local('i32')]
  f.get(0).i32(share).op('i32.mul').tee(at).i32(share).op('i32.add').set(end)
  f.for(at, { local: end }, step, () => {
    for (let v = 0; v < unrolled; v++)
      f.get(at)
        .get(at)
        .memory('v128.load', source + v * vectorBytes)
        .memory('v128.store', target + v * vectorBytes)
  })
}

/** sum += x * y, for each sum. They are stored at the end: what nobody reads, an engine need not compute. */
function emitPeak(f: Func, features: Features, target: number): void {
  const accumulators = Array.from({ length: sumsFor(features) }, () => f.local('v128'))
  const [x, y, i] = [f.local('v128'), f.local('v128'), f.local('i32')]
  for (const [n, local] of [x, y].entries())
    f.get(0).i32(n).op('i32.add', 'i32x4.splat', 'f32x4.convert_i32x4_s').set(local)
  for (const sum of accumulators) f.v128(new Uint8Array(16)).set(sum)
  f.for(i, loops, 1, () => {
    for (const sum of accumulators)
      if (features.relaxed) f.get(x).get(y).get(sum).op('f32x4.relaxed_madd').set(sum)
      else f.get(x).get(y).op('f32x4.mul').get(sum).op('f32x4.add').set(sum)
  })
  const place = f.local('i32')
  f.get(0).i32(apart).op('i32.mul').set(place)
  for (const [n, sum] of accumulators.entries())
    f.get(place)
      .get(sum)
      .memory('v128.store', target + n * vectorBytes)
}

export async function measureCeilings({ threads, flags, ...features }: CeilingOptions): Promise<Ceilings> {
  const shared = threads > 1
  const heap = new Heap(layout.reserved, shared)
  const [source, target] = [heap.allocate(copied), heap.allocate(copied)]
  const { memory, maximum } = heap
  // Pages that nobody wrote to are one page of zeros, which a cache holds.
  new Uint8Array(memory.buffer, source, copied).fill(1)
  const workers = await Threads.start(threads - 1, memory, flags)
  const options: RunOptions = { threads, sleeps: canSleep(), memory: { initial: 1, maximum, shared } }

  /** The least seconds that a round takes on all threads. */
  const secondsOf = (id: number, emit: (f: Func) => void): number => {
    const f = new Func('run', ['i32', 'i32'])
    emit(f)
    if (shared) emitBarrier(f, options)
    const spec = { imports: [], functions: [f], exports: [f.name], memory: options.memory, globals: 0 }
    const module = new WebAssembly.Module(encodeModule(spec))
    const run = new WebAssembly.Instance(module, { env: { memory } }).exports.run as (
      thread: number,
      table: number,
    ) => void
    workers.post(id, module)
    const times = Array.from({ length: rounds }, () => {
      const start = performance.now()
      workers.announce(id, 0)
      run(0, 0)
      return performance.now() - start
    })
    return Math.min(...times) / 1000
  }
  try {
    const copy = secondsOf(0, f => emitCopy(f, threads, source, target))
    const peak = secondsOf(1, f => emitPeak(f, features, target))
    const flops = threads * loops * sumsFor(features) * lanes * 2
    return { bytesPerSecond: (2 * copied) / copy, flopsPerSecond: flops / peak }
  } finally {
    await workers.stop()
  }
}
