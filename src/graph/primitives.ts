/**
 * What each primitive accepts and returns: one row a primitive. `apply` checks the operands against the row, lets
 * simplify.ts find a smaller expression, and makes the node. Broadcasting and promotion belong to the operations above.
 */

import { type DType, isFloat } from './dtype.js'
import { type Attrs, type BinaryOp, type CompareOp, makeNode, type Node, type Primitive, type UnaryOp } from './node.js'
import { formatShape, type Shape, sameShape, sizeOf } from './shape.js'
import { simplify } from './simplify.js'

interface Result {
  readonly shape: Shape
  readonly dtype: DType
}
type Rule<P extends Primitive> = (inputs: readonly Node[], attrs: Attrs[P], op: P) => Result

/** A dtype predicate with the words for an error. */
const kinds = {
  any: { accepts: () => true, words: 'any dtype' },
  numeric: { accepts: (d: DType) => d !== 'bool', words: 'a numeric dtype' },
  float: { accepts: isFloat, words: 'float16, float32 or float64' },
  integer: { accepts: (d: DType) => d === 'int32' || d === 'uint32', words: 'int32 or uint32' },
  bits: { accepts: (d: DType) => !isFloat(d), words: 'int32, uint32 or bool' },
} as const
type Kind = keyof typeof kinds

function demand(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message())
}

/** Operands of one shape and one dtype of the given kind. */
function alike(op: string, inputs: readonly Node[], kind: Kind): Result {
  const [first] = inputs
  const { accepts, words } = kinds[kind]
  for (const { shape, dtype } of inputs) {
    if (!sameShape(shape, first.shape))
      throw new Error(`${op}: shapes ${formatShape(first.shape)} and ${formatShape(shape)} differ`)
    if (dtype !== first.dtype) throw new Error(`${op}: dtypes ${first.dtype} and ${dtype} differ; cast one of them`)
    if (!accepts(dtype)) throw new Error(`${op}: expects ${words}, not ${dtype}; cast the operand`)
  }
  return { shape: first.shape, dtype: first.dtype }
}

const elementwise =
  (kind: Kind) =>
  (inputs: readonly Node[], _: unknown, op: string): Result =>
    alike(op, inputs, kind)
/** The rules made by `rows`. */
const pointwise = new Set<unknown>()
const compare = (inputs: readonly Node[], _: unknown, op: string): Result => ({
  ...alike(op, inputs, 'any'),
  dtype: 'bool',
})
const identity = ([x]: readonly Node[]): Result => ({ shape: x.shape, dtype: x.dtype })
const reduction = ([x]: readonly Node[], { axes }: { axes: readonly number[] }, op: string): Result => {
  demand(x.dtype !== 'bool', () => `${op}: expects a numeric dtype, not bool; cast to int32 first`)
  return { shape: x.shape.map((size, d) => (axes.includes(d) ? 1 : size)), dtype: x.dtype }
}

const rules: { [P in Primitive]: Rule<P> } = {
  ...rows<UnaryOp>({ neg: 'numeric', abs: 'numeric', sign: 'numeric', sqrt: 'float', exp: 'float', expm1: 'float' }),
  ...rows<UnaryOp>({ log: 'float', log1p: 'float', sin: 'float', cos: 'float', tanh: 'float', atan: 'float' }),
  ...rows<UnaryOp>({ erf: 'float', floor: 'float', ceil: 'float', round: 'float', trunc: 'float', not: 'bits' }),
  ...rows<BinaryOp>({ add: 'numeric', sub: 'numeric', mul: 'numeric', div: 'numeric', pow: 'float' }),
  ...rows<BinaryOp>({ maximum: 'numeric', minimum: 'numeric', remainder: 'numeric' }),
  ...rows<BinaryOp>({ and: 'bits', or: 'bits', xor: 'bits', shiftLeft: 'integer', shiftRight: 'integer' }),
  ...({ less: compare, lessEqual: compare, equal: compare } satisfies Record<CompareOp, Rule<CompareOp>>),

  input: () => {
    throw new Error('input: leaves are made by inputNode')
  },
  constant: (_, { shape, dtype }) => ({ shape, dtype }),
  iota: (_, { shape }) => ({ shape, dtype: 'int32' }),
  variable: identity,
  stopGradient: identity,
  barrier: identity,
  custom: identity,

  where: ([condition, a, b], _, op) => {
    demand(
      condition.dtype === 'bool',
      () => `where: the condition must be bool, not ${condition.dtype}; compare it with something`,
    )
    demand(
      sameShape(condition.shape, a.shape),
      () => `where: shapes ${formatShape(condition.shape)} and ${formatShape(a.shape)} differ`,
    )
    return alike(op, [a, b], 'any')
  },
  cast: ([x], { dtype }) => ({ shape: x.shape, dtype }),
  bitcast: ([x], { dtype }) => {
    const wide = [x.dtype, dtype].every(d => d === 'float32' || d === 'int32' || d === 'uint32')
    demand(wide, () => `bitcast: needs dtypes of 32 bits, not ${x.dtype} and ${dtype}`)
    return { shape: x.shape, dtype }
  },
  threefry: (inputs, _, op) => {
    demand(inputs[0].dtype === 'uint32', () => `threefry: keys and counters are uint32, not ${inputs[0].dtype}`)
    return alike(op, inputs, 'integer')
  },

  sum: reduction,
  prod: reduction,
  max: (inputs, attrs, op) => {
    const empty = attrs.axes.some(d => inputs[0].shape[d] === 0)
    demand(!empty, () => `max: an axis of ${formatShape(inputs[0].shape)} is empty, and max has no identity`)
    return reduction(inputs, attrs, op)
  },

  reshape: ([x], { shape }) => {
    demand(sizeOf(shape) === sizeOf(x.shape), () => {
      return `reshape: ${formatShape(x.shape)} has ${sizeOf(x.shape)} elements, ${formatShape(shape)} has ${sizeOf(shape)}`
    })
    return { shape, dtype: x.dtype }
  },
  expand: ([x], { shape }) => {
    const fits = x.shape.length === shape.length && x.shape.every((size, d) => size === shape[d] || size === 1)
    demand(fits, () => `expand: ${formatShape(x.shape)} cannot be broadcast to ${formatShape(shape)}`)
    return { shape, dtype: x.dtype }
  },
  permute: ([x], { axes }) => {
    const valid = axes.length === x.shape.length && new Set(axes).size === axes.length
    demand(
      valid,
      () =>
        `permuteDims: axes ${formatShape(axes)} do not permute the ${x.shape.length} axes of ${formatShape(x.shape)}`,
    )
    return { shape: axes.map(d => x.shape[d]), dtype: x.dtype }
  },
  slice: ([x], { start, shape, step }) => {
    const inside = shape.every(
      (n, d) => n === 0 || (start[d] >= 0 && step[d] > 0 && start[d] + (n - 1) * step[d] < x.shape[d]),
    )
    demand(
      inside,
      () => `slice: start ${formatShape(start)} with step ${formatShape(step)} leaves ${formatShape(x.shape)}`,
    )
    return { shape, dtype: x.dtype }
  },
  pad: ([x], { before, after, interior }) => {
    const valid = [before, after, interior].every(list => list.length === x.shape.length && list.every(n => n >= 0))
    demand(
      valid,
      () =>
        `pad: widths ${formatShape(before)}, ${formatShape(after)}, ${formatShape(interior)} do not fit ${formatShape(x.shape)}`,
    )
    return { shape: x.shape.map((n, d) => before[d] + n + Math.max(0, n - 1) * interior[d] + after[d]), dtype: x.dtype }
  },
  flip: identity,

  matmul: ([a, b]) => {
    demand(
      a.dtype === b.dtype && a.dtype !== 'bool',
      () => `matmul: dtypes ${a.dtype} and ${b.dtype}; cast to one numeric dtype`,
    )
    const [batch, m, k] = a.shape
    const [batchB, kB, n] = b.shape
    demand(
      k === kB,
      () => `matmul: inner dimensions differ: ${formatShape(a.shape)} x ${formatShape(b.shape)} (${k} vs ${kB})`,
    )
    demand(batch === batchB, () => `matmul: batch sizes differ: ${formatShape(a.shape)} x ${formatShape(b.shape)}`)
    return { shape: [batch, m, n], dtype: a.dtype }
  },
  conv: ([x, w], { strides, dilation, groups }) => {
    const shapes = (): string => `input ${formatShape(x.shape)} (NHWC), kernel ${formatShape(w.shape)} (HWIO)`
    demand(
      isFloat(x.dtype) && x.dtype === w.dtype,
      () => `conv: dtypes ${x.dtype} and ${w.dtype}; cast both to one float dtype`,
    )
    demand(x.shape.length === 4 && w.shape.length === 4, () => `conv: needs rank 4: ${shapes()}`)
    demand(x.shape[3] === w.shape[2] * groups, () => {
      return `conv: channels differ: ${shapes()}, groups ${groups}: ${x.shape[3]} vs ${w.shape[2]} x ${groups}`
    })
    demand(w.shape[3] % groups === 0, () => `conv: ${w.shape[3]} output channels do not split into ${groups} groups`)
    const spatial = [0, 1].map(d => Math.floor((x.shape[1 + d] - (w.shape[d] - 1) * dilation[d] - 1) / strides[d]) + 1)
    demand(
      spatial.every(n => n > 0),
      () => `conv: the kernel is larger than the (padded) input: ${shapes()}`,
    )
    return { shape: [x.shape[0], spatial[0], spatial[1], w.shape[3]], dtype: x.dtype }
  },

  gather: ([x, index]) => {
    demand(index.dtype === 'int32', () => `gather: indices must be int32, not ${index.dtype}; cast them`)
    return { shape: [...index.shape, ...x.shape.slice(1)], dtype: x.dtype }
  },
  scatterAdd: ([index, updates], { rows }) => {
    demand(index.dtype === 'int32', () => `scatterAdd: indices must be int32, not ${index.dtype}; cast them`)
    demand(updates.dtype !== 'bool', () => 'scatterAdd: updates must be numeric, not bool')
    demand(index.shape.length === 1 && index.shape[0] === updates.shape[0], () => {
      return `scatterAdd: ${formatShape(index.shape)} indices for updates ${formatShape(updates.shape)}`
    })
    return { shape: [rows, ...updates.shape.slice(1)], dtype: updates.dtype }
  },
  firstIndex: ([index], { rows }) => {
    demand(index.dtype === 'int32', () => `firstIndex: indices must be int32, not ${index.dtype}; cast them`)
    demand(index.shape.length === 1, () => `firstIndex: indices must be [n], not ${formatShape(index.shape)}`)
    return { shape: [rows], dtype: 'int32' }
  },
  argsort: ([x]) => ({ shape: x.shape, dtype: 'int32' }),
}

/** Rows of element-wise primitives from the dtypes they accept. */
function rows<P extends UnaryOp | BinaryOp>(accepted: { [K in P]?: Kind }): { [K in P]: Rule<K> } {
  const table = {} as { [K in P]: Rule<K> }
  for (const op of Object.keys(accepted) as P[]) {
    table[op] = elementwise(accepted[op] ?? 'any')
    pointwise.add(table[op])
  }
  return table
}

/** Primitives whose result has the operands' shape and takes each element from those at its own position. */
export const elementwisePrimitives: ReadonlySet<Primitive> = new Set<Primitive>([
  ...(Object.keys(rules) as Primitive[]).filter(op => pointwise.has(rules[op])),
  'where',
  'cast',
])

/** Movement, which costs nothing but index arithmetic. */
const views: ReadonlySet<Primitive> = new Set<Primitive>([
  'reshape',
  'expand',
  'permute',
  'slice',
  'pad',
  'flip',
  'barrier',
])
export const isView = (node: Node): boolean => views.has(node.op)

export const isReduction = (node: Node): node is Node<'sum' | 'prod' | 'max'> =>
  node.op === 'sum' || node.op === 'prod' || node.op === 'max'

/** All primitives, for tests and tables that must cover each of them. */
export const primitives = Object.keys(rules) as Primitive[]

/** The expression `op(inputs)`: checked, simplified where that is exact, shared where it exists already. */
export function apply<P extends Primitive>(op: P, inputs: readonly Node[], attrs: Attrs[P]): Node {
  const { shape, dtype } = rules[op](inputs, attrs, op)
  return simplify(op, inputs, attrs, shape, dtype) ?? makeNode(op, inputs, attrs, shape, dtype)
}
