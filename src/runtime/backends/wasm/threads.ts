/**
 * Worker threads that run programs together with the calling thread, in Node and in browsers. A job is announced through
 * shared memory, where the workers wait; a program's module is posted to them before its first job.
 */

import { node } from '../../environment.js'
import { farFunctions } from './far.js'
import { abandon, failure, layout } from './run.js'

/** What a worker needs to know before all else. */
interface Setting {
  readonly memory: WebAssembly.Memory
  /** Which thread it is; the calling one is 0. */
  readonly thread: number
  readonly jobAddress: number
  readonly failure: Parameters<typeof abandon>[1]
  /** The time from which the calling thread's clock counts. */
  readonly epoch: number
}

/** A program's module, which may import what the program `base` exports; with none, the program is forgotten. */
interface Posted {
  readonly id: number
  readonly module?: WebAssembly.Module
  readonly base?: number
}

/**
 * Words of the job block: what changes with each of the others, so that workers watch it alone; how many messages were
 * posted; the job's number, its program's, and its table's address. After -1 as program there are no more jobs.
 */
const words = { bell: 0, posted: 1, job: 2, program: 3, table: 4 } as const

/** The calling thread, as a worker sees it. */
interface Caller {
  onmessage: ((event: { readonly data: unknown }) => void) | null
  postMessage(message: unknown): void
}

/**
 * Runs in each worker, as text: it may use nothing from outside its body. What has a name in it is a method: bundlers that
 * keep names wrap other functions in one of theirs.
 */
function workerMain(
  caller: Caller,
  process: NodeJS.Process | undefined,
  words: Record<string, number>,
  far: object,
  leave: typeof abandon,
): void {
  const worker = {
    programs: new Map<number, WebAssembly.Instance>(),
    /** Messages taken, and the number of the last job. */
    received: 0,
    last: 0,

    /** Whose work fails lets the others out of their barriers. */
    attempt({ memory, failure, thread }: Setting, work: () => void): void {
      try {
        work()
      } catch (error) {
        leave(memory, failure)
        console.error(`wasm: thread ${thread}:`, error)
      }
    },

    take({ memory, epoch }: Setting, { id, module, base }: Posted): void {
      const steps = base === undefined ? {} : this.programs.get(base)?.exports
      const own = {
        memory,
        now() {
          return performance.timeOrigin - epoch + performance.now()
        },
      }
      if (!module) this.programs.delete(id)
      else this.programs.set(id, new WebAssembly.Instance(module, { env: { ...own, ...far, ...steps } }))
    },

    /** Runs jobs until there is a message, which only arrives when this returns. */
    serve(setting: Setting): void {
      const block = new Int32Array(setting.memory.buffer, setting.jobAddress, 16)
      for (;;) {
        const bell = Atomics.load(block, words.bell)
        if (Atomics.load(block, words.posted) !== this.received) return
        const job = Atomics.load(block, words.job)
        if (job !== this.last) {
          this.last = job
          const [program, table] = [block[words.program], block[words.table]]
          if (program < 0) return
          this.attempt(setting, () => {
            const run = this.programs.get(program)?.exports.run as (thread: number, table: number) => void
            run(setting.thread, table)
          })
          continue
        }
        for (let spins = 0; spins < 20_000 && Atomics.load(block, words.bell) === bell; spins++);
        if (Atomics.load(block, words.bell) === bell) Atomics.wait(block, words.bell, bell)
      }
    },
  }
  // The first message is the setting, all others are counted.
  caller.onmessage = ({ data }) => {
    const setting = data as Setting
    // What others have Node load into every worker may fail as it likes; if it ends this one, nobody is to wait for it.
    process?.on('uncaughtException', error => console.error(`wasm: thread ${setting.thread}:`, error))
    process?.on('exit', () => leave(setting.memory, setting.failure))
    caller.onmessage = ({ data }) => {
      worker.received++
      worker.attempt(setting, () => worker.take(setting, data as Posted))
      worker.serve(setting)
    }
    caller.postMessage('ready')
    worker.serve(setting)
  }
}

/** A worker of Node or of a browser. */
interface Spawned {
  postMessage(message: unknown): void
  terminate(): unknown
}

/** The worker's program, given expressions for the thread that started it and for Node's process. */
const source = (caller: string, process: string): string =>
  `(${workerMain})(${caller}, ${process}, ${JSON.stringify(words)}, (${farFunctions})(), ${abandon})`

/** A worker that listens. */
async function spawn(setting: Setting, flags: readonly string[]): Promise<Spawned> {
  if (node) {
    const { Worker } = node.getBuiltinModule('worker_threads')
    const module = (name: string): string => `process.getBuiltinModule('${name}')`
    const settings = flags.map(flag => `${module('v8')}.setFlagsFromString('${flag}');`)
    const text = settings.join('') + source(`${module('worker_threads')}.parentPort`, 'process')
    const worker = new Worker(text, { eval: true, execArgv: [] })
    worker.postMessage(setting)
    await new Promise<void>((resolve, reject) => {
      worker.once('message', () => resolve())
      worker.on('error', reject)
      worker.once('exit', () => reject(new Error('it ended at once')))
    })
    // Later it may run out of memory, say.
    worker.once('exit', () => abandon(setting.memory, failure))
    // A program that has finished must not be kept alive by waiting threads.
    worker.unref()
    return worker
  }
  const url = URL.createObjectURL(new Blob([source('globalThis', 'undefined')], { type: 'text/javascript' }))
  try {
    const worker = new Worker(url)
    worker.postMessage(setting)
    await new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve()
      worker.onerror = ({ message = 'a Content-Security-Policy must allow worker-src blob:' }) =>
        reject(new Error(message))
    })
    return worker
  } finally {
    URL.revokeObjectURL(url)
  }
}

export class Threads {
  readonly #workers: readonly Spawned[]
  readonly #memory: WebAssembly.Memory

  private constructor(workers: readonly Spawned[], memory: WebAssembly.Memory) {
    this.#workers = workers
    this.#memory = memory
  }

  /**
   * Starts `count` workers on a shared memory and waits until all of them listen.
   * @throws Error that says why one of them does not start; then there are none.
   */
  static async start(count: number, memory: WebAssembly.Memory, flags: readonly string[]): Promise<Threads> {
    const shared = { memory, jobAddress: layout.job, failure, epoch: performance.timeOrigin }
    const spawning = Array.from({ length: count }, (_, i) => spawn({ ...shared, thread: i + 1 }, flags))
    const settled = await Promise.allSettled(spawning)
    const workers = settled.flatMap(s => (s.status === 'fulfilled' ? [s.value] : []))
    const failed = settled.find(s => s.status === 'rejected')
    if (failed) {
      for (const w of workers) w.terminate()
      const { reason: cause } = failed
      throw new Error(`a thread did not start: ${cause instanceof Error ? cause.message : cause}`, { cause })
    }
    return new Threads(workers, memory)
  }

  get #block(): Int32Array<ArrayBufferLike> {
    return new Int32Array(this.#memory.buffer, layout.job, 16)
  }

  #ring(changed: 'posted' | 'job'): void {
    const block = this.#block
    Atomics.add(block, words[changed], 1)
    Atomics.add(block, words.bell, 1)
    Atomics.notify(block, words.bell)
  }

  /**
   * Hands a program's module to all workers, or with none makes them forget it. It may import what the program `base`
   * exports.
   */
  post(id: number, module?: WebAssembly.Module, base?: number): void {
    if (this.#workers.length === 0) return
    // Counted first: a worker that has taken all messages so far would not wait for one that is yet to be counted.
    this.#ring('posted')
    const message: Posted = { id, module, base }
    for (const w of this.#workers) w.postMessage(message)
  }

  /** Wakes the workers for a program; the caller then runs it too, and its last barrier waits for them. */
  announce(program: number, table: number): void {
    if (this.#workers.length === 0) return
    const block = this.#block
    block[words.program] = program
    block[words.table] = table
    this.#ring('job')
  }

  async stop(): Promise<void> {
    this.announce(-1, 0)
    await Promise.all(this.#workers.map(w => w.terminate()))
  }
}
