/**
 * Cases of every primitive, for its derivative and its batching. Values keep away from kinks and ties.
 */

import * as sp from 'saddlepoint'
import type { Primitive } from '../../src/graph/node.js'
import { padInterior } from '../../src/tensor/shared.js'

import { build } from '../../src/tensor/tensor.js'
import {
  between,
  binary,
  broken,
  chosen,
  distinct,
  integers,
  integral,
  jumps,
  type Make,
  normal,
  someAxes,
  type Tensor,
  unary,
} from '../operations/cases.js'
import type { Rng } from '../oracle/property.js'

/** Linear in its operand, so a sine around it makes the higher derivatives say something. */
const linear = (f: (x: Tensor, r: Rng) => Tensor, rank: [number, number] = [1, 3]): Make => chosen(f, { rank })

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

/** Cases, or the reason why there is nothing to differentiate. */
export const primitiveCases: { readonly [P in Primitive]: string | readonly Make[] } = {
  neg: [linear(sp.neg)],
  abs: [unary(sp.abs, broken)],
  sign: jumps,
  sqrt: [unary(sp.sqrt, between(0.5, 3))],
  exp: [unary(sp.exp)],
  expm1: [unary(sp.expm1)],
  log: [unary(sp.log, between(0.5, 3))],
  log1p: [unary(sp.log1p, between(-0.5, 3))],
  sin: [unary(sp.sin)],
  cos: [unary(sp.cos)],
  tanh: [unary(sp.tanh)],
  atan: [unary(sp.atan)],
  erf: [unary(sp.erf)],
  floor: jumps,
  ceil: jumps,
  round: jumps,
  trunc: jumps,
  not: integral,
  add: [binary((a, b) => sp.sin(sp.add(a, b)))],
  sub: [binary((a, b) => sp.sin(sp.sub(a, b)))],
  mul: [binary(sp.mul), unary(x => sp.mul(sp.mul(x, x), x))],
  div: [binary(sp.div, normal, between(0.5, 2))],
  pow: [
    binary(sp.pow, between(0.5, 2)),
    unary(x => sp.pow(x, 4), broken),
    unary(x => sp.pow(x, -1.5), between(0.5, 2)),
    unary(x => sp.pow(1.7, x)),
  ],
  maximum: [binary((a, b) => sp.sin(sp.maximum(a, sp.add(b, 0.0123))))],
  minimum: [binary((a, b) => sp.sin(sp.minimum(a, sp.add(b, 0.0123))))],
  remainder: [
    unary(x => sp.sin(sp.remainder(x, 1)), broken),
    binary((a, b) => sp.sin(sp.remainder(a, b)), between(2.4, 2.6), between(0.95, 1.04)),
  ],
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
  cast: 'float32 is too coarse for differences; primitives.test.ts has the exact gradient',
  bitcast: 'has no derivative; it is used on integers',
  threefry: integral,
  sum: [linear((x, r) => sp.sum(x, { axis: someAxes(x, r), keepdims: r.int(0, 1) === 1 }), [0, 3])],
  prod: [
    r => {
      const x = normal(r, r.shape(r.int(0, 3), 1, 3))
      const axes = someAxes(x, r)
      return { f: y => build('prod', [y], { axes }), args: [x] }
    },
    // Three axes that are moved in a circle and back.
    r => ({ f: y => build('prod', [y], { axes: [0] }), args: [normal(r, [2, 3, 2])] }),
  ],
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
      const indices = integers(0, x.shape[axis] - 1)(r, r.shape(r.int(0, 2), 1, 5))
      return { f: y => sp.sin(sp.take(y, indices, { axis })), args: [x] }
    },
    r => {
      const x = normal(r, r.shape(2, 2, 4))
      const indices = integers(0, x.shape[1] - 1)(r, [x.shape[0], 3])
      return { f: y => sp.sin(sp.takeAlongAxis(y, indices)), args: [x] }
    },
  ],
  scatterAdd: [
    r => {
      const x = normal(r, r.shape(r.int(1, 3), 1, 4))
      // Repeated rows, and some out of range.
      const indices = integers(-1, 3)(r, [x.shape[0]])
      return { f: y => sp.sin(sp.scatterAdd(indices, y, 3)), args: [x] }
    },
  ],
  firstIndex: 'only the compiler makes it; test/compiler/sparse.test.ts',
  argsort: [
    r => {
      const x = distinct(r, r.shape(r.int(1, 3), 1, 4))
      const axis = r.int(0, x.ndim - 1)
      const descending = r.int(0, 1) === 1
      return { f: y => sp.sin(sp.sort(y, { axis, descending })), args: [x] }
    },
  ],
}
