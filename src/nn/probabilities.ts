/**
 * Logits that are probabilities: a loss on logits applies softmax once more, whose gradients are small wherever the first one
 * is sure. That shows in the graph, before anything is computed; probabilities that come as data do not.
 */

import { labelOf, type Node } from '../graph/node.js'
import type { Tensor } from '../tensor/tensor.js'
import { warnOnce } from '../tensor/warn.js'

/** What has the values of its first operand, or some of them, in another place, dtype or role. */
const passing: ReadonlySet<string> = new Set([
  'barrier',
  'cast',
  'expand',
  'permute',
  'reshape',
  'slice',
  'stopGradient',
  'variable',
])

/** What a node's values come from: clipped, they are the same but for those at the limits. */
function source(node: Node): Node {
  if (passing.has(node.op)) return source(node.inputs[0])
  const [condition, held, rest] = node.inputs
  return node.op === 'where' && condition.op === 'less' && held.op === 'constant' ? source(rest) : node
}

/** The two sides of a fraction, which may be a product with a reciprocal. */
function fraction({ op, inputs: [a, b] }: Node): { readonly above: Node; readonly below: Node } | undefined {
  if (op === 'div') return { above: a, below: source(b) }
  const inverse = op === 'mul' ? source(b) : undefined
  return inverse?.op === 'div' ? { above: a, below: source(inverse.inputs[1]) } : undefined
}

/** Which function gives probabilities at a node, if one does: e / Σe, or the sigmoid, 1 or e over 1 + e. */
function probabilitiesBy(node: Node): 'softmax' | 'sigmoid' | undefined {
  const { above, below } = fraction(node) ?? {}
  if (!above || !below) return undefined
  if (above.op === 'exp' && below.op === 'sum' && below.inputs[0] === above) return 'softmax'
  const isSigmoid = below.op === 'add' && below.inputs.some(e => e.op === 'exp' && above.inputs.includes(e))
  return isSigmoid ? 'sigmoid' : undefined
}

/**
 * Warns, once for a number of classes, where logits are the result of softmax or sigmoid.
 *
 * @returns whether they are
 */
export function warnOfProbabilities(op: string, logits: Tensor): boolean {
  const node = source(logits.node)
  const by = probabilitiesBy(node)
  if (by === undefined) return false
  warnOnce(
    `${op}: its logits are probabilities, the result of ${by} at ${labelOf(node)}; give what ${by} is applied to, or gradients vanish ` +
      'where the model is sure: it trains slowly, and attacks are weaker than they look',
    `${by} of ${logits.shape[logits.ndim - 1]} classes`,
  )
  return true
}
