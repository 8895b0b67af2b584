/**
 * The linear memory that all kernels of a device compute in, and its allocator: blocks of rounded sizes, kept in a list
 * for each size when they are freed.
 */

import { guardBytes } from './elements.js'

const pageBytes = 65536
/** The most that 32-bit addresses reach. */
const maximumPages = 65536

export class Heap {
  readonly memory: WebAssembly.Memory
  readonly maximum = maximumPages
  /** The end of what was ever handed out. */
  #top: number
  readonly #free = new Map<number, number[]>()
  #inUse = 0

  /** The first `reserved` bytes are never handed out; fresh memory is zero. */
  constructor(reserved: number, shared: boolean) {
    this.memory = new WebAssembly.Memory({ initial: 16, maximum: maximumPages, shared })
    this.#top = reserved
  }

  get bytesInUse(): number {
    return this.#inUse
  }

  /** Sizes differ by an eighth at most, so that freed blocks fit again. */
  static blockBytes(bytes: number): number {
    const needed = Math.max(256, bytes + 2 * guardBytes)
    // An eighth of the largest power of two in it, at least 64.
    const step = 1 << Math.max(6, 28 - Math.clz32(needed))
    return Math.ceil(needed / step) * step
  }

  /** The address of a block for this many bytes. */
  allocate(bytes: number): number {
    const size = Heap.blockBytes(bytes)
    const list = this.#free.get(size)
    const reused = list?.pop()
    if (reused === undefined) this.#grow(size)
    const start = reused ?? this.#top
    if (reused === undefined) this.#top += size
    this.#inUse += size
    return start + guardBytes
  }

  free(address: number, bytes: number): void {
    const size = Heap.blockBytes(bytes)
    const list = this.#free.get(size)
    if (list) list.push(address - guardBytes)
    else this.#free.set(size, [address - guardBytes])
    this.#inUse -= size
  }

  #grow(size: number): void {
    const needed = Math.ceil((this.#top + size) / pageBytes)
    const have = this.memory.buffer.byteLength / pageBytes
    if (needed <= have) return
    const mebibytes = (n: number): string => `${Math.ceil(n / 2 ** 20)} MiB`
    try {
      // Growing by a quarter at least keeps the number of times low.
      const wanted = Math.min(maximumPages, Math.max(needed, Math.ceil(have * 1.25)))
      if (needed > maximumPages) throw new RangeError('beyond 4 GiB')
      this.memory.grow(wanted - have)
    } catch {
      throw new Error(
        `wasm: out of memory: ${mebibytes(size)} more are needed beside ${mebibytes(this.#inUse)} in use, and WebAssembly addresses 4 GiB; ` +
          'use a smaller batch, dispose of tensors, or checkpoint',
      )
    }
  }
}
