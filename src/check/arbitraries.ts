/**
 * Generators of cases for fast-check, which the user brings: shapes, tensors, axes, indices, and random programs. Values
 * have few digits and shrink towards 0, shapes towards few axes of small size.
 */

import { type DType, dtypes, isFloat } from '../graph/dtype.js'
import type { Shape } from '../graph/shape.js'
import { tensor } from '../tensor/create.js'
import type { Tensor } from '../tensor/tensor.js'
import { literal } from './compare.js'
import { type Program, type ProgramOptions, programNames, programOf } from './programs.js'

// Types alone: fast-check is the user's own, and the library never loads it.
type FastCheck = typeof import('fast-check').default
type Arbitrary<T> = import('fast-check').Arbitrary<T>

export interface ShapeOptions {
  /** 3 by default. */
  maxRank?: number
  /** 0 by default. */
  minRank?: number
  /** Of an axis; 4 by default. */
  maxSize?: number
  /** 1 by default; 0 makes empty tensors too. */
  minSize?: 0 | 1
}

export interface TensorsOptions {
  /** One shape, or an arbitrary of them; `shapes()` by default. */
  shape?: Shape | Arbitrary<Shape>
  /** float64 by default. */
  dtype?: DType
  /** The range of the finite values; [-10, 10] by default. */
  range?: readonly [number, number]
  /** Whether values may be equal; true by default. With false, values are at least 0.001 apart. */
  ties?: boolean
  /** Whether values may be 0; true by default. */
  zeros?: boolean
  /** Whether floats may be infinite; false by default. */
  infinities?: boolean
  /** Whether floats may be NaN; false by default. */
  nan?: boolean
}

export interface IndicesOptions {
  /** One shape, or an arbitrary of them; `shapes()` by default. */
  shape?: Shape | Arbitrary<Shape>
  /** Whether indices may repeat; true by default. */
  duplicates?: boolean
  /** Whether some may be outside 0 .. size - 1; false by default. */
  outOfRange?: boolean
}

export interface Arbitraries {
  shapes(options?: ShapeOptions): Arbitrary<number[]>
  /** Lists of shapes that broadcast with each other; two by default. */
  broadcastableShapes(options?: ShapeOptions & { count?: number }): Arbitrary<number[][]>
  tensors(options?: TensorsOptions): Arbitrary<Tensor>
  /** One axis of a rank, counted from either end. */
  axis(rank: number): Arbitrary<number>
  /** Some axes of a rank, none twice, each counted from either end. */
  axes(rank: number): Arbitrary<number[]>
  /** int32 tensors of positions on an axis of the given size. */
  indices(size: number, options?: IndicesOptions): Arbitrary<Tensor>
  /** Random differentiable programs, away from their kinks: what `checkGrads` takes. */
  programs(options?: ProgramOptions): Arbitrary<Program>
}

/**
 * Generators for the fast-check that is passed in.
 *
 * @example
 * const { programs } = arbitraries(fc)
 * await fc.assert(fc.asyncProperty(programs(), p => checkGrads(p.f, p.args)))
 */
export function arbitraries(fc: FastCheck): Arbitraries {
  const shapes: Arbitraries['shapes'] = ({ minRank = 0, maxRank = 3, minSize = 1, maxSize = 4 } = {}) =>
    fc.array(fc.integer({ min: minSize, max: maxSize }), { minLength: minRank, maxLength: maxRank, size: 'max' })

  const broadcastableShapes: Arbitraries['broadcastableShapes'] = ({ count = 2, ...options } = {}) =>
    shapes(options).chain(shape => {
      const partial = fc
        .tuple(fc.nat(shape.length), fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }))
        .map(([dropped, ones]) => shape.map((n, d) => (ones[d] ? 1 : n)).slice(dropped))
      return fc.array(partial, { minLength: count, maxLength: count })
    })

  const value = ({ dtype = 'float64', range = [-10, 10], zeros = true, infinities, nan }: TensorsOptions) => {
    const [low, high] = dtype === 'bool' ? [0, 1] : dtype === 'uint32' ? [Math.max(0, range[0]), range[1]] : range
    const decimal = (parts: number): Arbitrary<number> =>
      fc.integer({ min: Math.ceil(low * parts), max: Math.floor(high * parts) }).map(n => n / parts)
    const special = [infinities && [Infinity, -Infinity], nan && [Number.NaN]].flatMap(list => list || [])
    const digits = isFloat(dtype) ? [1, 10, 1000] : [1]
    const possible = digits.filter(parts => Math.ceil(low * parts) <= Math.floor(high * parts))
    if (possible.length === 0)
      throw new Error(`tensors: no ${dtype} of at most three digits is in the range [${range}]`)
    const finite = fc.oneof(...possible.map(decimal))
    const nonzero = zeros ? finite : finite.filter(x => x !== 0)
    return isFloat(dtype) && special.length
      ? fc.oneof({ arbitrary: nonzero, weight: 9 }, fc.constantFrom(...special))
      : nonzero
  }

  const list = <T>(of: Arbitrary<T>, length: number, distinct: boolean): Arbitrary<T[]> =>
    distinct
      ? fc.uniqueArray(of, { minLength: length, maxLength: length, size: 'max', comparator: 'SameValueZero' })
      : fc.array(of, { minLength: length, maxLength: length, size: 'max' })

  const ofShape = (
    shape: Shape | Arbitrary<Shape> = shapes(),
    dtype: DType,
    values: (size: number) => Arbitrary<number[]>,
  ): Arbitrary<Tensor> =>
    (shape instanceof fc.Arbitrary ? shape : fc.constant(shape)).chain(shape =>
      values(shape.reduce((n, s) => n * s, 1)).map(data => shown(data, shape, dtype)),
    )

  /** A tensor that a counterexample shows as the code that makes it. */
  const shown = (data: number[], shape: Shape, dtype: DType): Tensor => {
    const made = tensor(new dtypes[dtype].array(data), { shape })
    // Nested arrays do not tell all sizes where there are no elements.
    const sizes = data.length ? '' : `shape: [${shape.join(', ')}], `
    const text = `tensor(${data.length ? literal(data, shape) : '[]'}, { ${sizes}dtype: '${dtype}' })`
    return Object.defineProperty(made, fc.toStringMethod, { value: () => text })
  }

  return {
    shapes,
    broadcastableShapes,
    tensors: (options = {}) => {
      const { shape, dtype = 'float64', ties = true } = options
      const of = value(options)
      return ofShape(shape, dtype, size => list(of, size, !ties))
    },
    axis: rank => fc.integer({ min: -rank, max: rank - 1 }),
    axes: rank =>
      fc
        .tuple(fc.subarray(Array.from({ length: rank }, (_, d) => d)), fc.nat())
        .map(([axes, fromEnd]) => axes.map(d => ((fromEnd >> d) & 1 ? d - rank : d))),
    indices: (size, { shape, duplicates = true, outOfRange = false } = {}) => {
      const range = outOfRange ? { min: -size - 1, max: 2 * size } : { min: 0, max: size - 1 }
      return ofShape(shape, 'int32', count => list(fc.integer(range), count, !duplicates))
    },
    programs: options => {
      const step = fc.record({
        op: fc.constantFrom(...programNames(options)),
        picks: fc.tuple(fc.noBias(fc.nat(9)), fc.noBias(fc.nat(9))),
        parameters: fc.tuple(fc.nat(59), fc.nat(59), fc.nat(59), fc.nat(59)),
        seed: fc.nat(97),
      })
      const { maxSteps = 8 } = options ?? {}
      return fc
        .array(step, { maxLength: maxSteps, size: 'max' })
        .map(steps => programOf(steps, options))
        .filter(program => program !== undefined)
        .map(program => Object.defineProperty(program, fc.toStringMethod, { value: () => `\n${program}\n` }))
    },
  }
}
