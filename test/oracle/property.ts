/**
 * How property tests run: with a fixed seed, so that a failure today is a failure tomorrow, and as many cases as asked
 * for. `SEED=random RUNS=20 npx vitest run ...` looks for new failures, with 20 times the cases.
 */

import fc from 'fast-check'

const { SEED = '20', RUNS = '1' } = process.env
const seed = SEED === 'random' ? Date.now() & 0x7fffffff : Number(SEED)

/** Checks an async property; the error of a failure tells the seed and the smallest counterexample found. */
export async function holds<T extends [unknown, ...unknown[]]>(
  property: fc.IAsyncProperty<T>,
  numRuns: number,
): Promise<void> {
  await fc.assert(property, { seed, numRuns: Math.ceil(numRuns * Number(RUNS)), endOnFailure: false })
}

/** A generator of uniform and normal numbers (mulberry32), for cases that need many of them. */
export class Rng {
  #state: number
  constructor(seed: number) {
    this.#state = seed | 0
  }
  uniform(low = 0, high = 1): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return low + (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * (high - low)
  }
  int(low: number, high: number): number {
    return Math.floor(this.uniform(low, high + 1))
  }
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }
  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)]
  }
  /** 0 to n - 1 in random order. */
  order(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i)
    for (let i = n - 1; i > 0; i--) {
      const j = this.int(0, i)
      ;[order[i], order[j]] = [order[j], order[i]]
    }
    return order
  }
  /** Makes generators that all give the same numbers. */
  replay(): () => Rng {
    const seed = this.int(0, 2 ** 30)
    return () => new Rng(seed)
  }
  shape(rank: number, low = 1, high = 3): number[] {
    return Array.from({ length: rank }, () => this.int(low, high))
  }
}
