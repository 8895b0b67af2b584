/**
 * The linear memory that all kernels of a device compute in, and its allocator: blocks of rounded sizes, kept in a list
 * for each size when they are freed. Before memory grows, neighbours among them become one, for blocks of any size.
 */

import { OutOfMemory } from '../../device.js'
import { guardBytes, reachBytes } from './elements.js'

const pageBytes = 65536
/** The most that 32-bit addresses reach. */
const maximumPages = 65536

interface Gap {
  readonly start: number
  readonly size: number
}

export class Heap {
  readonly memory: WebAssembly.Memory
  readonly maximum = maximumPages
  /** The end of what was ever handed out. */
  #top: number
  /** Freed blocks by their size. */
  readonly #free = new Map<number, number[]>()
  /** What merged blocks left, by address. */
  #gaps: Gap[] = []
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

  /**
   * The address of a block for this many bytes.
   *
   * @throws OutOfMemory
   */
  allocate(bytes: number): number {
    const size = Heap.blockBytes(bytes)
    const start = this.#free.get(size)?.pop() ?? this.#fromGaps(size) ?? this.#fresh(size)
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

  /** A part of the smallest gap that is large enough. */
  #fromGaps(size: number): number | undefined {
    let best: Gap | undefined
    for (const gap of this.#gaps) if (gap.size >= size && (!best || gap.size < best.size)) best = gap
    if (!best) return undefined
    const { start, size: all } = best
    this.#gaps = this.#gaps.flatMap(gap =>
      gap !== best ? gap : all > size ? { start: start + size, size: all - size } : [],
    )
    return start
  }

  #fresh(size: number): number {
    if (this.#top + size + reachBytes > this.memory.buffer.byteLength) {
      this.#merge()
      const found = this.#fromGaps(size)
      if (found !== undefined) return found
      this.#grow(size)
    }
    const start = this.#top
    this.#top += size
    return start
  }

  /** Makes gaps of all freed blocks, neighbours one; what lies at the top is no longer handed out. */
  #merge(): void {
    const blocks = [...this.#free].flatMap(([size, starts]) => starts.map(start => ({ start, size })))
    this.#free.clear()
    const merged: { start: number; size: number }[] = []
    for (const { start, size } of [...this.#gaps, ...blocks].sort((a, b) => a.start - b.start)) {
      const last = merged.at(-1)
      if (last && last.start + last.size === start) last.size += size
      else merged.push({ start, size })
    }
    const last = merged.at(-1)
    if (last && last.start + last.size === this.#top) {
      this.#top = last.start
      merged.pop()
    }
    this.#gaps = merged
  }

  #grow(size: number): void {
    const needed = Math.ceil((this.#top + size + reachBytes) / pageBytes)
    const have = this.memory.buffer.byteLength / pageBytes
    if (needed <= have) return
    const mebibytes = (n: number): string => `${Math.ceil(n / 2 ** 20)} MiB`
    try {
      // Growing by a quarter at least keeps the number of times low.
      const wanted = Math.min(maximumPages, Math.max(needed, Math.ceil(have * 1.25)))
      if (needed > maximumPages) throw new RangeError('beyond 4 GiB')
      this.memory.grow(wanted - have)
    } catch {
      throw new OutOfMemory(
        `wasm: out of memory: ${mebibytes(size)} more are needed beside ${mebibytes(this.#inUse)} in use, and WebAssembly addresses 4 GiB; ` +
          'use a smaller batch, dispose of tensors, or checkpoint',
      )
    }
  }
}
