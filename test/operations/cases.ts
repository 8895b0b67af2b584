/**
 * How operations are called in the suites of this folder: random cases of each, with what is known of its derivative.
 * One catalog serves the gradient suite, device parity, batching, the mutants and the reference in docs.
 */

import * as sp from 'saddlepoint'
import type { Rng } from '../oracle/property.js'

export type Tensor = sp.Tensor

export interface Case {
  /** The operation on its tensors, with all other parameters chosen; it does the same at every call. */
  readonly f: (...xs: Tensor[]) => Tensor | readonly Tensor[]
  /** Floats are float64 and away from kinks and ties; the suites cast them. */
  readonly args: readonly Tensor[]
}
export type Make = (r: Rng) => Case

export interface Entry {
  readonly makes: readonly Make[]
  /** Why there is nothing to differentiate, where that is so. */
  readonly flat?: string
}
/** By the name that the operation is exported under. */
export type Catalog = Readonly<Record<string, Entry>>

/** An operation whose derivatives are checked to order 3. */
export const smooth = (...makes: Make[]): Entry => ({ makes })
/** An operation without derivatives. */
export const flat = (reason: string, ...makes: Make[]): Entry => ({ makes, flat: reason })
export const jumps = 'constant between its jumps'
export const integral = 'the result is no float'

export const isFloat = (t: Tensor): boolean => t.dtype.startsWith('float')
export const listOf = (x: Tensor | readonly Tensor[]): readonly Tensor[] => (x instanceof sp.Tensor ? [x] : x)

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, s) => n * s, 1)
export const filled = (shape: readonly number[], next: () => number): Tensor =>
  sp.tensor(Float64Array.from({ length: sizeOf(shape) }, next), { shape })

/** Values of a shape: what a case is made of. */
export type Fill = (r: Rng, shape: readonly number[]) => Tensor
export const normal: Fill = (r, shape) => filled(shape, () => r.normal())
export const between =
  (low: number, high: number): Fill =>
  (r, shape) =>
    filled(shape, () => r.uniform(low, high))
/** Values at least 0.1 from every integer. */
export const broken: Fill = (r, shape) => filled(shape, () => r.int(-3, 2) + r.uniform(0.1, 0.9))
/** Values at least 0.1 apart, in random order: no ties. */
export const distinct: Fill = (r, shape) => {
  const order = r.order(sizeOf(shape))
  let k = 0
  return filled(shape, () => (order[k++] - order.length / 2) * 0.3 + r.uniform(0, 0.2))
}
export const integers =
  (low: number, high: number): Fill =>
  (r, shape) =>
    sp.tensor(
      Int32Array.from({ length: sizeOf(shape) }, () => r.int(low, high)),
      { shape },
    )
export const booleans: Fill = (r, shape) => sp.greater(normal(r, shape), 0)

/** One operand of a random shape. */
export const unary =
  (f: (x: Tensor) => Tensor, fill: Fill = normal): Make =>
  r => ({ f, args: [fill(r, r.shape(r.int(0, 3)))] })
/** Two operands that broadcast: axes of size 1, missing leading axes. */
export const binary =
  (f: (a: Tensor, b: Tensor) => Tensor, left: Fill = normal, right: Fill = left): Make =>
  r => {
    const shape = r.shape(r.int(0, 3))
    const part = (): number[] => shape.map(n => (r.int(0, 3) === 0 ? 1 : n)).slice(r.int(0, 4) === 0 ? 1 : 0)
    return { f, args: [left(r, part()), right(r, part())] }
  }
/**
 * One operand of a random rank; `f` chooses its parameters with r, the same ones at every call. With `curved`, a sine
 * around a linear operation makes its higher derivatives say something.
 */
export const chosen =
  (f: (x: Tensor, r: Rng) => Tensor, { fill = normal, rank = [1, 3], curved = true }: ChosenOptions = {}): Make =>
  r => {
    const args = [fill(r, r.shape(r.int(rank[0], rank[1]), 1, 4))]
    const again = r.replay()
    return { f: x => (curved ? sp.sin(f(x, again())) : f(x, again())), args }
  }
export interface ChosenOptions {
  readonly fill?: Fill
  readonly rank?: readonly [number, number]
  readonly curved?: boolean
}
/** A random choice of axes. */
export const someAxes = (x: Tensor, r: Rng): number[] => x.shape.flatMap((_, d) => (r.int(0, 1) ? [d] : []))
/** One axis, also from the end. */
export const oneAxis = (x: Tensor, r: Rng): number => r.int(-x.ndim, x.ndim - 1)
