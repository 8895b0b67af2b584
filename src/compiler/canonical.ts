/**
 * The first step of compiling: what matters only to differentiation is removed, equal expressions become one, and
 * tables of few rows are computed by those (sparse.ts). The result computes the same values.
 */

import {
  type Attrs,
  forgetInterned,
  inputNode,
  isLeaf,
  labelOf,
  leavesOf,
  makeNode,
  type Node,
  type Primitive,
  resolve,
  topological,
  valueOperands,
} from '../graph/node.js'
import { simplify } from '../graph/simplify.js'
import { shrinkConvolutions } from './convolution.js'
import { sparseRows } from './sparse.js'

export interface Canonical {
  readonly roots: readonly Node[]
  /** The leaves, in the order in which a walk from the roots meets them: the plan's parameters. */
  readonly leaves: readonly Node<'input'>[]
}

export function canonicalize(roots: readonly Node[]): Canonical {
  const order = topological(roots)
  const leaves = leavesOf(order)
  // The plan outlives this graph: its own leaves hold no values.
  const placeholders = new Map<Node, Node>(leaves.map(n => [n, inputNode({}, n.shape, n.dtype)]))
  const copies = new Map<Node, Node>(placeholders)
  for (const node of order) {
    if (copies.has(node)) continue
    const inputs = valueOperands(node).map(n => {
      const copy = copies.get(resolve(n))
      if (!copy) throw new Error(`canonicalize: ${labelOf(node)} comes before its operand`)
      return copy
    })
    copies.set(node, rebuild(node, inputs))
  }
  const rewritten = shrinkConvolutions(sparseRows(roots.map(r => copies.get(resolve(r)) as Node)))
  forgetInterned()
  // Each root is a node of its own and no leaf: what would be shared or passed through is copied.
  const seen = new Set<Node>()
  const canonical = rewritten.map(copy => {
    const root = isLeaf(copy) || seen.has(copy) ? makeNode('barrier', [copy], {}, copy.shape, copy.dtype) : copy
    seen.add(root)
    return root
  })
  return { roots: canonical, leaves: leaves.map(n => placeholders.get(n) as Node<'input'>) }
}

function rebuild(node: Node, inputs: readonly Node[]): Node {
  switch (node.op) {
    case 'variable':
    case 'stopGradient':
    case 'custom':
      return inputs[0]
    default: {
      const op: Primitive = node.op
      const attrs = node.attrs as Attrs[typeof op]
      const { shape, dtype } = node
      const simpler = (op === 'where' && rootOf(inputs)) || simplify(op, inputs, attrs, shape, dtype)
      return simpler ?? makeNode(op, inputs, attrs, shape, dtype)
    }
  }
}

/** x, where the choice is √x except at 0, where it is 0: written so for its derivatives, of which none is left to take. */
function rootOf([condition, zero, root]: readonly Node[]): Node | undefined {
  if (condition.op !== 'equal' || root.op !== 'sqrt') return undefined
  const [x, nothing] = condition.inputs
  const [guarded] = root.inputs
  const isZero = (n: Node): boolean => n.op === 'constant' && n.attrs.value === 0
  const isGuarded = guarded.op === 'where' && guarded.inputs[0] === condition && guarded.inputs[2] === x
  return isZero(nothing) && isZero(zero) && isGuarded ? makeNode('sqrt', [x], {}, root.shape, root.dtype) : undefined
}
