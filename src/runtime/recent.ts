/** What was made lately: values that are found by a hash, of which only so many are kept. */

export class Recent<T extends object> {
  readonly #most: number
  readonly #byHash = new Map<number, readonly T[]>()
  /** The hash of each value, the oldest first. */
  readonly #hashes = new Map<T, number>()

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#hashes.size
  }

  /** The values with a hash. */
  at(hash: number): readonly T[] {
    return this.#byHash.get(hash) ?? []
  }

  /** Keeps a value; returns whether the oldest had to go for it. */
  add(hash: number, value: T): boolean {
    this.#byHash.set(hash, [...this.at(hash), value])
    this.#hashes.set(value, hash)
    if (this.size <= this.#most) return false
    const [oldest] = this.#hashes.keys()
    this.delete(oldest)
    return true
  }

  delete(value: T): void {
    const hash = this.#hashes.get(value)
    if (hash === undefined) return
    const others = this.at(hash).filter(v => v !== value)
    if (others.length) this.#byHash.set(hash, others)
    else this.#byHash.delete(hash)
    this.#hashes.delete(value)
  }
}
