/** Copies expressions into another table, changed on the way: how kernels are rewritten. */

import { type Condition, type Index, substitute, valueIndex } from './affine.js'
import { type Expr, type ExprTable, isOperation, type Reduced, type ScalarOp, type ScalarType } from './expr.js'

export interface Changes {
  /** What an index becomes; the values it depends on are copied already. */
  readonly index?: (index: Index) => Index
  /** Conditions that every load gets in addition. */
  readonly conditions?: readonly Condition[]
  /** What stands for a total of the reduction. */
  readonly reduced?: (e: Reduced) => Expr
  /** What an operation on copied operands becomes, where it is not the same operation. */
  readonly operation?: (exprs: ExprTable, op: ScalarOp, type: ScalarType, args: readonly Expr[]) => Expr | undefined
}

/** A function that copies expressions into `exprs`; what several of them share is copied once. */
export function copyExprs(exprs: ExprTable, changes: Changes = {}): (e: Expr) => Expr {
  const done = new Map<Expr, Expr>()
  const index = (i: Index): Index => {
    const copied = substitute(i, atom =>
      atom.kind === 'value' ? valueIndex(rewrite(atom.value), atom.high) : undefined,
    )
    return changes.index ? changes.index(copied) : copied
  }
  const conditions = (cs: readonly Condition[]): Condition[] => cs.map(c => ({ ...c, index: index(c.index) }))
  const copy = (e: Expr): Expr => {
    if (isOperation(e)) {
      const args = e.args.map(rewrite)
      return changes.operation?.(exprs, e.op, e.type, args) ?? exprs.operation(e.op, e.type, ...args)
    }
    switch (e.op) {
      case 'constant':
        return exprs.constant(e.value, e.type)
      case 'position':
        return exprs.position(index(e.index))
      case 'inside':
        return exprs.inside(conditions(e.conditions))
      case 'load':
        return exprs.load(e.buffer, e.type, index(e.index), [
          ...conditions(e.conditions),
          ...(changes.conditions ?? []),
        ])
      case 'reduced':
        return changes.reduced?.(e) ?? exprs.reduced(e.type, [...e.axes], e.total)
    }
  }
  const rewrite = (e: Expr): Expr => {
    const have = done.get(e)
    if (have) return have
    const made = copy(e)
    done.set(e, made)
    return made
  }
  return rewrite
}
