/** Where temporaries live: offsets into one arena, reused as soon as their last reader has run. */

import { dtypes } from '../graph/dtype.js'
import { bufferReads, bufferWrites, type Schedule } from './kernel.js'

export interface MemoryPlan {
  /** Byte offset in the arena of each temporary buffer; undefined for leaves and results. */
  readonly offsets: readonly (number | undefined)[]
  readonly arenaBytes: number
  /** The most bytes of temporaries alive at once: in this order of kernels no plan can do with less. */
  readonly lowerBound: number
}

/** The first and the last moment of a kernel, or of what lives while kernels run. */
export interface Span {
  readonly start: number
  readonly end: number
}
/** Buffers that kernels use beside those that they read and write: they live from the first such kernel to the last. */
type Scratch = readonly { readonly buffer: number; readonly kernel: number }[]

/** The lives of the temporaries. */
function livesOf(
  { buffers, kernels }: Pick<Schedule, 'buffers' | 'kernels'>,
  scratch: Scratch,
  moments: readonly Span[] = kernels.map((_, i) => ({ start: i, end: i })),
): Map<number, Span> {
  const lives = new Map<number, Span>()
  const touch = (b: number, { start, end }: Span): void => {
    if (buffers[b].role !== 'temporary') return
    const life = lives.get(b)
    lives.set(b, { start: Math.min(start, life?.start ?? start), end: Math.max(end, life?.end ?? end) })
  }
  kernels.forEach((kernel, i) => {
    for (const b of [...bufferWrites(kernel), ...bufferReads(kernel)]) touch(b, moments[i])
  })
  for (const { buffer, kernel } of scratch) touch(buffer, moments[kernel])
  return lives
}

/**
 * @param alignment of every offset, in bytes
 * @param slack bytes that every buffer needs beyond its elements
 * @param moments when each kernel runs, where that is not one after another
 */
export function planMemory(
  { buffers, kernels }: Pick<Schedule, 'buffers' | 'kernels'>,
  scratch: Scratch,
  alignment: number,
  slack: number,
  moments?: readonly Span[],
): MemoryPlan {
  const lives = livesOf({ buffers, kernels }, scratch, moments)
  const bytes = (b: number): number =>
    Math.ceil((buffers[b].size * dtypes[buffers[b].dtype].bytes + slack) / alignment) * alignment
  const temporaries = [...lives.keys()]
  // Large ones first, each at the lowest place that no other one alive at the same time takes.
  temporaries.sort((a, b) => bytes(b) - bytes(a) || a - b)
  const offsets = new Array<number | undefined>(buffers.length).fill(undefined)
  const placed: { from: number; to: number; start: number; end: number }[] = []
  let arenaBytes = 0
  for (const b of temporaries) {
    const { start, end } = lives.get(b) as Span
    const rivals = placed.filter(p => p.start <= end && start <= p.end).sort((p, q) => p.from - q.from)
    let from = 0
    for (const rival of rivals) {
      if (from + bytes(b) <= rival.from) break
      from = Math.max(from, rival.to)
    }
    offsets[b] = from
    placed.push({ from, to: from + bytes(b), start, end })
    arenaBytes = Math.max(arenaBytes, from + bytes(b))
  }
  let lowerBound = 0
  for (const { start } of placed) {
    const alive = placed.filter(p => p.start <= start && start <= p.end).reduce((n, p) => n + p.to - p.from, 0)
    lowerBound = Math.max(lowerBound, alive)
  }
  return { offsets, arenaBytes, lowerBound }
}

/** Memory for devices that bind whole buffers: temporaries that are never alive at once share a slot. */
export interface SlotPlan {
  /** The slot of each temporary buffer; undefined for leaves and results. */
  readonly slotOf: readonly (number | undefined)[]
  /** Bytes of each slot, the largest first. */
  readonly bytes: readonly number[]
}

/** What a device adds to a schedule: buffers, kernels that run together, and temporaries that need no slot. */
interface SlotNeeds {
  readonly scratch: Scratch
  readonly moments: readonly Span[]
  readonly slotless: ReadonlySet<number>
}

/** @param bytesOf the bytes that a buffer takes */
export function planSlots(
  { buffers, kernels }: Pick<Schedule, 'buffers' | 'kernels'>,
  { scratch, moments, slotless }: SlotNeeds,
  bytesOf: (buffer: number) => number,
): SlotPlan {
  const lives = [...livesOf({ buffers, kernels }, scratch, moments)].filter(([b]) => !slotless.has(b))
  const slotOf = new Array<number | undefined>(buffers.length).fill(undefined)
  const slots: { readonly bytes: number; readonly taken: Span[] }[] = []
  // Large ones first, so that a slot is as large as the first that takes it.
  for (const [b, life] of lives.sort(([a], [b]) => bytesOf(b) - bytesOf(a) || a - b)) {
    let slot = slots.findIndex(s => s.taken.every(t => t.end < life.start || life.end < t.start))
    if (slot < 0) slot = slots.push({ bytes: bytesOf(b), taken: [] }) - 1
    slots[slot].taken.push(life)
    slotOf[b] = slot
  }
  return { slotOf, bytes: slots.map(s => s.bytes) }
}
