/**
 * Functions that SIMD has no instruction for, as expansions into operations that it has. Used on a kernel's expressions
 * before they are printed; the reference device, which has Math.exp and the like, does without.
 */

import { copyExprs } from '../../../compiler/copy.js'
import type { Expr, ExprTable, ScalarOp, ScalarType } from '../../../compiler/expr.js'
import { Builder } from './math-builder.js'
import { erf, exp, expm1, log, log1p, pow, tanh } from './math-exponential.js'
import { atan, cos, sin } from './math-trigonometric.js'

type Expansion = (m: Builder, x: Expr, y: Expr) => Expr

/** -1, 0 or 1; a zero keeps its sign. */
const sign: Expansion = (m, x) => m.select(m.less(0, x), 1, m.select(m.less(x, 0), -1, x))

/** r - trunc(r / y) y, exactly: that is a number of r's precision, and the product's rounding error is computed too. */
function reduceBy(m: Builder, r: Expr, y: Expr, yHead: Expr): Expr {
  const q = m.trunc(m.div(r, y))
  const p = m.mul(q, y)
  // Rounded, so that the tail is short enough for qTail * yTail to be exact.
  const qHead = m.head(m.ofBits(m.int('add', m.bitsOf(q), m.pick({ float32: 2 ** 11, float64: 2 ** 26 }))))
  const qTail = m.sub(q, qHead)
  const yTail = m.sub(y, yHead)
  const cross = m.fma(qHead, yTail, m.fma(qTail, yHead, m.fma(qHead, yHead, m.neg(p))))
  return m.sub(m.sub(r, p), m.fma(qTail, yTail, cross))
}

/** x - floor(x / y) y, exact here while |x / y| < 2^48 (float32) or 2^104 (float64), else by the host. A zero is +0 or -0. */
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
