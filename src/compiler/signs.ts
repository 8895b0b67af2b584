/** What can be told of the signs of elements from the few operations that make them. */

import type { Node } from '../graph/node.js'
import { type Expr, isOperation, walkExprs } from './expr.js'

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

/** Whether a float is positive, 0 without a sign, or NaN: its bits are then in the order of the numbers, and NaN above all. */
export function isUnsigned(float: Expr): boolean {
  const found = new Set<Expr>()
  walkExprs([float], e => {
    if (seemsUnsigned(e, operand => found.has(operand))) found.add(e)
  })
  return found.has(float)
}

function seemsUnsigned(e: Expr, isKnown: (operand: Expr) => boolean): boolean {
  if (e.op === 'constant') return !(e.value < 0 || Object.is(e.value, -0))
  if (!isOperation(e)) return false
  const [a, b, c] = e.args
  switch (e.op) {
    case 'abs':
      return true
    case 'mul':
      return a === b || (isKnown(a) && isKnown(b))
    case 'maximum':
      return isKnown(a) || isKnown(b)
    case 'add':
    case 'div':
    case 'minimum':
    case 'sqrt':
    case 'keep':
      return e.args.every(isKnown)
    case 'select':
      return isKnown(b) && (isKnown(c) || isAbove0(c, a))
    default:
      return false
  }
}

/** Whether x is above 0, or NaN, where `x <= 0` does not hold. */
function isAbove0(x: Expr, condition: Expr): boolean {
  if (!isOperation(condition) || condition.op !== 'lessEqual') return false
  const [compared, zero] = condition.args
  return compared === x && zero.op === 'constant' && zero.value === 0
}
