/** The reverse pass: walks the graph from outputs to targets and adds up cotangents. It makes expressions, nothing more. */

import { isFloat } from '../graph/dtype.js'
import type { Attrs, Node, Primitive } from '../graph/node.js'
import { elementwisePrimitives } from '../graph/primitives.js'
import { add, where } from '../tensor/elementwise.js'
import { Tensor } from '../tensor/tensor.js'
import { type Rule, rules } from './rules.js'

/** The nodes between outputs and targets (both included), by descending id: consumers before their operands. */
export function path(outputs: readonly Node[], targets: ReadonlySet<Node>): Node[] {
  // Operands are older than their consumers, so nothing older than every target can depend on one.
  let oldest = Infinity
  for (const { id } of targets) oldest = Math.min(oldest, id)
  const operands = (node: Node): readonly Node[] => (node.id > oldest && node.op !== 'stopGradient' ? node.inputs : [])
  // A set's loop comes to what is added meanwhile.
  const reached = new Set(outputs)
  for (const node of reached) for (const input of operands(node)) reached.add(input)
  const ascending = [...reached].sort((a, b) => a.id - b.id)
  const leads = new Set<Node>()
  for (const node of ascending)
    if (isFloat(node.dtype) && (targets.has(node) || operands(node).some(n => leads.has(n)))) leads.add(node)
  return [...leads].reverse()
}

/** The cotangents of a node's operands by its row of the table; `y` stands for the node's value. */
export function applyRule<P extends Primitive>(
  node: Node,
  g: Tensor,
  y = new Tensor(node),
): readonly (Tensor | null)[] {
  const rule = rules[node.op] as Rule<P>
  return rule({ g, y, attrs: node.attrs as Attrs[P], node }, ...node.inputs.map(n => new Tensor(n)))
}

const isZero = (node: Node): boolean => node.op === 'constant' && node.attrs.value === 0

/** A cotangent of the form `where(c, g, 0)` or `where(c, 0, g)`: the condition, g, and how to give g's place to another. */
interface Masked {
  readonly condition: Node
  readonly whenTrue: boolean
  readonly g: Tensor
}

function masked({ node }: Tensor): Masked | undefined {
  if (node.op !== 'where') return undefined
  const [condition, taken, other] = node.inputs
  if (isZero(other)) return { condition, whenTrue: true, g: new Tensor(taken) }
  return isZero(taken) ? { condition, whenTrue: false, g: new Tensor(other) } : undefined
}

const mask = ({ condition, whenTrue }: Masked, g: Tensor): Tensor =>
  whenTrue ? where(new Tensor(condition), g, 0) : where(new Tensor(condition), 0, g)

/**
 * The cotangents of a node's operands. A masked cotangent of an element-wise node is pulled back under its mask: what a
 * branch not taken would contribute stays 0 even where its slope is infinite, and unlike a test for g = 0 this is the same
 * function of g, so that it can be differentiated.
 */
function pull(node: Node, g: Tensor): readonly (Tensor | null)[] {
  const under = elementwisePrimitives.has(node.op) ? masked(g) : undefined
  return under ? pull(node, under.g).map(t => t && mask(under, t)) : applyRule(node, g)
}

/** The sum of two cotangents, under their mask if they share one. */
function sumOf(a: Tensor, b: Tensor): Tensor {
  const [x, y] = [masked(a), masked(b)]
  const shared = x && y && x.condition === y.condition && x.whenTrue === y.whenTrue
  return shared ? mask(x, sumOf(x.g, y.g)) : add(a, b)
}

/**
 * The cotangents of the targets for the given cotangents of the outputs; undefined for a target that no output depends
 * on. Everything the outputs touch is differentiated through, whatever it was made by.
 */
export function backward(
  outputs: readonly Node[],
  cotangents: readonly Tensor[],
  targets: readonly Node[],
): (Tensor | undefined)[] {
  const wanted = new Set(targets)
  const sums = new Map<Node, Tensor>()
  const accumulate = (node: Node, g: Tensor): void => {
    const sum = sums.get(node)
    sums.set(node, sum ? sumOf(sum, g) : g)
  }
  const nodes = path(outputs, wanted)
  const onPath = new Set(nodes)
  for (const [i, node] of outputs.entries()) if (onPath.has(node)) accumulate(node, cotangents[i])
  for (const node of nodes) {
    const g = sums.get(node)
    if (!g || node.inputs.length === 0) continue
    // Targets are where a derivative is asked for, yet one target may lie between the outputs and another.
    const pulled = pull(node, g)
    node.inputs.forEach((input, i) => {
      const cotangent = pulled[i]
      if (cotangent && onPath.has(input)) accumulate(input, cotangent)
    })
  }
  return targets.map(t => sums.get(t))
}
