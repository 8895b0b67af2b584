/**
 * The oracle: what each primitive means, in plain nested loops over number[] in float64. It shares no code with the
 * compiler and is as slow as it looks.
 */

import type { DType } from '../../src/graph/dtype.js'
import { type Node, type Primitive, topological } from '../../src/graph/node.js'

export interface Value {
  readonly shape: readonly number[]
  /** Row-major. */
  readonly data: readonly number[]
}
type Meaning<P extends Primitive> = (node: Node<P>, ...inputs: Value[]) => number[]

/** f at every position of a shape, in row-major order. */
export function each(shape: readonly number[], f: (index: number[]) => number): number[] {
  const out: number[] = []
  const loop = (prefix: number[]): void => {
    if (prefix.length === shape.length) out.push(f(prefix))
    else for (let i = 0; i < shape[prefix.length]; i++) loop([...prefix, i])
  }
  loop([])
  return out
}
const offset = (shape: readonly number[], index: readonly number[]): number =>
  index.reduce((n, i, d) => n * shape[d] + i, 0)
const get = (x: Value, index: readonly number[]): number => x.data[offset(x.shape, index)]
const indicesOf = (shape: readonly number[]): number[][] => {
  const all: number[][] = []
  each(shape, i => all.push(i))
  return all
}

/** A number brought into the range of its dtype. */
function wrap(value: number, dtype: DType): number {
  if (dtype === 'int32') return Number(BigInt.asIntN(32, BigInt(value)))
  if (dtype === 'uint32') return Number(BigInt.asUintN(32, BigInt(value)))
  return value
}

const unary =
  <P extends Primitive>(f: (x: number) => number): Meaning<P> =>
  (node, x) =>
    x.data.map(v => wrap(f(v), node.dtype))
/** Integers as BigInt, so that no product loses a bit. */
const binary =
  <P extends Primitive>(f: (a: number, b: number) => number, integers?: (a: bigint, b: bigint) => bigint): Meaning<P> =>
  ({ dtype }, a, b) =>
    a.data.map((v, i) => {
      const w = b.data[i]
      if (!integers || dtype.startsWith('float')) return wrap(f(v, w), dtype)
      const bits = dtype === 'uint32' ? BigInt.asUintN : BigInt.asIntN
      return Number(bits(32, integers(BigInt(v), BigInt(w))))
    })

/** erf by Simpson's rule on its integral. */
function erf(x: number): number {
  const end = Math.min(Math.abs(x), 7)
  const n = 2000
  const h = end / n
  let total = 0
  for (let i = 0; i <= n; i++) total += (i === 0 || i === n ? 1 : i % 2 ? 4 : 2) * Math.exp(-((i * h) ** 2))
  return Number.isNaN(x) ? x : (Math.sign(x) * 2 * total * h) / (3 * Math.sqrt(Math.PI))
}

function roundEven(x: number): number {
  const below = Math.floor(x)
  const rest = x - below
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1
}

const floorMod = (a: number, b: number): number => {
  const r = a % b
  return r !== 0 && r < 0 !== b < 0 ? r + b : r
}
const floorDiv = (a: bigint, b: bigint): bigint => (b === 0n ? 0n : (a - bigMod(a, b)) / b)
const bigMod = (a: bigint, b: bigint): bigint => (b === 0n ? 0n : ((a % b) + b) % b)

function cast(value: number, from: DType, to: DType): number {
  if (to === 'bool') return value !== 0 ? 1 : 0
  if (to === 'float32') return Math.fround(value)
  if (to === 'float64') return value
  if (!from.startsWith('float')) return wrap(value, to)
  const [low, high] = to === 'int32' ? [-(2 ** 31), 2 ** 31 - 1] : [0, 2 ** 32 - 1]
  return Number.isNaN(value) ? 0 : Math.min(high, Math.max(low, Math.trunc(value)))
}

function bitcast(value: number, from: DType, to: DType): number {
  const view = new DataView(new ArrayBuffer(4))
  if (from === 'float32') view.setFloat32(0, value)
  else view.setUint32(0, value)
  return to === 'float32' ? view.getFloat32(0) : to === 'int32' ? view.getInt32(0) : view.getUint32(0)
}

/** Threefry-2x32 with 20 rounds, from the paper. */
function threefry(k0: number, k1: number, c0: number, c1: number): [number, number] {
  const keys = [k0, k1, (k0 ^ k1 ^ 0x1bd11bda) >>> 0]
  const turns = [13, 15, 26, 6, 17, 29, 16, 24]
  let [x, y] = [(c0 + k0) >>> 0, (c1 + k1) >>> 0]
  for (let r = 0; r < 20; r++) {
    x = (x + y) >>> 0
    y = (((y << turns[r % 8]) | (y >>> (32 - turns[r % 8]))) ^ x) >>> 0
    if (r % 4 !== 3) continue
    const s = (r + 1) / 4
    x = (x + keys[s % 3]) >>> 0
    y = (y + keys[(s + 1) % 3] + s) >>> 0
  }
  return [x, y]
}

const reduction =
  <P extends 'sum' | 'prod' | 'max'>(start: number, f: (a: number, b: number, dtype: DType) => number): Meaning<P> =>
  (node, x) => {
    const axes: readonly number[] = node.attrs.axes
    const out = new Array<number>(node.shape.reduce((n, s) => n * s, 1)).fill(start)
    for (const index of indicesOf(x.shape)) {
      const to = offset(
        node.shape,
        index.map((i, d) => (axes.includes(d) ? 0 : i)),
      )
      out[to] = wrap(f(out[to], get(x, index), node.dtype), node.dtype)
    }
    return out
  }

const notValues = (node: Node): never => {
  throw new Error(`${node.op}: has no value of its own`)
}
const same = (_: Node, x: Value): number[] => [...x.data]

export const meanings: { readonly [P in Primitive]: Meaning<P> } = {
  neg: unary(x => -x),
  abs: unary(Math.abs),
  sign: unary(Math.sign),
  sqrt: unary(Math.sqrt),
  exp: unary(Math.exp),
  expm1: unary(Math.expm1),
  log: unary(Math.log),
  log1p: unary(Math.log1p),
  sin: unary(Math.sin),
  cos: unary(Math.cos),
  tanh: unary(Math.tanh),
  atan: unary(Math.atan),
  erf: unary(erf),
  floor: unary(Math.floor),
  ceil: unary(Math.ceil),
  round: unary(roundEven),
  trunc: unary(Math.trunc),
  not: (node, x) => x.data.map(v => (node.dtype === 'bool' ? 1 - v : wrap(-v - 1, node.dtype))),

  add: binary((a, b) => a + b),
  sub: binary((a, b) => a - b),
  mul: binary(
    (a, b) => a * b,
    (a, b) => a * b,
  ),
  div: binary((a, b) => a / b, floorDiv),
  pow: binary((a, b) => a ** b),
  maximum: binary(Math.max),
  minimum: binary(Math.min),
  remainder: binary(floorMod, bigMod),
  and: binary(
    a => a,
    (a, b) => a & b,
  ),
  or: binary(
    a => a,
    (a, b) => a | b,
  ),
  xor: binary(
    a => a,
    (a, b) => a ^ b,
  ),
  shiftLeft: binary(
    a => a,
    (a, b) => a << b,
  ),
  shiftRight: binary(
    a => a,
    (a, b) => a >> b,
  ),
  less: (_, a, b) => a.data.map((v, i) => Number(v < b.data[i])),
  lessEqual: (_, a, b) => a.data.map((v, i) => Number(v <= b.data[i])),
  equal: (_, a, b) => a.data.map((v, i) => Number(v === b.data[i])),

  input: node => [...(node.attrs.storage.host ?? notValues(node))],
  constant: ({ attrs }) => each(attrs.shape, () => attrs.value),
  iota: ({ attrs }) => each(attrs.shape, index => index[attrs.axis]),
  variable: same,
  stopGradient: same,
  barrier: same,
  custom: same,
  where: (_, c, a, b) => c.data.map((v, i) => (v ? a.data[i] : b.data[i])),
  cast: (node, x) => x.data.map(v => cast(v, node.inputs[0].dtype, node.dtype)),
  bitcast: (node, x) => x.data.map(v => bitcast(v, node.inputs[0].dtype, node.dtype)),
  threefry: ({ attrs }, k0, k1, c0, c1) =>
    k0.data.map((k, i) => threefry(k, k1.data[i], c0.data[i], c1.data[i])[attrs.word]),

  sum: reduction(0, (a, b) => a + b),
  prod: reduction(1, (a, b, dtype) => (dtype.startsWith('float') ? a * b : Math.imul(a, b))),
  max: reduction(Number.NEGATIVE_INFINITY, (a, b) => Math.max(a, b)),
  reshape: same,
  expand: ({ shape }, x) =>
    each(shape, index =>
      get(
        x,
        index.map((i, d) => (x.shape[d] === 1 ? 0 : i)),
      ),
    ),
  permute: ({ shape, attrs }, x) =>
    each(shape, index => {
      const source: number[] = []
      for (const [i, d] of attrs.axes.entries()) source[d] = index[i]
      return get(x, source)
    }),
  slice: ({ shape, attrs: { start, step } }, x) =>
    each(shape, index =>
      get(
        x,
        index.map((i, d) => start[d] + i * step[d]),
      ),
    ),
  pad: ({ shape, attrs: { before, interior } }, x) => {
    const out = each(shape, () => 0)
    for (const index of indicesOf(x.shape)) {
      const to = index.map((i, d) => before[d] + i * (interior[d] + 1))
      out[offset(shape, to)] = get(x, index)
    }
    return out
  },
  flip: ({ shape, attrs: { axes } }, x) =>
    each(shape, index =>
      get(
        x,
        index.map((i, d) => (axes.includes(d) ? shape[d] - 1 - i : i)),
      ),
    ),

  matmul: ({ shape, dtype }, a, b) =>
    each(shape, ([batch, i, j]) => {
      let total = 0
      for (let k = 0; k < a.shape[2]; k++) {
        const [v, w] = [get(a, [batch, i, k]), get(b, [batch, k, j])]
        total = dtype.startsWith('float') ? total + v * w : wrap(Number(BigInt(total) + BigInt(v) * BigInt(w)), dtype)
      }
      return total
    }),
  conv: ({ shape, attrs: { strides, dilation, groups } }, x, w) => {
    const [kh, kw, c, outputs] = w.shape
    return each(shape, ([n, row, column, o]) => {
      const group = Math.floor(o / (outputs / groups))
      let total = 0
      for (const [i, j, channel] of indicesOf([kh, kw, c])) {
        const at = [n, row * strides[0] + i * dilation[0], column * strides[1] + j * dilation[1], group * c + channel]
        total += get(x, at) * get(w, [i, j, channel, o])
      }
      return total
    })
  },
  gather: ({ shape, dtype }, x, index) =>
    each(shape, at => {
      const row = get(index, at.slice(0, index.shape.length))
      if (row < 0 || row >= x.shape[0]) return dtype.startsWith('float') ? Number.NaN : 0
      return get(x, [row, ...at.slice(index.shape.length)])
    }),
  scatterAdd: ({ shape, dtype }, index, updates) => {
    const out = each(shape, () => 0)
    for (const [i, ...rest] of indicesOf(updates.shape)) {
      const row = index.data[i]
      if (row < 0 || row >= shape[0]) continue
      const to = offset(shape, [row, ...rest])
      out[to] = wrap(out[to] + get(updates, [i, ...rest]), dtype)
    }
    return out
  },
  firstIndex: ({ shape }, index) => each(shape, ([row]) => index.data.indexOf(row)),
  argsort: ({ shape }, x) =>
    // The rank of an element is the number of those that come before it; the order is the inverse of the ranks.
    each(shape, index => {
      const lead = index.slice(0, -1)
      const row = Array.from({ length: shape[shape.length - 1] }, (_, i) => get(x, [...lead, i]))
      const before = (i: number, j: number): boolean => {
        const [a, b] = [row[i], row[j]]
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) === Number.isNaN(b) ? i < j : Number.isNaN(b)
        return a < b || (a === b && i < j)
      }
      return row.findIndex((_, i) => row.filter((_, j) => before(j, i)).length === index[index.length - 1])
    }),
}

/** The values of expressions, computed one node at a time; values once computed are kept in `known`. */
export function interpret(roots: readonly Node[], known = new Map<Node, Value>()): Value[] {
  for (const node of topological(roots, n => (known.has(n) ? [] : n.inputs))) {
    if (known.has(node)) continue
    const inputs = node.inputs.map(n => known.get(n) ?? notValues(n))
    const meaning = meanings[node.op] as Meaning<Primitive>
    known.set(node, { shape: node.shape, data: meaning(node, ...inputs) })
  }
  return roots.map(n => known.get(n) ?? notValues(n))
}
