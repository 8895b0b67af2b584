/**
 * The derivative of every primitive: given the cotangent g of y = op(inputs), the cotangents of the inputs. One row a
 * primitive, its formula beside it. Rules call only operations, so what they return can be differentiated again.
 * The type demands a row for each primitive. Where a function has no derivative, the row says what is returned.
 */

import type { Attrs, Node, Primitive } from '../graph/node.js'
import { conv2d } from '../tensor/convolution.js'
import { eye } from '../tensor/create.js'
import {
  add,
  astype,
  cos,
  div,
  equal,
  exp,
  floor,
  less,
  lessEqual,
  log,
  logicalAnd,
  logicalNot,
  mul,
  neg,
  pow,
  sign,
  sin,
  sub,
  where,
} from '../tensor/elementwise.js'
import { scatterAdd, take } from '../tensor/indexing.js'
import { broadcastTo, flip, permuteDims, reshape } from '../tensor/movement.js'
import { sum } from '../tensor/reduction.js'
import { transposedConv, unslice } from '../tensor/shared.js'
import { at } from '../tensor/slicing.js'
import { build, full, Tensor } from '../tensor/tensor.js'

export interface Context<P extends Primitive> {
  /** The cotangent, of y's shape and dtype. */
  g: Tensor
  y: Tensor
  attrs: Attrs[P]
  node: Node
}
export type Rule<P extends Primitive> = (context: Context<P>, ...inputs: Tensor[]) => readonly (Tensor | null)[]

/** No gradient flows: the function is constant between jumps, or its result is no float. */
const none = (): readonly null[] => []

/** 2 / sqrt(pi). */
const erfSlope = 2 / Math.sqrt(Math.PI)

export const rules: { readonly [P in Primitive]: Rule<P> } = {
  // y = -x: -g
  neg: ({ g }) => [neg(g)],
  // y = |x|: g sign(x), 0 at 0
  abs: ({ g }, x) => [mul(g, sign(x))],
  sign: none,
  // y = √x: g / 2y
  sqrt: ({ g, y }) => [div(g, mul(y, 2))],
  // y = eˣ: g y
  exp: ({ g, y }) => [mul(g, y)],
  // y = eˣ - 1: g (y + 1)
  expm1: ({ g, y }) => [mul(g, add(y, 1))],
  // y = ln x: g / x
  log: ({ g }, x) => [div(g, x)],
  // y = ln(1 + x): g / (1 + x)
  log1p: ({ g }, x) => [div(g, add(x, 1))],
  // y = sin x: g cos x
  sin: ({ g }, x) => [mul(g, cos(x))],
  // y = cos x: -g sin x
  cos: ({ g }, x) => [neg(mul(g, sin(x)))],
  // y = tanh x: g (1 - y²)
  tanh: ({ g, y }) => [mul(g, sub(1, mul(y, y)))],
  // y = arctan x: g / (1 + x²)
  atan: ({ g }, x) => [div(g, add(mul(x, x), 1))],
  // y = erf x: g 2/√π e^(-x²)
  erf: ({ g }, x) => [mul(mul(g, erfSlope), exp(neg(mul(x, x))))],
  floor: none,
  ceil: none,
  round: none,
  trunc: none,
  not: none,

  // y = a + b: g, g
  add: ({ g }) => [g, g],
  // y = a - b: g, -g
  sub: ({ g }) => [g, neg(g)],
  // y = a b: g b, g a
  mul: ({ g }, a, b) => [mul(g, b), mul(g, a)],
  // y = a / b: g / b, -g y / b
  div: ({ g, y }, _, b) => [div(g, b), neg(div(mul(g, y), b))],
  // y = aᵇ: g b aᵇ⁻¹ (0 where b = 0), g y ln a (0 where a = 0 <= b)
  pow: ({ g, y }, a, b) => {
    const flat = equal(b, 0)
    const zero = equal(a, 0)
    const slope = where(flat, 0, mul(b, pow(a, where(flat, 1, sub(b, 1)))))
    return [mul(g, slope), mul(g, where(zero, where(less(b, 0), y, 0), mul(y, log(where(zero, 1, a)))))]
  },
  // y = max(a, b): g to the larger, halved on ties
  maximum: ({ g }, a, b) => [where(less(a, b), 0, share(g, a, b)), where(less(b, a), 0, share(g, a, b))],
  // y = min(a, b): g to the smaller, halved on ties
  minimum: ({ g }, a, b) => [where(less(b, a), 0, share(g, a, b)), where(less(a, b), 0, share(g, a, b))],
  // y = a - b floor(a / b): g, -g floor(a / b)
  remainder: ({ g }, a, b) => [g, neg(mul(g, floor(div(a, b))))],
  and: none,
  or: none,
  xor: none,
  shiftLeft: none,
  shiftRight: none,
  less: none,
  lessEqual: none,
  equal: none,

  input: none,
  constant: none,
  iota: none,
  variable: ({ g }) => [g],
  stopGradient: none,
  barrier: ({ g }) => [g],
  // operand 0 is the value; its own derivative is replaced by the rule
  custom: ({ g, attrs, node }) => [null, ...attrs.rule(g.node, node).map(n => n && new Tensor(n))],
  // y = c ? a : b: (c ? g : 0), (c ? 0 : g)
  where: ({ g }, c) => [null, where(c, g, 0), where(c, 0, g)],
  cast: ({ g }, x) => [astype(g, x.dtype)],
  bitcast: none,
  threefry: none,

  // y = Σ x: g everywhere
  sum: ({ g }, x) => [broadcastTo(g, x.shape)],
  // y = Π x: g times the product of the other elements; no quotient, so zeros are exact
  prod: ({ g, attrs: { axes } }, x) => {
    const order = [...x.shape.keys()].sort((a, b) => Number(axes.includes(a)) - Number(axes.includes(b)))
    const n = x.size / g.size
    const rows = reshape(permuteDims(x, order), [g.size, 1, n])
    const others = build('prod', [where(eye(n, n, 'bool'), 1, rows)], { axes: [2] })
    const moved = reshape(
      others,
      order.map(d => x.shape[d]),
    )
    const back = [...x.shape.keys()].map(d => order.indexOf(d))
    return [mul(broadcastTo(g, x.shape), permuteDims(moved, back))]
  },
  // y = max x: g shared equally by the elements that are the largest; by all of them where y is NaN
  max: ({ g, y, attrs }, x) => {
    const lower = less(x, broadcastTo(y, x.shape))
    const ties = sum(astype(logicalNot(lower), x.dtype), { axis: attrs.axes, keepdims: true })
    return [where(lower, 0, broadcastTo(div(g, ties), x.shape))]
  },
  // movement: the same elements moved back; copies are summed
  reshape: ({ g }, x) => [reshape(g, x.shape)],
  expand: ({ g }, x) => [sum(g, { axis: x.shape.flatMap((n, d) => (n === g.shape[d] ? [] : [d])), keepdims: true })],
  permute: ({ g, attrs }) => [
    permuteDims(
      g,
      attrs.axes.map((_, d) => attrs.axes.indexOf(d)),
    ),
  ],
  slice: ({ g, attrs }, x) => [unslice(g, x.shape, attrs)],
  pad: ({ g, attrs: { before, interior } }, x) => {
    return [
      at(
        g,
        ...x.shape.map((n, d) => [
          before[d],
          before[d] + Math.max(0, n - 1) * (interior[d] + 1) + Math.min(n, 1),
          interior[d] + 1,
        ]),
      ),
    ]
  },
  flip: ({ g, attrs }) => [flip(g, attrs.axes)],

  // Y = A B: G Bᵀ, Aᵀ G
  matmul: ({ g }, a, b) => [
    build('matmul', [g, permuteDims(b, [0, 2, 1])], {}),
    build('matmul', [permuteDims(a, [0, 2, 1]), g], {}),
  ],
  conv: ({ g, attrs }, x, w) => [transposedConv(g, w, attrs, x.shape.slice(1, 3)), convKernel(g, x, w, attrs)],
  // y = x[i]: g added at i
  gather: ({ g }, x, index) => [scatterAdd(index, g, x.shape[0]), null],
  // y = Σ u at i: g[i], 0 where i is out of range
  scatterAdd: ({ g }, index) => {
    const inside = logicalAnd(lessEqual(0, index), less(index, g.shape[0]))
    return [null, where(reshape(inside, [index.size, ...g.shape.slice(1).map(() => 1)]), take(g, index), 0)]
  },
  firstIndex: none,
  argsort: none,
}

/** g, halved where a and b are equal. */
const share = (g: Tensor, a: Tensor, b: Tensor): Tensor => mul(g, where(equal(a, b), 0.5, full(a.shape, 1, a.dtype)))

/** The cotangent of a convolution's kernel: the images convolved with g, batch and channels exchanged. */
function convKernel(g: Tensor, x: Tensor, w: Tensor, { strides, dilation, groups }: Attrs['conv']): Tensor {
  const [n, h, width] = x.shape
  const [kh, kw, c, o] = w.shape
  // x as [c, h, w, groups * n], g as a kernel [oh, ow, n, o]
  const images =
    groups === 1
      ? permuteDims(x, [3, 1, 2, 0])
      : reshape(permuteDims(reshape(x, [n, h, width, groups, c]), [4, 1, 2, 3, 0]), [c, h, width, groups * n])
  const kernel = permuteDims(g, [1, 2, 0, 3])
  const full = conv2d(images, kernel, { stride: dilation, dilation: strides, groups })
  return permuteDims(at(full, [], [0, kh], [0, kw], [0, o]), [1, 2, 0, 3])
}

/** A zero cotangent for a tensor. */
export const zeroCotangent = (x: Tensor): Tensor => full(x.shape, 0, x.dtype)
