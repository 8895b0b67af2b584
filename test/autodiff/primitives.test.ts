/**
 * The derivative of every primitive against central differences in float64, at orders 1, 2 and 3, over random shapes.
 * The table has a row for each primitive, or the reason why there is nothing to differentiate.
 */

import fc from 'fast-check'
import * as sp from 'saddlepoint'
import { checkGrads } from 'saddlepoint/check'
import { describe, expect, test } from 'vitest'
import type { Primitive } from '../../src/graph/node.js'
import { primitives } from '../../src/graph/primitives.js'
import { padInterior } from '../../src/tensor/movement.js'
import { build } from '../../src/tensor/tensor.js'
import { holds, Rng } from '../oracle/property.js'

type Tensor = sp.Tensor
interface Case {
  readonly f: (...xs: Tensor[]) => Tensor
  readonly args: Tensor[]
}
type Make = (r: Rng) => Case

const filled = (shape: readonly number[], next: () => number): Tensor =>
  sp.tensor(Float64Array.from({ length: shape.reduce((n, s) => n * s, 1) }, next), { shape })
const normal = (r: Rng, shape: readonly number[]): Tensor => filled(shape, () => r.normal())
const between = (r: Rng, low: number, high: number, shape: readonly number[]): Tensor =>
  filled(shape, () => r.uniform(low, high))
/** Values at least 0.1 from 0, and none near an integer. */
const broken = (r: Rng, shape: readonly number[]): Tensor => filled(shape, () => r.int(-3, 2) + r.uniform(0.1, 0.9))
/** Values at least 0.1 apart, in random order: no ties. */
const distinct = (r: Rng, shape: readonly number[]): Tensor => {
  const n = shape.reduce((k, s) => k * s, 1)
  const order = Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = r.int(0, i)
    ;[order[i], order[j]] = [order[j], order[i]]
  }
  let k = 0
  return filled(shape, () => (order[k++] - n / 2) * 0.3 + r.uniform(0, 0.2))
}
const integers = (r: Rng, low: number, high: number, shape: readonly number[]): Tensor =>
  sp.tensor(
    Int32Array.from({ length: shape.reduce((n, s) => n * s, 1) }, () => r.int(low, high)),
    { shape },
  )

/** One operand of a random shape. */
const unary =
  (f: (x: Tensor) => Tensor, make: (r: Rng, shape: number[]) => Tensor = normal): Make =>
  r => ({ f, args: [make(r, r.shape(r.int(0, 3)))] })
/** Linear in its operand, so a sine around it makes the higher derivatives say something. */
const linear = (f: (x: Tensor, r: Rng) => Tensor, rank: [number, number] = [1, 3]): Make => {
  return r => {
    const args = [normal(r, r.shape(r.int(...rank), 1, 4))]
    const seed = r.int(0, 2 ** 30)
    // The same random choices at every call.
    return { f: x => sp.sin(f(x, new Rng(seed))), args }
  }
}
/** Two operands that broadcast: axes of size 1, missing leading axes. */
const binary =
  (f: (a: Tensor, b: Tensor) => Tensor, left = normal, right = left): Make =>
  r => {
    const shape = r.shape(r.int(0, 3))
    const part = (): number[] => shape.map(n => (r.int(0, 3) === 0 ? 1 : n)).slice(r.int(0, 4) === 0 ? 1 : 0)
    return { f, args: [left(r, part()), right(r, part())] }
  }
const range = (low: number, high: number) => (r: Rng, shape: readonly number[]) => between(r, low, high, shape)
const someAxes = (x: Tensor, r: Rng): number[] => x.shape.flatMap((_, d) => (r.int(0, 1) ? [d] : []))

const conv: Make = r => {
  const groups = r.int(1, 2)
  const [kh, kw] = r.shape(2, 1, 3)
  const options = {
    groups,
    stride: [r.int(1, 3), r.int(1, 2)],
    dilation: [r.int(1, 2), r.int(1, 2)],
    inputDilation: [r.int(1, 2), r.int(1, 3)],
    padding: r.pick([
      'same',
      1,
      [
        [2, 0],
        [-1, 3],
      ],
      [
        [0, 1],
        [1, -1],
      ],
    ] as const),
  } as const
  const x = normal(r, [r.int(1, 2), r.int(4, 6), r.int(5, 6), groups * r.int(1, 2)])
  const w = normal(r, [kh, kw, x.shape[3] / groups, groups * r.int(1, 2)])
  return { f: (x, w) => sp.conv2d(x, w, options), args: [x, w] }
}
const pool =
  (op: typeof sp.maxPool2d): Make =>
  r => {
    const window = [r.int(1, 3), r.int(1, 3)] as const
    const stride = r.pick([undefined, 1, 2, [2, 1] as const])
    const padding = r.pick(['valid', 'same'] as const)
    return { f: x => sp.sin(op(x, window, { stride, padding })), args: [distinct(r, [r.int(1, 2), 5, 4, r.int(1, 2)])] }
  }

const flat = 'constant between its jumps'
const integral = 'its result is no float'
const table: { readonly [P in Primitive]: string | readonly Make[] } = {
  neg: [linear(sp.neg)],
  abs: [unary(sp.abs, broken)],
  sign: flat,
  sqrt: [unary(sp.sqrt, range(0.5, 3))],
  exp: [unary(sp.exp)],
  expm1: [unary(sp.expm1)],
  log: [unary(sp.log, range(0.5, 3))],
  log1p: [unary(sp.log1p, range(-0.5, 3))],
  sin: [unary(sp.sin)],
  cos: [unary(sp.cos)],
  tanh: [unary(sp.tanh)],
  atan: [unary(sp.atan)],
  erf: [unary(sp.erf)],
  floor: flat,
  ceil: flat,
  round: flat,
  trunc: flat,
  not: integral,
  add: [binary((a, b) => sp.sin(sp.add(a, b)))],
  sub: [binary((a, b) => sp.sin(sp.sub(a, b)))],
  mul: [binary(sp.mul), unary(x => sp.mul(sp.mul(x, x), x))],
  div: [binary(sp.div, normal, range(0.5, 2))],
  pow: [
    binary(sp.pow, range(0.5, 2)),
    unary(x => sp.pow(x, 4), broken),
    unary(x => sp.pow(x, -1.5), range(0.5, 2)),
    unary(x => sp.pow(1.7, x)),
  ],
  maximum: [binary((a, b) => sp.sin(sp.maximum(a, sp.add(b, 0.0123))))],
  minimum: [binary((a, b) => sp.sin(sp.minimum(a, sp.add(b, 0.0123))))],
  remainder: [unary(x => sp.sin(sp.remainder(x, 1)), broken), binary(a => sp.remainder(sp.mul(a, a), 100))],
  and: integral,
  or: integral,
  xor: integral,
  shiftLeft: integral,
  shiftRight: integral,
  less: integral,
  lessEqual: integral,
  equal: integral,
  input: 'has no operands',
  constant: 'has no operands',
  iota: 'has no operands',
  variable: [linear(x => build('variable', [x], {}))],
  stopGradient: 'lets no gradient through by its meaning; see awkward.test.ts',
  barrier: [linear(x => build('barrier', [x], {}))],
  custom: [
    linear(x =>
      sp.customVjp(
        (y: Tensor) => sp.mul(sp.exp(y), y),
        (g, _, y) => [sp.mul(g, sp.mul(sp.exp(y), sp.add(y, 1)))],
      )(x),
    ),
    linear(x => sp.checkpoint((y: Tensor) => sp.tanh(sp.mul(sp.exp(y), y)))(x)),
  ],
  where: [
    binary((a, b) => sp.where(sp.less(sp.stopGradient(a), 0), sp.exp(a), sp.mul(b, b)), broken),
    // The branch not taken is infinite, and so are its derivatives.
    unary(x => sp.where(sp.less(0, x), sp.log(sp.where(sp.less(0, x), x, 1)), sp.mul(x, x)), broken),
  ],
  cast: [linear(x => sp.astype(sp.astype(x, 'float64'), 'float64'))],
  bitcast: 'has no derivative; it is used on integers',
  threefry: integral,
  sum: [linear((x, r) => sp.sum(x, { axis: someAxes(x, r), keepdims: r.int(0, 1) === 1 }), [0, 3])],
  max: [
    r => {
      const x = distinct(r, r.shape(r.int(0, 3), 1, 4))
      const axis = someAxes(x, r)
      return { f: y => sp.sin(sp.max(y, { axis })), args: [x] }
    },
    pool(sp.maxPool2d),
  ],
  reshape: [linear(x => sp.reshape(sp.mul(sp.reshape(x, [-1]), sp.flatten(x)), [1, x.size]))],
  expand: [linear(x => sp.broadcastTo(sp.expandDims(x, 1), [x.shape[0], 3, ...x.shape.slice(1)])), binary(sp.outer)],
  permute: [
    linear(x =>
      sp.permuteDims(
        x,
        x.shape.map((_, d) => (d + 1) % x.ndim),
      ),
    ),
  ],
  slice: [
    linear((x, r) => sp.at(x, ...x.shape.map(n => [r.int(0, n - 1), null, r.int(1, 3)]))),
    linear((x, r) => sp.at(x, ...x.shape.map(n => [r.int(0, n - 1), null, -r.int(1, 3)]))),
    linear((x, r) => sp.at(x, r.int(-x.shape[0], x.shape[0] - 1), null, '...')),
  ],
  pad: [
    linear((x, r) => {
      const widths = (): number[] => x.shape.map(() => r.int(0, 2))
      return padInterior(x, widths(), widths(), widths(), r.int(0, 1))
    }),
  ],
  flip: [linear((x, r) => sp.flip(x, someAxes(x, r)))],
  matmul: [
    r => {
      const [m, k, n] = r.shape(3, 1, 4)
      const [left, right] = r.pick([
        [[k], [k]],
        [[m, k], [k]],
        [[k], [2, k, n]],
        [
          [m, k],
          [k, n],
        ],
        [
          [2, m, k],
          [k, n],
        ],
        [
          [m, k],
          [2, k, n],
        ],
        [
          [2, m, k],
          [2, k, n],
        ],
        [
          [3, 1, m, k],
          [2, k, n],
        ],
        [
          [1, m, k],
          [3, k, n],
        ],
      ])
      return { f: (a, b) => sp.sin(sp.matmul(a, b)), args: [normal(r, left), normal(r, right)] }
    },
    linear(x => sp.tensordot(x, sp.matrixTranspose(x), 1), [2, 2]),
  ],
  conv: [conv, pool(sp.avgPool2d)],
  gather: [
    r => {
      const x = normal(r, r.shape(r.int(1, 3), 2, 4))
      const axis = r.int(0, x.ndim - 1)
      const indices = integers(r, 0, x.shape[axis] - 1, r.shape(r.int(0, 2), 1, 5))
      return { f: y => sp.sin(sp.take(y, indices, { axis })), args: [x] }
    },
    r => {
      const x = normal(r, r.shape(2, 2, 4))
      const indices = integers(r, 0, x.shape[1] - 1, [x.shape[0], 3])
      return { f: y => sp.sin(sp.takeAlongAxis(y, indices)), args: [x] }
    },
  ],
  scatterAdd: [
    r => {
      const x = normal(r, r.shape(r.int(1, 3), 1, 4))
      // Repeated rows, and some out of range.
      const indices = integers(r, -1, 3, [x.shape[0]])
      return { f: y => sp.sin(sp.scatterAdd(indices, y, 3)), args: [x] }
    },
  ],
  argsort: [
    r => {
      const x = distinct(r, r.shape(r.int(1, 3), 1, 4))
      const axis = r.int(0, x.ndim - 1)
      const descending = r.int(0, 1) === 1
      return { f: y => sp.sin(sp.sort(y, { axis, descending })), args: [x] }
    },
  ],
}

test('the table has a row for each primitive', () => {
  expect(Object.keys(table).sort()).toEqual([...primitives].sort())
})

describe('derivatives to order 3 agree with central differences', () => {
  for (const primitive of primitives) {
    const row = table[primitive]
    if (typeof row === 'string') continue
    test(primitive, async () => {
      for (const make of row) {
        await holds(
          fc.asyncProperty(fc.nat(1e6), async seed => {
            const { f, args } = make(new Rng(seed))
            await checkGrads(f, args, { order: 3, tolerance: 2e-6, seed })
          }),
          4,
        )
      }
    })
  }
})

describe('nothing to differentiate', () => {
  const x = sp.tensor([0.3, -1.7], { dtype: 'float64' })
  const { sign, floor, ceil, round, trunc } = sp
  for (const [name, op] of Object.entries({ sign, floor, ceil, round, trunc })) {
    test(`${name} has gradient 0`, async () => {
      expect(
        await sp
          .grad((y: Tensor) => sp.sum(sp.mul(op(y), 3)))(x)
          .array(),
      ).toEqual([0, 0])
    })
  }
})
