/** Times dispatches by the GPU's own clock: each gets a pass of its own, with a timestamp at either end. */

import type { Cost } from '../../../compiler/cost.js'
import type { KernelTime } from '../../profile.js'

/** What a dispatch is, for the one who reads its time. */
export interface Timed {
  readonly name: string
  readonly cost: Cost
}

/** Dispatches between two readings of the clock: WebGPU allows 4096 timestamps in a set. */
export const capacity = 2048
const [mapRead, copySource, copyTarget, queryResolve] = [0x1, 0x4, 0x8, 0x200]

export class Timer {
  readonly #device: GPUDevice
  readonly #querySet: GPUQuerySet
  readonly #ticks: GPUBuffer
  #timed: Timed[] = []
  readonly #readings: Promise<KernelTime[]>[] = []

  constructor(device: GPUDevice) {
    this.#device = device
    this.#querySet = device.createQuerySet({ type: 'timestamp', count: 2 * capacity })
    this.#ticks = device.createBuffer({ size: 16 * capacity, usage: queryResolve | copySource })
  }

  /** A pass for one dispatch. */
  pass(encoder: GPUCommandEncoder, timed: Timed): GPUComputePassEncoder {
    const i = 2 * (this.#timed.push(timed) - 1)
    return encoder.beginComputePass({
      timestampWrites: { querySet: this.#querySet, beginningOfPassWriteIndex: i, endOfPassWriteIndex: i + 1 },
    })
  }

  /** Whether so many dispatches wait that the next command buffer must begin after a reading. */
  hasRoomFor(dispatches: number): boolean {
    return this.#timed.length + dispatches <= capacity
  }

  /** Reads the times of the dispatches submitted so far, in the background. */
  collect(): void {
    const timed = this.#timed
    this.#timed = []
    if (timed.length > 0) this.#readings.push(this.#read(timed))
  }

  async #read(timed: readonly Timed[]): Promise<KernelTime[]> {
    const size = 16 * timed.length
    const staging = this.#device.createBuffer({ size, usage: mapRead | copyTarget })
    const encoder = this.#device.createCommandEncoder()
    encoder.resolveQuerySet(this.#querySet, 0, 2 * timed.length, this.#ticks, 0)
    encoder.copyBufferToBuffer(this.#ticks, 0, staging, 0, size)
    this.#device.queue.submit([encoder.finish()])
    await staging.mapAsync(mapRead)
    const ticks = new BigUint64Array(staging.getMappedRange().slice(0))
    staging.destroy()
    // Timestamps count nanoseconds.
    return timed.map(({ name, cost }, i) => ({
      name,
      ...cost,
      start: Number(ticks[2 * i]) / 1e6,
      milliseconds: Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6,
    }))
  }

  /** The times of all dispatches, in the order of submission. */
  async finish(): Promise<KernelTime[]> {
    this.collect()
    const times = (await Promise.all(this.#readings)).flat()
    this.#querySet.destroy()
    this.#ticks.destroy()
    return times
  }
}
