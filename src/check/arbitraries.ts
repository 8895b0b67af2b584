/**
 * Generators of cases for fast-check, which the user brings: shapes, tensors, axes, indices, and random programs. Values
 * have few digits and shrink towards 0, shapes towards few axes of small size.
 */

import { type DType, dtypes, isFloat } from '../graph/dtype.js'
import { knownOptions, type Names } from '../graph/options.js'
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
  /**
   * Whether values may be equal; true by default. With false, values are at least 0.001 apart, and shapes with more elements
   * than there are such values do not come.
   */
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
  /** Whether indices may repeat; true by default. With false, shapes with more elements than indices do not come. */
  duplicates?: boolean
  /** Whether some may be outside 0 .. size - 1; false by default. */
  outOfRange?: boolean
}

const shapeNames: Names<ShapeOptions> = { minRank: true, maxRank: true, minSize: true, maxSize: true }
const tensorsNames: Names<TensorsOptions> = {
  shape: true,
  dtype: true,
  range: true,
  ties: true,
  zeros: true,
  infinities: true,
  nan: true,
}
const indicesNames: Names<IndicesOptions> = { shape: true, duplicates: true, outOfRange: true }

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
  const shapes: Arbitraries['shapes'] = (options = {}) => {
    const { minRank = 0, maxRank = 3, minSize = 1, maxSize = 4 } = knownOptions('shapes', options, shapeNames)
    return fc.array(fc.integer({ min: minSize, max: maxSize }), {
      minLength: minRank,
      maxLength: maxRank,
      size: 'max',
    })
  }

  const broadcastableShapes: Arbitraries['broadcastableShapes'] = (options = {}) => {
    const { count = 2, ...rest } = knownOptions('broadcastableShapes', options, { ...shapeNames, count: true })
    return shapes(rest).chain(shape => {
      const partial = fc
        .tuple(fc.nat(shape.length), fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }))
        .map(([dropped, ones]) => shape.map((n, d) => (ones[d] ? 1 : n)).slice(dropped))
      return fc.array(partial, { minLength: count, maxLength: count })
    })
  }

  /** A value, and how many there are. */
  const value = ({
    dtype = 'float64',
    range = [-10, 10],
    zeros = true,
    infinities,
    nan,
  }: TensorsOptions): [Arbitrary<number>, number] => {
    const [low, high] = dtype === 'bool' ? [0, 1] : dtype === 'uint32' ? [Math.max(0, range[0]), range[1]] : range
    const decimal = (parts: number): Arbitrary<number> =>
      fc.integer({ min: Math.ceil(low * parts), max: Math.floor(high * parts) }).map(n => n / parts)
    const special = [infinities && [Infinity, -Infinity], nan && [Number.NaN]].flatMap(list => list || [])
    const digits = isFloat(dtype) ? [1, 10, 1000] : [1]
    const count = (parts: number): number => Math.floor(high * parts) - Math.ceil(low * parts) + 1
    const hasZero = low <= 0 && high >= 0
    const most = count(digits[digits.length - 1]) - Number(!zeros && hasZero)
    if (!(most > 0))
      throw new Error(`tensors: no ${dtype} of at most three digits${zeros ? '' : ' but 0'} is in the range [${range}]`)
    const finite = fc.oneof(...digits.filter(parts => count(parts) > 0).map(decimal))
    const nonzero = zeros ? finite : finite.filter(x => x !== 0)
    return isFloat(dtype) && special.length
      ? [fc.oneof({ arbitrary: nonzero, weight: 9 }, fc.constantFrom(...special)), most + special.length]
      : [nonzero, most]
  }

  /** Tensors of values of which there are `possible`, or, where values may repeat, undefined many. */
  const ofShape = (
    op: string,
    shape: Shape | Arbitrary<Shape> = shapes(),
    dtype: DType,
    value: Arbitrary<number>,
    possible = Number.POSITIVE_INFINITY,
  ): Arbitrary<Tensor> => {
    const sizeOf = (shape: Shape): number => shape.reduce((n, s) => n * s, 1)
    const demandFit = (shape: Shape): void => {
      if (sizeOf(shape) > possible)
        throw new Error(
          `${op}: shape [${shape}] needs ${sizeOf(shape)} distinct values, there are ${possible}; let them repeat, or widen the range`,
        )
    }
    let refused = 0
    const fits = (shape: Shape): boolean => {
      refused = sizeOf(shape) > possible ? refused + 1 : 0
      if (refused === 1000) demandFit(shape)
      return refused === 0
    }
    const list = (length: number): Arbitrary<number[]> => {
      const bounds = { minLength: length, maxLength: length, size: 'max' } as const
      return possible < Number.POSITIVE_INFINITY
        ? fc.uniqueArray(value, { ...bounds, comparator: 'SameValueZero' })
        : fc.array(value, bounds)
    }
    if (!(shape instanceof fc.Arbitrary)) demandFit(shape)
    const fitting = shape instanceof fc.Arbitrary ? shape.filter(fits) : fc.constant(shape)
    return fitting.chain(shape => list(sizeOf(shape)).map(data => shown(data, shape, dtype)))
  }

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
      const { shape, dtype = 'float64', ties = true } = knownOptions('tensors', options, tensorsNames)
      const [of, possible] = value(options)
      return ofShape('tensors', shape, dtype, of, ties ? undefined : possible)
    },
    axis: rank => fc.integer({ min: -rank, max: rank - 1 }),
    axes: rank =>
      fc
        .tuple(fc.subarray(Array.from({ length: rank }, (_, d) => d)), fc.nat())
        .map(([axes, fromEnd]) => axes.map(d => ((fromEnd >> d) & 1 ? d - rank : d))),
    indices: (size, options = {}) => {
      const { shape, duplicates = true, outOfRange = false } = knownOptions('indices', options, indicesNames)
      const [min, max] = outOfRange ? [-size - 1, 2 * size] : [0, size - 1]
      return ofShape('indices', shape, 'int32', fc.integer({ min, max }), duplicates ? undefined : max - min + 1)
    },
    programs: options => {
      const { maxSteps = 8 } = options ?? {}
      if (!(maxSteps >= 1)) throw new Error(`programs: maxSteps must be 1 or more, not ${maxSteps}`)
      const step = fc.record({
        op: fc.constantFrom(...programNames(options)),
        picks: fc.tuple(fc.noBias(fc.nat(9)), fc.noBias(fc.nat(9))),
        parameters: fc.tuple(fc.nat(59), fc.nat(59), fc.nat(59), fc.nat(59)),
        seed: fc.nat(97),
      })
      return fc
        .array(step, { maxLength: maxSteps, size: 'max' })
        .map(steps => programOf(steps, options))
        .filter(program => program !== undefined)
        .map(program => Object.defineProperty(program, fc.toStringMethod, { value: () => `\n${program}\n` }))
    },
  }
}
