/**
 * Worker threads that run programs together with the calling thread. A job is announced through shared memory, where the
 * workers wait; a program's module is posted to them before its first job.
 */

import { demandNode } from '../../environment.js'
import { farFunctions } from './far.js'
import { abandon, failure, layout } from './run.js'

/** What Node's worker_threads offers of a worker. */
interface NodeWorker {
  postMessage(message: unknown): void
  terminate(): Promise<number>
  unref(): void
  once(event: 'message' | 'error', listener: (value: unknown) => void): unknown
}

/** Words of the job block: the job's number, the program's, and its table's address; -1 as program ends the worker. */
const words = { job: 0, program: 1, table: 2 } as const

/** Runs in each worker, as text: it may use nothing from outside its body. */
function workerMain(
  workerThreads: typeof import('node:worker_threads'),
  far: WebAssembly.ModuleImports,
  leave: typeof abandon,
): void {
  const { parentPort, workerData, receiveMessageOnPort } = workerThreads
  const { memory, jobAddress, failure, thread, epoch } = workerData as {
    memory: WebAssembly.Memory
    jobAddress: number
    failure: Parameters<typeof abandon>[1]
    thread: number
    epoch: number
  }
  if (!parentPort) return
  const job = new Int32Array(memory.buffer, jobAddress, 16)
  const programs = new Map<number, WebAssembly.Instance>()
  const now = (): number => performance.timeOrigin - epoch + performance.now()
  const receive = (): void => {
    for (let m = receiveMessageOnPort(parentPort); m; m = receiveMessageOnPort(parentPort)) {
      const { id, module, base } = m.message as { id: number; module?: WebAssembly.Module; base?: number }
      const steps = base === undefined ? {} : programs.get(base)?.exports
      const env = { memory, now, argsort: () => {}, ...far, ...steps }
      if (!module) programs.delete(id)
      else programs.set(id, new WebAssembly.Instance(module, { env }))
    }
  }
  parentPort.postMessage('ready')
  for (let last = 0; ; ) {
    for (let spins = 0; spins < 20_000 && Atomics.load(job, 0) === last; spins++);
    if (Atomics.load(job, 0) === last) {
      Atomics.wait(job, 0, last)
      continue
    }
    last = Atomics.load(job, 0)
    if (job[1] < 0) return
    try {
      if (!programs.has(job[1])) receive()
      const run = programs.get(job[1])?.exports.run as (thread: number, table: number) => void
      run(thread, job[2])
    } catch (error) {
      leave(memory, failure)
      console.error(`wasm: thread ${thread}:`, error)
    }
  }
}

export class Threads {
  readonly #workers: readonly NodeWorker[]
  readonly #memory: WebAssembly.Memory

  private constructor(workers: readonly NodeWorker[], memory: WebAssembly.Memory) {
    this.#workers = workers
    this.#memory = memory
  }

  /** Starts `count` workers on a shared memory and waits until all of them listen. */
  static async start(count: number, memory: WebAssembly.Memory, flags: readonly string[]): Promise<Threads> {
    if (count === 0) return new Threads([], memory)
    const { Worker } = demandNode('setDevice', 'use { threads: 1 }').getBuiltinModule('worker_threads')
    const source = `const node = name => process.getBuiltinModule(name);
      ${flags.map(flag => `node('v8').setFlagsFromString('${flag}');`).join(' ')}
      (${workerMain})(node('worker_threads'), (${farFunctions})(), ${abandon})`
    const workers = Array.from({ length: count }, (_, i) => {
      const worker: NodeWorker = new Worker(source, {
        eval: true,
        execArgv: [],
        workerData: { memory, jobAddress: layout.job, failure, thread: i + 1, epoch: performance.timeOrigin },
      })
      return worker
    })
    await Promise.all(
      workers.map(
        w =>
          new Promise<void>((resolve, reject) => {
            w.once('message', () => resolve())
            w.once('error', reject)
          }),
      ),
    )
    // A program that has finished must not be kept alive by waiting threads.
    for (const w of workers) w.unref()
    return new Threads(workers, memory)
  }

  /**
   * Hands a program's module to all workers, or with none makes them forget it. It may import what the program `base`
   * exports.
   */
  post(id: number, module?: WebAssembly.Module, base?: number): void {
    for (const w of this.#workers) w.postMessage({ id, module, base })
  }

  /** Wakes the workers for a program; the caller then runs it too, and its last barrier waits for them. */
  announce(program: number, table: number): void {
    if (this.#workers.length === 0) return
    const job = new Int32Array(this.#memory.buffer, layout.job, 16)
    job[words.program] = program
    job[words.table] = table
    Atomics.add(job, words.job, 1)
    Atomics.notify(job, words.job)
  }

  async stop(): Promise<void> {
    this.announce(-1, 0)
    await Promise.all(this.#workers.map(w => w.terminate()))
  }
}
