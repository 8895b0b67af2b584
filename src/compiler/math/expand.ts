/**
 * Functions that devices have no accurate instruction for, as expansions into basic operations. Used on a kernel's
 * expressions before they are printed; the reference device, which has Math.exp and the like, does without.
 *
 * A compiler of WGSL may contract, reassociate and assume that there are no NaN, no infinities and no signed zeros.
 * `keep` stands where that would cost accuracy. Comparisons and selects are printed as operations on integers, and
 * special values are chosen by them, the signs of zeros set by bits. What is left to arithmetic: finite numbers
 * overflow to infinity (exp, expm1, pow); a NaN operand makes NaN (exp, expm1, tanh, erf, atan); -1 / infinity is a
 * zero (atan); and what remainder makes of infinities is not below |y|. Where subnormal numbers are flushed, log and
 * pow take those for 2^-152.
 */

import { copyExprs } from '../copy.js'
import type { Expr, ExprTable, ScalarOp, ScalarType } from '../expr.js'
import { Builder } from './builder.js'
import { erf, exp, expBelow0, expm1, log, log1p, pow, tanh } from './exponential.js'
import { atan, cos, sin } from './trigonometric.js'

type Expansion = (m: Builder, x: Expr, y: Expr) => Expr

/** -1, 0 or 1; a zero keeps its sign. */
const sign: Expansion = (m, x) => m.select(m.less(0, x), 1, m.select(m.less(x, 0), -1, x))

/**
 * r - q y, exactly, for an integer q of about r / y with four bits less than there are. The product's rounding error is
 * computed too (Dekker 1971), and the difference is a number of r's precision, also after a division within 2.5 ULP.
 */
function reduceBy(m: Builder, r: Expr, y: Expr, yHead: Expr): Expr {
  const q = m.rounded(m.round(m.div(r, y)), 4)
  const p = m.keep(m.mul(q, y))
  const qHead = m.rounded(q, m.headBits)
  const qTail = m.sub(q, qHead)
  const yTail = m.sub(y, yHead)
  const heads = m.keep(m.fma(qHead, yHead, m.neg(p)))
  const cross = m.keep(m.fma(qHead, yTail, m.keep(m.fma(qTail, yHead, heads))))
  return m.sub(m.keep(m.sub(r, p)), m.fma(qTail, yTail, cross))
}

/**
 * x - floor(x / y) y, exact here while |x / y| < 2^39 (float32) or 2^97 (float64), beyond that by the far function. A
 * zero is +0 or -0.
 */
function remainder(m: Builder, x: Expr, y: Expr): Expr {
  const yHead = m.head(y)
  const twice = reduceBy(m, reduceBy(m, x, y, yHead), y, yHead)
  const r = m.reach(m.less(m.abs(twice), m.abs(y)), twice, 'remainderFar', x, y)
  const wrong = m.either(m.both(m.less(r, 0), m.less(0, y)), m.both(m.less(0, r), m.less(y, 0)))
  return m.select(m.less(0, m.abs(y)), m.select(wrong, m.add(r, y), r), Number.NaN)
}

/** The operations that are expanded where their type is float32 or float64. */
export const mathOps = [
  'exp',
  'expBelow0',
  'expm1',
  'log',
  'log1p',
  'tanh',
  'erf',
  'pow',
  'sin',
  'cos',
  'atan',
  'sign',
  'remainder',
] as const
export type MathOp = (typeof mathOps)[number]

/** One row a function; what is not listed is an instruction or a short sequence of them. */
const expansions: Readonly<Record<MathOp, Expansion>> = {
  exp,
  expBelow0,
  expm1,
  log,
  log1p,
  tanh,
  erf,
  pow,
  sin,
  cos,
  atan,
  sign,
  remainder,
}

const isMathOp = (op: string): op is MathOp => op in expansions

/** The expansion of an operation on given operands, or undefined for what needs none. */
export function expandOperation(
  exprs: ExprTable,
  op: ScalarOp,
  type: ScalarType,
  [x, y]: readonly Expr[],
): Expr | undefined {
  return isMathOp(op) && (type === 'float32' || type === 'float64')
    ? expansions[op](new Builder(exprs, type), x, y)
    : undefined
}

/** The expression with its functions expanded. */
export const expandMath = (root: Expr, exprs: ExprTable): Expr => copyExprs(exprs, { operation: expandOperation })(root)
