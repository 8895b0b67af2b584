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
  /** Whether the GPU could not give it. */
  failed: boolean
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
  #checks: { readonly block: Block; readonly error: Promise<GPUError | null> }[] = []
  #settling: Promise<void> | undefined
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
    // No rounding up to the limit, where a GPU may refuse what it promised.
    const rounded = blockBytes(bytes)
    const size = rounded < this.#largest ? rounded : Math.ceil(bytes / 256) * 256
    if (this.#inUse + size > this.#limit)
      throw new OutOfMemory(`${mebibytes(size)} more than the limit of ${mebibytes(this.#limit)} allows`)
    const reused = this.#free.get(size)?.pop()
    if (reused) this.#idle -= size
    else if (this.#inUse + this.#idle + size > this.#limit) this.drain()
    this.#inUse += size
    return reused ?? this.#create(size)
  }

  #create(bytes: number): Block {
    this.#device.pushErrorScope('out-of-memory')
    const handle = this.#device.createBuffer({ size: bytes, usage: this.#usage })
    const block = { id: this.created++, bytes, handle, failed: false }
    this.#checks.push({ block, error: this.#device.popErrorScope() })
    return block
  }

  release(block: Block): void {
    if (block.failed) {
      this.destroy(block)
      return
    }
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

  /**
   * Waits until it is known of all blocks whether they are there; undefined where it is.
   *
   * @throws OutOfMemory if one could not be had; the free blocks have then gone back to the GPU.
   */
  settle(): Promise<void> | undefined {
    if (this.#checks.length === 0) return this.#settling
    const settling = this.#check().finally(() => {
      if (this.#settling === settling) this.#settling = undefined
    })
    this.#settling = settling
    return settling
  }

  async #check(): Promise<void> {
    const earlier = this.#settling
    const checks = this.#checks
    this.#checks = []
    let message: string | undefined
    for (const { block, error } of checks) {
      const found = await error
      if (!found) continue
      block.failed = true
      message ??= found.message
    }
    await earlier
    if (message === undefined) return
    this.drain()
    throw new OutOfMemory(message)
  }
}
