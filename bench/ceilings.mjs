// What the machine can do at most from WebAssembly: float32 multiply-adds in registers, and copying of memory that no cache
// holds, by one thread or several at a time. The module is made with the library's own assembler; each worker runs this file.
import v8 from 'node:v8'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { encodeModule, Func, saysYes } from '../dist/internals.js'

const page = 65536
const copied = 64 * 2 ** 20
/** Whether saddlepoint lets V8 join vectors in pairs: then that is what the machine can do. */
const paired = saysYes('SADDLEPOINT_REVECTORIZE')
const accumulators = paired ? 24 : 12
const perCall = 2 ** 23

/** As many chains of multiply-adds as hide the latency of two units; fused where the engine can. */
function multiplyAdds(fused) {
  const f = new Func('compute', ['i32'])
  const i = f.local('i32')
  const [scale, ...sums] = Array.from({ length: 1 + accumulators }, () => f.local('v128'))
  f.i32(page).memory('v128.load').set(scale)
  f.for(i, { local: 0 }, 1, () => {
    for (const sum of sums) {
      if (fused) f.get(sum).get(scale).get(scale).op('f32x4.relaxed_madd').set(sum)
      else f.get(sum).get(scale).op('f32x4.mul').get(scale).op('f32x4.add').set(sum)
    }
  })
  // What nobody reads might be left out.
  sums.forEach((sum, k) =>
    f
      .i32(page)
      .get(sum)
      .memory('v128.store', 16 * k + 16),
  )
  return f
}

function copy() {
  const f = new Func('copy', ['i32', 'i32', 'i32'])
  const [from, to, bytes] = [0, 1, 2]
  const i = f.local('i32')
  f.for(i, { local: bytes }, 64, () => {
    for (let k = 0; k < 4; k++)
      f.get(to)
        .get(i)
        .op('i32.add')
        .get(from)
        .get(i)
        .op('i32.add')
        .memory('v128.load', 16 * k)
        .memory('v128.store', 16 * k)
  })
  return f
}

function binary(fused) {
  const memory = { initial: 2 + (2 * copied) / page, maximum: 2 + (2 * copied) / page, shared: false }
  const functions = [multiplyAdds(fused), copy()]
  return encodeModule({ imports: [], functions, exports: ['compute', 'copy'], memory, globals: 0 })
}

function load() {
  if (!WebAssembly.validate(binary(true))) v8.setFlagsFromString('--experimental-wasm-relaxed-simd')
  if (paired) v8.setFlagsFromString('--experimental-wasm-revectorize')
  const relaxed = WebAssembly.validate(binary(true))
  const pages = 2 + (2 * copied) / page
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const module = new WebAssembly.Module(binary(relaxed))
  const { compute, copy } = new WebAssembly.Instance(module, { env: { memory } }).exports
  const bytes = new Uint8Array(memory.buffer)
  const [from, to] = [2 * page, 2 * page + copied]
  bytes.fill(1, from)
  return {
    relaxed,
    tasks: [
      () => compute(perCall),
      () => copy(from, to, copied),
      // The host's own copy: on some machines it writes past the caches.
      () => bytes.copyWithin(to, from, from + copied),
    ],
  }
}

/** What one call of each task makes in a thread: operations, or bytes read and written. */
const work = [2 * 4 * accumulators * perCall, 2 * copied, 2 * copied]
/** Words shared by the threads: the calls so far, the task of the last one (-1: no more), the threads that ended it. */
const words = { calls: 0, task: 1, done: 2 }

if (!isMainThread && workerData?.ceilings) {
  const { tasks } = load()
  const shared = new Int32Array(workerData.ceilings)
  Atomics.add(shared, words.done, 1)
  for (let last = 0; ; last++) {
    // It spins: a thread that is woken for each task may share the core of the one that wakes it for some milliseconds.
    while (Atomics.load(shared, words.calls) === last);
    if (shared[words.task] < 0) break
    tasks[shared[words.task]]()
    Atomics.add(shared, words.done, 1)
  }
}

/**
 * Threads that do a task together, each all of it: `run(task)` gives the operations or bytes a second of all of them,
 * `best(task, samples)` the most of several runs. `close` ends the threads.
 */
async function openTasks(threads) {
  const { relaxed, tasks } = load()
  const shared = new Int32Array(new SharedArrayBuffer(12))
  const workers = Array.from(
    { length: threads - 1 },
    () => new Worker(new URL(import.meta.url), { workerData: { ceilings: shared.buffer } }),
  )
  const ended = Promise.all(
    workers.map(w => new Promise((resolve, reject) => w.on('exit', resolve).on('error', reject))),
  )
  while (Atomics.load(shared, words.done) < threads - 1) await new Promise(resolve => setTimeout(resolve, 5))
  const announce = task => {
    shared[words.task] = task
    Atomics.store(shared, words.done, 0)
    Atomics.add(shared, words.calls, 1)
  }
  const run = task => {
    const start = performance.now()
    announce(task)
    tasks[task]()
    while (Atomics.load(shared, words.done) < threads - 1);
    return (1000 * threads * work[task]) / (performance.now() - start)
  }
  const best = (task, samples) => {
    // The first is for the compiler.
    run(task)
    return Math.max(...Array.from({ length: samples }, () => run(task)))
  }
  const close = () => {
    announce(-1)
    return ended
  }
  return { relaxed, run, best, close }
}

/** The best of `samples` for `threads` threads: { threads, relaxed, flopsPerSecond, bytesPerSecond }. */
export async function ceilings(threads, samples) {
  const { relaxed, best, close } = await openTasks(threads)
  const [flopsPerSecond, own, host] = [0, 1, 2].map(task => best(task, samples))
  await close()
  return { threads, relaxed, flopsPerSecond, bytesPerSecond: Math.max(own, host) }
}

/** As a side of the benchmark: an item is { task: 'compute' | 'copy' }, and its value what one call makes. */
export async function open({ threads }) {
  const { run, best } = await openTasks(threads)
  const prepare = async ({ task }) => {
    const [chosen] = task === 'compute' ? [0] : [1, 2].sort((a, b) => best(b, 5) - best(a, 5))
    return { call: async () => void run(chosen), check: async () => threads * work[chosen] }
  }
  return { prepare }
}
