/**
 * Functions that SIMD has no instruction for, as expansions into operations that it has. Used on a kernel's expressions
 * before they are printed; the reference device, which has Math.exp and the like, does without.
 */

import { type Expr, type ExprTable, isOperation } from '../../../compiler/expr.js'
import { Builder } from './math-builder.js'
import { exp, expm1, log, log1p, tanh } from './math-exponential.js'

type Expansion = (m: Builder, x: Expr, y: Expr) => Expr

/** One row a function; what is not listed is an instruction or a short sequence of them. */
const expansions = {
  exp,
  expm1,
  log,
  log1p,
  tanh,
} satisfies Record<string, Expansion>

export type MathOp = keyof typeof expansions
/** The operations that are expanded where their type is float32 or float64. */
export const mathOps = Object.keys(expansions) as readonly MathOp[]

const isMathOp = (op: string): op is MathOp => op in expansions

/**
 * The expression with its functions expanded, in the same table. Expressions within the indices of loads are integers
 * and stay as they are.
 */
export function expandMath(root: Expr, exprs: ExprTable): Expr {
  const done = new Map<Expr, Expr>()
  const expand = (e: Expr): Expr => {
    if (!isOperation(e)) return e
    const have = done.get(e)
    if (have) return have
    const args = e.args.map(expand)
    const { op, type } = e
    const made =
      isMathOp(op) && (type === 'float32' || type === 'float64')
        ? (expansions[op] as Expansion)(new Builder(exprs, type), args[0], args[1])
        : exprs.operation(op, type, ...args)
    done.set(e, made)
    return made
  }
  return expand(root)
}
