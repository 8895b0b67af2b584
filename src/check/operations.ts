/**
 * The operations that random programs call, and how their arguments are drawn: one row an operation, under its public
 * name. A new operation is one more row.
 */

import type { Shape } from '../graph/shape.js'
import { type Argument, type Call, call, type Operation, Value } from './calls.js'

/** What a step is drawn from: small numbers, so that every list of steps is a program. */
export interface Step {
  readonly op: Operation
  /** For each operand: 0 for an argument of its own, or which of the values that suit, counted from the newest. */
  readonly picks: readonly number[]
  readonly parameters: readonly number[]
  /** Of the values of its arguments. */
  readonly seed: number
}

const broadcast = (a: Shape, b: Shape): boolean =>
  a.every((n, d) => [n, 1, undefined].includes(b[d + b.length - a.length]) || n === 1)

/** The choices of one step. */
export class Draw {
  readonly #values: Value[]
  readonly #step: Step
  #operands = 0
  #drawn = 0
  constructor(values: readonly Value[], step: Step) {
    this.#values = [...values]
    this.#step = step
  }

  /** A number below the limit. */
  n(limit: number): number {
    const { parameters } = this.#step
    return parameters[this.#drawn++ % parameters.length] % limit
  }
  pick<T>(...choices: readonly T[]): T {
    return choices[this.n(choices.length)]
  }
  /** A value that suits: most often the newest that was computed, or an argument of its own of the given shape. */
  value(shape: Shape, suits: (shape: Shape) => boolean): Value {
    const { picks, seed } = this.#step
    const pick = picks[this.#operands++ % picks.length]
    const found = pick ? this.#values.filter(v => suits(v.shape)).reverse() : []
    found.sort((a, b) => Number(!a.from) - Number(!b.from))
    if (found.length) return found[Math.floor((pick - 1) / 3) % found.length]
    const made = new Value(shape, argumentValues(shape, seed + this.#operands))
    this.#values.push(made)
    return made
  }
  /** A value of any shape with at least so many axes. */
  any(minRank = 0, maxRank = 4): Value {
    const shape = Array.from({ length: minRank + this.n(3) }, (_, d) => 1 + ((this.n(3) + d) % 3))
    return this.value(shape.slice(0, maxRank), s => s.length >= minRank && s.length <= maxRank)
  }
  exactly(...shape: number[]): Value {
    return this.value(shape, s => s.join() === shape.join())
  }
  like({ shape }: Value): Value {
    return this.exactly(...shape)
  }
  axis({ shape }: Value): number {
    return this.n(2 * shape.length) - shape.length
  }
  indices(limit: number, ...shape: number[]): Call {
    const [start, step] = [this.n(limit), 1 + this.n(2)]
    const data = Array.from({ length: shape.reduce((n, s) => n * s, 1) }, (_, k) => (start + k * step) % limit)
    return call('tensor', data, { shape, dtype: 'int32' })
  }
}

/** Distinct values with two digits: between -1.5 and 1.5, or for odd seeds between 0.3 and 1.8. */
function argumentValues(shape: Shape, seed: number): Float64Array {
  const size = shape.reduce((n, s) => n * s, 1)
  return Float64Array.from({ length: size }, (_, k) =>
    seed % 2 ? (30 + ((seed * 31 + k * 47) % 151)) / 100 : (((seed * 31 + k * 47) % 301) - 150) / 100,
  )
}

/** The arguments of a call. */
type Row = (d: Draw) => Argument[]
/** A row for an operation on one value with at least so many axes, and further arguments. */
const on =
  (minRank: number, rest: (a: Value, d: Draw) => Argument[] = () => []): Row =>
  d => {
    const a = d.any(minRank)
    return [a, ...rest(a, d)]
  }
/** A row for an operation on one value with so many axes, or an argument of the given shape. */
const ranked =
  (shape: readonly number[], rest: (a: Value, d: Draw) => Argument[] = () => []): Row =>
  d => {
    const a = d.value(shape, s => s.length === shape.length)
    return [a, ...rest(a, d)]
  }
const rows = (names: readonly Operation[], row: Row) => Object.fromEntries(names.map(op => [op, row]))

const unary = [
  ...(['neg', 'sin', 'cos', 'exp', 'log', 'sqrt', 'tanh', 'atan', 'erf', 'expm1', 'log1p', 'abs'] as const),
  ...(['square', 'reciprocal', 'rsqrt', 'log2', 'log10', 'tan', 'sinh', 'cosh'] as const),
  ...(['asin', 'acos', 'asinh', 'acosh', 'atanh'] as const),
  ...(['sigmoid', 'softplus', 'logSigmoid', 'silu', 'gelu', 'relu', 'leakyRelu', 'elu', 'flatten'] as const),
]
const binary = ['add', 'sub', 'mul', 'div', 'maximum', 'minimum', 'remainder', 'atan2', 'hypot', 'logaddexp'] as const
const reductions = ['sum', 'prod', 'max', 'min', 'mean', 'logsumexp', 'variance', 'std'] as const

export const table: { readonly [op: string]: Row } = {
  ...rows(unary, on(0)),
  ...rows(
    binary,
    on(0, (a, d) => {
      if (d.n(6) === 0) return [d.pick(2, 0.5, -1.5)]
      const shape = a.shape.map(n => (d.n(4) ? n : 1)).slice(d.n(4) ? 0 : 1)
      return [d.value(shape, s => broadcast(a.shape, s))]
    }),
  ),
  pow: on(0, (a, d) => [d.n(3) ? d.pick(2, 3, -1, 0.5, 1.5) : d.like(a)]),
  where: d => {
    const a = d.any()
    return [call('greater', d.like(a), d.pick(0.1, -0.4)), a, d.n(2) ? d.like(a) : 0.5]
  },
  clip: on(0, () => [-0.6, 0.8]),
  ...rows(
    reductions,
    on(0, ({ shape }, d) => {
      const bits = d.n(2 ** shape.length)
      const axis = shape.flatMap((_, i) => ((bits >> i) & 1 ? [i] : []))
      return bits ? [{ axis, ...(d.n(2) ? { keepdims: true } : {}) }] : []
    }),
  ),
  ...rows(
    ['softmax', 'logSoftmax', 'cumulativeSum'],
    on(1, (a, d) => [{ axis: d.axis(a) }]),
  ),
  vectorNorm: on(1, (a, d) => [{ axis: d.axis(a), ord: d.pick(2, 1, 3) }]),
  cosineSimilarity: on(1, (a, d) => [d.like(a)]),

  matmul: on(1, (a, d) => {
    const k = a.shape[a.shape.length - 1]
    const batch = a.shape.length > 2 ? a.shape.slice(0, -2) : [2]
    const shape = d.pick<number[]>([k], [k, 1 + d.n(3)], [...batch, k, 2])
    const inner = (s: Shape): boolean => s[s.length === 1 ? 0 : s.length - 2] === k
    return [d.value(shape, s => inner(s) && broadcast(a.shape.slice(0, -2), s.slice(0, -2)))]
  }),
  outer: on(0, (_, d) => [d.any()]),
  dot: on(1, (a, d) => [d.exactly(a.shape[a.shape.length - 1])]),
  tensordot: on(1, (a, d) => [d.value([a.shape[0], 2], s => s[0] === a.shape[0]), [[0], [0]]]),
  einsum: d => {
    const [spec, axis] = d.pick<[string, number]>(['ij,jk->ki', 1], ['ij,ik->ijk', 0])
    const a = d.value([2, 3], s => s.length === 2)
    const shared = a.shape[axis]
    return [spec, a, d.value([shared, 2], s => s.length === 2 && s[0] === shared)]
  },
  scaledDotProductAttention: on(2, (q, d) => [d.like(q), d.like(q), ...(d.n(2) ? [{ causal: true }] : [])]),

  conv2d: d => {
    const groups = d.pick(1, 1, 2)
    const x = d.value([1, 3, 4, groups], s => s.length === 4 && s[3] % groups === 0)
    const w = d.exactly(1 + d.n(2), 1 + d.n(3), x.shape[3] / groups, groups * (1 + d.n(2)))
    const crop = [
      [2, 0],
      [-1, 3],
    ]
    const options = d.pick<{ [name: string]: Argument }>(
      { padding: 'same' },
      { padding: 1, stride: 2 },
      { padding: 'same', dilation: [1, 2] },
      { padding: crop, inputDilation: 2 },
    )
    return [x, w, groups === 1 ? options : { ...options, groups }]
  },
  conv1d: ranked([1, 5, 2], (x, d) => [
    d.exactly(1 + d.n(3), x.shape[2], 2),
    { padding: 'same', stride: d.pick(1, 2) },
  ]),
  convTranspose2d: ranked([1, 2, 2, 2], (x, d) => [
    d.exactly(2, 1 + d.n(3), 1 + d.n(2), x.shape[3]),
    { stride: d.pick(1, 2) },
  ]),
  depthwiseConv2d: ranked([1, 3, 3, 2], (x, d) => [d.exactly(2, 2, x.shape[3], 1 + d.n(2)), { padding: 'same' }]),
  ...rows(
    ['maxPool2d', 'avgPool2d'],
    ranked([1, 3, 4, 1], (_, d) => [d.pick<Argument>(2, [2, 1]), { padding: 'same', stride: d.pick(1, 2) }]),
  ),
  ...rows(
    ['maxPool1d', 'avgPool1d'],
    ranked([1, 5, 2], () => [2, { padding: 'same' }]),
  ),
  ...rows(['globalAvgPool2d', 'globalMaxPool2d'], ranked([1, 2, 3, 2])),
  resize: ranked([1, 2, 3, 1], (_, d) => [d.pick([3, 2], [1, 4])]),

  reshape: on(0, ({ data: { length } }, d) => {
    const factor = [2, 3, 1].find(n => length % n === 0) ?? 1
    return [d.pick<number[]>([-1], [factor, length / factor], [length / factor, 1, -1])]
  }),
  permuteDims: on(2, ({ shape }, d) => {
    const by = 1 + d.n(shape.length - 1)
    return [shape.map((_, i) => (i + by) % shape.length)]
  }),
  ...rows(['matrixTranspose', 'trace'], on(2)),
  diagonal: on(2, (_, d) => [{ offset: d.pick(0, 0, 1, -1) }]),
  ...rows(
    ['tril', 'triu'],
    on(2, (_, d) => [d.pick(0, 1, -1)]),
  ),
  moveaxis: on(2, (a, d) => [d.axis(a), d.axis(a)]),
  expandDims: on(0, (a, d) => [d.n(a.shape.length + 1)]),
  squeeze: d => [d.value([1, 2], s => s.includes(1))],
  broadcastTo: on(0, (a, d) => [[1 + d.n(3), ...a.shape.map(n => (n === 1 ? 1 + d.n(3) : n))]]),
  at: on(1, (a, d) => a.shape.map(n => d.pick<Argument>([d.n(n), null, 2], d.n(n), [null, null, -1], [0, n - 1]))),
  setAt: on(1, (a, d) => [[d.n(a.shape[0])], d.exactly(...a.shape.slice(1))]),
  addAt: on(1, (a, d) => [[[null, null, 2]], d.exactly(...a.shape.slice(1))]),
  flip: on(1, (a, d) => [d.axis(a)]),
  roll: on(1, (a, d) => [1 + d.n(3), { axis: d.axis(a) }]),
  repeat: on(1, (a, d) => [2, { axis: d.axis(a) }]),
  tile: on(1, (_, d) => [d.pick([2], [2, 1])]),
  windows: d => [d.value([4, 2], s => s.length > 0 && s[0] > 1), 2, { axis: 0, stride: d.pick(1, 2) }],
  pad: on(1, (a, d) => [a.shape.map(() => [d.n(2), d.n(3)]), ...(d.n(2) ? [0.5] : [])]),
  ...rows(['concat', 'stack'], d => {
    const a = d.any(1)
    return [[a, d.like(a)], d.axis(a)]
  }),
  take: on(1, (a, d) => {
    const axis = d.axis(a)
    return [d.indices(a.shape.at(axis) ?? 1, 3), { axis }]
  }),
  takeAlongAxis: on(1, ({ shape }, d) => [d.indices(shape[shape.length - 1], ...shape.slice(0, -1), 2)]),
  scatterAdd: d => {
    const a = d.any(1)
    return [d.indices(3, a.shape[0]), a, 3]
  },
  sort: on(1, (a, d) => [{ axis: d.axis(a), descending: d.n(2) === 1 }]),
}
