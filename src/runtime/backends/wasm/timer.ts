/**
 * Times the steps of programs: lends them the block where threads store their readings of the clock, and keeps what it
 * holds after each run.
 */

import { costOf } from '../../../compiler/cost.js'
import type { BufferSpec } from '../../../compiler/kernel.js'
import { dtypes } from '../../../graph/dtype.js'
import type { KernelTime, Span } from '../../profile.js'
import type { KernelStep } from './groups.js'
import type { Heap } from './heap.js'
import type { Program } from './program.js'
import { readingBytes } from './run.js'

interface TimedRun {
  readonly steps: readonly KernelStep[]
  readonly buffers: readonly BufferSpec[]
  readonly readings: Float64Array
}

export class Timer {
  readonly #heap: Heap
  #block = { address: 0, bytes: 0 }
  readonly #runs: TimedRun[] = []

  constructor(heap: Heap) {
    this.#heap = heap
  }

  /** The address for so many readings; all are 0. */
  prepare(count: number): number {
    const bytes = count * readingBytes
    if (bytes > this.#block.bytes) {
      this.#release()
      this.#block = { address: this.#heap.allocate(bytes), bytes }
    }
    this.#readings(count).fill(0)
    return this.#block.address
  }

  /** Keeps the readings of the run that has ended: one for each step and thread. */
  collect({ steps, buffers, threads }: Pick<Program, 'steps' | 'buffers' | 'threads'>): void {
    this.#runs.push({ steps, buffers, readings: this.#readings(steps.length * threads).slice() })
  }

  /** The times of all steps, in order. Its memory is given back. */
  finish(): KernelTime[] {
    this.#release()
    return this.#runs.flatMap(({ steps, buffers, readings }) => {
      const perStep = readings.length / steps.length
      return steps.map((step, s) => ({
        ...describe(step, buffers),
        ...timesOf(readings.subarray(s * perStep, (s + 1) * perStep)),
      }))
    })
  }

  #readings(count: number): Float64Array {
    return new Float64Array(this.#heap.memory.buffer, this.#block.address, 2 * count)
  }

  #release(): void {
    if (this.#block.bytes > 0) this.#heap.free(this.#block.address, this.#block.bytes)
    this.#block = { address: 0, bytes: 0 }
  }
}

/** What a step is called and costs. Parts of a kernel move bytes of their own; all arithmetic is counted with the kernel. */
function describe(
  { kernel, part, of }: KernelStep,
  buffers: readonly BufferSpec[],
): Pick<KernelTime, 'name' | 'bytes' | 'flops'> {
  if (of) {
    const all = of.map(step => describe(step, buffers))
    const sum = (key: 'bytes' | 'flops'): number => all.reduce((n, one) => n + one[key], 0)
    return { name: all.map(one => one.name).join(' + '), bytes: sum('bytes'), flops: sum('flops') }
  }
  const cost = costOf(part?.kernel ?? kernel, buffers, spec => dtypes[spec.dtype].bytes)
  return part ? { name: `${kernel.name}: ${part.name}`, bytes: cost.bytes, flops: 0 } : { name: kernel.name, ...cost }
}

/** From the first thread's beginning to the last one's end. Where a thread had no part, its readings are 0. */
function timesOf(readings: Float64Array): Pick<KernelTime, 'start' | 'milliseconds' | 'threads'> {
  const pairs = Array.from({ length: readings.length / 2 }, (_, t) => [readings[2 * t], readings[2 * t + 1]])
  const taken = pairs.filter(([begin]) => begin > 0)
  const start = Math.min(...taken.map(([begin]) => begin))
  const milliseconds = Math.max(...taken.map(([, end]) => end)) - start
  const threads = pairs.map(([begin, end]): Span => ({ start: begin || start, milliseconds: end - begin }))
  return { start, milliseconds, threads }
}
