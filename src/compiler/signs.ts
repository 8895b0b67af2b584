/** What can be told of the signs of a node's elements from the few operations that make it. */

import type { Node } from '../graph/node.js'

/** Whether no element is above 0; NaN may be. Such are the exponents in softmax, sigmoid, softplus and logaddexp. */
export function isBelow0(node: Node): boolean {
  const [a, b, c] = node.inputs
  switch (node.op) {
    case 'constant':
      return node.attrs.value <= 0
    case 'neg':
      return a.op === 'abs' || (a.op === 'mul' && a.inputs[0] === a.inputs[1])
    case 'sub':
      // A float16 is rounded where it is stored, as a largest element is, and only there.
      return node.dtype !== 'float16' && isAtLeastAll(b, a)
    case 'where':
      return isMinusAbs(a, b, c) || isMinusDistance(a, b, c) || (isBelow0(b) && isBelow0(c))
    default:
      return false
  }
}

/** `0 <= x ? -x : x`. */
function isMinusAbs(condition: Node, negated: Node, x: Node): boolean {
  if (condition.op !== 'lessEqual' || negated.op !== 'neg') return false
  const [zero, compared] = condition.inputs
  return zero.op === 'constant' && zero.attrs.value === 0 && compared === x && negated.inputs[0] === x
}

/** `y <= x ? y - x : x - y`. */
function isMinusDistance(condition: Node, yLess: Node, xLess: Node): boolean {
  if (condition.op !== 'lessEqual' || yLess.op !== 'sub' || xLess.op !== 'sub' || yLess.dtype === 'float16')
    return false
  const [y, x] = condition.inputs
  const isDifference = ({ inputs: [a, b] }: Node, from: Node, what: Node): boolean => a === from && b === what
  return isDifference(yLess, y, x) && isDifference(xLess, x, y)
}

/** Whether each element of `top` is that of x, or the largest along some axes, or more than that. */
function isAtLeastAll(top: Node, x: Node): boolean {
  if (top === x) return true
  if (top.op === 'max') return top.inputs[0] === x
  if (top.op === 'expand') return isAtLeastAll(top.inputs[0], x)
  return top.op === 'maximum' && top.inputs.some(n => isAtLeastAll(n, x))
}
