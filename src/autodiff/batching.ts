/**
 * The batched form of every primitive: given operands of which some have a leading axis of examples, the result with one.
 * One row a primitive, beside the table of derivatives; the type demands a row for each that has operands.
 */

import { type Attrs, inputNode, type Node, type Primitive, resolve, topological } from '../graph/node.js'
import { broadcastTo, expandDims, moveaxis, permuteDims, reshape } from '../tensor/movement.js'
import { sum } from '../tensor/reduction.js'
import { ownRows } from '../tensor/shared.js'
import { build, Tensor } from '../tensor/tensor.js'

/** A value for every example along axis 0, or one that all of them share. */
export interface Operand {
  readonly tensor: Tensor
  readonly batched: boolean
}
/** Leaves have no operands, and `firstIndex` exists only within the compiler. */
type Batched = Primitive extends infer P ? Exclude<P, 'input' | 'constant' | 'iota' | 'firstIndex'> : never
interface Context<P extends Primitive> {
  /** How many examples there are. */
  readonly size: number
  readonly attrs: Attrs[P]
  readonly op: P
  readonly known: Known
}
type Rule<P extends Primitive> = (context: Context<P>, ...operands: Operand[]) => Tensor
/** What stands for a value of one example, and its values for all of them. */
type Known = ReadonlyMap<Node, Tensor>

/** The operand with its axis of examples, whether it had one or not. */
export function spread({ tensor, batched }: Operand, size: number): Tensor {
  return batched ? tensor : broadcastTo(expandDims(tensor, 0), [size, ...tensor.shape])
}

/** Element by element, examples are elements like others. */
const pointwise = <P extends Batched>({ size, op, attrs }: Context<P>, ...operands: Operand[]): Tensor =>
  build(
    op,
    operands.map(o => spread(o, size)),
    attrs,
  )
/** Rows of primitives for which an axis of examples is an axis like others. */
const alike = <P extends Batched>(...ops: P[]): { [K in P]: Rule<K> } =>
  Object.fromEntries(ops.map(op => [op, pointwise])) as { [K in P]: Rule<K> }

/** Axes move one to the right. */
const shifted = (axes: readonly number[]): number[] => axes.map(d => d + 1)
const overAxes = <P extends 'sum' | 'max' | 'prod' | 'flip'>({ op, attrs }: Context<P>, { tensor }: Operand): Tensor =>
  build<'sum' | 'max' | 'prod' | 'flip'>(op, [tensor], { axes: shifted(attrs.axes) })
const toShape = <P extends 'reshape' | 'expand'>({ size, op, attrs }: Context<P>, { tensor }: Operand): Tensor =>
  build<'reshape' | 'expand'>(op, [tensor], { shape: [size, ...attrs.shape] })

/** [size, n, ...] as [size * n, ...]. */
const merged = (x: Tensor): Tensor => reshape(x, [x.shape[0] * x.shape[1], ...x.shape.slice(2)])
const unmerged = (x: Tensor, size: number, n: number): Tensor => reshape(x, [size, n, ...x.shape.slice(1)])

export const batching: { readonly [P in Batched]: Rule<P> } = {
  ...alike('neg', 'abs', 'sign', 'sqrt', 'exp', 'expm1', 'log', 'log1p', 'sin', 'cos', 'tanh', 'atan', 'erf'),
  ...alike('floor', 'ceil', 'round', 'trunc', 'not', 'add', 'sub', 'mul', 'div', 'pow', 'maximum', 'minimum'),
  ...alike('remainder', 'and', 'or', 'xor', 'shiftLeft', 'shiftRight', 'less', 'lessEqual', 'equal', 'where', 'cast'),
  ...alike('bitcast', 'threefry', 'variable', 'stopGradient', 'barrier'),
  // Sorts the last axis, whatever stands before it.
  ...alike('argsort'),
  custom: batchedCustom,

  sum: overAxes,
  max: overAxes,
  prod: overAxes,
  flip: overAxes,
  reshape: toShape,
  expand: toShape,
  permute: ({ attrs: { axes } }, { tensor }) => build('permute', [tensor], { axes: [0, ...shifted(axes)] }),
  slice: ({ size, attrs: { start, shape, step } }, { tensor }) =>
    build('slice', [tensor], { start: [0, ...start], shape: [size, ...shape], step: [1, ...step] }),
  pad: ({ attrs: { before, after, interior } }, { tensor }) =>
    build('pad', [tensor], { before: [0, ...before], after: [0, ...after], interior: [0, ...interior] }),

  // One matrix on the right serves the rows of all examples; else examples are further batches.
  matmul: ({ size }, a, b) => {
    if (!b.batched && b.tensor.shape[0] === 1) {
      const [, , m, k] = a.tensor.shape
      const product = build('matmul', [reshape(a.tensor, [1, size * m, k]), b.tensor], {})
      return reshape(product, [size, 1, m, b.tensor.shape[2]])
    }
    const [left, right] = [a, b].map(x => spread(x, size))
    return unmerged(build('matmul', [merged(left), merged(right)], {}), size, left.shape[1])
  },
  // Examples of images are more images; kernels of their own are groups of channels.
  conv: ({ size, attrs }, x, w) => {
    if (!w.batched) return unmerged(build('conv', [merged(x.tensor), w.tensor], attrs), size, x.tensor.shape[1])
    const [n, height, width, channels] = x.batched ? x.tensor.shape.slice(1) : x.tensor.shape
    const [kh, kw, c, o] = w.tensor.shape.slice(1)
    const images = reshape(permuteDims(spread(x, size), [1, 2, 3, 0, 4]), [n, height, width, size * channels])
    const kernels = reshape(permuteDims(w.tensor, [1, 2, 3, 0, 4]), [kh, kw, c, size * o])
    const y = build('conv', [images, kernels], { ...attrs, groups: size * attrs.groups })
    return permuteDims(reshape(y, [...y.shape.slice(0, 3), size, o]), [3, 0, 1, 2, 4])
  },
  gather: (_, x, index) => {
    if (!x.batched) return build('gather', [x.tensor, index.tensor], {})
    if (index.batched) return build('gather', [merged(x.tensor), ownRows(index.tensor, x.tensor.shape[1])], {})
    return moveaxis(build('gather', [moveaxis(x.tensor, 0, 1), index.tensor], {}), index.tensor.ndim, 0)
  },
  scatterAdd: ({ size, attrs: { rows } }, index, updates) => {
    if (!index.batched)
      return moveaxis(build('scatterAdd', [index.tensor, moveaxis(updates.tensor, 0, 1)], { rows }), 1, 0)
    const flat = [merged(ownRows(index.tensor, rows)), merged(spread(updates, size))]
    return unmerged(build('scatterAdd', flat, { rows: size * rows }), size, rows)
  },
}

/** A stand-in for one example of a tensor whose axis 0 counts examples. */
export const exampleOf = ({ shape, dtype }: Tensor): Node =>
  inputNode({ gone: 'stands for one example inside vmap; only what vmap returns has values' }, shape.slice(1), dtype)

/** A custom node's rule is for one example; that of the batched node is the same rule, batched. */
function batchedCustom({ size, attrs, known }: Context<'custom'>, ...operands: Operand[]): Tensor {
  const [value, ...others] = operands.map((o, i) => (i === 0 ? { tensor: spread(o, size), batched: true } : o))
  const rule = (cotangent: Node, batchedNode: Node): (Node | null)[] => {
    const [g, y] = [cotangent, batchedNode].map(n => new Tensor(n))
    const inputs = batchedNode.inputs.map(n => new Tensor(n))
    const examples = inputs.map((t, i) => (i === 0 || others[i - 1].batched ? exampleOf(t) : t.node))
    const one = build(
      'custom',
      examples.map(n => new Tensor(n)),
      attrs,
    ).node
    const oneG = exampleOf(g)
    const inside = new Map([...known, [one, y], [oneG, g]])
    for (const [i, n] of examples.entries()) if (n !== inputs[i].node) inside.set(n, inputs[i])
    const pulled = attrs.rule(oneG, one)
    const found = batchNodes(
      pulled.filter(n => n !== null),
      inside,
      size,
    )
    let next = 0
    return pulled.map((n, i) => {
      if (n === null) return null
      const all = spread(found[next++], size)
      return (others[i].batched ? all : sum(all, { axis: 0 })).node
    })
  }
  return build('custom', [value.tensor, ...others.map(o => o.tensor)], { ...attrs, rule })
}

/** The values of nodes for all examples, given those of the stand-ins that they are made from. */
export function batchNodes(roots: readonly Node[], known: Known, size: number): Operand[] {
  const made = new Map<Node, Operand>()
  for (const [node, tensor] of known) made.set(node, { tensor, batched: true })
  for (const node of topological(roots, n => (known.has(n) ? [] : n.inputs))) {
    if (made.has(node)) continue
    const operands = node.inputs.map(n => made.get(resolve(n))!)
    const batched = operands.some(o => o.batched)
    made.set(node, { tensor: batched ? applyRule(node, operands, size, known) : new Tensor(node), batched })
  }
  return roots.map(n => made.get(resolve(n))!)
}

function applyRule<P extends Batched>(node: Node, operands: readonly Operand[], size: number, known: Known): Tensor {
  const op = node.op as P
  const rule = batching[op] as Rule<P>
  return rule({ size, op, attrs: node.attrs as Attrs[P], known }, ...operands)
}
