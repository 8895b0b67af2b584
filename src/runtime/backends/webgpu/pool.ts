/**
 * The memory of a GPU device: blocks of rounded sizes, kept for reuse when they are freed. Reuse is safe without waiting,
 * since the queue runs in order. A GPU reports that memory is short only later: `settle` finds out.
 */

import { OutOfMemory } from '../../device.js'

/** A piece of GPU memory; `id` never changes, so that what is bound can be recognised. */
export interface Block {
  readonly id: number
  readonly bytes: number
  readonly handle: GPUBuffer
}

/** Sizes differ by an eighth at most, so that freed blocks fit again. */
function blockBytes(bytes: number): number {
  const needed = Math.max(256, bytes)
  const step = 2 ** Math.max(6, Math.floor(Math.log2(needed)) - 3)
  return Math.ceil(needed / step) * step
}

export const mebibytes = (n: number): string => `${Math.ceil(n / 2 ** 20)} MiB`

export class Pool {
  readonly #device: GPUDevice
  readonly #usage: number
  readonly #limit: number
  readonly #largest: number
  /** Free blocks by size; the one freed last is taken first, so that a step like the last one meets the same blocks. */
  readonly #free = new Map<number, Block[]>()
  #checks: Promise<GPUError | null>[] = []
  #inUse = 0
  #idle = 0
  /** Blocks made since the start. */
  created = 0

  /** @param limit bytes that this pool may take; @param usage of WebGPU's GPUBufferUsage */
  constructor(device: GPUDevice, usage: number, limit = Number.POSITIVE_INFINITY) {
    this.#device = device
    this.#usage = usage
    this.#limit = limit
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits
    this.#largest = Math.min(maxBufferSize, maxStorageBufferBindingSize)
  }

  /** Bytes of the blocks handed out. */
  get bytesInUse(): number {
    return this.#inUse
  }

  acquire(bytes: number): Block {
    if (bytes > this.#largest) {
      throw new Error(
        `webgpu: a tensor of ${mebibytes(bytes)} is larger than one buffer of this GPU may be (${mebibytes(this.#largest)}); split it, or use a smaller batch`,
      )
    }
    const size = Math.min(blockBytes(bytes), this.#largest)
    const reused = this.#free.get(size)?.pop()
    if (reused) this.#idle -= size
    else if (this.#inUse + this.#idle + size > this.#limit) this.drain()
    if (this.#inUse + size > this.#limit)
      throw new OutOfMemory(`${mebibytes(size)} more than the limit of ${mebibytes(this.#limit)} allows`)
    this.#inUse += size
    return reused ?? this.#create(size)
  }

  #create(bytes: number): Block {
    this.#device.pushErrorScope('out-of-memory')
    const handle = this.#device.createBuffer({ size: bytes, usage: this.#usage })
    this.#checks.push(this.#device.popErrorScope())
    return { id: this.created++, bytes, handle }
  }

  release(block: Block): void {
    this.#inUse -= block.bytes
    this.#idle += block.bytes
    const list = this.#free.get(block.bytes)
    if (list) list.push(block)
    else this.#free.set(block.bytes, [block])
  }

  /** Gives a block back to the GPU, for one that is not worth keeping. */
  destroy(block: Block): void {
    this.#inUse -= block.bytes
    block.handle.destroy()
  }

  /** Gives the free blocks back to the GPU. */
  drain(): void {
    for (const block of [...this.#free.values()].flat()) block.handle.destroy()
    this.#free.clear()
    this.#idle = 0
  }

  /** Whether blocks were made that may turn out not to exist. */
  get isUnsettled(): boolean {
    return this.#checks.length > 0
  }

  /** @throws OutOfMemory if a block made since the last call could not be had. */
  async settle(): Promise<void> {
    const checks = this.#checks
    this.#checks = []
    const [error] = (await Promise.all(checks)).filter(e => e !== null)
    if (error) throw new OutOfMemory(error.message)
  }
}
