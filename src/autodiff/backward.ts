/** The reverse pass: walks the graph from outputs to targets and adds up cotangents. It makes expressions, nothing more. */

import { isFloat } from '../graph/dtype.js'
import type { Attrs, Node, Primitive } from '../graph/node.js'
import { add } from '../tensor/elementwise.js'
import { Tensor } from '../tensor/tensor.js'
import { type Rule, rules } from './rules.js'

/** The nodes between outputs and targets (both included), by descending id: consumers before their operands. */
function path(outputs: readonly Node[], targets: ReadonlySet<Node>): Node[] {
  // Operands are older than their consumers, so nothing older than every target can depend on one.
  const oldest = Math.min(...[...targets].map(n => n.id))
  const leads = new Map<Node, boolean>()
  const stack = [...outputs]
  while (stack.length) {
    const node = stack[stack.length - 1]
    if (leads.has(node)) {
      stack.pop()
      continue
    }
    const open = node.id > oldest && node.op !== 'stopGradient' ? node.inputs.filter(n => !leads.has(n)) : []
    if (open.length) stack.push(...open)
    else {
      const through = node.op !== 'stopGradient' && node.inputs.some(n => leads.get(n))
      leads.set(node, (targets.has(node) || through) && isFloat(node.dtype))
      stack.pop()
    }
  }
  return [...leads].flatMap(([node, lead]) => (lead ? [node] : [])).sort((a, b) => b.id - a.id)
}

function pull<P extends Primitive>(node: Node, g: Tensor): readonly (Tensor | null)[] {
  const rule = rules[node.op] as Rule<P>
  return rule({ g, y: new Tensor(node), attrs: node.attrs as Attrs[P], node }, ...node.inputs.map(n => new Tensor(n)))
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
    sums.set(node, sum ? add(sum, g) : g)
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
