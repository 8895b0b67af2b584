// What the machine can do at most from WebAssembly: float32 multiply-adds in registers, and copying of memory that no cache
// holds, by one thread or several at a time. The module is made with the library's own assembler; each worker runs this file.
import v8 from 'node:v8'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { encodeModule, Func } from '../dist/runtime/backends/wasm/assembler.js'

const page = 65536
const copied = 64 * 2 ** 20
const accumulators = 12
const perCall = 2 ** 23

/** 12 chains of multiply-adds, which hide the latency of two units; fused where the engine can. */
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
  v8.setFlagsFromString('--experimental-wasm-relaxed-simd')
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

const work = [2 * 4 * accumulators * perCall, 2 * copied, 2 * copied]
/** Words shared by the threads: the number of the task in progress and of the threads that ended it. */
const words = { task: 0, done: 1 }

if (!isMainThread && workerData?.ceilings) {
  const { tasks } = load()
  const shared = new Int32Array(workerData.ceilings)
  Atomics.add(shared, words.done, 1)
  for (let last = 0; ; last++) {
    // It spins: a thread that is woken for each task may share the core of the one that wakes it for some milliseconds.
    while (Atomics.load(shared, words.task) === last);
    const task = workerData.order[last]
    if (task === undefined) break
    tasks[task]()
    Atomics.add(shared, words.done, 1)
  }
}

/** The best of `samples` for `threads` threads: { threads, relaxed, flopsPerSecond, bytesPerSecond }. */
export async function ceilings(threads, samples) {
  const { relaxed, tasks } = load()
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const order = tasks.flatMap((_, task) => new Array(samples + 1).fill(task))
  const workers = Array.from(
    { length: threads - 1 },
    () => new Worker(new URL(import.meta.url), { workerData: { ceilings: shared.buffer, order } }),
  )
  const ended = Promise.all(
    workers.map(w => new Promise((resolve, reject) => w.on('exit', resolve).on('error', reject))),
  )
  while (Atomics.load(shared, words.done) < threads - 1) await new Promise(resolve => setTimeout(resolve, 5))
  const best = tasks.map(() => 0)
  order.forEach((task, i) => {
    Atomics.store(shared, words.done, 0)
    const start = performance.now()
    Atomics.add(shared, words.task, 1)
    tasks[task]()
    while (Atomics.load(shared, words.done) < threads - 1);
    const rate = (1000 * threads * work[task]) / (performance.now() - start)
    // The first of each is for the compiler.
    if (i % (samples + 1)) best[task] = Math.max(best[task], rate)
  })
  Atomics.add(shared, words.task, 1)
  await ended
  return { threads, relaxed, flopsPerSecond: best[0], bytesPerSecond: Math.max(best[1], best[2]) }
}
