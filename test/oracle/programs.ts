/**
 * Random programs over the operations: a list of steps, each of which picks an operation and operands from what has been
 * computed so far. A step that does not fit what it picked is left out, so that every list of numbers is a program and
 * fast-check may shrink it as it likes.
 */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { type Node, topological } from '../../src/graph/node.js'
import { padInterior } from '../../src/tensor/shared.js'

import { build } from '../../src/tensor/tensor.js'
import { interpret, type Value } from './interpret.js'

type Tensor = sp.Tensor

export interface Step {
  readonly op: number
  readonly a: number
  readonly b: number
  readonly p: readonly number[]
}
export interface Program {
  /** Sizes that all leaves are cut from. */
  readonly base: readonly number[]
  /** For each leaf: which leading axes it lacks, which axes have size 1, and what its values follow from. */
  readonly leaves: readonly { readonly drop: number; readonly ones: number; readonly seed: number }[]
  readonly steps: readonly Step[]
  /** Which tensors are computed, counted from the last one made. */
  readonly roots: readonly number[]
  /** Whether the gradients of the roots with respect to the leaves are computed too. */
  readonly gradients: boolean
}

export const programs: fc.Arbitrary<Program> = fc.record({
  base: fc.array(fc.constantFrom(3, 2, 1, 4, 5, 6, 3, 2, 0), { maxLength: 4, size: 'max' }),
  leaves: fc.array(fc.record({ drop: fc.nat(4), ones: fc.nat(15), seed: fc.nat(1000) }), {
    minLength: 1,
    maxLength: 3,
  }),
  steps: fc.array(
    fc.record({ op: fc.nat(999), a: fc.nat(9), b: fc.nat(9), p: fc.array(fc.nat(99), { minLength: 6, maxLength: 6 }) }),
    { minLength: 1, maxLength: 16, size: 'max' },
  ),
  roots: fc.array(fc.nat(4), { minLength: 1, maxLength: 3 }),
  gradients: fc.boolean(),
})

/** Values in quarters: sums and products of a few of them are exact, so that comparisons of them are too. */
function leaf({ base, leaves }: Program, i: number): Tensor {
  const { drop, ones, seed } = leaves[i]
  const shape = base.map((n, d) => ((ones >> d) & 1 ? 1 : n)).slice(Math.min(drop, base.length) % (base.length + 1))
  const size = shape.reduce((n, s) => n * s, 1)
  const values = Float64Array.from({ length: size }, (_, k) => (((k + 1) * (seed * 2 + 7) * 2654435761) % 17) / 4 - 2)
  return sp.tensor(values, { shape })
}

/** Operands that steps use: a and b as picked, and parameters as numbers below a limit. */
interface Operands {
  readonly a: Tensor
  readonly b: Tensor
  readonly n: (i: number, limit: number) => number
}
type Operation = (operands: Operands) => Tensor

const float = (x: Tensor): Tensor => sp.astype(x, 'float64')
const int = (x: Tensor): Tensor => sp.astype(x, 'int32')
/** The elements of x, over and over, in the given shape. */
const recycle = (x: Tensor, shape: readonly number[]): Tensor => {
  const n = shape.reduce((k, s) => k * s, 1)
  const flat = sp.flatten(x)
  const repeats = Math.ceil(n / x.size)
  return sp.reshape(sp.at(sp.flatten(sp.broadcastTo(flat, [repeats, x.size])), [0, n]), shape)
}
const axis = ({ a, n }: Operands, i = 0): number => n(i, 2 * a.ndim) - a.ndim
const axes = ({ a, n }: Operands): number[] => a.shape.flatMap((_, d) => ((n(0, 32) >> d) & 1 ? [d] : []))
const images = ({ a, n }: Operands): Tensor => recycle(a, [1 + n(0, 2), 3 + n(1, 3), 3 + n(2, 3), [1, 2, 4][n(3, 3)]])

const operations: { readonly [name: string]: Operation } = {
  neg: ({ a }) => sp.neg(a),
  abs: ({ a }) => sp.abs(a),
  sqrt: ({ a }) => sp.sqrt(sp.add(sp.abs(a), 0.5)),
  exp: ({ a }) => sp.exp(a),
  expm1: ({ a }) => sp.expm1(a),
  log: ({ a }) => sp.log(sp.add(sp.mul(a, a), 1)),
  log1p: ({ a }) => sp.log1p(sp.abs(a)),
  sin: ({ a }) => sp.sin(a),
  cos: ({ a }) => sp.cos(a),
  tanh: ({ a }) => sp.tanh(a),
  atan: ({ a }) => sp.atan(a),
  erf: ({ a }) => sp.erf(a),
  sign: ({ a }) => sp.sign(a),
  rounding: ({ a, n }) => [sp.floor, sp.ceil, sp.round, sp.trunc][n(0, 4)](a),
  add: ({ a, b }) => sp.add(a, b),
  sub: ({ a, b }) => sp.sub(a, b),
  mul: ({ a, b }) => sp.mul(a, b),
  muls: ({ a, b }) => sp.mul(sp.mul(a, a), b),
  div: ({ a, b }) => sp.div(a, sp.add(sp.abs(b), 1)),
  pow: ({ a, b }) => sp.pow(sp.add(sp.abs(a), 0.5), sp.tanh(b)),
  maximum: ({ a, b }) => sp.maximum(a, b),
  minimum: ({ a, b }) => sp.minimum(a, b),
  remainder: ({ a, b }) => sp.remainder(a, sp.add(sp.abs(b), 1)),
  scalar: ({ a, n }) => sp.add(sp.mul(a, n(0, 5) / 2), n(1, 3) - 1),
  where: ({ a, b }) => sp.where(sp.less(a, b), a, sp.mul(b, 2)),
  compare: ({ a, b, n }) => float([sp.less, sp.lessEqual, sp.equal, sp.notEqual][n(0, 4)](a, b)),
  logic: ({ a, b, n }) => float([sp.logicalAnd, sp.logicalOr, sp.logicalXor][n(0, 3)](sp.greater(a, 0), sp.less(b, 1))),
  integers: ({ a, b, n }) =>
    float(
      [sp.add, sp.sub, sp.mul, sp.floorDivide, sp.remainder, sp.bitwiseAnd, sp.bitwiseXor][n(0, 7)](int(a), int(b)),
    ),
  shifts: ({ a, n }) => float([sp.bitwiseLeftShift, sp.bitwiseRightShift][n(0, 2)](int(a), 1 + n(1, 3))),
  unsigned: ({ a, b, n }) =>
    sp.mul(float([sp.add, sp.mul, sp.remainder, sp.maximum][n(0, 4)](bits(a), bits(b))), 2 ** -31),
  random: ({ a, n }) => sp.add(a, sp.random.uniform(sp.random.key(n(0, 99)), a.shape, { dtype: 'float64' })),
  iota: ({ a, n }) => (a.ndim ? sp.add(a, float(sp.iota(a.shape, n(0, a.ndim)))) : a),
  sum: o => sp.sum(o.a, { axis: axes(o), keepdims: o.n(1, 2) === 1 }),
  sumAll: ({ a }) => sp.sum(a),
  prod: o => sp.prod(o.a, { axis: axes(o), keepdims: o.n(1, 2) === 1 }),
  prodOfIntegers: o => sp.mul(float(sp.prod([int, bits][o.n(1, 2)](o.a), { axis: axes(o) })), 2 ** -31),
  max: o => sp.max(o.a, { axis: axes(o), keepdims: o.n(1, 2) === 1 }),
  min: o => sp.min(o.a, { axis: axes(o), keepdims: o.n(1, 2) === 1 }),
  mean: o => sp.mean(o.a, { axis: axes(o), keepdims: true }),
  centred: o => sp.sub(o.a, sp.mean(o.a, { axis: axes(o), keepdims: true })),
  argmax: o => float(sp.argmax(o.a, { axis: axis(o), keepdims: o.n(1, 2) === 1 })),
  softmax: o => sp.softmax(o.a, { axis: axis(o) }),
  logsumexp: o => sp.logsumexp(o.a, { axis: axes(o) }),
  norm: o => sp.vectorNorm(o.a, { axis: axes(o) }),
  flatten: ({ a }) => sp.flatten(a),
  merge: ({ a, n }) => {
    const d = n(0, a.ndim - 1)
    return sp.reshape(a, [...a.shape.slice(0, d), a.shape[d] * a.shape[d + 1], ...a.shape.slice(d + 2)])
  },
  divide: ({ a, n }) => {
    const d = n(0, a.ndim)
    const factors = [2, 3, 5, 4, 1].filter(f => a.shape[d] % f === 0)
    const f = factors[n(1, factors.length)]
    return sp.reshape(a, [...a.shape.slice(0, d), a.shape[d] / f, f, ...a.shape.slice(d + 1)])
  },
  refold: ({ a, n }) => {
    const factors = [2, 3, 4, 6].filter(f => a.size % f === 0)
    const f = factors[n(0, factors.length)]
    return sp.reshape(a, n(1, 2) ? [f, a.size / f] : [a.size / f, f])
  },
  permute: ({ a, n }) => {
    const free = a.shape.map((_, d) => d)
    return sp.permuteDims(
      a,
      a.shape.map((_, i) => free.splice(n(i % 6, free.length), 1)[0]),
    )
  },
  expandDims: ({ a, n }) => sp.expandDims(a, n(0, a.ndim + 1)),
  squeeze: ({ a }) => sp.squeeze(a),
  broadcast: ({ a, n }) => sp.broadcastTo(a, [1 + n(0, 3), ...a.shape.map((s, d) => (s === 1 ? 1 + n(d % 5, 3) : s))]),
  slice: ({ a, n }) =>
    sp.at(
      a,
      ...a.shape.map((s, d) => {
        const step = [1, 2, -1, -2, 1, 3][n(d % 6, 6)]
        const [from, to] = [n((d + 1) % 6, s + 1), n((d + 2) % 6, s + 1)]
        return [null, [from, null, step], [null, to, step], [from, to, step]].at(n((d + 3) % 6, 4)) ?? []
      }),
    ),
  take0: ({ a, n }) => sp.at(a, n(0, a.shape[0])),
  pad: ({ a, n }) =>
    padInterior(
      a,
      a.shape.map((_, d) => n(d % 6, 3)),
      a.shape.map((_, d) => n((d + 1) % 6, 3)),
      a.shape.map((_, d) => Math.max(0, n((d + 2) % 6, 4) - 1)),
      n(5, 3) === 0 ? 1.5 : 0,
    ),
  flip: o => sp.flip(o.a, axes(o)),
  concat: ({ a, b, n }) => {
    const d = n(0, a.ndim)
    const fits = b.ndim === a.ndim && b.shape.every((s, i) => i === d || s === a.shape[i])
    return sp.concat(fits ? [a, b, a] : [a, sp.mul(a, 2)], d)
  },
  stack: ({ a, b, n }) => sp.stack(a.shape.join() === b.shape.join() ? [a, b] : [a, sp.neg(a)], n(0, a.ndim + 1)),
  split: ({ a, n }) => sp.mul(...(sp.split(a, 2, n(0, a.ndim)) as [Tensor, Tensor])),
  triangle: ({ a, n }) => [sp.tril, sp.triu][n(0, 2)](a, n(1, 4) - 2),
  transposed: ({ a }) => sp.matmul(a, sp.matrixTranspose(a)),
  matmul: ({ a, b, n }) => sp.matmul(a, recycle(b, [a.shape[a.ndim - 1], 1 + n(0, 3)])),
  matmulLeft: ({ a, b, n }) => sp.matmul(recycle(b, [1 + n(0, 3), a.shape[a.ndim - 2]]), a),
  batched: ({ a, b, n }) => sp.matmul(recycle(a, [2, 2 + n(0, 2), 3]), recycle(b, [2, 3, 1 + n(1, 3)])),
  outer: ({ a, b }) => sp.outer(a, b),
  conv: o => {
    const { b, n } = o
    const x = images(o)
    const groups = x.shape[3] % 2 === 0 ? 1 + n(4, 2) : 1
    return sp.conv2d(x, recycle(b, [1 + n(0, 3), 1 + n(1, 2), x.shape[3] / groups, groups * (1 + n(2, 2))]), {
      groups,
      stride: [1 + n(3, 2), 1 + n(4, 2)],
      dilation: n(5, 4) === 0 ? 2 : 1,
      inputDilation: n(4, 5) === 0 ? [2, 1] : 1,
      padding: (
        [
          'valid',
          'same',
          1,
          [
            [1, 0],
            [-1, 2],
          ],
        ] as const
      )[n(5, 4)],
    })
  },
  pool: o =>
    [sp.maxPool2d, sp.avgPool2d][o.n(4, 2)](images(o), [2, 1 + o.n(5, 3)], {
      stride: 1 + o.n(3, 3),
      padding: o.n(2, 2) ? 'same' : 'valid',
    }),
  take: ({ a, b, n }) => {
    const d = n(0, a.ndim)
    return sp.take(a, sp.remainder(int(sp.abs(sp.mul(b, 4))), a.shape[d]), { axis: d })
  },
  // Out of range at times, which gives NaN.
  takeAny: ({ a, b, n }) =>
    sp.where(
      sp.greater(a, 0),
      sp
        .take(a, int(sp.at(sp.flatten(b), [0, 3])))
        .mul(0)
        .sum(),
      n(0, 3),
    ),
  scatter: ({ a, b }) => sp.scatterAdd(int(recycle(b, [a.shape[0]])), a, 3),
  sort: o => sp.sort(o.a, { axis: axis(o), descending: o.n(1, 2) === 1 }),
  argsort: o => float(sp.argsort(o.a, { axis: axis(o) })),
  oneHot: ({ a }) => sp.oneHot(int(a), 3, 'float64'),
  barrier: ({ a }) => build('barrier', [a], {}),
  stopGradient: ({ a }) => sp.stopGradient(a),
  checkpoint: ({ a, b }) => sp.checkpoint((x: Tensor) => sp.tanh(sp.add(sp.mul(x, x), b)))(a),
}
const bits = (x: Tensor): Tensor => sp.bitcast(int(sp.mul(x, 4)), 'uint32')
/** Names to draw from; movement and what moves by value come more often, for they often do not fit. */
const seldom = 'merge divide refold permute slice pad flip broadcast concat stack split matmul matmulLeft take scatter'
const mixed = [...Object.keys(operations), ...seldom.split(' '), ...seldom.split(' ')]
/** Movement alone, and what reads through it: the index arithmetic. */
export const moving =
  'merge divide refold permute slice pad flip broadcast expandDims squeeze flatten take0 take barrier add iota sum pool'.split(
    ' ',
  )

const limits = { size: 260, rank: 6, value: 1e4 }

/** Primitives that lose no bit of numbers with few of them. */
const inexact = new Set(['sqrt', 'exp', 'expm1', 'log', 'log1p', 'sin', 'cos', 'tanh', 'atan', 'erf', 'div', 'pow'])

/** What is known of the nodes of one program. */
export class Values {
  readonly known = new Map<Node, Value>()
  readonly #exact = new Map<Node, boolean>()
  readonly #checked = new Set<Node>()

  of(t: Tensor): Value {
    return interpret([t.node], this.known)[0]
  }

  /** Whether rounding plays no part in the values, whatever the order of summation. */
  #isExact(node: Node): boolean {
    const have = this.#exact.get(node)
    if (have !== undefined) return have
    const { data } = interpret([node], this.known)[0]
    const exact =
      !(inexact.has(node.op) && node.dtype.startsWith('float')) &&
      node.inputs.every(n => this.#isExact(n)) &&
      data.every(v => Number.isNaN(v) || (Math.abs(v) < 2 ** 32 && Number.isInteger(v * 2 ** 12)))
    this.#exact.set(node, exact)
    return exact
  }

  /** Whether the last bit of some value below decides between results far apart. */
  isFragile(t: Tensor): boolean {
    for (const node of topological([t.node], n => (this.#checked.has(n) ? [] : n.inputs))) {
      if (this.#checked.has(node)) continue
      if (this.#decides(node)) return true
      this.#checked.add(node)
    }
    return false
  }

  #decides(node: Node): boolean {
    if (node.inputs.every(n => this.#isExact(n))) return false
    const [a, b] = interpret(node.inputs, this.known)
    const near = (x: number, y: number): boolean => x !== y && Math.abs(x - y) < 1e-7 * Math.max(1, Math.abs(x))
    const nearInteger = (x: number): boolean => Math.abs(x * 2 - Math.round(x * 2)) < 1e-7
    switch (node.op) {
      case 'less':
      case 'lessEqual':
      case 'equal':
      case 'maximum':
      case 'minimum':
        return a.data.some((v, i) => near(v, b.data[i]))
      case 'sign':
      case 'abs':
        return a.data.some(v => near(v, 0))
      case 'floor':
      case 'ceil':
      case 'round':
      case 'trunc':
        return a.data.some(nearInteger)
      case 'cast':
        return !node.dtype.startsWith('float') && a.data.some(nearInteger)
      case 'remainder':
        return a.data.some((v, i) => nearInteger(v / b.data[i]))
      case 'argsort':
      case 'max':
        return a.data.some((v, i) => a.data.some((w, j) => i < j && near(v, w)))
      default:
        return false
    }
  }

  /** Whether a tensor is worth going on with: small, and with values that a comparison can be made of. */
  accepts(t: Tensor): boolean {
    if (t.size > limits.size || t.ndim > limits.rank) return false
    return this.of(t).data.every(v => Number.isNaN(v) || Math.abs(v) < limits.value) && !this.isFragile(t)
  }
}

/** The roots of a program as expressions, and what the interpreter knows of them. */
export function expressions(
  program: Program,
  names: readonly string[] = mixed,
): { roots: Tensor[]; values: Values; text: string[] } {
  const values = new Values()
  const text: string[] = []
  const run = (...leaves: Tensor[]): Tensor[] => {
    const pool = [...leaves]
    for (const step of program.steps) {
      const name = names[step.op % names.length]
      const from = pool.slice(-5)
      const operands = { a: from[step.a % from.length], b: from[step.b % from.length], n: parameters(step) }
      try {
        const made = operations[name](operands)
        if (!values.accepts(made)) continue
        pool.push(made)
        text.push(`${name}(${operands.a.shape} | ${operands.b.shape}) -> [${made.shape}]`)
      } catch (error) {
        if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError) throw error
      }
    }
    return program.roots.map(i => pool[Math.max(0, pool.length - 1 - i)])
  }
  const leaves = program.leaves.map((_, i) => leaf(program, i))
  if (!program.gradients) return { roots: run(...leaves), values, text }
  const [roots, pull] = sp.vjp((...xs: Tensor[]) => run(...xs), ...leaves)
  const cotangents = roots.map(r => sp.add(float(sp.reshape(sp.iota([r.size]), r.shape)), 1))
  const gradients = pull(cotangents).filter(g => values.of(g).data.every(Number.isFinite) && values.accepts(g))
  return { roots: [...roots, ...gradients], values, text }
}

const parameters =
  ({ p }: Step) =>
  (i: number, limit: number): number => {
    if (!(limit >= 1)) throw new Error('does not fit')
    return p[i] % limit
  }
